"""What a network's answer says of one class: the number whose gradient Grad-CAM takes, for images, masks and boxes."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from efficient_jax.detection import fcos
from efficient_jax.detection.rows import CLASS, NOTHING, VISIBLE
from efficient_jax.metrics.segmentation import background

Evidence = Callable[[Array, Array], Float[Array, " b"]]
"""(logits, class index of each image) -> the number that is explained."""


def class_logit(logits: Float[Array, "b k"], classes: Int[Array, " b"]) -> Float[Array, " b"]:
    """Returns the logit of a class of each image.

    It is taken before the softmax, since a probability also depends on the other classes (arXiv 1610.02391).

    Args:
        logits: of b images.
        classes: class index for each.
    """
    return jnp.take_along_axis(logits, classes[:, None], axis=1)[:, 0]


def of_pixels(
    logits: Float[Array, "b h w k"], classes: Int[Array, " b"], inside: Bool[Array, "b h w"] | None = None
) -> Float[Array, " b"]:
    """Returns the mean logit of a class over the pixels that are predicted as it (Seg-Grad-CAM, arXiv 2002.11434).

    Args:
        logits: of each pixel.
        classes: class index for each image.
        inside: pixels of the image, and not of the gray that makes it square, where anything may be predicted, because
            nothing is learned there; None: all.

    Returns: for each image; 0.0, without a gradient, where no pixel is predicted as the class.
    """
    predicted = logits.argmax(-1) == classes[:, None, None]
    if inside is not None:
        predicted &= inside
    of_class = jnp.take_along_axis(logits, classes[:, None, None, None], -1)[..., 0]
    pixels = predicted.astype(jnp.float32).sum((1, 2))
    return jnp.where(predicted, of_class, 0.0).sum((1, 2)) / jnp.maximum(pixels, 1.0)


def of_best_box(
    logits: Float[Array, "b l outputs"], classes: Int[Array, " b"], inside: Bool[Array, "b h w"] | None = None
) -> Float[Array, " b"]:
    """Returns the logit of a class at the location whose box has the highest score of this class.

    Args:
        logits: of each location, see `detection.fcos`.
        classes: class index for each image.
        inside: not used.
    """
    del inside
    answers = fcos.split(logits)
    of_class = jnp.take_along_axis(answers.logits, classes[:, None, None], -1)[..., 0]
    scores = jax.nn.sigmoid(of_class) * jax.nn.sigmoid(answers.centerness)
    return jnp.take_along_axis(of_class, scores.argmax(1)[:, None], 1)[:, 0]


def pixel_shares(
    probabilities: Float[np.ndarray, "n h w k"], classes: Sequence[str], inside: Bool[np.ndarray, "n h w"]
) -> Float[np.ndarray, "n k"]:
    """Returns the share of the pixels of each image that are predicted as each class, 0.0 for the background.

    Args:
        probabilities: of each pixel.
        classes: class names.
        inside: pixels of the image, of which there is one or more.
    """
    answers, bare = probabilities.argmax(-1), background(classes)
    pixels = inside.sum((1, 2))
    return np.stack(
        [((answers == k) & inside).sum((1, 2)) / pixels * (not bare[k]) for k in range(len(classes))], axis=1
    )


def best_scores(
    predictions: Float[np.ndarray, "n most 6"], classes: Sequence[str], inside: Bool[np.ndarray, "n h w"]
) -> Float[np.ndarray, "n k"]:
    """Returns the highest score of a box of each class in each image, 0.0 without any.

    Args:
        predictions: boxes with scores.
        classes: class names.
        inside: not used.
    """
    del inside
    of_class = predictions[..., CLASS, None] == np.arange(len(classes))
    scores: np.ndarray = np.where(of_class, predictions[..., VISIBLE, None], 0.0).max(1)
    return scores


def best_box(predictions: Float[np.ndarray, "most 6"], label: int) -> Float[np.ndarray, "most 6"]:
    """Returns the box of the highest score of a class; the other rows are no boxes.

    Args:
        predictions: boxes of an image with scores, by descending score.
        label: class index.
    """
    found = np.tile(NOTHING, (len(predictions), 1))
    if len(rows := np.flatnonzero((predictions[:, CLASS] == label) & (predictions[:, VISIBLE] > 0))):
        found[0] = predictions[rows[0]]
    return found


DEEPEST = 2
"""The stage whose maps explain masks and boxes. Its stride is 8 pixels in most networks; that of the last stage, or of
the last that a decoder sees, is as large as a small object."""


class Parts(NamedTuple):
    """What is explained of an image with masks or boxes."""

    evidence: Callable[..., Float[Array, " b"]]
    """(logits, class index of each image, pixels inside of the images) -> the number that is explained."""
    prominence: Callable[[np.ndarray, Sequence[str], np.ndarray], Float[np.ndarray, "n k"]]
    """(probabilities or predictions, class names, pixels inside) -> how clearly an image is predicted to show each
    class, 0..1."""
    shown: str  # how this is said, a format of the number
    focus: Callable[[np.ndarray, int], np.ndarray] | None
    """(predictions of an image, class index) -> those that the evidence is from; None: all of the class."""


PARTS = {
    "masks": Parts(of_pixels, pixel_shares, "{:.1%} of the pixels", None),
    "boxes": Parts(of_best_box, best_scores, "score {:.2f}", best_box),
}
"""Decoder of a task -> what is explained of it."""
