"""What a model costs: its parameters, and the arithmetic of one image. Nothing is computed, only traced.

A trace takes a second or two, so those of `zoo.ZOO` are kept in pretrained/costs.json, which
`python -m efficient_jax.models.cost` writes.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.extend.core import ClosedJaxpr, Jaxpr

from efficient_jax.files import write_text
from efficient_jax.models import MODELS
from efficient_jax.models.pretrained.zoo import ZOO, Entry

KEPT = Path(__file__).parent / "pretrained" / "costs.json"


class Cost(NamedTuple):
    """Cost of a model."""

    parameters: int
    flops: int  # of one image: multiplications and additions in products of matrices and in convolutions


def cost(model: str, settings: Mapping[str, Any], classes: int, image_shape: tuple[int, int, int]) -> Cost:
    """Returns the cost of a model.

    A multiplication and an addition count as two operations; many tables, such as timm's, count both as one.

    Args:
        model: a name in `MODELS`.
        settings: of that model.
        classes: number of classes; 0: without the head.
        image_shape: (height, width, channels) of an image in pixels.
    """
    return of_module(MODELS[model](classes=classes, **settings), image_shape)


def of_module(module: nn.Module, image_shape: tuple[int, int, int]) -> Cost:
    """Returns the cost of a network, such as one of `dense`.

    Args:
        module: the network, built.
        image_shape: (height, width, channels) of an image in pixels.
    """
    image = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    traced, (_, variables) = jax.make_jaxpr(
        lambda key, x: module.init_with_output(key, x, train=False), return_shape=True
    )(jax.random.key(0), image)
    return Cost(sum(leaf.size for leaf in jax.tree.leaves(variables["params"])), _flops(traced))


def of_entry(entry: Entry) -> Cost:
    """Returns the cost of published weights, for images of the size that they were trained with.

    Args:
        entry: of `zoo.ZOO`.
    """
    return cost(entry.model, entry.settings, entry.classes, (*entry.preprocessing.size, 3))


def kept() -> dict[str, Cost]:
    """Returns the cost of each entry of `zoo.ZOO`, by name, as costs.json has it."""
    return {name: Cost(*figures) for name, figures in json.loads(KEPT.read_text()).items()}


def _flops(jaxpr: ClosedJaxpr | Jaxpr) -> int:
    """Returns the operations of a program; of branches (the forms for each platform), those of the largest."""
    total = 0
    for equation in jaxpr.eqns:
        params: dict[str, Any] = equation.params
        shapes: list[Any] = [variable.aval for variable in (*equation.outvars[:1], *equation.invars)]
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = params["dimension_numbers"]
            total += 2 * shapes[0].size * math.prod(shapes[1].shape[axis] for axis in contracted)
        elif equation.primitive.name == "conv_general_dilated":
            outputs = shapes[2].shape[params["dimension_numbers"].rhs_spec[0]]
            total += 2 * shapes[0].size * shapes[2].size // outputs
        elif "branches" in params:
            total += max(map(_flops, params["branches"]))
        else:
            inner = [value for value in params.values() if isinstance(value, ClosedJaxpr | Jaxpr)]
            total += params.get("length", 1) * sum(map(_flops, inner))
    return total


if __name__ == "__main__":
    write_text(KEPT, json.dumps({name: of_entry(entry) for name, entry in ZOO.items()}, indent=0) + "\n")
