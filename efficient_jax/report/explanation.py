"""`explain.html`: heat maps and their tests on one self-contained page."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import matplotlib
import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from efficient_jax.metrics.accuracy import mean_correlation
from efficient_jax.report import plots, site, tables

NAME = "explain.html"
SIDE = 160  # pixels of the longer side of an image
COLORS = matplotlib.colormaps["inferno"]
STRENGTH = 0.6  # weight of the colors; the rest is the image in gray

TRUST_HEADERS = ["random weights in", "maps", "images", "constant maps", "rank correlation [95% interval]"]
POINTING_HEADERS = ["where it points", "images", "on an object, % [95% interval]"]


class Figure(NamedTuple):
    """An image beside its heat maps."""

    name: str
    images: list[tuple[str, plots.EmbeddedImage]]  # caption and picture


class MemberSection(NamedTuple):
    """The section of a member."""

    name: str
    images: str  # sentence on which images these are
    maps: str  # sentence on the kinds of maps
    sheets: list[tuple[str, list[Figure]]]  # with their headings
    trust: list[list[str]]  # cells under `TRUST_HEADERS`
    pointing: list[list[str]]  # cells under `POINTING_HEADERS`, [] without objects
    legend: Sequence[tuple[str, str]] = ()  # class name and CSS color of masks and boxes


def overlay(image: UInt8[np.ndarray, "h w c"], heat: Float[np.ndarray, "h w"] | None = None) -> plots.EmbeddedImage:
    """Returns the image with its longer side at `SIDE` pixels, blended with a heat map.

    Args:
        image: one channel, or three and more of which the first three are shown.
        heat: 0 (dark) to 1 (bright); None: the image alone.
    """
    scale = SIDE / max(image.shape[:2])
    size = tuple(max(1, round(scale * side)) for side in image.shape[1::-1])
    smooth = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS
    color = image[..., :3] if image.shape[-1] >= 3 else image[..., :1].repeat(3, axis=-1)
    resized = np.asarray(Image.fromarray(np.ascontiguousarray(color)).resize(size, smooth))
    if heat is None:
        return plots.encoded(np.ascontiguousarray(resized), lossless=scale > 1)
    warm = Image.fromarray(heat.astype(np.float32)).resize(size, Image.Resampling.BILINEAR)
    return plots.encoded(blended(resized, np.asarray(warm)), lossless=False)


def blended(image: UInt8[np.ndarray, "h w c"], heat: Float[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w 3"]:
    """Returns an image in gray, mixed with the colors of a heat map.

    Args:
        image: of any number of channels, of which the first three count.
        heat: 0 (dark) to 1 (bright).
    """
    gray = image[..., :3].mean(-1, keepdims=True)
    mixed: np.ndarray = STRENGTH * 255 * COLORS(heat)[..., :3] + (1 - STRENGTH) * gray
    return mixed.round().astype(np.uint8)


def scale() -> plots.EmbeddedImage:
    """Returns the colors from 0 to 1 side by side, as they lie over middle gray."""
    colors = STRENGTH * 255 * COLORS(np.linspace(0, 1, 144))[None, :, :3] + (1 - STRENGTH) * 128
    return plots.encoded(colors.round().astype(np.uint8))


def trust_row(what: str, name: str, correlations: Float[np.ndarray, " n"]) -> list[str]:
    """Returns the cells under `TRUST_HEADERS`; mean and interval by Fisher's z transformation.

    Args:
        what: the layers with random weights.
        name: the kind of map.
        correlations: rank correlation per image; NaN where a map is constant.
    """
    known = correlations[~np.isnan(correlations)]
    cell = "–"
    if len(known) > 1:
        cell = "{:+.2f} [{:+.2f}, {:+.2f}]".format(*mean_correlation(known))
    return [what, name, f"{len(correlations):,}", f"{len(correlations) - len(known):,}", cell]


def pointing_rows(images: int, hits: Mapping[str, int], chance: float) -> list[list[str]]:
    """Returns the cells under `POINTING_HEADERS`, with one row for chance.

    Args:
        images: number of images.
        hits: what points -> images in which it points at an object.
        chance: fraction of pixels that are on an object, 0..1.
    """
    rows = [[what, f"{images:,}", tables.accuracy({"correct": count, "n": images})] for what, count in hits.items()]
    return [*rows, ["a random pixel", f"{images:,}", f"{100 * chance:.2f}"]]


def write_page(folder: pathlib.Path, *, title: str, about: str, members: Sequence[MemberSection]) -> pathlib.Path:
    """Writes `folder/explain.html`; an existing file is replaced.

    Args:
        folder: where to write.
        title: heading of the page.
        about: sentence below the heading.
        members: section of each member.

    Returns:
        The path of the page.
    """
    values = {
        "title": title,
        "about": about,
        "members": members,
        "scale": scale(),
        "trust_headers": TRUST_HEADERS,
        "pointing_headers": POINTING_HEADERS,
    }
    return site.write(folder / NAME, "explain.html", values)
