"""Grad-CAM (arXiv 1610.02391): heat maps of the evidence for a class in a convolutional network."""

from collections.abc import Callable, Mapping

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
    """Returns ReLU(sum_k a_k A_k) of the feature maps A_k, where a_k is the mean over pixels of d logit / d A_k.

    The logit is taken before the softmax, since a probability also depends on the other classes (arXiv 1610.02391).

    Args:
        network: images -> (logits, intermediates), in evaluation mode and not jitted.
        images: [b h w c], as the network takes them.
        classes: the class index that each map is for, 0 .. classes - 1.
        layer: name of the intermediate, e.g. "stage3"; "" is the last stage.

    Returns:
        A map per image, 0.0 and above, of the size of the feature map; 0.0 everywhere: no evidence for the class.

    Raises:
        UserError: the network has no feature maps or no such `layer`, or is jitted.
    """
    maps, rest = split(network, images, layer)

    def logits_of_classes(maps: Array) -> Array:
        return jnp.take_along_axis(rest(maps), classes[:, None], axis=1).sum()  # no image depends on another

    weights = jax.grad(logits_of_classes)(maps).astype(jnp.float32).mean((1, 2))
    return jax.nn.relu(jnp.einsum("bhwk,bk->bhw", maps.astype(jnp.float32), weights))


def feature_map(intermediates: Mapping[str, Array | jax.ShapeDtypeStruct], layer: str = "") -> str:
    """Returns the name of the intermediate to explain: `layer`, or the last stage.

    Args:
        intermediates: name -> array, as the network returns them; feature maps are "stage1", "stage2", ...
        layer: the name asked for, or "" for the last stage.

    Returns:
        A key of `intermediates`.

    Raises:
        UserError: there are no stages, or none is called `layer`.
    """
    stages = [name for name in intermediates if name.startswith("stage")]
    if not stages:
        raise UserError("Grad-CAM is for convolutional networks; this one has no feature maps")
    return choose(layer or max(stages), dict(zip(stages, stages, strict=True)), "layer")


def split(
    network: Network, images: Images, layer: str
) -> tuple[Float[Array, "b h2 w2 k"], Callable[[Float[Array, "b h2 w2 k"]], Float[Array, "b classes"]]]:
    """Cuts the network in two at an intermediate.

    Models are not written in two halves, but the jaxpr of one can be cut at any intermediate: in the second half the
    intermediate is an input.

    Args:
        network: images -> (logits, intermediates), in evaluation mode and not jitted.
        images: [b h w c], as the network takes them.
        layer: name of the intermediate; "" is the last stage.

    Returns:
        (the intermediate [b h2 w2 k], the second half: a function of the intermediate that returns the logits).

    Raises:
        UserError: the network has no feature maps or no such `layer`, or is jitted.
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
