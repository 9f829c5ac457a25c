"""Test-time augmentation: predict several views of each image and combine what is said.

A view is a turn, a shift and a zoom, each with its inverse, so that maps of pixels can be brought back too. A flip or
a turn may change what an image shows: not for digits and text, and `d4` only where there is no up and down, such as
seen through a microscope or from the air.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Shaped

from efficient_jax.errors import UserError
from efficient_jax.settings import choose

Images = Shaped[Array, "b h w c"]
Size = tuple[int, int]


class View(NamedTuple):
    """What is done to an image, in this order; the default is nothing, the identity."""

    flip: bool = False  # left to right
    turns: int = 0  # quarter turns, counter-clockwise
    shift: tuple[float, float] = (0.0, 0.0)  # down and to the right, in shares of the sides; the edge is repeated
    zoom: float = 1.0  # a window of 1 / zoom of the sides becomes the image; 1.0 and above
    anchor: tuple[float, float] = (0.5, 0.5)  # where the window is: from (0.0, 0.0), upper left, to (1.0, 1.0)


IDENTITY = View()
SHIFT, ZOOM = 1 / 16, 8 / 7
TIE = 1e-3  # votes that the mean of probabilities counts for, where classes have equally many
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

none       the image
flips      and its mirror image, left to right
d4         the eight symmetries of a square: their mean is the same whichever way the image is turned or mirrored
shifts     and moved by a sixteenth of its sides (at least a pixel) up, down, to the left and to the right
crops      and its middle and four corners, windows of 7/8 of the sides
ten_crops  the views of `crops`, and their mirror images
scales     and its middle at 7/8 and 3/4 of the sides
"""


def show(images: Images, view: View, method: str = "linear") -> Images:
    """The images as `view` shows them, of the same size and dtype. `method` of a zoom: "linear", or "nearest" for
    masks of classes. Raises: UserError for a quarter turn of an image that is not square, or a zoom below 1.0."""
    _, h, w, _ = images.shape
    _check(view, (h, w))
    images = jnp.rot90(images[:, :, ::-1] if view.flip else images, view.turns, (1, 2))
    (down, right), (top, left, rows, columns) = _pixels(view, (h, w))
    images = images[:, jnp.clip(jnp.arange(h) - down, 0, h - 1)][:, :, jnp.clip(jnp.arange(w) - right, 0, w - 1)]
    return _resized(images[:, top : top + rows, left : left + columns], (h, w), method)


def restore(
    maps: Shaped[Array, "b h w k"], view: View, method: str = "linear"
) -> tuple[Shaped[Array, "b h w k"], Bool[Array, "h w"]]:
    """(maps of a view's pixels, such as the probabilities of their classes, brought back to the image; the pixels that
    the view shows: all others are 0). The inverse of `show`: exactly, but for a "linear" zoom."""
    _, h, w, _ = maps.shape
    _check(view, (h, w))
    (down, right), (top, left, rows, columns) = _pixels(view, (h, w))
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
    """What `classify` says of each view; jit-able, and `classify` is compiled once."""
    return jax.lax.map(classify, all_views(images, views))


def all_views(images: Images, views: Sequence[View]) -> Shaped[Array, "v b h w c"]:
    """For a classifier that cannot be compiled: ask it about each. Raises: UserError without the identity."""
    if IDENTITY not in views:
        raise UserError("test-time augmentation: the image itself, View(), is missing among the views")
    return jnp.stack([show(images, view) for view in views])


def restored(
    maps: Float[Array, "v b h w classes"], views: Sequence[View]
) -> tuple[Float[Array, "v b h w classes"], Float[Array, "v 1 h w"]]:
    """(the maps of all views brought back to the image, the weights with which `mean` and `vote` count them: 0.0 where
    a view does not show a pixel)."""
    found, seen = zip(*(restore(each, view) for each, view in zip(maps, views, strict=True)), strict=True)
    return jnp.stack(found), jnp.stack(seen).astype(jnp.float32)[:, None]


def mean(
    said: Float[Array, "v *b classes"], weights: Float[Array, "v *#b"] | None = None
) -> Float[Array, "*b classes"]:
    """The mean over the views. In order of size, so that the order of the views does not matter to the last bit: over a
    group such as `d4` the mean is exactly the same for every view of an image."""
    if weights is None:
        return jnp.sort(said, axis=0).mean(0)
    weights = weights[..., None]
    return jnp.sort(said * weights, axis=0).sum(0) / weights.sum(0)


def vote(said: Float[Array, "v *b classes"], weights: Float[Array, "v *#b"] | None = None) -> Int[Array, " *b"]:
    """The class that most views say; among those with as many the one of the larger mean, then the first."""
    ballots = jax.nn.one_hot(said.argmax(-1), said.shape[-1])
    counts = (ballots if weights is None else ballots * weights[..., None]).sum(0)
    most = counts == counts.max(-1, keepdims=True)
    return jnp.where(most, mean(said, weights), -jnp.inf).argmax(-1)


def asked(text: str, where: str) -> tuple[tuple[View, ...], str]:
    """Returns (views, vote) of `text`: a name of `VIEWS` with :soft, the default, or :hard behind it.

    soft: the mean of the views' probabilities. hard: the answer of most views.
    Raises: UserError naming `where`, with the nearest name.
    """
    name, _, vote = text.partition(":")
    choose(vote or "soft", dict.fromkeys(("soft", "hard")), f"{where}: the vote of the views")
    return choose(name, VIEWS, where), vote or "soft"


def shares(said: Float[Array, "v *b classes"]) -> Float[Array, "*b classes"]:
    """Returns the share of the views whose most probable class it is; among classes of equal shares that of the larger
    mean is ahead by 0.1% of a vote, so that the largest is what `vote` answers, and none is 0."""
    ballots = jax.nn.one_hot(said.argmax(-1), said.shape[-1]).sum(0)
    return (ballots + TIE * mean(said)) / (len(said) + TIE)


def _check(view: View, size: Size) -> None:
    if view.turns % 2 and size[0] != size[1]:
        raise UserError(f"test-time augmentation: a quarter turn of {size[0]} x {size[1]} pixels; want square images")
    if view.zoom < 1.0:
        raise UserError(f"test-time augmentation: zoom {view.zoom} is below 1.0")


def _pixels(view: View, size: Size) -> tuple[tuple[int, int], tuple[int, int, int, int]]:
    """((down, right), (top, left, rows, columns) of the window)."""
    moved = [round(share * side) or (share > 0) - (share < 0) for share, side in zip(view.shift, size, strict=True)]
    rows, columns = (max(1, round(side / view.zoom)) for side in size)
    top, left = round(view.anchor[0] * (size[0] - rows)), round(view.anchor[1] * (size[1] - columns))
    return (moved[0], moved[1]), (top, left, rows, columns)


def _resized(images: Shaped[Array, "b h w c"], size: Size, method: str) -> Shaped[Array, "b h2 w2 c"]:
    if images.shape[1:3] == size:
        return images
    shape = (len(images), *size, images.shape[-1])
    if method == "nearest" or jnp.issubdtype(images.dtype, jnp.floating):
        return jax.image.resize(images, shape, method)
    return jax.image.resize(images.astype(jnp.float32), shape, method).round().astype(images.dtype)
