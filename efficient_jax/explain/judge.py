"""What heat maps are worth: whether they depend on what was learned, and whether they point at the object."""

import re
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Shaped
from scipy import stats

from efficient_jax.types import Tree


def enlarged(maps: Float[Array, "b h w"], size: tuple[int, ...]) -> Float[Array, "b h2 w2"]:
    """At `size` (rows, columns), bilinear; each map from 0.0 to 1.0, and 0.0 everywhere where it is of one value."""
    large = jax.image.resize(maps.astype(jnp.float32), (len(maps), *size), "linear")
    low, high = large.min((1, 2), keepdims=True), large.max((1, 2), keepdims=True)
    return jnp.where(high > low, (large - low) / jnp.where(high > low, high - low, 1.0), 0.0)


def rank_correlations(a: Float[np.ndarray, "b h w"], b: Float[np.ndarray, "b h w"]) -> Float[np.ndarray, " b"]:
    """Spearman's, of each image's two maps; NaN where one of them has one value only.

    Of a method that shows what a network has learned it is far below 1 when `b` is of the same network with random
    weights (arXiv 1810.03292).
    """
    ranks = [stats.rankdata(np.asarray(maps).reshape(len(maps), -1), axis=1) for maps in (a, b)]
    x, y = (each - each.mean(1, keepdims=True) for each in ranks)
    scale = np.sqrt((x**2).sum(1) * (y**2).sum(1))
    return np.divide((x * y).sum(1), scale, out=np.full(len(x), np.nan), where=scale > 0)


def peaks(maps: Float[np.ndarray, "b h w"]) -> Float[np.ndarray, "b 2"]:
    """(x, y) of the largest value, the first of several, at the centre of its pixel, in shares of width and height."""
    _, h, w = np.shape(maps)
    y, x = np.divmod(np.asarray(maps).reshape(len(maps), -1).argmax(1), w)
    return np.stack([(x + 0.5) / w, (y + 0.5) / h], axis=1)


def targets(objects: Mapping[str, Shaped[np.ndarray, " b *rest"]], size: tuple[int, int]) -> Bool[np.ndarray, "b h w"]:
    """The pixels of images of `size` (h, w) on which there is an object: those of `mask`, else of the visible `boxes`.

    A pixel is in a box when its centre is.
    """
    if "mask" in objects:
        return np.asarray(objects["mask"]) > 0
    left, top, right, bottom = np.moveaxis(np.asarray(objects["boxes"]), -1, 0)[..., None]
    x, y = np.arange(size[1]) + 0.5, np.arange(size[0]) + 0.5
    across, down = (left <= x) & (x < right), (top <= y) & (y < bottom)
    visible = np.asarray(objects["box_visible"]) > 0
    return (down[..., :, None] & across[..., None, :] & visible[..., None, None]).any(1)


def pointing_game(points: Float[np.ndarray, "b 2"], targets: Bool[np.ndarray, "b h w"]) -> Bool[np.ndarray, " b"]:
    """Whether each point, in shares of width and height, is on the object (arXiv 1608.00507, with no margin)."""
    _, h, w = targets.shape
    x, y = (np.minimum((points[:, i] * length).astype(int), length - 1) for i, length in ((0, w), (1, h)))
    return targets[np.arange(len(targets)), y, x]


def randomised(trained: Tree, drawn: Tree, layers: Sequence[str]) -> Tree:
    """`trained` variables with those of `layers`, patterns of parameter paths as from `module.layers()`, taken from
    `drawn`: batch statistics too."""
    pattern = re.compile("|".join(f"({layer})" for layer in layers))

    def one(path: tuple, ours: Array, theirs: Array) -> Array:
        return theirs if pattern.fullmatch(jax.tree_util.keystr(path[1:], simple=True, separator="/")) else ours

    return jax.tree.map_with_path(one, trained, drawn)
