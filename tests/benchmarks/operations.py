"""Parameters of a network, and the operations of its forward pass on one image.

python -m tests.benchmarks.operations efficientnet 475 variant=l2
"""

import sys
from typing import Any

import jax
import numpy as np

from efficient_jax import models


def main(name: str, size: int, settings: dict[str, Any]) -> None:
    module = models.MODELS[name](classes=1000, **settings)
    image = jax.ShapeDtypeStruct((1, size, size, 3), np.float32)
    variables = models.shapes(module, image.shape[1:])
    parameters = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    forward = jax.jit(lambda variables, image: module.apply(variables, image, train=False))
    operations = forward.lower(variables, image).cost_analysis()["flops"]
    said = f"{parameters / 1e6:.1f} million parameters, {operations / 1e9:.2f} GFLOP forward"
    print(f"{name} {settings} at {size} pixels: {said}")


if __name__ == "__main__":
    of_model = dict(setting.split("=") for setting in sys.argv[3:])
    main(sys.argv[1], int(sys.argv[2]), {key: int(v) if v.isdigit() else v for key, v in of_model.items()})
