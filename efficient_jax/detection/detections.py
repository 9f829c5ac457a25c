"""Boxes in numpy arrays of any length: what is wrong with them, and one set from those of several models."""

from collections.abc import Callable, Sequence

import jax
import numpy as np
from jax import numpy as jnp
from jaxtyping import Array, Float

from efficient_jax.detection.boxes import LANES, Detections
from efficient_jax.settings import counted
from efficient_jax.types import UserError

Found = dict[str, np.ndarray]
"""Of one image: boxes float [n 4] (left, top, right, bottom) in any unit, scores float [n] in 0..1, labels int [n]."""


def combine(
    models: Sequence[Found],
    how: Callable[[Detections, Float[Array, "models"]], Detections],
    weights: Sequence[float] = (),
) -> Found:
    """The boxes of one image from all models, fused or suppressed by `how`, the best score first.

    `how` is a function of `boxes` or `fusion`, `functools.partial(weighted_box_fusion, iou=0.6)`. Runs on the CPU,
    where a loop over boxes is fastest, and compiles once for each power of two of boxes.
    """
    if not models:
        raise UserError("no models: give the boxes of at least one")
    weights = (1.0,) * len(models) if len(weights) == 0 else weights
    if len(weights) != len(models):
        raise UserError(f"weights: {len(weights)} for {len(models)} models; give one for each")
    if not all(0.0 < weight < np.inf for weight in weights):
        raise UserError(f"weights: {tuple(weights)}; all must be greater than 0")
    models = [check(found, f"model {number}") for number, found in enumerate(models)]
    lengths = [len(found["scores"]) for found in models]
    size = max(LANES, 1 << (max(lengths) - 1).bit_length())
    padded = {
        "boxes": np.zeros((len(models), size, 4), np.float32),
        "scores": np.zeros((len(models), size), np.float32),
        "labels": np.zeros((len(models), size), np.int32),
        "valid": np.arange(size) < np.array(lengths)[:, None],
    }
    for number, found in enumerate(models):
        for name, values in found.items():
            padded[name][number, : len(values)] = values
    with jax.default_device(jax.local_devices(backend="cpu")[0]):
        result = jax.tree.map(np.asarray, how(jax.tree.map(jnp.asarray, padded), jnp.asarray(weights, jnp.float32)))
    count = result["valid"].sum()
    return {name: result[name][:count] for name in ("boxes", "scores", "labels")}


def check(found: Found, where: str, names: tuple[str, ...] = ("boxes", "scores", "labels")) -> Found:
    """The arrays of these names, which fit each other, hold boxes, and scores in 0..1."""
    missing = [name for name in names if name not in found]
    if missing:
        raise UserError(f"{where}: no {' and no '.join(missing)}; wanted: {', '.join(names)}")
    arrays = {name: np.asarray(found[name]) for name in names}
    boxes, labels = arrays["boxes"], arrays["labels"]
    if boxes.size == 0:
        boxes = arrays["boxes"] = boxes.reshape(0, 4)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise UserError(f"{where}: boxes of shape {boxes.shape}; wanted: [n 4], (left, top, right, bottom)")
    for name, values in arrays.items():
        if values.shape[:1] != boxes.shape[:1] or (name != "boxes" and values.ndim != 1):
            raise UserError(
                f"{where}: {counted(len(boxes), 'box', 'boxes')}, but {name} of shape {values.shape}; wanted: one for "
                "each box"
            )
    if len(labels) == 0:
        arrays["labels"] = labels = labels.astype(np.int32)
    if labels.dtype.kind not in "iu" or (np.abs(labels.astype(np.int64)) > np.iinfo(np.int32).max).any():
        raise UserError(f"{where}: labels of type {labels.dtype}; wanted: integers of 32 bits, a number for each class")
    bad = ~np.isfinite(boxes).all(1)
    if bad.any():
        raise UserError(f"{where}: box {bad.argmax()} is {boxes[bad.argmax()].tolist()}; wanted: finite numbers")
    bad = (boxes[:, 2:] < boxes[:, :2]).any(1)
    if bad.any():
        box = boxes[bad.argmax()].tolist()
        raise UserError(f"{where}: box {bad.argmax()} is {box}; right < left or bottom < top. Are they x, y, w, h?")
    if "scores" in arrays:
        bad = ~((arrays["scores"] >= 0.0) & (arrays["scores"] <= 1.0))
        if bad.any():
            raise UserError(f"{where}: score {bad.argmax()} is {arrays['scores'][bad.argmax()]}; wanted: 0..1")
    return arrays
