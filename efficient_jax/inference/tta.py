"""Test-time augmentation: predicts several views of each image and combines the predictions.

A view is a flip, a rotation, a shift and a zoom, each with its inverse, so that predictions of pixels can be mapped
back to the image. A flip or a rotation may change the class of an image: do not take them for digits and text, and `d4`
only where there is no up and down, as in microscopy or aerial images.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Shaped

from efficient_jax.detection.fusion import FUSIONS
from efficient_jax.errors import UserError
from efficient_jax.settings import choose

Images = Shaped[Array, "b h w c"]
Size = tuple[int, int]


class View(NamedTuple):
    """A transformation of an image, in the order of its fields; the default is the identity."""

    flip: bool = False  # left to right
    turns: int = 0  # quarter turns, counter-clockwise
    shift: tuple[float, float] = (0.0, 0.0)  # down and right, as shares of height and width; the edge is repeated
    zoom: float = 1.0  # a window of 1 / zoom of height and width is enlarged; 1.0 or more
    anchor: tuple[float, float] = (0.5, 0.5)  # position of the window: from (0.0, 0.0), upper left, to (1.0, 1.0)


IDENTITY = View()
SHIFT, ZOOM = 1 / 16, 8 / 7
TIE = 1e-3  # weight of the mean probability in votes, which decides between classes with equally many
CORNERS = ((0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0))
CROPS = tuple(View(zoom=ZOOM, anchor=anchor) for anchor in ((0.5, 0.5), *CORNERS))

VIEWS: dict[str, tuple[View, ...]] = {
    "none": (IDENTITY,),
    "flips": (IDENTITY, View(flip=True)),
    "d4": tuple(View(flip, turns) for flip in (False, True) for turns in range(4)),
    "shifts": (IDENTITY, *(View(shift=(y, x)) for y, x in ((-SHIFT, 0.0), (SHIFT, 0.0), (0.0, -SHIFT), (0.0, SHIFT)))),
    "crops": (IDENTITY, *CROPS),
    "ten_crops": tuple(view._replace(flip=flip) for flip in (False, True) for view in (IDENTITY, *CROPS)),
    "scales": (IDENTITY, View(zoom=8 / 7), View(zoom=4 / 3)),
}
"""Names for lists of views. The image itself is always the first.

