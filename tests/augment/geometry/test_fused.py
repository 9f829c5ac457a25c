"""Chains of changes of geometry against matrices multiplied in float64."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from efficient_jax import augment
from efficient_jax.augment.geometry import affine, crop_flip, fused
from efficient_jax.errors import UserError

HEIGHT, WIDTH = 30, 40
BOXES = np.array([[14, 10, 24, 20], [2, 3, 12, 9], [30, 22, 40, 30]], np.float32)
POINTS = np.array([[15, 12], [30, 20], [12, 24]], np.float32)
BLOCKS = {
    "rotate": {"degrees": 40.0},
    "rotate2": {"op": "rotate", "degrees": (10.0, 60.0)},
    "perspective": {"distortion": 0.5},
    "crop": {"size": (26, 33), "padding": 2},
    "pad": {"pixels": 3},
    "always": {"op": "flip", "probability": 1.0},
    "turned": {"op": "rotate", "degrees": (45.0, 45.0)},
    "gray": {"op": "rotate", "degrees": (45.0, 45.0), "fill": 0.5},
    "whole": {"op": "random_resized_crop", "area_min": 1.0, "ratio": 1.5},
    "still": {"op": "elastic", "alpha": 0.0},
    "not": {"op": "rotate", "degrees": 0.0},
}
KEYS = jax.random.split(jax.random.key(0), 8)


def scene():
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    image = np.stack([127 + 120 * np.sin(x / a + y / b) for a, b in ((4, 7), (9, 5), (6, 6))], -1)
    box_mask = np.zeros((3, HEIGHT, WIDTH), bool)
    for row, (left, top, right, bottom) in enumerate(BOXES.astype(int)):
        box_mask[row, top:bottom, left:right] = True
    return {
        "image": jnp.asarray(image.astype(np.uint8)),
        "boxes": jnp.asarray(BOXES),
        "box_visible": jnp.ones(3),
        "box_mask": jnp.asarray(box_mask),
        "keypoints": jnp.asarray(POINTS),
        "keypoint_visible": jnp.ones(3, bool),
    }


def run(ops, keys=KEYS, blocks=BLOCKS, example=None):
    batch = jax.tree.map(lambda a: jnp.broadcast_to(a, (len(keys), *a.shape)), example or scene())
    pipeline = augment.build(ops, {name: block for name, block in blocks.items() if name in ops})
    return jax.tree.map(np.asarray, jax.jit(pipeline)(keys, batch))


def matrices(ops, key):
    """The forward change in float64, from the corner of the old image to that of the new one; and the new size."""
    (start, stop), size = fused.chains([BLOCKS.get(name, {}).get("op", name) for name in ops])[0], (HEIGHT, WIDTH)
    assert (start, stop) == (0, len(ops))
    forward = np.eye(3)
    for position, name in enumerate(ops):
        op, block = BLOCKS.get(name, {}).get("op", name), dict(BLOCKS.get(name, {}))
        block.pop("op", None)
        own = jax.random.fold_in(jax.random.fold_in(key, 0), position)
        new = size
        if op in crop_flip.MATRICES:
            defaults = {
                "flip": {"probability": 0.5, "keypoint_pairs": ()},
                "crop": {"border": "constant", "fill": 0.0},
                "pad": {"border": "constant", "fill": 0.0},
            }
            inverse, new = crop_flip.MATRICES[op](own, size, **defaults.get(op, {}) | block)
        else:
            inverse = affine.MATRICES[op](own, size, **block)
        to_centre, back = np.eye(3), np.eye(3)
        to_centre[:2, 2], back[:2, 2] = [-size[1] / 2, -size[0] / 2], [new[1] / 2, new[0] / 2]
        forward = back @ np.linalg.inv(np.asarray(inverse, np.float64)) @ to_centre @ forward
        size = new
    return forward, size


def tight_box(forward, box, size):
    left, top, right, bottom = box.astype(float)
    corners = forward @ np.array([[left, right, right, left], [top, top, bottom, bottom], [1, 1, 1, 1]])
    assert (corners[2] > 0).all()
    corners = corners[:2] / corners[2]
    whole = np.concatenate([corners.min(1), corners.max(1)])
    return np.clip(whole, 0, np.tile(np.array(size[::-1], float), 2)), whole


def area(box):
    return np.prod(np.maximum(box[..., 2:] - box[..., :2], 0), axis=-1)


@settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    first=st.sampled_from(["rotate", "perspective"]),
    between=st.lists(
        st.sampled_from(["rotate2", "flip", "crop", "pad", "rot90", "perspective"]), min_size=1, max_size=3, unique=True
    ),
)
def test_boxes_of_any_chain_are_those_of_the_product(first, between):
    ops = (first, *(name for name in between if name != first), "rotate" if first != "rotate" else "shear")
    out = run(ops)
    for i, key in enumerate(KEYS):
        forward, size = matrices(ops, key)
        assert out["image"].shape[1:3] == size
        for row, box in enumerate(BOXES):
            expected, whole = tight_box(forward, box, size)
            seen = out["boxes"][i, row]
            share = area(expected) / area(whole)
            np.testing.assert_allclose(out["box_visible"][i, row], share, atol=2e-3)
            if share > 1e-3:
                np.testing.assert_allclose(seen, expected, atol=2e-2, err_msg=str(ops))
            assert area(seen) <= area(expected) + 0.5
        points = forward @ np.vstack([POINTS.T + 0.5, np.ones(3)])
        np.testing.assert_allclose(out["keypoints"][i], (points[:2] / points[2]).T - 0.5, atol=2e-2)


@pytest.mark.parametrize("ops", [("rotate", "flip", "rotate2"), ("rotate", "pad", "perspective", "crop", "rotate2")])
@pytest.mark.parametrize("border", ["constant", "edge", "reflect"])
def test_pixels_are_those_of_one_resample(ops, border):
    modes = {"constant": "grid-constant", "edge": "nearest", "reflect": "mirror"}
    known = ("rotate", "rotate2", "perspective", "pad", "crop")
    blocks = {name: block | ({"border": border} if name in known else {}) for name, block in BLOCKS.items()}
    out = run(ops, KEYS[:3], blocks)
    for i, key in enumerate(KEYS[:3]):
        forward, size = matrices(ops, key)
        y, x = np.mgrid[: size[0], : size[1]] + 0.5
        seen = np.linalg.inv(forward) @ np.stack([x.ravel(), y.ravel(), np.ones(x.size)])
        seen = (seen[:2] / np.where(seen[2] > 0, seen[2], 1e-9) - 0.5)[::-1].reshape(2, *size)
        channels = np.moveaxis(np.asarray(scene()["image"]).astype(float), -1, 0)
        planes = [ndimage.map_coordinates(plane, seen, order=1, mode=modes[border]) for plane in channels]
        difference = np.abs(out["image"][i] - np.stack(planes, -1))
        assert difference.max() <= 3
        assert difference.mean() < 0.6


@pytest.mark.parametrize(
    "between", [("always",), ("always", "whole"), ("still",), ("pad",), ("gray", "always", "gray")]
)
def test_a_hull_does_not_grow(between):
    """Turned by 45 degrees, then by 45 again or mirrored in between: the box of a square has the square's area."""
    ops = ("turned", *between, "turned")
    out = run(ops, KEYS[:1])
    if "always" in between:
        left, top, right, bottom = BOXES[0]
        np.testing.assert_allclose(out["boxes"][0, 0], [WIDTH - right, top, WIDTH - left, bottom], atol=1e-2)
    assert area(out["boxes"][0, 0]) == pytest.approx(100, rel=2e-2)


