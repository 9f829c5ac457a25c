"""How often a network predicts each class: moving averages, alignment of predictions by them, and fairness."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from efficient_jax.training import parallel
from efficient_jax.types import Tree

ALIGNMENTS = dict.fromkeys(("", "uniform", "labelled"))
"""Targets of the mean prediction; "" has none."""


def first(classes: int) -> Tree:
    """Returns the moving averages before the first step: every class is equally frequent.

    Args:
        classes: number of classes.

    Returns: float32 [classes] each: "weak", the mean probability of unlabelled images; "labelled", that of labelled
        ones; "predicted", the share of unlabelled images by their most probable class.
    """
    return {name: np.full(classes, 1.0 / classes, np.float32) for name in ("weak", "labelled", "predicted")}


def renewed(
    marginals: Tree, labelled: Float[Array, "n classes"], weak: Float[Array, "m classes"], momentum: float
) -> Tree:
    """Returns the moving averages after one step, the same on all devices.

    Args:
        marginals: those before, as from `first`.
        labelled: logits of this device's labelled images.
        weak: logits of the weak views of this device's unlabelled images.
        momentum: weight of the averages before, in 0..1 (1 excluded).
    """
    labelled, weak = parallel.gathered((labelled, weak))
    predicted = jax.nn.one_hot(weak.argmax(-1), weak.shape[-1], dtype=jnp.float32)
    now = {"weak": jax.nn.softmax(weak), "labelled": jax.nn.softmax(labelled), "predicted": predicted}
    return {name: averaged(marginals[name], now[name].mean(0), momentum) for name in now}


def averaged(before: Float[Array, "*shape"], now: Float[Array, "*shape"], momentum: float) -> Float[Array, "*shape"]:
    """Returns the moving average after a new value.

    Args:
        before: the average.
        now: the new value.
        momentum: weight of `before`, in 0..1 (1 excluded).
    """
    return momentum * before + (1.0 - momentum) * now


def aligned(
    logits: Float[Array, "m classes"], marginals: Tree, alignment: str, strength: float = 1.0
) -> Float[Array, "m classes"]:
    """Returns logits whose probabilities are multiplied by (target frequency / mean probability)^strength.

    With a strength of 1.0 this is distribution alignment (arXiv 1911.09785, section 3.1): multiplying probabilities and
    normalising them adds the logarithm of the factor to the logits.

    Args:
        logits: of the weak views.
        marginals: moving averages, as from `renewed`; "weak" is the mean probability.
        alignment: the target: "uniform", or "labelled", the mean prediction for labelled images; "" changes nothing.
        strength: exponent of the factor, 0.0 or more.
    """
    if not alignment:
        return logits
    target = jnp.log(marginals["labelled"]) if alignment == "labelled" else -jnp.log(float(logits.shape[-1]))
    return logits + strength * (target - jnp.log(marginals["weak"]))


def fairness(logits: Float[Array, "m classes"], weights: Float[Array, " m"], marginals: Tree) -> Float[Array, ""]:
    """Returns the self-adaptive fairness of the strong views (arXiv 2205.07246, section 4.2), which is minimised.

    It is the sum over classes of a log b, where a and b are the mean probability of a class, divided by the share of
    images with this class as the most probable one, normalised over the classes: a by the moving averages of the weak
    views, b of the strong views that are learned. A class that no strong view has as its most probable one counts
    nothing, since its b is 0 and has no gradient.

    Args:
        logits: of this device's strong views.
        weights: of their images; 0.0 where an image is not learned.
        marginals: moving averages, as from `renewed`.

    Returns: the same number on all devices; its gradient is that of the images of all devices.
    """
    logits, weights = parallel.gathered((logits, weights))
    learned = (weights > 0.0).astype(jnp.float32)[:, None]
    probabilities = jax.nn.softmax(logits)
    count = jnp.maximum(learned.sum(), 1.0)
    mean = (learned * probabilities).sum(0) / count
    share = (learned * jax.nn.one_hot(logits.argmax(-1), logits.shape[-1], dtype=jnp.float32)).sum(0) / count
    b = _divided(mean, share)
    a = _divided(marginals["weak"], marginals["predicted"])
    seen = share > 0.0
    b = jnp.where(seen, b / jnp.where(learned.sum() > 0.0, b.sum(), 1.0), 1.0)
    return (a / a.sum() * jnp.log(b)).sum()


def _divided(numerator: Float[Array, " classes"], share: Float[Array, " classes"]) -> Float[Array, " classes"]:
    """Returns the quotient, 0.0 where the share is."""
    return jnp.where(share > 0.0, numerator / jnp.where(share > 0.0, share, 1.0), 0.0)
