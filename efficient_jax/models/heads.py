"""Heads: functions from the features of an image to its logits, and which features of a network they take.

Every model ends with a linear head on its own features. A `ModelSpec` may name another head and other features; its
parameters then stand in place of those of the linear one, so that all that uses a trained network uses any head.
"""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from efficient_jax.types import Tree

Features = Float[Array, "b d"]
Logits = Float[Array, "b classes"]

LINEAR = {"name": "linear", "pool": "network"}
"""The head that every model has."""
TRAINED = ("linear", "cosine")
"""Heads whose parameters a training stage may go on to train; the others hold labelled images."""
NEIGHBOURS, TEMPERATURE = 20, 0.07  # of kNN (DINOv2, arXiv 2304.07193)
CLIP_SCALE = 100.0  # of the cosines of an image and the text of a class (arXiv 2103.00020)


def features(seen: Mapping[str, Array], prefix: int) -> dict[str, Features]:
    """Returns all features of images that a head can take, by the name of their pool.

    "network" are those of the network's own head. Transformers also have "mean", of the patches, and with a class token
    "cls" and "cls_mean", one behind the other.

    Args:
        seen: intermediates of the network; "features" are those that its own head takes.
        prefix: number of tokens in front of the patches, the first of which is the class token; 0: there is none.
    """
    found = {"network": seen["features"].astype(jnp.float32)}
    if "tokens" in seen:
        tokens = seen["tokens"].astype(jnp.float32)
        found["mean"] = tokens[:, prefix:].mean(1)
        if prefix:
            found["cls"] = tokens[:, 0]
            found["cls_mean"] = jnp.concatenate([found["cls"], found["mean"]], 1)
    return found


def linear(params: Tree, x: Features) -> Logits:
    """Returns the logits of a linear head.

    Args:
        params: kernel [d classes], bias [classes].
        x: features.
    """
    logits: Array = x @ params["kernel"] + params["bias"]
    return logits


def cosine(params: Tree, x: Features) -> Logits:
    """Returns the scaled cosines of features and class weights (arXiv 1804.09458).

    Args:
        params: kernel [d classes], scale [], bias [classes].
        x: features.
    """
    logits: Array = params["scale"] * (unit(x) @ unit(params["kernel"], 0)) + params["bias"]
    return logits


def knn(params: Tree, x: Features) -> Logits:
    """Returns the scaled log of the votes of the `NEIGHBOURS` labelled images with the most similar features.

    A vote weighs exp(cosine / `TEMPERATURE`). One more vote, of an image at a right angle, is shared by all classes, so
    that no probability is 0.

    Args:
        params: features [n d], unit vectors, and labels [n classes] of the labelled images; scale [], bias [classes].
        x: features.
    """
    similarity = unit(x) @ params["features"].T
    nearest, index = jax.lax.top_k(similarity, min(NEIGHBOURS, len(params["features"])))
    votes = jnp.einsum("bk,bkc->bc", jnp.exp(nearest / TEMPERATURE), params["labels"][index])
    logits: Array = params["scale"] * jnp.log(votes + 1.0 / votes.shape[1]) + params["bias"]
    return logits


def tip_adapter(params: Tree, x: Features) -> Logits:
    """Returns zero-shot logits of CLIP plus those of similar labelled images (arXiv 2111.03930, equation 6).

    Args:
        params: kernel [d classes], unit embeddings of the classes; features [n d], unit vectors, and labels [n classes]
            of the labelled images; alpha [], their weight; beta [], how fast it falls; bias [classes].
        x: features.
    """
    x = unit(x)
    affinity = jnp.exp(-params["beta"] * (1.0 - x @ params["features"].T))
    zero_shot = CLIP_SCALE * (x @ params["kernel"])
    logits: Array = zero_shot + params["alpha"] * (affinity @ params["labels"]) + params["bias"]
    return logits


HEADS: dict[str, Callable[[Tree, Features], Logits]] = {
    "linear": linear,
    "cosine": cosine,
    "knn": knn,
    "tip_adapter": tip_adapter,
}


def unit(x: Float[Array, "..."], axis: int = -1) -> Float[Array, "..."]:
    """Returns vectors divided by their lengths; a vector of zeros stays one.

    Args:
        x: vectors along `axis`.
        axis: an axis of `x`.
    """
    return x * jax.lax.rsqrt(jnp.maximum(jnp.square(x).sum(axis, keepdims=True), 1e-24))
