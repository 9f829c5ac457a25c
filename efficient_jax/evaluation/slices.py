"""Where answers are wrong more often: accuracy by what the images are like."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Int, Shaped
from scipy import stats

from efficient_jax.data import image_quality
from efficient_jax.data.dataset import Source
from efficient_jax.experiment.leaks import alike
from efficient_jax.metrics import accuracy

LOOKS = ("brightness", "contrast", "noise", "sharpness", "edge_width")
PARTS = 4
DECODED = 1024  # images at a time


def measures(
    source: Source, split: Mapping[str, np.ndarray], ids: Int[np.ndarray, " n"]
) -> dict[str, Shaped[np.ndarray, " n"]]:
    """What test images are like: numbers, NaN where one is not known, or whether something is so."""
    looks = [image_quality.quality(source.images[ids[i : i + DECODED]]) for i in range(0, len(ids), DECODED)]
    found: dict[str, np.ndarray] = {name: np.concatenate([getattr(part, name) for part in looks]) for name in LOOKS}
    if source.sizes is not None:
        h, w = source.sizes[ids].T
        found |= {"shorter side of the picture": np.minimum(h, w), "width / height": w / h}
    if "boxes" in source.objects:
        found["objects"] = (source.objects["box_visible"][ids] > 0).sum(1)
    rest = np.concatenate([others for name, others in split.items() if name != "test"])
    images: Any = source.images  # or what is read as one array
    return found | {"nearly equals an image of another part": np.isin(ids, alike(images, ids, rest).pairs[:, 0])}


def slices(right: Bool[np.ndarray, " n"], found: Mapping[str, Shaped[np.ndarray, " n"]]) -> list[dict[str, Any]]:
    """For each of `measures` how many images are `right` in each quarter of its range of values, the lowest first, or
    where it is not so and where it is; and `p_value`: whether right and wrong answers differ in it, by the rank-sum or
    Fisher's exact test, with Holm's correction over the measures. Without those that are the same for all images."""
    rows, p_values = [], []
    groups: list[tuple[Any, np.ndarray]]
    for name, values in found.items():
        known = ~np.isnan(values) if values.dtype.kind == "f" else np.ones(len(values), bool)
        here, so = values[known], right[known]
        if not known.any() or (here == here[0]).all():
            continue
        if here.dtype == bool:
            groups = [(False, ~here), (True, here)]
            p_values.append(stats.fisher_exact([[int((so & of).sum()), int((~so & of).sum())] for _, of in groups])[1])
        else:
            edges = np.unique(np.quantile(here, np.linspace(0, 1, PARTS + 1)[1:-1]))
            part = np.searchsorted(edges, here, side="left")
            members = [part == k for k in range(len(edges) + 1) if (part == k).any()]
            groups = [([float(here[of].min()), float(here[of].max())], of) for of in members]
            both = so.any() and not so.all()
            p_values.append(stats.mannwhitneyu(here[so], here[~so]).pvalue if both else 1.0)
        parts = [{"values": values, "correct": int(so[of].sum()), "n": int(of.sum())} for values, of in groups]
        rows.append({"measure": name.replace("_", " "), "parts": parts})
    return [row | {"p_value": float(p)} for row, p in zip(rows, accuracy.holm(np.array(p_values)), strict=True)]
