"""`explain.html`: where networks look, in pictures and figures, on one page that loads nothing from elsewhere."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from efficient_jax.metrics.accuracy import mean_correlation
from efficient_jax.report import plots, tables, template

NAME = "explain.html"
SIDE = 160  # pixels of the longer side of a picture
COLOURS = matplotlib.colormaps["inferno"]
STRENGTH = 0.6  # of the colours, the rest is the picture in grey

TRUST_HEADERS = ["random weights in", "maps", "images", "maps of one value", "rank correlation [95% interval]"]
POINTING_HEADERS = ["where it points", "images", "on an object, % [95% interval]"]


def picture(image: UInt8[np.ndarray, "h w c"], heat: Float[np.ndarray, "h w"] | None = None) -> plots.Picture:
    """The image at about `SIDE` pixels, under `heat` (0 dark to 1 bright) where it is given."""
    scale = SIDE / max(image.shape[:2])
    size = tuple(max(1, round(scale * side)) for side in image.shape[1::-1])
    smooth = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS
    colours = image[..., :3] if image.shape[-1] >= 3 else image[..., :1].repeat(3, axis=-1)
    shown = np.asarray(Image.fromarray(np.ascontiguousarray(colours)).resize(size, smooth))
    if heat is None:
        return plots.png(shown)
    warm = Image.fromarray(heat.astype(np.float32)).resize(size, Image.Resampling.BILINEAR)
    grey = shown.mean(-1, keepdims=True)
    mixed = STRENGTH * 255 * COLOURS(np.asarray(warm))[..., :3] + (1 - STRENGTH) * grey
    return plots.png(mixed.round().astype(np.uint8))


def trust_row(what: str, name: str, correlations: Float[np.ndarray, " n"]) -> list[str]:
    """The cells under `TRUST_HEADERS`, the mean and interval by Fisher's z; NaN where a map has one value only."""
    known = correlations[~np.isnan(correlations)]
    cell = "–"
    if len(known) > 1:
        cell = "{:+.2f} [{:+.2f}, {:+.2f}]".format(*mean_correlation(known))
    return [what, name, f"{len(correlations):,}", f"{len(correlations) - len(known):,}", cell]


def pointing_rows(images: int, hits: Mapping[str, int], chance: float) -> list[list[str]]:
    """The cells under `POINTING_HEADERS`."""
    rows = [[what, f"{images:,}", tables.accuracy({"correct": count, "n": images})] for what, count in hits.items()]
    return [*rows, ["a random pixel", f"{images:,}", f"{100 * chance:.2f}"]]


def write_page(folder: pathlib.Path, *, title: str, about: str, members: Sequence[Mapping[str, Any]]) -> pathlib.Path:
    """Writes `folder/explain.html`, over one that is there. `members`: see the template."""
    members = [{"anchor": f"member-{number}", **member} for number, member in enumerate(members)]
    values = {
        "title": title,
        "about": about,
        "members": members,
        "trust_headers": TRUST_HEADERS,
        "pointing_headers": POINTING_HEADERS,
    }
    return template.write(folder / NAME, "explain.html", values)
