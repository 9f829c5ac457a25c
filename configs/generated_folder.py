"""Images of another generator beside your own labelled ones: fine-tuned EfficientNet-Lite0, a weight for the generated.

    python launch.py --config=configs/generated_folder.py --workdir=runs/generated_folder \
        --config.data.source.path=my_images --config.data.test=100 --config.data.generated.path=my_generated

`my_generated` has a folder of images for each class, or for some, named like those of `my_images`. An image in it comes
`generated.weight` times as often as a labelled one; 0.0 is the control. They are learned from and nothing else: never
in the validation or test part, nor in the mean and standard deviation of the images. One that equals a test or
validation image is refused, or left out with --config.data.duplicates=drop; near copies are listed before training.
What a generator is worth depends on it: no figure is claimed. Generate from the training part alone, never from images
that resemble the test part.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str = "") -> ConfigDict:
    config, tiny = common.experiment(arg)
    config.data = common.pictures(size=32 if tiny else 160)
    config.data.generated = {"path": "my_generated", "weight": 0.3}
    config.stages = ("finetuned",)
    rules = (("head/.*", 1.0), common.NORMS, (".*", 0.1))
    config.finetuned = common.lite(init="efficientnet-lite0", epochs=15.0, rules=rules)
    return common.shrink(config) if tiny else config
