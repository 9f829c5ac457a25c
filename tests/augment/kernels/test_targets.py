from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efficient_jax.augment.geometry import affine, crop_flip, elastic, fused, resize
from efficient_jax.augment.kernels import matrices, targets
from efficient_jax.errors import UserError

HEIGHT, WIDTH = 30, 40
BOXES = np.array([[5, 4, 17, 12], [20, 10, 38, 28], [0, 0, 0, 0]], np.float32)
POINTS = np.array([[6, 5], [30, 20], [12, 24]], np.float32)


def scene():
    """Two boxes filled with their classes, and a padding row; three points."""
    mask, box_mask = np.zeros((HEIGHT, WIDTH), np.int32), np.zeros((3, HEIGHT, WIDTH), bool)
    for row, (left, top, right, bottom) in enumerate(BOXES[:2].astype(int)):
        mask[top:bottom, left:right] = row + 1
        box_mask[row, top:bottom, left:right] = True
    return {
        "image": jnp.asarray(np.stack([mask * 100] * 3, -1).astype(np.uint8)),
        "mask": jnp.asarray(mask),
        "object_map": jnp.asarray(mask.astype(np.uint16)),
        "box_mask": jnp.asarray(box_mask),
        "boxes": jnp.asarray(BOXES),
        "box_visible": jnp.array([1.0, 1.0, 0.0]),
        "box_label": jnp.array([7, 8, 0]),
        "keypoints": jnp.asarray(POINTS),
        "keypoint_visible": jnp.array([True, True, False]),
    }


MOVES = {
    "rotate": (affine.rotate, {"degrees": 40.0}),
    "shear": (affine.shear, {"y": 0.2}),
    "translate": (affine.translate, {"x": 0.4, "y": 0.4}),
    "scale": (affine.scale, {"scale": 0.5}),
    "perspective": (affine.perspective, {}),
    "elastic": (elastic.elastic, {"alpha": 40.0, "sigma": 5.0}),
    "grid_distortion": (elastic.grid_distortion, {}),
    "flip": (crop_flip.flip, {}),
    "flip_vertical": (crop_flip.flip_vertical, {}),
    "rot90": (crop_flip.rot90, {}),
    "crop": (crop_flip.crop, {"size": (20, 31)}),
    "pad": (crop_flip.pad, {"pixels": 3}),
    "resize": (resize.resize, {"size": (45, 50)}),
    "random_resized_crop": (resize.random_resized_crop, {"area_min": 0.3}),
}
EXACT = ("flip", "flip_vertical", "rot90", "crop", "pad")


def tight(mask):
    y, x = np.nonzero(mask)
    return np.array([x.min(), y.min(), x.max() + 1, y.max() + 1]) if len(x) else None


@cache
def eight(name):
    """Results of eight keys, of an image with a bump on each of the points, a channel for each."""
    op, settings = MOVES[name]
    example = scene() | {"keypoint_visible": jnp.ones(3, bool)}
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    bumps = [np.exp(-((x - a) ** 2 + (y - b) ** 2) / 6) for a, b in POINTS]
    example["image"] = jnp.asarray(np.stack(bumps, -1).astype(np.float32))
    run = jax.jit(jax.vmap(lambda k: op(k, example, **settings)))
    return jax.tree.map(np.asarray, run(jax.random.split(jax.random.key(0), 8)))


move = jax.jit(targets.move, static_argnums=2)


@pytest.mark.parametrize("name", MOVES)
def test_boxes_are_hulls_of_their_masks(name):
    out = eight(name)
    for i in range(8):
        for row in range(2):
            box, inner = out["boxes"][i, row], tight(out["box_mask"][i, row])
            if inner is None:
                assert out["box_visible"][i, row] < 0.12
                continue
            slack = 0 if name in EXACT else 1  # a pixel belongs to a mask when its centre does
            assert (box[:2] <= inner[:2] + slack).all(), (box, inner)
            assert (box[2:] >= inner[2:] - slack).all(), (box, inner)
            if name in (*EXACT, "resize", "scale", "random_resized_crop", "grid_distortion", "translate"):
                assert np.abs(box - inner).max() <= slack
    assert not out["box_visible"][:, 2].any()
    assert not out["boxes"][:, 2].any()
    np.testing.assert_array_equal(out["box_label"], np.tile([7, 8, 0], (8, 1)))
    np.testing.assert_array_equal(out["mask"], out["box_mask"][:, 0] + 2 * out["box_mask"][:, 1])
    np.testing.assert_array_equal(out["mask"], out["object_map"])