def test_a_mask_lies_in_its_box():
    out = run(("perspective", "flip", "rotate", "crop", "perspective"))
    for i in range(len(KEYS)):
        for row in range(3):
            y, x = np.nonzero(out["box_mask"][i, row])
            if len(x):
                box = out["boxes"][i, row]
                assert (box[:2] <= [x.min() + 1, y.min() + 1]).all()
                assert (box[2:] >= [x.max(), y.max()]).all()


def test_whole_pixels_stay_whole_between_resamples():
    """flip, crop and pad inside a chain that turns nothing: numpy's pixels, and boxes of them."""
    out = run(("not", "always", "crop", "pad", "not"))
    padded = np.pad(np.asarray(scene()["image"])[:, ::-1], ((2, 2), (2, 2), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (26, 33, 3)).reshape(-1, 26, 33, 3)
    for image in out["image"]:
        assert (windows == image[3:-3, 3:-3]).all((1, 2, 3)).any()
        # beyond the window the image goes on, where there is one: nothing is cut in between
        grown = np.pad(np.asarray(scene()["image"])[:, ::-1], ((8, 8), (8, 8), (0, 0)))
        wider = np.lib.stride_tricks.sliding_window_view(grown, (32, 39, 3)).reshape(-1, 32, 39, 3)
        assert (wider == image).all((1, 2, 3)).any()


def test_only_exact_operations_stay_exact():
    ops = ("rot90", "crop", "always", "pad", "flip_vertical")
    assert fused.chains(["rot90", "crop", "flip", "pad", "flip_vertical"]) == []
    out = run(ops, KEYS[:4])

    @jax.jit
    def one_after_the_other(key):
        expected = scene()
        for position, name in enumerate(ops):
            op, block = BLOCKS.get(name, {}).get("op", name), dict(BLOCKS.get(name, {}))
            block.pop("op", None)
            expected = augment.OPS[op](jax.random.fold_in(key, position), expected, **block)
        return expected["image"]

    for key, image in zip(KEYS[:4], out["image"], strict=True):
        np.testing.assert_array_equal(image, one_after_the_other(key))


def test_what_belongs_together():
    assert fused.chains(["crop", "flip", "rotate", "flip", "pad"]) == []
    assert fused.chains(["flip", "rotate", "flip", "shear", "crop"]) == [(1, 4)]
    assert fused.chains(["rotate", "brightness", "shear", "resize", "perspective"]) == [(2, 5)]


def test_keypoints_change_sides_in_a_chain():
    blocks = BLOCKS | {"always": {"op": "flip", "probability": 1.0, "keypoint_pairs": ((0, 2),)}}
    out = run(("turned", "always", "turned"), KEYS[:1], blocks)
    mirrored = np.column_stack([WIDTH - 1 - POINTS[:, 0], POINTS[:, 1]])[[2, 1, 0]]
    np.testing.assert_allclose(out["keypoints"][0], mirrored, atol=1e-2)


def test_a_probability_inside_a_chain():
    square = {"image": scene()["image"][:, :HEIGHT]}
    blocks = {
        "some": {"op": "rotate", "degrees": (90.0, 90.0), "probability": 0.5},
        "bent": {"op": "elastic", "alpha": 50.0, "probability": 0.0},
        "not": {"op": "rotate", "degrees": 0.0},
        "cropped": {"op": "crop", "size": (20, 20), "probability": 0.5},
    }
    keys = jax.random.split(jax.random.key(1), 40)
    out = run(("some", "bent", "not"), keys, blocks, square)["image"]
    image = np.asarray(square["image"])
    turned = (out == np.rot90(image)).all((1, 2, 3))
    assert (turned | (out == image).all((1, 2, 3))).all()
    assert 8 < turned.sum() < 32
    with pytest.raises(UserError, match=r"crop: .* must keep the size of the image, 30 x 30"):
        run(("not", "cropped", "some"), keys, blocks, square)


def test_parts_with_other_borders_lose_what_they_move_out():
    """A box that the first part moved out stays out, as its pixels do."""
    steps = [
        fused.Step("translate", {"x": (0.5, 0.5), "y": 0.0, "fill": 0.5}),
        fused.Step("translate", {"x": (-0.5, -0.5), "y": 0.0, "fill": 0.0}),
    ]
    out = jax.jit(partial(fused.chain(steps)))(KEYS[0], scene())
    assert out["box_visible"][2] == 0
    np.testing.assert_allclose(out["boxes"][0], [14, 10, 20, 20], atol=1e-3)
    assert out["box_visible"][0] == pytest.approx(0.6, abs=1e-3)
    assert not out["image"][:, 20:].any()
    assert not out["box_mask"][2].any()
