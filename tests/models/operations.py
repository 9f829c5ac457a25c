"""Parameters of an EfficientNet, and the operations of its forward pass on one image.

python -m tests.models.operations l2 475
"""

import sys

import jax
import numpy as np

from efficient_jax import models


def main(variant: str, size: int) -> None:
    module = models.MODELS["efficientnet"](classes=1000, variant=variant)
    image = jax.ShapeDtypeStruct((1, size, size, 3), np.float32)
    variables = jax.eval_shape(lambda: models.init(module, jax.random.key(0), image.shape[1:]))
    parameters = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    forward = jax.jit(lambda variables, image: module.apply(variables, image, train=False))
    operations = forward.lower(variables, image).cost_analysis()["flops"]
    print(
        f"{variant} at {size} pixels: {parameters / 1e6:.1f} million parameters, {operations / 1e9:.1f} GFLOP forward"
    )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