none       the image alone
flips      the image, and its mirror image left to right
d4         the eight symmetries of a square: their mean does not depend on the orientation of the image
shifts     the image, and shifted by 1/16 of its size (at least a pixel) up, down, left and right
crops      the image, its center and its four corners, windows of 7/8 of its size
ten_crops  the views of `crops`, and their mirror images
scales     the image, and its center at 7/8 and 3/4 of its size
"""


def show(images: Images, view: View, method: str = "linear") -> Images:
    """Transforms images.

    Args:
        images: of any dtype.
        view: the transformation.
        method: interpolation of a zoom: "linear", or "nearest" for masks of classes.

    Returns: images of the same size and dtype.

    Raises: UserError for a quarter turn of images that are not square, and for a zoom below 1.0.
    """
    _, h, w, _ = images.shape
    _check(view, (h, w))
    images = jnp.rot90(images[:, :, ::-1] if view.flip else images, view.turns, (1, 2))
    (down, right), (top, left, rows, columns) = window_of(view, (h, w))
    images = images[:, jnp.clip(jnp.arange(h) - down, 0, h - 1)][:, :, jnp.clip(jnp.arange(w) - right, 0, w - 1)]
    return _resized(images[:, top : top + rows, left : left + columns], (h, w), method)


def restore(
    maps: Shaped[Array, "b h w k"], view: View, method: str = "linear"
) -> tuple[Shaped[Array, "b h w k"], Bool[Array, "h w"]]:
    """Maps predictions of a view's pixels back to the image: the inverse of `show`, exact but for a "linear" zoom.

    Args:
        maps: values of the pixels of the view, such as the probabilities of their classes.
        view: the transformation.
        method: interpolation of a zoom, "linear" or "nearest".

    Returns: (maps of the image, 0 where the view does not show the pixel; which pixels it shows).

    Raises: UserError as `show`.
    """
    _, h, w, _ = maps.shape
    _check(view, (h, w))
    (down, right), (top, left, rows, columns) = window_of(view, (h, w))
    around = ((top, h - top - rows), (left, w - left - columns))
    maps = jnp.pad(_resized(maps, (rows, columns), method), ((0, 0), *around, (0, 0)))
    seen = jnp.pad(jnp.ones((rows, columns), bool), around)
    y, x = jnp.arange(h) + down, jnp.arange(w) + right
    inside = ((y >= 0) & (y < h))[:, None] & ((x >= 0) & (x < w))
    y, x = jnp.clip(y, 0, h - 1), jnp.clip(x, 0, w - 1)
    seen = seen[y][:, x] & inside
    maps = jnp.where(seen[..., None], maps[:, y][:, :, x], jnp.zeros((), maps.dtype))
    maps, seen = jnp.rot90(maps, -view.turns, (1, 2)), jnp.rot90(seen, -view.turns)
    return (maps[:, :, ::-1], seen[:, ::-1]) if view.flip else (maps, seen)


def predictions(
    classify: Callable[[Images], Float[Array, "b *hw classes"]], images: Images, views: Sequence[View]
) -> Float[Array, "v b *hw classes"]:
    """Predicts every view. May be compiled; `classify` is compiled once.

    Args:
        classify: returns the probabilities of images.
        images: of any dtype.
        views: the transformations, the identity among them.

    Raises: UserError as `all_views`.
    """
    probabilities: Array = jax.lax.map(classify, all_views(images, views))
    return probabilities


def all_views(images: Images, views: Sequence[View]) -> Shaped[Array, "v b h w c"]:
    """Returns the images of all views, also for classifiers that cannot be compiled.

    Args:
        images: of any dtype.
        views: the transformations, the identity among them.

    Raises: UserError without the identity, and as `show`.
    """
    if IDENTITY not in views:
        raise UserError("test-time augmentation: the image itself, View(), is missing among the views")
    return jnp.stack([show(images, view) for view in views])


def restored(
    maps: Float[Array, "v b h w classes"], views: Sequence[View]
) -> tuple[Float[Array, "v b h w classes"], Float[Array, "v 1 h w"]]:
    """Maps predictions of all views back to the image.

    Args:
        maps: values of the pixels of each view.
        views: the transformations.

    Returns: (maps of the image; weights for `mean` and `vote`, 0.0 where a view does not show a pixel, else 1.0).

    Raises: UserError as `show`.
    """
    parts = [restore(view_maps, view) for view_maps, view in zip(maps, views, strict=True)]
    image_maps, shown = zip(*parts, strict=True)
    return jnp.stack(image_maps), jnp.stack(shown).astype(jnp.float32)[:, None]


def mean(
    probabilities: Float[Array, "v *b classes"], weights: Float[Array, "v *#b"] | None = None
) -> Float[Array, "*b classes"]:
    """Returns the mean over the views.

    Values are added in order of size, so that the order of the views does not change a bit: over a group such as `d4`
    the mean is exactly the same for every view of an image.

    Args:
        probabilities: of every view.
        weights: of every view, 0 or more; None: equal ones.
    """
    if weights is None:
        return jnp.sort(probabilities, axis=0).mean(0)
    weights = weights[..., None]
    return jnp.sort(probabilities * weights, axis=0).sum(0) / weights.sum(0)


def vote(
    probabilities: Float[Array, "v *b classes"], weights: Float[Array, "v *#b"] | None = None
) -> Int[Array, " *b"]:
    """Returns the class that most views predict; of equal ones that with the largest mean probability, then the first.

    Args:
        probabilities: of every view.
        weights: of every view, 0 or more; None: equal ones.
    """
    ballots = jax.nn.one_hot(probabilities.argmax(-1), probabilities.shape[-1])
    counts = (ballots if weights is None else ballots * weights[..., None]).sum(0)
    most = counts == counts.max(-1, keepdims=True)
    return jnp.where(most, mean(probabilities, weights), -jnp.inf).argmax(-1)


def parse_views(text: str, where: str) -> tuple[tuple[View, ...], str]:
    """Returns the views and the vote that a setting names.

    Args:
        text: a name of `VIEWS`, followed by ":soft", the default, for the mean of the views' probabilities, or by
            ":hard" for the class that most views predict. Boxes are merged: ":nms" or another name as for
            `detection.fusion.fusion_of`; "soft" means ":wbf".
        where: what an error names.

    Returns: (views, "soft", "hard" or the name of a fusion).

    Raises: UserError, with the nearest name, for an unknown one.
    """
    name, _, vote = text.partition(":")
    choose(
        vote.partition(":")[0] or "soft", dict.fromkeys(("soft", "hard", *FUSIONS)), f"{where}: the vote of the views"
    )
    return choose(name, VIEWS, where), vote or "soft"


def shares(
    probabilities: Float[Array, "v *b classes"], weights: Float[Array, "v *#b"] | None = None
) -> Float[Array, "*b classes"]:
    """Returns the share of the views that predict each class.

    The mean probability counts like 0.1% of a vote, so that no share is 0 and the largest one is that of `vote`.

    Args:
        probabilities: of every view.
        weights: of every view, 0 or more; None: equal ones.
    """
    ballots = jax.nn.one_hot(probabilities.argmax(-1), probabilities.shape[-1])
    cast = ballots.mean(0) if weights is None else (ballots * weights[..., None]).sum(0) / weights.sum(0)[..., None]
    votes = len(probabilities)
    return (votes * cast + TIE * mean(probabilities, weights)) / (votes + TIE)


def window_of(view: View, size: Size) -> tuple[tuple[int, int], tuple[int, int, int, int]]:
    """Returns what a view shows after its flip and turns, in pixels.

    Args:
        view: the transformation.
        size: height and width of the image in pixels.

    Returns: ((down, right) of the shift, (top, left, rows, columns) of the window that is enlarged).
    """
    moved = [round(share * side) or (share > 0) - (share < 0) for share, side in zip(view.shift, size, strict=True)]
    rows, columns = (max(1, round(side / view.zoom)) for side in size)
    top, left = round(view.anchor[0] * (size[0] - rows)), round(view.anchor[1] * (size[1] - columns))
    return (moved[0], moved[1]), (top, left, rows, columns)


def _check(view: View, size: Size) -> None:
    if view.turns % 2 and size[0] != size[1]:
        raise UserError(f"test-time augmentation: a quarter turn of {size[0]} x {size[1]} pixels; want square images")
    if view.zoom < 1.0:
        raise UserError(f"test-time augmentation: zoom {view.zoom} is below 1.0")


def _resized(images: Shaped[Array, "b h w c"], size: Size, method: str) -> Shaped[Array, "b h2 w2 c"]:
    if images.shape[1:3] == size:
        return images
    shape = (images.shape[0], *size, images.shape[-1])
    if method == "nearest" or jnp.issubdtype(images.dtype, jnp.floating):
        resized: Array = jax.image.resize(images, shape, method)
        return resized
    rounded: Array = jax.image.resize(images.astype(jnp.float32), shape, method).round()
    return rounded.astype(images.dtype)
