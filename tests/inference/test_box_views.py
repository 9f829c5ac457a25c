"""Boxes of views return to the image, and are merged to those of a detector."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efficient_jax.detection.rows import NOTHING
from efficient_jax.errors import UserError
from efficient_jax.inference import box_views, tta
from efficient_jax.inference.tta import IDENTITY, VIEWS, View
from efficient_jax.tasks import DETECTION, SEGMENTATION
from efficient_jax.training.predict import through_views

SIZE = 48, 48
BOXES = np.array([[21, 17, 29, 27], [18, 26, 25, 31], [3, 2, 13, 9]], np.float32)  # the last one at the border
EVERY = sorted({view for views in VIEWS.values() for view in views})


def painted(boxes, size=SIZE):
    """An image whose pixels are the number of the box that they are in, from 1 on."""
    image = np.zeros((1, *size, 1), np.uint8)
    for number, (left, top, right, bottom) in enumerate(boxes.astype(int), 1):
        image[:, top:bottom, left:right] = number
    return image


def detect(images, count=3):
    """Rows of the edges of the pixels of each number, by descending score."""

    def of_number(number):
        there = images[..., 0] == number
        edges = []
        for axis in (2, 1):  # along x, then along y
            line = there.any(3 - axis)
            edges.append((line.argmax(1), line.shape[1] - line[:, ::-1].argmax(1)))
        box = jnp.stack([edges[0][0], edges[1][0], edges[0][1], edges[1][1]], 1).astype(jnp.float32)
        score = jnp.where(there.any((1, 2)), 1.0 - number / 8, 0.0)
        return jnp.concatenate([box, jnp.full((len(box), 1), number - 1.0), score[:, None]], 1)

    return jnp.stack([of_number(number) for number in range(1, count + 1)], 1)


def apply(variables, images, train, keys):
    del variables, train, keys
    return (detect(images), {}), None


@functools.cache
def there_and_back(views=tuple(EVERY), size=SIZE):
    """{view: (boxes of the view, moved back, those that it does not cut)}, all compiled together."""

    def one(view):
        found = detect(tta.show(painted(BOXES, size), view, "nearest"))[0, :, :4]
        back = box_views.restored(found, view, size)
        return back, box_views.shown_whole(jnp.asarray(BOXES), view, size)

    return dict(zip(views, jax.jit(lambda: [one(view) for view in views])(), strict=True))


@pytest.mark.parametrize("view", EVERY)
def test_boxes_of_a_view_return_to_the_image(view):
    back, whole = there_and_back()[view]
    assert whole[:2].all()  # those in the middle
    pixel = 0.0 if view.zoom == 1.0 else 1.0  # a zoom to the nearest pixel moves edges
    np.testing.assert_allclose(back[whole], BOXES[whole], atol=pixel)


def test_boxes_return_to_images_that_are_not_square():
    (back, whole) = there_and_back((View(True, 2, (0.1, -0.05)),), (48, 60))[View(True, 2, (0.1, -0.05))]
    np.testing.assert_array_equal(whole, [True, True, False])
    np.testing.assert_array_equal(back[whole], BOXES[whole])


def test_what_a_window_cuts_is_known():
    half = View(zoom=2.0, anchor=(0.0, 1.0))  # the upper right quarter: x from 24, y to 24
    inside, cut, at_the_border = (24, 0, 48, 24), (20, 3, 30, 9), (40, 0, 48, 7)
    boxes = jnp.array([inside, cut, at_the_border, (30, 3, 40, 22)], jnp.float32)
    np.testing.assert_array_equal(box_views.shown_whole(boxes, half, SIZE), [False, False, True, True])
    np.testing.assert_array_equal(box_views.shown_whole(boxes, IDENTITY, SIZE), True)


@pytest.mark.parametrize("views", ["flips", "d4", "shifts"])
@pytest.mark.parametrize("fuse", ["soft", "nms"])
def test_the_views_of_a_detector_without_preferences_say_what_it_says(views, fuse):
    seen_through = jax.jit(
        lambda images: through_views(apply, VIEWS[views], DETECTION, fuse)(None, images, False, None)
    )
    (rows, _), _ = seen_through(painted(BOXES))
    np.testing.assert_allclose(DETECTION.probabilities(rows), detect(painted(BOXES)), atol=1e-5)


def two_views():
    """Views of an image of 100 pixels: both see an object, in the second one 2 pixels to the right and less sure; the
    second alone sees another."""
    rows = np.tile(NOTHING, (2, 1, 3, 1))
    rows[0, 0, 0] = [10, 10, 30, 30, 1, 0.8]
    rows[1, 0, 0] = [10, 60, 20, 90, 0, 0.5]
    rows[1, 0, 1] = [68, 10, 88, 30, 1, 0.4]  # mirrored: 12 to 32
    return jnp.asarray(rows)


@pytest.mark.parametrize(
    ("fuse", "expected"),
    [
        ("wbf", [[10 + 2 / 3, 10, 30 + 2 / 3, 30, 1, 0.6], [80, 60, 90, 90, 0, 0.25], NOTHING]),
        ("wbf:max", [[10 + 2 / 3, 10, 30 + 2 / 3, 30, 1, 0.8], [80, 60, 90, 90, 0, 0.5], NOTHING]),
        ("nms", [[10, 10, 30, 30, 1, 0.8], [80, 60, 90, 90, 0, 0.5], NOTHING]),
    ],
)
def test_two_views_by_hand(fuse, expected):
    merged = box_views.fused(two_views(), VIEWS["flips"], (100, 100), fuse)
    np.testing.assert_allclose(merged, [expected], rtol=1e-6)


def test_a_view_that_does_not_show_a_box_does_not_count():
    """The second view enlarges the lower right quarter, and sees the upper left corner of nothing."""
    views = IDENTITY, View(zoom=2.0, anchor=(1.0, 1.0))
    rows = np.tile(NOTHING, (2, 1, 2, 1))
    rows[0, 0] = [[10, 10, 30, 30, 0, 0.5], [60, 60, 80, 80, 0, 0.4]]
    rows[1, 0] = [[20, 20, 60, 60, 0, 0.8], [0, 10, 30, 40, 0, 0.9]]  # the last one is cut
    merged = box_views.fused(jnp.asarray(rows), views, (100, 100), "wbf")
    np.testing.assert_allclose(merged, [[[60, 60, 80, 80, 0, 0.6], [10, 10, 30, 30, 0, 0.5]]], rtol=1e-6)


def test_only_boxes_are_merged():
    with pytest.raises(
        UserError, match="--tta: nms merges boxes; an image has a class for each pixel: take soft or hard"
    ):
        through_views(apply, VIEWS["flips"], SEGMENTATION, "nms")
