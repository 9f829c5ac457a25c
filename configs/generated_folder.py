r"""Images of a generator beside your own labelled ones: EfficientNet-Lite0 is fine-tuned on both.

    python launch.py --config=configs/generated_folder.py --workdir=runs/generated_folder \
        --config.data.source.path=my_images --config.data.test=100 --config.data.generated.path=my_generated

`my_generated` has a folder of images for each class, or for some, named like those of `my_images`. A generated image is
shown `generated.weight` times as often as a labelled one; 0.0 is the control. Generated images are only trained on:
they are never validation or test images, and do not change the mean and standard deviation of the data. One that equals
a test or validation image is refused, or left out with --config.data.duplicates=drop; near copies are listed before
training. Generate from the training part alone, never from images that resemble the test part.

Not measured: what a generator is worth depends on it.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str = "") -> ConfigDict:
    config, tiny = common.experiment(arg)
    config.data = {
        "source": {"name": "folder", "path": "my_images", "size": 32 if tiny else 160},  # 96 to 224
        "generated": {"path": "my_generated", "weight": 0.3},  # 0.1 to 1.0
    }
    config.stages = ("finetuned",)
    config.finetuned = {
        "model": common.lite(variant="lite0", stochastic_depth=0.0),
        "init": "efficientnet-lite0",
        "method": {"name": "supervised", "label_smoothing": 0.1},  # 0.0 to 0.2
        "batch": {"labelled": 32},
        "augment": common.crops(),
        "optim": common.adamw(
            learning_rate=1e-3,  # 3e-4 to 3e-3
            warmup_percent=10.0,
            rules=(("head/.*", 1.0), common.NORMS, (".*", 0.1)),
        ),
        "epochs": 15.0,  # 5 to 50, more with fewer images
        "ema_decay": 0.95,  # 0.9 to 0.999, higher with more steps
        "log_every": 20,
        "save_every": 1000,
    }
    return common.shrink(config) if tiny else config
