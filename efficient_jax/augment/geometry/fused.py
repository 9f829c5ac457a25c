"""Fuses neighbouring changes of geometry: the image is resampled once, and boxes are taken from the corners once.

The hull of a turned box is larger than the object, and the hull of a turned hull larger still. So whatever stands
between two changes of geometry (a flip, a crop, a resize, an elastic change) joins them: its matrix is multiplied with
theirs. What stands before the first or after the last of them moves whole pixels, as it does alone.

Nothing is cut in between: what one change moved out of the image the next may bring back, in the image and in its
targets. Where a part of a chain has another border or fill, or is not a matrix, the image is resampled once for each
part, and what a part moved out is lost.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, PRNGKeyArray, Shaped

from efficient_jax.augment.geometry import affine, crop_flip, elastic, resize
from efficient_jax.augment.kernels import matrices, resample, targets
from efficient_jax.augment.kernels.dtypes import Fill
from efficient_jax.augment.kernels.positions import Size
from efficient_jax.augment.kernels.targets import Inverse
from efficient_jax.errors import UserError
from efficient_jax.types import Augmentation, Example

RESAMPLED = (*affine.MATRICES, "elastic")
JOINING = (*crop_flip.MATRICES, *resize.WINDOWS)  # between two of those
Image = Shaped[Array, "h w *c"]


class Step(NamedTuple):
    """One operation of a chain, with all of its settings."""

    op: str
    settings: Mapping[str, Any]
    probability: float = 1.0


class Part(NamedTuple):
    """One resample of a chain."""

    change: targets.Change
    image: Callable[[Image], Image]
    look: Callable[[Image], Image]  # the same for a mask


class Warp(NamedTuple):
    """A matrix that is still to be multiplied with those of its neighbours."""

    inverse: Inverse
    old: Size
    size: Size
    outside: tuple[str, Fill] | None  # border and fill; None where nothing outside is seen
    straight: bool  # affine, no perspective


def chains(ops: Sequence[str]) -> list[tuple[int, int]]:
    """Returns which operations become one: two or more that resample, and what joins them.

    Args:
        ops: names of operations in order.

    Returns: (first, behind the last) of each group, as indices into `ops`.
    """
    found = []
    for belongs, group in itertools.groupby(range(len(ops)), lambda i: ops[i] in RESAMPLED or ops[i] in JOINING):
        warps = [i for i in group if belongs and ops[i] in RESAMPLED]
        if len(warps) > 1:
            found.append((warps[0], warps[-1] + 1))
    return found


def chain(steps: Sequence[Step]) -> Augmentation:
    """Returns one augmentation that does what `steps` do, with as few resamples as possible; see the top of this file.

    Args:
        steps: operations of RESAMPLED and JOINING with all of their settings; each draws from `fold_in(key, position)`.

    Returns: `(key, example) -> example`.

    Raises: UserError, when it is called, for settings that an operation refuses, and for a step with a probability
        below 1 that changes the size.
    """

    def apply(key: PRNGKeyArray, example: Example) -> Example:
        size = example["image"].shape[:2]
        pieces: list[Warp | Part] = []
        mirrored: list[tuple[Bool[Array, ""], Any]] = []
        for position, step in enumerate(steps):
            piece = _drawn(step, jax.random.fold_in(key, position), size)
            if step.settings.get("keypoint_pairs") and isinstance(piece, Warp):
                mirrored.append((piece.inverse[0, 0] < 0, step.settings["keypoint_pairs"]))
            size = piece.size if isinstance(piece, Warp) else piece.change[1]
            joined = _joined(pieces[-1], piece) if pieces else None
            pieces[-1 if joined else len(pieces) :] = [joined or piece]
        moved = _through([_part(piece) if isinstance(piece, Warp) else piece for piece in pieces], pieces, example)
        for coin, pairs in mirrored:
            moved = crop_flip.swapped(moved, coin, pairs)
        return moved

    return apply


def _through(parts: list[Part], pieces: list[Warp | Part], example: Example) -> Example:
    image = example["image"]
    for part in parts:
        image = part.image(image)
    if len(parts) == 1 and isinstance(pieces[0], Warp) and pieces[0].straight:
        inverse = affine.within_limits(pieces[0].inverse, pieces[0].old, pieces[0].size)
        return targets.move(example, inverse, pieces[0].size) | {"image": image}

    def look(mask: Shaped[Array, "h w"]) -> Shaped[Array, "h2 w2"]:
        for part in parts:
            mask = part.look(mask)
        return mask

    changes = [part.change for part in parts]
    # Points on the sides too: a side may leave for the horizon of a perspective, or be bent.
    moved = targets.carry(example, example["image"].shape[:2], changes, look, elastic.POINTS_PER_SIDE)
    return moved | {"image": image}


def _drawn(step: Step, key: PRNGKeyArray, old: Size) -> Warp | Part:
    coin = None
    if step.probability < 1:  # the draws of `with_probability`
        draw, key = jax.random.split(key)
        coin = jax.random.uniform(draw) < step.probability
    settings = dict(step.settings)
    around = (settings.get("border", "constant"), settings.get("fill", 0.0))
    outside: tuple[str, Fill] | None = around
    if step.op == "elastic":
        alpha, sigma = settings["alpha"], settings["sigma"]
        seen, forward = elastic.random_bending(key, old, alpha=alpha, sigma=sigma)
        return _bent(seen, forward, old, coin, around)
    if step.op in resize.WINDOWS:
        window, size = resize.WINDOWS[step.op](key, old, **settings)
        _keeps(step, old, size)
        if coin is not None:
            window = jnp.where(coin, window, jnp.array([0, 0, *old], jnp.float32))
        inverse = resize.through_window(window, old, size)
        warp = Warp(inverse, old, size, ("constant", 0.0), straight=True)
        return _part(warp)._replace(image=partial(resize.shown, window=window, size=size))
    if step.op in crop_flip.MATRICES:
        inverse, size = crop_flip.MATRICES[step.op](key, old, **settings)
        outside = around if settings.get("padding", settings.get("pixels", 0)) else None
    else:
        own = {name: value for name, value in settings.items() if name not in ("border", "fill")}
        inverse, size = affine.MATRICES[step.op](key, old, **own), old
    _keeps(step, old, size)
    inverse = inverse if coin is None else jnp.where(coin, inverse, jnp.eye(3))
    return Warp(inverse, old, size, outside, straight=step.op != "perspective")


def _keeps(step: Step, old: Size, size: Size) -> None:
    if step.probability < 1 and tuple(size) != tuple(old):
        raise UserError(
            f"{step.op}: with probability {step.probability} it must keep the size of the image, {old[0]} x {old[1]}, "
            f"not change it to {size[0]} x {size[1]}"
        )


def _bent(
    seen: elastic.Seen,
    forward: elastic.Forward,
    size: Size,
    coin: Bool[Array, ""] | None,
    outside: tuple[str, Fill],
) -> Part:
    border, fill = outside
    if coin is not None:
        still = jnp.arange(size[1], dtype=jnp.float32), jnp.arange(size[0], dtype=jnp.float32)[:, None]
        seen = jnp.where(coin, seen[0], still[0]), jnp.where(coin, seen[1], still[1])
        bent = forward
        forward = lambda points: jnp.where(coin, bent(points), points)  # noqa: E731
    return Part((forward, size), lambda image: resample.warp_to(image, *seen, fill, border), partial(_nearest, seen))


def _nearest(seen: elastic.Seen, mask: Shaped[Array, "h w"]) -> Shaped[Array, "h2 w2"]:
    return resample.nearest_to(mask, *seen)


def _joined(one: Warp | Part, other: Warp | Part) -> Warp | None:
    """Returns the product where both are matrices with the same border and fill, else None."""
    if isinstance(one, Part) or isinstance(other, Part):
        return None
    if one.outside and other.outside and _outside(one.outside) != _outside(other.outside):
        return None
    inverse = matrices.compose(one.inverse, other.inverse)
    return Warp(inverse, one.old, other.size, one.outside or other.outside, one.straight and other.straight)


def _outside(border_and_fill: tuple[str, Fill]) -> tuple[str, Fill]:
    border, fill = border_and_fill
    return border, fill if border == "constant" else 0.0


def _part(warp: Warp) -> Part:
    border, fill = warp.outside or ("constant", 0.0)
    if not warp.straight:
        seen = matrices.seen_through(warp.inverse, warp.old, warp.size)
        forward = partial(targets.project, targets.inverted(warp.inverse))
        return Part(
            (forward, warp.size), lambda image: resample.warp_to(image, *seen, fill, border), partial(_nearest, seen)
        )
    inverse = affine.within_limits(warp.inverse, warp.old, warp.size)
    return Part(
        (partial(targets.project, targets.inverted(inverse)), warp.size),
        lambda image: resample.warp(image, inverse[:2], fill, warp.size, border),
        lambda mask: resample.nearest(mask, inverse[:2], warp.size),
    )
