"""Boxes as numpy arrays of any length: validation, and merging the boxes of several models."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax import numpy as jnp
from jaxtyping import Array, Float

from efficient_jax.detection.boxes import LANES, Detections
from efficient_jax.errors import UserError, counted

Found = dict[str, np.ndarray]
"""The boxes of one image: boxes float [n 4] (left, top, right, bottom) in any unit, scores float [n] in 0..1, labels
int [n]."""

Boxes = Mapping[str, np.ndarray | Sequence[Any]]
"""As `Found`, in arrays or lists."""


def combine(
    models: Sequence[Boxes],
    how: Callable[[Detections, Float[Array, " models"]], Detections],
    weights: Sequence[float] = (),
) -> Found:
    """Returns the boxes of one image merged from all models.

    Runs on the CPU, where a loop over boxes is fastest, and compiles once for each power of two of boxes.

    Args:
        models: the boxes of each model.
        how: a function of `boxes` or `fusion`, such as `functools.partial(weighted_box_fusion, iou=0.6)`.
        weights: weight of each model, greater than 0; () weights all models equally.

    Returns:
        Boxes, scores and labels, by descending score.

    Raises:
        UserError: there are no models, the weights do not fit, or a model's arrays are not boxes.
    """
    if not models:
        raise UserError("no models: give the boxes of at least one")
    weights = (1.0,) * len(models) if len(weights) == 0 else weights
    if len(weights) != len(models):
        raise UserError(f"weights: {len(weights)} for {len(models)} models; give one for each")
    if not all(0.0 < weight < np.inf for weight in weights):
        raise UserError(f"weights: {tuple(weights)}; all must be greater than 0")
    arrays = [check(boxes, f"model {number}") for number, boxes in enumerate(models)]
    lengths = [len(found["scores"]) for found in arrays]
    size = max(LANES, 1 << (max(lengths) - 1).bit_length())
    padded = {
        "boxes": np.zeros((len(models), size, 4), np.float32),
        "scores": np.zeros((len(models), size), np.float32),
        "labels": np.zeros((len(models), size), np.int32),
        "valid": np.arange(size) < np.array(lengths)[:, None],
    }
    for number, found in enumerate(arrays):
        for name, values in found.items():
            padded[name][number, : len(values)] = values
    with jax.default_device(jax.local_devices(backend="cpu")[0]):
        merged = jax.tree.map(np.asarray, how(jax.tree.map(jnp.asarray, padded), jnp.asarray(weights, jnp.float32)))
    count = merged["valid"].sum()
    return {name: merged[name][:count] for name in ("boxes", "scores", "labels")}


def check(boxes: Boxes, where: str, names: tuple[str, ...] = ("boxes", "scores", "labels")) -> Found:
    """Returns the named arrays after checking that they fit each other and hold boxes, scores and labels.

    Args:
        boxes: the arrays of one image, by name.
        where: what an error message names.
        names: the arrays that are required; others are dropped.

    Returns:
        The arrays as numpy arrays; no boxes have shape [0 4].

    Raises:
        UserError: an array is missing or of the wrong shape or type, a box is not finite or not (left, top, right,
            bottom), or a score is outside of 0..1.
    """
    missing = [name for name in names if name not in boxes]
    if missing:
        raise UserError(f"{where}: no {' and no '.join(missing)}; wanted: {', '.join(names)}")
    arrays = {name: np.asarray(boxes[name]) for name in names}
    corners, labels = arrays["boxes"], arrays["labels"]
    if corners.size == 0:
        corners = arrays["boxes"] = corners.reshape(0, 4)
    if corners.ndim != 2 or corners.shape[1] != 4:
        raise UserError(f"{where}: boxes of shape {corners.shape}; wanted: [n 4], (left, top, right, bottom)")
    for name, values in arrays.items():
        if values.shape[:1] != corners.shape[:1] or (name != "boxes" and values.ndim != 1):
            raise UserError(
                f"{where}: {counted(len(corners), 'box', 'boxes')}, but {name} of shape {values.shape}; "
                "want one for each box"
            )
    if len(labels) == 0:
        arrays["labels"] = labels = labels.astype(np.int32)
    if labels.dtype.kind not in "iu" or (np.abs(labels.astype(np.int64)) > np.iinfo(np.int32).max).any():
        raise UserError(f"{where}: labels of type {labels.dtype}; wanted: integers of 32 bits, a number for each class")
    bad = ~np.isfinite(corners).all(1)
    if bad.any():
        raise UserError(f"{where}: box {bad.argmax()} is {corners[bad.argmax()].tolist()}; wanted: finite numbers")
    bad = (corners[:, 2:] < corners[:, :2]).any(1)
    if bad.any():
        box = corners[bad.argmax()].tolist()
        raise UserError(f"{where}: box {bad.argmax()} is {box}; right < left or bottom < top. Are they x, y, w, h?")
    if "scores" in arrays:
        bad = ~((arrays["scores"] >= 0.0) & (arrays["scores"] <= 1.0))
        if bad.any():
            raise UserError(f"{where}: score {bad.argmax()} is {arrays['scores'][bad.argmax()]}; wanted: 0..1")
    return arrays
