"""Few labels, many pictures without, and a pretrained network: five ways, on your own pictures.

    python launch.py --config=configs/few_labels.py --config.data.source.path=my_images --workdir=runs/few_labels

EfficientNet-Lite0 at 96 pixels, 20 labels per class; the labels of all other pictures are hidden from training. `head`
is a logistic head on ImageNet's features; `finetuned` goes on from there; `student` and `fixmatch` also learn from the
pictures without labels, from the same start; `small`, with a sixtieth of the parameters, learns from the latter.
Both thresholds were chosen between two on photographs of clothing with a seed of its own (100), and so were teacher and
recipe of `small`; `configs/sweeps/few_labels.py` compares the five on other seeds. `:tiny` has two of the stages.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str = "") -> ConfigDict:
    config, tiny = common.experiment(arg)
    config.data = common.pictures(size=32 if tiny else 96)
    config.data.source.unlabelled_path = ""
    config.data.labels_per_class = 4 if tiny else 20
    config.stages = ("head", "finetuned", "student", "fixmatch", "small")
    config.head = common.lite_head()
    tuned = {"init": "head", "updates": 200, "rules": (common.NORMS, (".*", 1.0)), "layer_decay": 0.9}
    config.finetuned = common.lite(**tuned)
    config.student = common.lite_student(teacher="finetuned", **tuned)
    config.student.pseudo_labels.threshold = 0.6
    config.fixmatch = common.lite(**tuned)
    config.fixmatch.update(
        {
            "method": {"name": "fixmatch", "threshold": 0.8, "unlabelled_weight": 1.0, "label_smoothing": 0.0},
            "batch": {"labelled": 32, "unlabelled": 48},
            "strong_augment": common.noise(),
        }
    )
    config.small = common.lite_student(teacher="fixmatch", updates=1000, rules=((".*", 1.0),))
    config.small.model = {"name": "cnn", "width": 24}  # from nothing: more updates of fewer pictures, and less noise
    config.small.batch = {"labelled": 16, "unlabelled": 48}
    config.small.augment = {"ops": ("random_resized_crop", "flip"), "random_resized_crop": {"area_min": 0.35}}
    config.small.optim.learning_rate = 3e-3
    config.small.method = {"name": "distill", "temperature": 4.0, "soft_weight": 0.9, "hard_weight": 0.1}
    del config.small.pseudo_labels
    if tiny:
        config.stages = ("head", "student")
        config.student.teacher = "head"
    return common.shrink(config) if tiny else config
