r"""Three ways to mix images: none, CutMix, and Puzzle Mix on CIFAR-10 with 100 labels per class and a small network.

    python launch.py --config=configs/puzzle_mix.py --workdir=runs/puzzle_mix \
        --config.data.source.path=cifar10/train.parquet --config.data.source.test_path=cifar10/test.parquet

`weak` does not mix. `cutmix` pastes a rectangle (arXiv 1905.04899). `puzzle_mix` pastes the blocks that matter most to
the loss (arXiv 2009.06962, section 3, the mask alone). For this, each step computes the gradient of the loss with
respect to the pixels before it mixes them. One forward and one backward pass more make a step 1.6 times as long as with
`cutmix` (two CPU cores, 2026-11-29, `tests/methods/test_cost.py`). Accuracy: not measured. `:tiny` runs without the
files.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str = "") -> ConfigDict:
    config, tiny = common.experiment(arg)
    config.data = common.cifar10(tiny, labels_per_class=100)
    config.stages = ("weak", "cutmix", "puzzle_mix")
    config.weak = stage(augment=common.cifar_weak())
    config.cutmix = stage(
        augment={
            "ops": ("flip", "crop", "cutmix"),
            "crop": {"padding": 4, "border": "reflect"},
            "cutmix": {"alpha": 1.0, "probability": 0.5},  # probability: 0.3 to 1.0
        }
    )
    config.puzzle_mix = stage(
        augment={
            "ops": ("flip", "crop", "saliency_cutmix"),
            "crop": {"padding": 4, "border": "reflect"},
            "saliency_cutmix": {"alpha": 1.0, "blocks": 4, "smoothness": 0.5, "probability": 0.5},
        }
    )
    return common.shrink(config) if tiny else config


def stage(*, augment: dict) -> dict:
    """Returns a stage that trains the small CNN for 1,500 steps with the augmentation `augment`."""
    return common.cnn_stage(method={"name": "supervised"}, width=32, augment=augment, labelled=64, steps=1500)
