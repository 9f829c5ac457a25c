"""Predicted boxes of several views of an image, moved back to the image and merged: test-time augmentation."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from efficient_jax.detection.boxes import Detections, ranked
from efficient_jax.detection.fusion import fusion_of
from efficient_jax.detection.rows import CLASS, VISIBLE
from efficient_jax.inference.tta import Size, View, window_of

MARGIN = 1 / 64  # of the side of the image: a box that ends so near to the edge of a window may be cut by it
DIVIDED = ("wbf", "wbf:average", "wbf:box_and_model")
"""Fusions whose scores are divided by the number of all views; they then count those alone that show a box."""


def restored(boxes: Float[Array, "*b 4"], view: View, size: Size) -> Float[Array, "*b 4"]:
    """Moves boxes of a view back to the image: the inverse of `tta.show`, clipped to the image.

    Args:
        boxes: (left, top, right, bottom) in pixels of the view.
        view: the transformation.
        size: height and width of the image in pixels.
    """
    h, w = size
    (down, to_right), (top, left, rows, columns) = window_of(view, size)
    scale = jnp.array([columns / w, rows / h] * 2)
    x0, y0, x1, y1 = jnp.moveaxis(boxes * scale + jnp.array([left - to_right, top - down] * 2, jnp.float32), -1, 0)
    for turn in range(view.turns, 0, -1):
        across = w if turn % 2 else h
        x0, y0, x1, y1 = across - y1, x0, across - y0, x1
    if view.flip:
        x0, x1 = w - x1, w - x0
    return jnp.clip(jnp.stack([x0, y0, x1, y1], -1), 0.0, jnp.array([w, h] * 2, jnp.float32))


def shown_whole(boxes: Float[Array, "*b 4"], view: View, size: Size) -> Bool[Array, "*b"]:
    """Returns which boxes a view does not cut: they end before the edges of its window, or of the image.

    Args:
        boxes: (left, top, right, bottom) in pixels of the image.
        view: the transformation.
        size: height and width of the image in pixels.
    """
    image = jnp.array(size[::-1], jnp.float32)
    window = restored(jnp.append(jnp.zeros(2), image), view, size)
    first = jnp.where(window[:2] > 0, window[:2] + MARGIN * image, 0.0)
    last = jnp.where(window[2:] < image, window[2:] - MARGIN * image, image)
    return ((boxes[..., :2] >= first) & (boxes[..., 2:] <= last)).all(-1)


def fused(rows: Float[Array, "v b n 6"], views: Sequence[View], size: Size, fuse: str) -> Float[Array, "b n 6"]:
    """Returns the boxes of all views as one prediction, the n best.

    Boxes that a view cuts are left out. The score of `weighted_box_fusion` is that of the views that show the box.

    Args:
        rows: predictions of every view, see `detection.rows`.
        views: the transformations.
        size: height and width of the images in pixels.
        fuse: how they are merged, as for `detection.fusion.fusion_of`.

    Raises: UserError for an unknown fusion.
    """
    merge, count = fusion_of(fuse, "", "--tta"), rows.shape[2]
    boxes = jnp.stack([restored(of_view, view, size) for of_view, view in zip(rows[..., :4], views, strict=True)])
    whole = jnp.stack([shown_whole(of_view, view, size) for of_view, view in zip(boxes, views, strict=True)])
    detections: Detections = {
        "boxes": boxes,
        "scores": rows[..., VISIBLE],
        "labels": rows[..., CLASS].astype(jnp.int32),
        "valid": whole & (rows[..., VISIBLE] > 0),
    }

    def of_image(detections: Detections) -> Detections:
        merged: Detections = merge(detections, jnp.ones(len(views)))
        if fuse not in DIVIDED:
            return merged
        showing = sum(shown_whole(merged["boxes"], view, size).astype(jnp.float32) for view in views)
        scores = jnp.minimum(merged["scores"] * len(views) / jnp.maximum(showing, 1.0), 1.0)
        return ranked(merged | {"scores": scores})

    by_image = {name: jnp.swapaxes(values, 0, 1) for name, values in detections.items()}
    merged = jax.lax.map(of_image, by_image)  # one after the other: on CPU vmap would copy all boxes for each of them
    labels = jnp.where(merged["valid"], merged["labels"], -1).astype(jnp.float32)
    columns = labels[..., None], merged["scores"][..., None]
    return jnp.concatenate([merged["boxes"], *columns], -1)[:, :count]
