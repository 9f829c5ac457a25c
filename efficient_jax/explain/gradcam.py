"""Grad-CAM (arXiv 1610.02391): where a convolutional network sees what speaks for a class."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.extend.core as jex
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Shaped

from efficient_jax.errors import UserError
from efficient_jax.settings import choose

Network = Callable[[Array], tuple[Array, dict[str, Array]]]
"""images [b h w c] -> (logits, intermediates): an `Apply` in evaluation mode with its variables in it, not jitted."""

Images = Shaped[Array, "b h w c"]


def grad_cam(
    network: Network, images: Images, classes: Int[Array, " b"], layer: str = ""
) -> Float[Array, "b _rows _columns"]:
    """A map for each image, 0.0 and above, of the size of the feature map: ReLU(sum_k a_k A_k), where a_k is the mean
    over the pixels of d logit / d A_k. 0.0 everywhere: nothing in the map speaks for the class.

    The logit of `classes` is that before the softmax, of which the other classes would be a part. `layer` names the
    intermediate; "" is that of the last convolution. Raises: UserError where the network has no such.
    """
    maps, rest = split(network, images, layer)

    def logits_of_classes(maps: Array) -> Array:
        return jnp.take_along_axis(rest(maps), classes[:, None], axis=1).sum()  # no image depends on another

    weights = jax.grad(logits_of_classes)(maps).astype(jnp.float32).mean((1, 2))
    return jax.nn.relu(jnp.einsum("bhwk,bk->bhw", maps.astype(jnp.float32), weights))


def feature_map(intermediates: Mapping[str, Any], layer: str = "") -> str:
    """The name of the intermediate: `layer`, or the last "stage". Raises: UserError where there is none."""
    stages = [name for name in intermediates if name.startswith("stage")]
    if not stages:
        raise UserError("Grad-CAM is for convolutional networks; this one has no feature maps")
    return choose(layer or max(stages), dict(zip(stages, stages, strict=True)), "layer")


def split(
    network: Network, images: Images, layer: str
) -> tuple[Float[Array, "b h2 w2 k"], Callable[[Float[Array, "b h2 w2 k"]], Float[Array, "b classes"]]]:
    """(the intermediate `layer`, as for `grad_cam`, the rest of the network: a function of it that returns the logits).

    Models are not written in two halves, but the program that JAX makes of one can be cut at any intermediate: in the
    rest nothing computes it, and it is an input.
    """
    program, (_, seen) = jax.make_jaxpr(network, return_shape=True)(images)
    whole, place = program.jaxpr, program.jaxpr.outvars[1 + sorted(seen).index(feature_map(seen, layer))]
    names = whole.debug_info.with_unknown_names()
    first = whole.replace(outvars=[place], debug_info=names)
    if any({place, whole.outvars[0]} <= set(equation.outvars) for equation in whole.eqns):
        raise UserError("Grad-CAM: a network that is jitted is one piece; give it as it was before jax.jit")
    after = [equation for equation in whole.eqns if place not in equation.outvars]
    rest = whole.replace(invars=[*whole.invars, place], outvars=whole.outvars[:1], eqns=after, debug_info=names)
    (maps,) = jex.jaxpr_as_fun(jex.ClosedJaxpr(first, program.consts))(images)
    return maps, lambda maps: jex.jaxpr_as_fun(jex.ClosedJaxpr(rest, program.consts))(images, maps)[0]
