"""Operations that mix two examples.

The partner of example i is its neighbour i ^ 1: in a shuffled batch as good as any other, and on the same device
whenever each device holds an even number of examples.

Labels are mixed as the pixels are. Classes of pixels (`mask`) and numbers of objects (`object_map`) are pasted with the
pixels, never blended.
"""

import functools
import operator

import jax
import jax.numpy as jnp
import numpy as np
import scipy
from jaxtyping import Array, Float, Shaped

from efficient_jax.augment.erasing import paint, scaled
from efficient_jax.augment.kernels import dtypes
from efficient_jax.augment.kernels.targets import MAPS
from efficient_jax.errors import UserError
from efficient_jax.types import Batch, BatchKeys, Saliency

KNOTS = 4096  # of the table of a Beta distribution


def mixup(keys: BatchKeys, batch: Batch, *, alpha: float = 0.2) -> Batch:
    """Returns `weight * image + (1 - weight) * partner`, the label alike (arXiv 1710.09412).

    Every example draws its own weight from Beta(alpha, alpha).

    Args:
        keys: one key for each example.
        batch: see types.Example, with a leading axis; without mask, object_map, boxes, box_mask and keypoints.
        alpha: parameter of the Beta distribution of the weight, above 0.0; 1.0 is uniform, small values mix little.

    Returns: the mixed batch; uint8 images become float32 in 0..1, float images keep their dtype and may have any range.

    Raises: UserError for an `alpha` that is not positive, an odd number of examples, targets that cannot be blended,
        and labels that are not distributions.
    """
    _refuse_targets(batch, "mixup", *MAPS, "boxes", "box_mask", "keypoints")
    (drawn,) = uniforms(keys, 1)
    weight = beta(drawn, alpha, "mixup")
    return batch | {"image": _blend(batch["image"], weight)} | mixed_label(batch, [weight, 1 - weight])


def cutmix(keys: BatchKeys, batch: Batch, *, alpha: float = 1.0) -> Batch:
    """Pastes a rectangle of the partner, and mixes the labels as the pixels are mixed (arXiv 1905.04899).

    The rectangle has the image's proportions, a share 1 - Beta(alpha, alpha) of its area and a uniform center. It is
    clipped at the borders, and the label's weight counts what is left of it.

    Args:
        keys: one key for each example.
        batch: see types.Example, with a leading axis; without boxes, box_mask and keypoints. Mask and object_map are
            pasted too.
        alpha: parameter of the Beta distribution of the area that is kept, above 0.0; 1.0 is uniform.

    Returns: the mixed batch.

    Raises: UserError for an `alpha` that is not positive, an odd number of examples, targets that cannot be pasted, and
        labels that are not distributions.
    """
    _refuse_targets(batch, "cutmix", "boxes", "box_mask", "keypoints")
    image = batch["image"]
    drawn, *center = uniforms(keys, 3)
    rectangle, share = _rectangles(1 - beta(drawn, alpha, "cutmix"), center, image.shape[1:3])
    mixed = {"image": _paste(image, partner(image), rectangle)}
    for name, pixels in maps_apart(batch, 2).items():
        mixed[name] = _paste(pixels[..., None], partner(pixels[..., None]), rectangle)[..., 0]
    return batch | mixed | mixed_label(batch, [1 - share, share])


def mixup_or_cutmix(
    keys: BatchKeys,
    batch: Batch,
    *,
    mixup_alpha: float = 0.2,
    cutmix_alpha: float = 1.0,
    cutmix_share: float = 0.5,
) -> Batch:
    """Applies either cutmix or mixup to each example.

    Args:
        keys: one key for each example.
        batch: see types.Example, with a leading axis; without mask, object_map, boxes, box_mask and keypoints.
        mixup_alpha: parameter of mixup's Beta distribution, above 0.0, see `mixup`.
        cutmix_alpha: parameter of cutmix's Beta distribution, above 0.0, see `cutmix`.
        cutmix_share: probability of cutmix, in 0..1; otherwise mixup.

    Returns: the mixed batch; uint8 images become float32 in 0..1.

    Raises: UserError for settings outside their ranges, and for batches that `mixup` refuses.
    """
    if not 0 <= cutmix_share <= 1:
        raise UserError(f"mixup_or_cutmix: cutmix_share {cutmix_share} is not in 0..1")
    _refuse_targets(batch, "mixup_or_cutmix", *MAPS, "boxes", "box_mask", "keypoints")
    image = dtypes.to_float(batch["image"])
    coin, drawn, *center = uniforms(keys, 4)
    cut = coin < cutmix_share
    # Each leaves the image of the other as it is: a weight of one, a rectangle without pixels.
    weight = jnp.where(cut, 1.0, beta(drawn, mixup_alpha, "mixup_or_cutmix"))
    area = jnp.where(cut, 1 - beta(drawn, cutmix_alpha, "mixup_or_cutmix"), 0.0)
    rectangle, share = _rectangles(area, center, image.shape[1:3])
    mixed = _paste(_blend(image, weight), partner(image), rectangle)
    own = weight * (1 - share)
    return batch | {"image": mixed} | mixed_label(batch, [own, 1 - own])