@pytest.mark.parametrize("name", MOVES)
def test_keypoints_stay_on_what_they_mark(name):
    out = eight(name)
    _, height, width, _ = out["image"].shape
    y, x = np.mgrid[:height, :width]
    for i in range(8):
        for k in range(3):
            bump, (left, top) = out["image"][i, ..., k], out["keypoints"][i, k]
            inside = -0.5 <= left < width - 0.5 and -0.5 <= top < height - 0.5
            assert out["keypoint_visible"][i, k] == inside
            if 4 < left < width - 5 and 4 < top < height - 5:
                centre = np.array([(bump * x).sum(), (bump * y).sum()]) / bump.sum()
                assert np.abs(centre - [left, top]).max() < (1.0 if name in ("elastic", "grid_distortion") else 0.5)


def test_rigid_motion_keeps_distances(key):
    def pairwise(points):
        return np.linalg.norm(points[:, None] - points[None], axis=-1)

    steps = [fused.Step("rotate", {"degrees": 30.0}), fused.Step("translate", {"x": 0.1, "y": 0.1})]
    moved = jax.jit(fused.chain(steps))(key, scene())
    np.testing.assert_allclose(pairwise(np.asarray(moved["keypoints"])), pairwise(POINTS), rtol=1e-4)


@pytest.mark.parametrize("name", ["rotate", "shear", "translate", "scale", "perspective", "elastic", "flip"])
def test_no_change_leaves_all_targets_as_they_are(key, name):
    nothing = {
        "rotate": {"degrees": 0.0},
        "shear": {"x": 0.0},
        "translate": {"x": 0.0, "y": 0.0},
        "scale": {"scale": 0.0},
        "perspective": {"distortion": 0.0},
        "elastic": {"alpha": 0.0},
        "flip": {"probability": 0.0},
    }[name]
    example = scene()
    out = jax.jit(partial(MOVES[name][0], **nothing))(key, example)
    for entry in example:
        np.testing.assert_allclose(out[entry], example[entry], atol=2e-5, err_msg=entry)


def test_visible_is_what_is_left_of_the_object():
    out = move(scene(), matrices.translation(-11.0, 0.0), (HEIGHT, WIDTH))
    np.testing.assert_allclose(out["boxes"][0], [0, 4, 6, 12])
    assert out["box_visible"][0] == pytest.approx(0.5)
    again = move(out, matrices.translation(-3.0, 0.0), (HEIGHT, WIDTH))
    assert again["box_visible"][0] == pytest.approx(0.25)


def test_what_one_change_lost_the_next_does_not_bring_back():
    there_and_back = jnp.stack([matrices.translation(-11.0, 0.0), matrices.translation(11.0, 0.0)])
    out = move(scene(), there_and_back, (HEIGHT, WIDTH))
    np.testing.assert_allclose(out["boxes"][0], [11, 4, 17, 12])
    assert out["box_visible"][0] == pytest.approx(0.5)
    assert tight(np.asarray(out["box_mask"][0])).tolist() == [11, 4, 17, 12]
    assert not out["mask"][:, :11].any()
    assert out["keypoint_visible"].tolist() == [False, True, False]  # the first point was moved out, the last is hidden


def test_hulls_of_several_changes_do_not_grow():
    there_and_back = jnp.stack([matrices.rotation(30.0), matrices.rotation(-30.0)])
    out = move(scene(), there_and_back, (HEIGHT, WIDTH))
    np.testing.assert_allclose(out["boxes"][0], BOXES[0], atol=1e-3)


