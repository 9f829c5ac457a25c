"""Accuracy by properties of the images, such as brightness or size: where predictions are wrong more often."""

from collections.abc import Mapping
from typing import Any, TypedDict

import numpy as np
import scipy
from jaxtyping import Bool, Int, Shaped

from efficient_jax.data import image_quality
from efficient_jax.data.dataset import Source
from efficient_jax.experiment.leaks import alike
from efficient_jax.metrics import accuracy

LOOKS = ("brightness", "contrast", "noise", "sharpness", "edge_width")
PARTS = 4
DECODED = 1024  # images at a time


class Part(TypedDict):
    """Some of the images, by a property of theirs."""

    values: bool | list[float]  # of the property: lowest and highest, or which boolean
    correct: int  # images that are predicted correctly
    n: int


class Slice(TypedDict):
    """Right predictions by a property of the images."""

    measure: str  # name of the property
    parts: list[Part]  # quarters of the images by its value, the lowest first, or where it is False and True
    p_value: float  # whether right and wrong predictions differ in it; with Holm's correction for several properties


def measures(
    source: Source, split: Mapping[str, np.ndarray], ids: Int[np.ndarray, " n"]
) -> dict[str, Shaped[np.ndarray, " n"]]:
    """Measures properties of test images.

    Args:
        source: the dataset.
        split: part -> indices of its images.
        ids: indices of the test images.

    Returns: property -> a number for each image, NaN where it is not known, or a boolean.
    """
    qualities = [image_quality.quality(source.images[ids[i : i + DECODED]]) for i in range(0, len(ids), DECODED)]
    properties: dict[str, np.ndarray] = {
        name: np.concatenate([getattr(part, name) for part in qualities]) for name in LOOKS
    }
    if source.sizes is not None:
        h, w = source.sizes[ids].T
        properties |= {"shorter side, as stored": np.minimum(h, w), "width / height": w / h}
    if "boxes" in source.objects:
        properties["objects"] = (source.objects["box_visible"][ids] > 0).sum(1)
    rest = np.concatenate([others for name, others in split.items() if name != "test"])
    images: Any = source.images  # an array, or read like one
    near = alike(images, ids, rest).pairs[:, 0]
    return properties | {"nearly equals an image of another part": np.isin(ids, near)}


def slices(right: Bool[np.ndarray, " n"], properties: Mapping[str, Shaped[np.ndarray, " n"]]) -> list[Slice]:
    """Counts right predictions by properties of the images.

    Args:
        right: whether each test image is predicted correctly.
        properties: as from `measures`; those that are equal for all images are left out.

    Returns: the counts of each property, and its p-value by the rank-sum or Fisher's exact test.
    """
    rows: list[tuple[str, list[Part]]] = []
    p_values = []
    groups: list[tuple[bool | list[float], np.ndarray]]
    for name, values in properties.items():
        known = ~np.isnan(values) if values.dtype.kind == "f" else np.ones(len(values), bool)
        x, correct = values[known], right[known]
        if not known.any() or (x == x[0]).all():
            continue
        if x.dtype == bool:
            groups = [(False, ~x), (True, x)]
            table = [[int((correct & mask).sum()), int((~correct & mask).sum())] for _, mask in groups]
            p_values.append(scipy.stats.fisher_exact(table)[1])
        else:
            edges = np.unique(np.quantile(x, np.linspace(0, 1, PARTS + 1)[1:-1]))
            part = np.searchsorted(edges, x, side="left")
            masks = [part == k for k in range(len(edges) + 1) if (part == k).any()]
            groups = [([float(x[mask].min()), float(x[mask].max())], mask) for mask in masks]
            both = correct.any() and not correct.all()
            p_values.append(scipy.stats.mannwhitneyu(x[correct], x[~correct]).pvalue if both else 1.0)
        parts: list[Part] = [
            {"values": values, "correct": int(correct[mask].sum()), "n": int(mask.sum())} for values, mask in groups
        ]
        rows.append((name.replace("_", " "), parts))
    corrected = accuracy.holm(np.array(p_values)).tolist()
    return [{"measure": name, "parts": parts, "p_value": p} for (name, parts), p in zip(rows, corrected, strict=True)]
