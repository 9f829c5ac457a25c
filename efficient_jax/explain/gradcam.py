"""Grad-CAM (arXiv 1610.02391): heat maps of the evidence for a class in a convolutional network."""

from collections.abc import Callable, Collection

import jax
import jax.extend.core as jex
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Shaped

from efficient_jax.errors import UserError
from efficient_jax.explain.evidence import Evidence, class_logit
from efficient_jax.settings import choose

Network = Callable[[Array], tuple[Array, dict[str, Array]]]
"""images [b h w c] -> (logits, intermediates): an `Apply` in evaluation mode with its variables in it, not jitted."""

Images = Shaped[Array, "b h w c"]


def grad_cam(
    network: Network,
    images: Images,
    classes: Int[Array, " b"],
    layer: str = "",
    evidence: Evidence = class_logit,
    deepest: int = 0,
) -> Float[Array, "b _rows _columns"]:
    """Returns ReLU(sum_k a_k A_k) of the feature maps A_k, where a_k is the mean over pixels of d evidence / d A_k.

    Args:
        network: images -> (logits, intermediates), in evaluation mode and not jitted.
        images: [b h w c], as the network takes them.
        classes: the class index that each map is for, 0 .. classes - 1.
        layer: name of the intermediate, e.g. "stage3"; "" is the last stage.
        evidence: what is explained; of masks and boxes see `evidence.PARTS`.
        deepest: without `layer`, the number of the stage that is explained, or the last one before it; 0: the last.

    Returns:
        A map per image, 0.0 and above, of the size of the feature map; 0.0 everywhere: no evidence for the class.

    Raises:
        UserError: the network has no feature maps or no such `layer`, or is jitted.
    """
    maps, rest = split(network, images, layer, deepest)

    def total(maps: Array) -> Array:
        return evidence(rest(maps), classes).sum()  # no image depends on another

    weights = jax.grad(total)(maps).astype(jnp.float32).mean((1, 2))
    return jax.nn.relu(jnp.einsum("bhwk,bk->bhw", maps.astype(jnp.float32), weights))


def feature_map(names: Collection[str], layer: str = "", deepest: int = 0) -> str:
    """Returns the name of the intermediate to explain: `layer`, or else a stage.

    Args:
        names: of the intermediates on which the logits depend; feature maps are "stage1", "stage2", ...
        layer: the name asked for, or "" for a stage.
        deepest: number of the stage, or the last one before it; 0: the last.

    Returns:
        One of `names`.

    Raises:
        UserError: there are no stages, or none is called `layer`.
    """
    stages = [name for name in names if name.startswith("stage")]
    if not stages:
        raise UserError("Grad-CAM is for convolutional networks; this one has no feature maps")
    return choose(layer or max(sorted(stages)[: deepest or None]), dict(zip(stages, stages, strict=True)), "layer")


def split(
    network: Network, images: Images, layer: str, deepest: int = 0
) -> tuple[Float[Array, "b h2 w2 k"], Callable[[Float[Array, "b h2 w2 k"]], Array]]:
    """Cuts the network in two at an intermediate.

    Models are not written in two halves, but the jaxpr of one can be cut at any intermediate: in the second half the
    intermediate is an input. A decoder need not see the last stages of its backbone: those are no intermediates here.

    Args:
        network: images -> (logits, intermediates), in evaluation mode and not jitted.
        images: [b h w c], as the network takes them.
        layer: name of the intermediate; "" is a stage.
        deepest: number of the stage, or the last one before it; 0: the last.

    Returns:
        (the intermediate [b h2 w2 k], the second half: a function of the intermediate that returns the logits).

    Raises:
        UserError: the network has no feature maps or no such `layer`, or is jitted.
    """
    program, (_, seen) = jax.make_jaxpr(network, return_shape=True)(images)
    whole = program.jaxpr
    places = {name: whole.outvars[1 + i] for i, name in enumerate(sorted(seen))}
    needed = _needed(whole)
    place = places[feature_map([name for name in seen if places[name] in needed], layer, deepest)]
    names = whole.debug_info.with_unknown_names()
    first = whole.replace(outvars=[place], debug_info=names)
    if any({place, whole.outvars[0]} <= set(equation.outvars) for equation in whole.eqns):
        raise UserError("Grad-CAM: a network that is jitted is one piece; give it as it was before jax.jit")
    after = [equation for equation in whole.eqns if place not in equation.outvars]
    rest = whole.replace(invars=[*whole.invars, place], outvars=whole.outvars[:1], eqns=after, debug_info=names)
    (maps,) = jex.jaxpr_as_fun(jex.ClosedJaxpr(first, program.consts))(images)
    return maps, lambda maps: jex.jaxpr_as_fun(jex.ClosedJaxpr(rest, program.consts))(images, maps)[0]


def _needed(program: jex.Jaxpr) -> set[jex.Var]:
    """Returns the variables on which the first output of a program depends, and what is computed with them."""
    needed = {each for each in program.outvars[:1] if isinstance(each, jex.Var)}
    for equation in reversed(program.eqns):
        if not needed.isdisjoint(equation.outvars):
            needed.update(equation.outvars, (each for each in equation.invars if isinstance(each, jex.Var)))
    return needed
