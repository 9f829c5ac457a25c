"""Train good vision models from few labels, in JAX.

`augment`, `losses`, `models` and `training` are usable alone, without any config; `launch.py` runs experiments.
"""

from collections.abc import Callable
from typing import Any

import numpy as np


def load(path: str) -> Callable[[Any], np.ndarray]:
    """`load("runs/quickstart")(images)`: class probabilities float32 [n classes] of uint8 images [n h w c], or of a
    list of files or images of any size.

    `path` is a run, whose last finished stage it takes, or a stage of one, "runs/quickstart/student2". Where an
    image can have several labels, each has a probability by itself; from which on it counts as there is in the stage's
    `result.json`: "thresholds" [classes].
    """
    from efficient_jax import members  # `import efficient_jax` alone should not load orbax

    return members.classifier(path)