def saliency_cutmix(
    keys: BatchKeys,
    batch: Batch,
    saliency: Saliency | None = None,
    *,
    alpha: float = 1.0,
    blocks: int = 4,
    smoothness: float = 0.5,
) -> Batch:
    """Pastes those blocks of the partner that show more than they hide (after arXiv 2009.06962).

    A block loses its own saliency less the partner's, each as a share of its image's, and `smoothness` times the mean
    loss of the blocks beside it. A share 1 - Beta(alpha, alpha) of the blocks is pasted, rounded: those that lose
    least, so that with smoothness 0 no other blocks keep more saliency. Of equal losses, as where the saliency is
    constant, those nearest to a random point come first. The label's weight is the fraction of pixels.

    This is the mask of Puzzle Mix alone: it does not move the blocks (transport), does not count how many neighbours
    differ (a graph cut), and does not blend at several levels.

    Args:
        keys: one key for each example.
        batch: see types.Example, with a leading axis; without boxes, box_mask and keypoints. Mask and object_map are
            pasted too.
        saliency: computes the saliency of each pixel, float [b h w], 0 or more: where a method trains, the norm of the
            loss's gradient by the pixel. None takes the batch's entry `saliency`, of that form.
        alpha: parameter of the Beta distribution of the share that is kept, above 0.0; 1.0 is uniform.
        blocks: blocks down and across the image, 1 or more; a divisor of its height and width.
        smoothness: weight of the neighbouring blocks' losses, 0.0 or more; 0.0 looks at each block alone.

    Returns: the mixed batch.

    Raises: UserError for settings outside their ranges, a batch without saliency, and for batches that `cutmix`
        refuses.
    """
    if smoothness < 0:
        raise UserError(f"saliency_cutmix: smoothness {smoothness} is negative; 0 looks at each block alone")
    if saliency is None and "saliency" not in batch:
        raise UserError("saliency_cutmix: the batch has no entry 'saliency', float [b h w], say the gradient's norm")
    _refuse_targets(batch, "saliency_cutmix", "boxes", "box_mask", "keypoints")
    b, height, width, _ = batch["image"].shape
    if blocks < 1 or height % blocks or width % blocks:
        raise UserError(
            f"saliency_cutmix: {blocks} x {blocks} blocks do not divide images of {height} x {width} pixels"
        )
    drawn, *center = uniforms(keys, 3)
    count = jnp.round((1 - beta(drawn, alpha, "saliency_cutmix")) * blocks**2).astype(jnp.int32)
    shown = _in_blocks(saliency(batch) if saliency else batch["saliency"], blocks).sum((2, 4))
    shown /= jnp.maximum(shown.sum((1, 2), keepdims=True), 1e-30)
    loss = shown - partner(shown)
    loss += smoothness * _beside(loss)
    middles = jnp.arange(blocks, dtype=jnp.float32) + 0.5
    y, x = (jnp.abs(middles - blocks * c[:, None]) for c in center)
    distance = jnp.maximum(y[:, :, None], x[:, None])
    order = jax.vmap(jnp.lexsort)((distance.reshape(b, -1), loss.reshape(b, -1)))
    pasted = (jnp.argsort(order) < count[:, None]).reshape(b, blocks, 1, blocks, 1)

    def paste(entry: Shaped[Array, "b h w *c"]) -> Shaped[Array, "b h w *c"]:
        own = _in_blocks(entry, blocks)
        return jnp.where(pasted, partner(own), own).reshape(entry.shape)

    share = count.astype(jnp.float32) / blocks**2
    mixed = {name: paste(pixels) for name, pixels in ({"image": batch["image"]} | maps_apart(batch, 2)).items()}
    return batch | mixed | mixed_label(batch, [1 - share, share])


def partner(x: Shaped[Array, " b *rest"], which: int = 1) -> Shaped[Array, " b *rest"]:
    """Returns row i ^ which in place of row i.

    Args:
        x: array with a leading axis of examples.
        which: 0 (the row itself) to 3; 1 exchanges neighbours.

    Returns: the rows in that order.

    Raises: UserError unless the number of rows is even, or a multiple of 4 where `which` is 2 or 3.
    """
    if len(x) % 2:
        raise UserError(f"mixing pairs neighbours: each device needs an even number of examples, not {len(x)}")
    if which > 1 and len(x) % 4:
        raise UserError(f"mixing four neighbours: each device needs a multiple of 4 examples, not {len(x)}")
    return x[np.arange(len(x)) ^ which]


def maps_apart(batch: Batch, together: int) -> Batch:
    """Returns the mask and the object_map of a batch, as far as it has them, to be pasted.

    Objects of neighbours have different numbers, so that what is pasted together stays apart.

    Args:
        batch: without boxes, whose rows are the numbers of their objects.
        together: neighbours that are pasted together: 2, or 4.
    """
    maps = {name: batch[name] for name in MAPS if name in batch}
    if "object_map" in maps:
        numbers = maps["object_map"]
        highest, row = numbers.max((1, 2)), np.arange(len(numbers))
        before = sum(jnp.where(row ^ which < row, partner(highest, which), 0) for which in range(1, together))
        maps["object_map"] = jnp.where(numbers > 0, numbers + jnp.reshape(before, (-1, 1, 1)), 0)
    return maps


