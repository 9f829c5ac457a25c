"""Trust checks of heat maps: whether they depend on the learned weights, and whether they point at the object."""

import re
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import scipy
from jaxtyping import Array, Bool, Float, Real, Shaped

from efficient_jax.types import Tree


def enlarged(maps: Float[Array, "b h w"], size: tuple[int, ...]) -> Float[Array, "b h2 w2"]:
    """Returns maps resized to an image, each stretched to 0..1.

    Args:
        maps: [b h w], any range.
        size: (rows, columns) in pixels to resize to, bilinearly.

    Returns:
        float32 [b rows columns], 0..1; 0.0 everywhere for a constant map.
    """
    large = jax.image.resize(maps.astype(jnp.float32), (len(maps), *size), "linear")
    low, high = large.min((1, 2), keepdims=True), large.max((1, 2), keepdims=True)
    return jnp.where(high > low, (large - low) / jnp.where(high > low, high - low, 1.0), 0.0)


def rank_correlations(a: Float[np.ndarray, "b h w"], b: Float[np.ndarray, "b h w"]) -> Float[np.ndarray, " b"]:
    """Returns Spearman's rank correlation of the two maps of each image.

    For a method that shows what a network has learned it is far below 1 when `b` comes from the same network with
    random weights (arXiv 1810.03292).

    Args:
        a, b: maps of the same images, any range.

    Returns:
        -1..1 for each image; NaN where one of its maps is constant.
    """
    ranks = [scipy.stats.rankdata(np.asarray(maps).reshape(len(maps), -1), axis=1) for maps in (a, b)]
    x, y = (rank - rank.mean(1, keepdims=True) for rank in ranks)
    scale = np.sqrt((x**2).sum(1) * (y**2).sum(1))
    correlations: np.ndarray = np.divide((x * y).sum(1), scale, out=np.full(len(x), np.nan), where=scale > 0)
    return correlations


def peaks(maps: Real[np.ndarray, "b h w"]) -> Float[np.ndarray, "b 2"]:
    """Returns the position of the largest value of each map.

    Args:
        maps: any range.

    Returns:
        (x, y) of the centre of the pixel, as shares 0..1 of width and height; the first in row order among equals.
    """
    _, h, w = np.shape(maps)
    y, x = np.divmod(np.asarray(maps).reshape(len(maps), -1).argmax(1), w)
    return np.stack([(x + 0.5) / w, (y + 0.5) / h], axis=1)


def targets(objects: Mapping[str, Shaped[np.ndarray, " b *rest"]], size: tuple[int, int]) -> Bool[np.ndarray, "b h w"]:
    """Returns the pixels that lie on an object: those of the masks if there are any, otherwise of the visible boxes.

    Args:
        objects: "mask" int [b h w], 0 is background; or "boxes" [b n 4] (left, top, right, bottom in pixels) and
            "box_visible" [b n], above 0 for a box that counts.
        size: (h, w) of the images in pixels.

    Returns:
        True where a pixel is on an object; a pixel is in a box when its centre is.
    """
    if "mask" in objects:
        return np.asarray(objects["mask"]) > 0
    left, top, right, bottom = np.moveaxis(np.asarray(objects["boxes"]), -1, 0)[..., None]
    x, y = np.arange(size[1]) + 0.5, np.arange(size[0]) + 0.5
    across, down = (left <= x) & (x < right), (top <= y) & (y < bottom)
    visible = np.asarray(objects["box_visible"]) > 0
    inside: np.ndarray = (down[..., :, None] & across[..., None, :] & visible[..., None, None]).any(1)
    return inside


def pointing_game(points: Float[np.ndarray, "b 2"], targets: Bool[np.ndarray, "b h w"]) -> Bool[np.ndarray, " b"]:
    """Returns whether each point is on the object (arXiv 1608.00507, without its margin of 15 pixels).

    Args:
        points: (x, y) as shares 0..1 of width and height, as from `peaks`.
        targets: True for pixels on the object, as from `targets`.

    Returns:
        True for each point on an object.
    """
    _, h, w = targets.shape
    x, y = (np.minimum((points[:, i] * length).astype(int), length - 1) for i, length in ((0, w), (1, h)))
    hits: np.ndarray = targets[np.arange(len(targets)), y, x]
    return hits


def randomised(trained: Tree, drawn: Tree, layers: Sequence[str]) -> Tree:
    """Returns `trained` with the variables of `layers` replaced by those of `drawn`, batch statistics included.

    Args:
        trained: the variables of the trained network.
        drawn: random variables of the same structure.
        layers: regular expressions of parameter paths, as from `module.layers()`.

    Returns:
        Variables of the same structure.
    """
    pattern = re.compile("|".join(f"({layer})" for layer in layers))

    def one(path: tuple[object, ...], ours: Array, theirs: Array) -> Array:
        return theirs if pattern.fullmatch(jax.tree_util.keystr(path[1:], simple=True, separator="/")) else ours

    return jax.tree.map_with_path(one, trained, drawn)
