"""Boxes, masks and keypoints go where their images go."""

import numpy as np
import pytest

from efficient_jax.data import objects
from efficient_jax.data.framing import Framing, fit

W, H = 60, 40
FRAMINGS = [Framing(0), *(Framing(size, fit) for size in (32, 80) for fit in ("crop", "squash", "pad"))]
FRAMINGS += [Framing(32, "crop", 0.8)]
BOX = np.array([14.0, 6.0, 35.0, 31.0])


def rectangle(box, h=H, w=W):
    left, top, right, bottom = box.astype(int)
    mask = np.zeros((h, w), bool)
    mask[top:bottom, left:right] = True
    return mask


def box_of(mask):
    rows, columns = mask.any(1).nonzero()[0], mask.any(0).nonzero()[0]
    return [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("framing", FRAMINGS, ids=str)
def test_a_box_its_mask_and_its_image_stay_together(framing, turned):
    """The box is that of the fitted mask, and the mask covers the pixels that are bright in the fitted image."""
    h, w, box = (W, H, BOX[[1, 0, 3, 2]]) if turned else (H, W, BOX)
    through, drawn = objects.window(w, h, framing), rectangle(box, h, w)
    corners = box.reshape(2, 2)
    outline = np.array([corners[[i, j], [0, 1]] for i, j in ((0, 0), (1, 0), (1, 1), (0, 1))])
    ((moved,), _) = objects.boxes(box[None], through)
    masks = objects.mask(drawn, through), objects.polygons([outline], through)
    for mask in masks:
        assert mask.shape == through.size[::-1]
        assert np.abs(box_of(mask) - moved).max() <= 0.5 + 1 / objects.FINER
    if framing.size:
        bright = fit(drawn[..., None] * np.uint8(255), *framing[:3], "bilinear")[..., 0].astype(int)
        if framing.fit == "pad":  # grey around it
            bright = np.where(objects.mask(np.ones((h, w), bool), through), bright, 0)
        assert (bright[masks[0]] > 100).all()
        assert (bright[~masks[0]] < 155).all()


def test_what_is_cut_off_counts_by_its_share():
    through = objects.window(60, 40, Framing(40))  # columns 10 to 50 are seen
    boxes, visible = objects.boxes(np.array([[0, 0, 20, 10], [20, 5, 30, 15], [52, 0, 60, 40.0]]), through)
    np.testing.assert_array_equal(boxes, [[0, 0, 10, 10], [10, 5, 20, 15], [0, 0, 0, 0]])
    np.testing.assert_array_equal(visible, [0.5, 1.0, 0.0])


@pytest.mark.parametrize("framing", FRAMINGS, ids=str)
def test_a_keypoint_stays_on_its_pixel(framing):
    """The image is one bright block of 4 x 4 around the point."""
    through = objects.window(W, H, framing)
    image = rectangle(np.array([28, 18, 32, 22]))
    ((x, y),), visible = objects.keypoints(np.array([[29.5, 19.5]]), np.array([True]), through)
    rows, columns = objects.mask(image, through).nonzero()
    assert visible.all()
    assert np.abs([columns.mean() - x, rows.mean() - y]).max() <= 0.5


def test_a_keypoint_out_of_the_image_or_hidden_is_not_visible():
    through = objects.window(60, 40, Framing(40))
    points, visible = objects.keypoints(np.array([[9.0, 0], [10, 0], [49, 39], [49, 39]]), np.arange(4) < 3, through)
    np.testing.assert_allclose(points, [[-1, 0], [0, 0], [39, 39], [39, 39]])
    np.testing.assert_array_equal(visible, [False, True, True, False])


def test_polygons_are_joined():
    squares = [np.array([(a, a), (a + 10, a), (a + 10, a + 10), (a, a + 10.0)]) for a in (5, 10, 30)]
    found = objects.polygons(squares, objects.window(50, 50, Framing(0)))
    np.testing.assert_array_equal(
        found, np.any([rectangle(np.array([a, a, a + 10, a + 10]), 50, 50) for a in (5, 10, 30)], 0)
    )


def test_objects_are_resized_with_their_images():
    mask = rectangle(BOX)
    made = {"boxes": BOX[None, None], "box_mask": mask[None, None], "keypoints": np.array([[[29.5, 19.5]]])}
    made |= {"mask": mask[None].astype(np.uint8) * 7, "box_visible": np.ones((1, 1))}
    found = objects.resized(made, W, H, 20)
    np.testing.assert_allclose(found["boxes"], [[BOX / [3, 2, 3, 2]]])
    np.testing.assert_allclose(found["keypoints"], [[[9.5, 9.5]]])
    assert np.abs(box_of(found["box_mask"][0, 0]) - found["boxes"][0, 0]).max() <= 0.5
    np.testing.assert_array_equal(found["mask"], found["box_mask"][:, 0] * 7)
    assert (found["mask"].dtype, found["box_visible"]) == (np.uint8, [[1.0]])


SHAPES = np.random.default_rng(0).integers(1, 400, (60, 2)).tolist()


@pytest.mark.parametrize("fit", ["pad", "squash"])
def test_boxes_come_back_to_the_pixels_of_the_original_image(fit):
    """In float64 to rounding, and as float32 of a square of 160 pixels to far less than half a pixel of it."""
    rng = np.random.default_rng(1)
    for w, h in SHAPES:
        through = objects.window(w, h, Framing(160, fit))
        corners = np.sort(rng.uniform(0, (w, h), (20, 2, 2)), 1).reshape(20, 4)
        back, visible = objects.boxes(objects.boxes(corners, through)[0].astype(float), objects.inverse(through, w, h))
        np.testing.assert_allclose(back, corners, atol=1e-3)
        np.testing.assert_allclose(visible, 1, atol=1e-2)


def test_boxes_that_leave_the_original_image_are_clipped_to_it():
    through = objects.window(60, 40, Framing(120, "pad"))  # twice the size, 20 rows above and below
    back, visible = objects.boxes(np.array([[0, 0, 120, 120.0], [20, 40, 60, 140]]), objects.inverse(through, 60, 40))
    np.testing.assert_array_equal(back, [[0, 0, 60, 40], [10, 10, 30, 40]])
    np.testing.assert_allclose(visible, [80 / 120, 60 / 100])


@pytest.mark.parametrize(("fit", "expected"), [("pad", [4, 1]), ("squash", [2, 0.5]), ("crop", [1, 0.25])])
def test_pixels_of_the_square_have_an_area_in_the_original_image(fit, expected):
    sizes = np.array([[64, 32], [16, 32]])
    np.testing.assert_allclose(objects.pixel_areas(sizes, Framing(32, fit)), expected)


def test_a_map_of_classes_comes_back_where_the_square_is_not_coarser():
    for w, h in SHAPES:
        through = objects.window(w, h, Framing(400, "pad"))
        pixels = np.random.default_rng(w).integers(0, 255, (h, w), np.uint8)
        framed = objects.mask(pixels, through, outside=255)
        assert (framed == 255).sum() == 400 * 400 - (framed != 255).any(0).sum() * (framed != 255).any(1).sum()
        np.testing.assert_array_equal(objects.mask(framed, objects.inverse(through, w, h)), pixels)


def test_a_mask_comes_back_from_a_coarser_square_to_half_a_pixel_of_it():
    for w, h in SHAPES:
        through = objects.window(w, h, Framing(32, "pad"))
        rows, columns = np.indices((h, w))
        back = objects.mask(objects.mask(np.stack([columns, rows]), through, -1), objects.inverse(through, w, h), -1)
        assert (back >= 0).all()
        assert (np.abs(back - [columns, rows]).max((1, 2)) <= 0.5 / through.scale + 0.5).all()


def test_what_the_square_cuts_off_comes_back_as_said():
    through = objects.window(60, 40, Framing(40))  # columns 10 to 50 are seen
    back = objects.mask(np.ones((40, 40), np.uint8), objects.inverse(through, 60, 40), outside=255)
    np.testing.assert_array_equal(back, np.where(np.abs(np.arange(60) - 29.5) < 20, 1, 255)[None].repeat(40, 0))