def mixed_label(batch: Batch, weights: list[Float[Array, " b"]]) -> Batch:
    """Returns the labels of an image, its partner i ^ 1 and so on, times their weights.

    Args:
        batch: float labels [b classes], or none.
        weights: weights of row i, row i ^ 1, row i ^ 2 and so on; they sum to 1 for each example.

    Returns: {"label": the mixed labels}, empty where the batch has no labels.

    Raises: UserError for labels that are not distributions.
    """
    if "label" not in batch:
        return {}
    label = batch["label"]
    if label.ndim != 2 or not jnp.issubdtype(label.dtype, jnp.floating):
        raise UserError(
            f"mixing takes labels that are distributions, float [b classes], not {label.dtype}{label.shape}"
        )
    parts = [weight[:, None] * partner(label, which) for which, weight in enumerate(weights)]
    return {"label": functools.reduce(operator.add, parts)}


def uniforms(keys: BatchKeys, count: int) -> Float[Array, "count b"]:
    """Returns numbers uniform in [0, 1), drawn for each example from its own key.

    Args:
        keys: one key for each example.
        count: numbers for each example.

    Returns: float32 [count b].
    """
    return jax.vmap(lambda key: jax.random.uniform(key, (count,)), out_axes=1)(keys)


def beta(drawn: Float[Array, " b"], alpha: float, name: str) -> Float[Array, " b"]:
    """Returns numbers of Beta(alpha, alpha) from uniform numbers, through a table of its quantiles.

    jax.random.beta rejects and draws again until every example has its number, and took longer than the mixing. Here no
    probability is off by more than 1 / KNOTS.

    Args:
        drawn: numbers uniform in [0, 1).
        alpha: both parameters of the distribution, above 0.0.
        name: the operation, for the error message.

    Returns: one number in 0..1 for each.

    Raises: UserError for an `alpha` that is not positive.
    """
    if alpha <= 0:
        raise UserError(f"{name}: alpha {alpha} is not positive; weights are drawn from Beta(alpha, alpha)")
    table = jnp.asarray(scipy.special.betaincinv(alpha, alpha, np.arange(KNOTS + 1) / KNOTS), jnp.float32)
    position = drawn * KNOTS
    index = position.astype(jnp.int32)
    below, above = (table.at[index + i].get(mode="promise_in_bounds") for i in (0, 1))
    return below + (position - index.astype(position.dtype)) * (above - below)


def _blend(image: Shaped[Array, "b h w c"], weight: Float[Array, " b"]) -> Float[Array, "b h w c"]:
    image, across = dtypes.to_float(image), weight[:, None, None, None]
    return across * image + (1 - across) * partner(image)


def _rectangles(
    area: Float[Array, " b"], center: list[Float[Array, " b"]], size: tuple[int, ...]
) -> tuple[tuple[Array, ...], Float[Array, " b"]]:
    """Returns ((top, left, rows, columns) in the image's proportions, clipped at its borders; its share)."""
    (top, rows), (left, columns) = (_interval(area, c, side) for c, side in zip(center, size, strict=True))
    return (top, left, rows, columns), (rows * columns).astype(jnp.float32) / (size[0] * size[1])


def _interval(area: Float[Array, " b"], center: Float[Array, " b"], side: int) -> tuple[Array, Array]:
    length = (jnp.sqrt(area) * side).astype(jnp.int32)
    start = scaled(center, side) - length // 2
    first = jnp.maximum(start, 0)
    return first, jnp.minimum(start + length, side) - first


def _paste(image: Array, other: Array, rectangle: tuple[Array, ...]) -> Shaped[Array, "b h w c"]:
    return jax.vmap(paint)(image, other, *rectangle)


def _in_blocks(entry: Shaped[Array, "b h w *c"], blocks: int) -> Shaped[Array, "b n y n x"]:
    b, height = entry.shape[:2]
    return entry.reshape(b, blocks, height // blocks, blocks, -1)


def _beside(loss: Float[Array, "b n n"]) -> Float[Array, "b n n"]:
    """Returns the mean over the two to four neighbours of each block."""

    def total(x: Array) -> Array:
        ring = jnp.pad(x, ((0, 0), (1, 1), (1, 1)))
        return ring[:, :-2, 1:-1] + ring[:, 2:, 1:-1] + ring[:, 1:-1, :-2] + ring[:, 1:-1, 2:]

    return total(loss) / jnp.maximum(total(jnp.ones_like(loss)), 1)  # a single block has none


def _refuse_targets(batch: Batch, name: str, *entries: str) -> None:
    for entry in entries:
        if entry in batch:
            how = "cutmix pastes them" if entry in MAPS else "copy_paste and mosaic move them"
            raise UserError(f"{name}: {entry!r} cannot be mixed; {how}")