def test_flip_swaps_left_and_right(key):
    flip = jax.jit(crop_flip.flip, static_argnames=("probability", "keypoint_pairs"))
    flipped = flip(key, scene(), probability=1.0, keypoint_pairs=((0, 2),))
    mirrored = np.column_stack([WIDTH - 1 - POINTS[:, 0], POINTS[:, 1]])
    np.testing.assert_allclose(flipped["keypoints"], mirrored[[2, 1, 0]])
    np.testing.assert_array_equal(flipped["keypoint_visible"], [False, True, True])
    still = flip(key, scene(), probability=0.0, keypoint_pairs=((0, 2),))
    np.testing.assert_array_equal(still["keypoints"], POINTS)


def test_filter_drops_small_and_hidden_boxes(key):
    example = scene() | {"box_visible": jnp.array([0.3, 1.0, 0.0])}
    kept = targets.filter_boxes(key, example, min_visibility=0.4, at_most=2)
    np.testing.assert_array_equal(kept["boxes"], [BOXES[1], np.zeros(4)])
    np.testing.assert_array_equal(kept["box_visible"], [1, 0])
    np.testing.assert_array_equal(kept["box_label"], [8, 7])
    assert kept["box_mask"].shape == (2, HEIGHT, WIDTH)
    np.testing.assert_array_equal(kept["object_map"], kept["box_mask"][0])
    small = targets.filter_boxes(key, example, min_area=100.0)
    np.testing.assert_array_equal(small["box_visible"], [0, 1, 0])
    np.testing.assert_array_equal(small["object_map"], 2 * np.asarray(small["box_mask"][1]))
    np.testing.assert_array_equal(targets.filter_boxes(key, example)["boxes"], BOXES)


def test_nothing_of_it_is_computed_without_targets():
    image = {"image": scene()["image"]}
    assert targets.move(image, matrices.rotation(3.0), (HEIGHT, WIDTH)) is image


def test_what_is_missing_is_named(key):
    example = scene()
    del example["box_visible"]
    with pytest.raises(UserError, match="'boxes' needs 'box_visible'"):
        affine.rotate(key, example)
    with pytest.raises(UserError, match="integer"):
        affine.rotate(key, {"image": example["image"], "mask": jnp.zeros((HEIGHT, WIDTH))})


def test_far_zooms_move_everything_alike():
    white = scene() | {"image": jnp.full((HEIGHT, WIDTH, 1), 255, jnp.uint8), "mask": jnp.ones((HEIGHT, WIDTH), int)}
    frame_box = jnp.tile(jnp.array([0.0, 0.0, WIDTH, HEIGHT]), (3, 1))
    out = jax.jit(affine.transform)(white | {"boxes": frame_box}, matrices.zooming(1 / 8, 1 / 8))
    assert (np.asarray(out["image"]) > 127).sum(1).max() == pytest.approx(WIDTH / 8, abs=1)
    np.testing.assert_allclose(tight(np.asarray(out["mask"])), out["boxes"][0], atol=1)


def test_masks_of_images_squeezed_one_way_and_stretched_the_other(key):
    rows = jnp.broadcast_to(jnp.arange(64)[:, None], (64, 8))
    image = (4 * rows).astype(jnp.uint8)[..., None]
    out = jax.jit(partial(resize.resize, size=(8, 64)))(key, {"image": image, "mask": rows})
    assert np.abs(np.asarray(out["image"][..., 0], float) / 4 - np.asarray(out["mask"])).max() <= 4
    np.testing.assert_array_equal(out["mask"][:, 0], np.arange(8) * 8 + 4)


def test_no_flip_is_bit_equal(key):
    odd = jnp.asarray(np.random.default_rng(0).uniform(0, 20, (500, 4)).astype(np.float32))
    odd = jnp.concatenate([odd[:, :2], odd[:, :2] + 1 + odd[:, 2:] / 4], axis=1)
    rows = {"box_visible": jnp.ones(500), "box_label": jnp.zeros(500, jnp.int32)}
    example = scene() | rows | {"boxes": odd, "box_mask": jnp.zeros((500, HEIGHT, WIDTH), bool)}
    np.testing.assert_array_equal(jax.jit(partial(crop_flip.flip, probability=0.0))(key, example)["boxes"], odd)
