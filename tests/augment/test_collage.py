from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage, stats

from efficient_jax import augment
from efficient_jax.augment.collage import copy_paste, mosaic
from efficient_jax.augment.kernels.targets import boxes_of_masks
from efficient_jax.errors import UserError

B, N, HEIGHT, WIDTH = 16, 3, 12, 10
OTHER = np.arange(B) ^ 1
ROW = np.arange(B)[:, None]


def tight(mask):
    """By scipy, in (left, top, right, bottom)."""
    found = ndimage.find_objects(mask.astype(int))
    if not found:
        return (0, 0, 0, 0)
    rows, columns = found[0]
    return (columns.start, rows.start, columns.stop, rows.stop)


def numbered_images(b=B):
    """Every pixel says which image it is from, and where; two rectangles that do not overlap, and a missing one."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    image = np.stack(np.broadcast_arrays(np.arange(b)[:, None, None], y, x), -1).astype(np.uint8)
    left = np.stack([rng.integers(0, 3, b), rng.integers(5, 8, b), np.zeros(b, int)], 1)
    top = rng.integers(0, 7, (b, N))
    right, bottom = left + rng.integers(1, 3, (b, N)), top + rng.integers(1, 6, (b, N))
    boxes = np.stack([left, top, right, bottom], -1) * np.array([1, 1, 0])[:, None]
    covers = [boxes[..., i, None, None] for i in range(4)]
    box_mask = (x >= covers[0]) & (x < covers[2]) & (y >= covers[1]) & (y < covers[3])
    batch = {
        "image": image,
        "label": np.eye(b, dtype=np.float32),
        "mask": np.max(box_mask * (ROW[:b, :, None, None] + 1), 1).astype(np.int32),
        "boxes": boxes.astype(np.float32),
        "box_visible": np.broadcast_to(np.float32([1, 0.5, 0]), (b, N)),
        "box_mask": box_mask,
        "box_class": np.broadcast_to(np.arange(N, dtype=np.int32), (b, N)),
        "keypoints": rng.integers(0, (WIDTH, HEIGHT), (b, 2, 2)).astype(np.float32),
        "keypoint_visible": np.broadcast_to([True, False], (b, 2)),
    }
    return {name: jnp.asarray(x) for name, x in batch.items()}


def run(op, key, batch=None, **settings):
    before = numbered_images() if batch is None else batch
    after = jax.jit(partial(op, **settings))(jax.random.split(key, len(before["image"])), before)
    return {k: np.asarray(x) for k, x in before.items()}, {k: np.asarray(x) for k, x in after.items()}


def at(image, points):
    """The pixels [b k c] at points (x, y)."""
    x, y = points.astype(int).transpose(2, 0, 1)
    return image[np.arange(len(image))[:, None], y, x]


def test_boxes_of_masks_are_scipys():
    masks = np.random.default_rng(0).random((20, 6, 9)) < 0.05
    masks[0] = False
    np.testing.assert_array_equal(jax.jit(boxes_of_masks)(masks), [tight(mask) for mask in masks])


def test_mosaic_shows_four_images_around_their_corner(key):
    _, after = run(mosaic, key)
    which, y, x = (after["image"][..., i].astype(int) for i in range(3))
    rows = (which[:, :, 0] ^ np.arange(B)[:, None]) < 2  # above the corner
    columns = (which[:, 0] ^ np.arange(B)[:, None]) % 2 == 0
    for i in range(B):
        down, across = rows[i].sum(), columns[i].sum()
        quadrant = 2 * (np.arange(HEIGHT) >= down)[:, None] + (np.arange(WIDTH) >= across)
        np.testing.assert_array_equal(which[i], i ^ quadrant)
        np.testing.assert_array_equal(y[i], np.broadcast_to(np.arange(HEIGHT)[:, None] - down, y[i].shape) % HEIGHT)
        np.testing.assert_array_equal(x[i], np.broadcast_to(np.arange(WIDTH) - across, x[i].shape) % WIDTH)


def test_mosaic_labels_are_the_fractions_of_pixels(key):
    _, after = run(mosaic, key)
    counts = [np.bincount(image[..., 0].ravel(), minlength=B) for image in after["image"]]
    np.testing.assert_allclose(after["label"], np.array(counts) / (HEIGHT * WIDTH), atol=1e-6)


def test_mosaic_moves_masks_with_the_pixels(key):
    before, after = run(mosaic, key)
    which, y, x = after["image"].astype(int).transpose(3, 0, 1, 2)
    np.testing.assert_array_equal(after["mask"], before["mask"][which, y, x])
    own = which == (np.arange(B)[:, None] ^ np.arange(4))[..., None, None].transpose(1, 0, 2, 3)
    for quadrant in range(4):
        expected = before["box_mask"][which, :, y, x].transpose(0, 3, 1, 2) & own[quadrant][:, None]
        np.testing.assert_array_equal(after["box_mask"][:, quadrant * N : (quadrant + 1) * N], expected)


def test_mosaic_boxes_are_those_of_their_masks(key):
    before, after = run(mosaic, key)
    assert after["boxes"].shape == (B, 4 * N, 4)
    np.testing.assert_array_equal(after["boxes"], [[tight(mask) for mask in masks] for masks in after["box_mask"]])
    source = (np.arange(B)[:, None] ^ np.arange(4)).repeat(N, 1), np.tile(np.arange(N), 4)
    whole = np.maximum(before["box_mask"].sum((2, 3))[source], 1)
    visible = before["box_visible"][source] * after["box_mask"].sum((2, 3)) / whole
    np.testing.assert_allclose(after["box_visible"], visible, atol=1e-6)
    np.testing.assert_array_equal(after["box_class"], np.broadcast_to(np.tile(np.arange(N), 4), (B, 4 * N)))
    assert ((visible > 0) & (visible < before["box_visible"][source])).mean() > 0.1  # some are cut


def test_mosaic_keypoints_stay_on_their_pixels(key):
    before, after = run(mosaic, key)
    pixels = np.concatenate([at(before["image"], before["keypoints"])[np.arange(B) ^ i] for i in range(4)], 1)
    seen = after["keypoint_visible"]
    inside = ((after["keypoints"] >= 0) & (after["keypoints"] < [WIDTH, HEIGHT])).all(-1)
    np.testing.assert_array_equal(seen, inside & np.tile([True, False], 4))
    points = np.where(inside[..., None], after["keypoints"], 0)
    np.testing.assert_array_equal(at(after["image"], points)[seen], pixels[seen])


@pytest.mark.parametrize(("center_min", "first", "last"), [(0.25, 3, 9), (0.0, 0, 12), (0.5, 6, 6)])
def test_the_corner_of_a_mosaic_is_uniform(key, center_min, first, last):
    image = jnp.broadcast_to(jnp.arange(1200)[:, None, None, None] % 4 // 2, (1200, 12, 4, 1)).astype(jnp.uint8)
    _, after = run(mosaic, key, {"image": image}, center_min=center_min)
    down = (after["image"][:, :, 0, 0] == np.asarray(image)[:, :, 0, 0]).sum(1)
    counts = np.bincount(down, minlength=last + 1)
    assert counts[:first].sum() == 0
    assert len(counts) == last + 1
    assert last == first or stats.chisquare(counts[first:]).pvalue > 1e-3


def test_copy_paste_takes_every_pixel_from_one_of_the_two(key):
    before, after = run(copy_paste, key)
    pasted = after["box_mask"][:, N:].any(1)
    for name in ("image", "mask"):
        where = pasted[..., None] if name == "image" else pasted
        np.testing.assert_array_equal(after[name], np.where(where, before[name][OTHER], before[name]))
    weight = pasted.mean((1, 2))[:, None]
    np.testing.assert_allclose(
        after["label"], (1 - weight) * before["label"] + weight * before["label"][OTHER], atol=1e-6
    )
    assert 0 < pasted.mean() < 1


def test_copy_paste_leaves_each_pixel_to_one_object(key):
    before, after = run(copy_paste, key)
    assert after["box_mask"].sum(1).max() == 1
    pasted = after["box_mask"][:, N:].any(1)
    np.testing.assert_array_equal(after["box_mask"][:, :N], before["box_mask"] & ~pasted[:, None])
    visible = after["box_visible"][:, N:] > 0
    np.testing.assert_array_equal(after["box_mask"][:, N:], before["box_mask"][OTHER] & visible[..., None, None])


def test_copy_paste_boxes_are_those_of_what_is_left(key):
    before, after = run(copy_paste, key, object_probability=0.8)
    seen = after["box_visible"] > 0
    boxes = np.array([[tight(mask) for mask in masks] for masks in after["box_mask"]])
    np.testing.assert_array_equal(after["boxes"], boxes * seen[..., None])
    share = after["box_mask"][:, :N].sum((2, 3)) / np.maximum(before["box_mask"].sum((2, 3)), 1)
    expected = np.where(share >= 0.1, before["box_visible"] * share, 0)
    np.testing.assert_allclose(after["box_visible"][:, :N], expected, atol=1e-6)
    np.testing.assert_allclose(after["box_visible"][:, N:], before["box_visible"][OTHER] * seen[:, N:], atol=1e-6)
    np.testing.assert_array_equal(after["box_class"], np.broadcast_to([0, 1, 2] * 2, (B, 2 * N)))
    assert ((share > 0) & (share < 1)).mean() > 0.1


def test_copy_paste_drops_what_is_nearly_covered(key):
    before, after = run(copy_paste, key, object_probability=1.0, min_visible=0.7)
    pasted = (before["box_mask"] & (before["box_visible"] > 0)[..., None, None])[OTHER].any(1, keepdims=True)
    left = (before["box_mask"] & ~pasted).sum((2, 3))
    share = left / np.maximum(before["box_mask"].sum((2, 3)), 1)
    dropped = (share < 0.7) & (before["box_visible"] > 0)
    assert (dropped & (share > 0.1)).any()
    np.testing.assert_array_equal(after["box_visible"][:, :N] > 0, (before["box_visible"] > 0) & ~dropped)
    assert not after["boxes"][:, :N][dropped].any()
    assert not after["box_mask"][:, :N][dropped].any()


def test_copy_paste_draws_each_object_for_itself(key):
    many = {name: jnp.tile(x[:2], (500, *[1] * (x.ndim - 1))) for name, x in numbered_images().items()}
    _, after = run(copy_paste, key, many, object_probability=0.3)
    pasted = after["box_visible"][:, N : N + 2] > 0  # the third object is not there
    assert np.abs(pasted.mean(0) - 0.3).max() < 5 * (0.21 / 1000) ** 0.5
    assert abs(np.corrcoef(pasted.T)[0, 1]) < 0.15
    assert not (after["box_visible"][:, N + 2] > 0).any()


def test_pasting_nothing_changes_nothing(key):
    before, after = run(copy_paste, key, object_probability=0.0)
    for name, value in after.items():
        grows = name.startswith(("box", "keypoint"))
        np.testing.assert_array_equal(value[:, : before[name].shape[1]] if grows else value, before[name], err_msg=name)
    assert not after["box_visible"][:, N:].any()
    assert not after["keypoint_visible"][:, 2:].any()


def test_copy_paste_shows_the_keypoints_of_what_is_in_front(key):
    before, after = run(copy_paste, key, object_probability=0.7)
    for points, visible in ((after["keypoints"][:, :2], slice(0, 2)), (after["keypoints"][:, 2:], slice(2, 4))):
        own = at(after["image"], points)[..., 0] == np.arange(B)[:, None]
        expected = (own if visible.start == 0 else ~own) & np.array([True, False])
        np.testing.assert_array_equal(after["keypoint_visible"][:, visible], expected)
    np.testing.assert_array_equal(after["keypoints"][:, 2:], before["keypoints"][OTHER])


def numbers(box_mask):
    """The map of objects that do not overlap."""
    return np.max(box_mask * np.arange(1, box_mask.shape[1] + 1)[:, None, None], axis=1).astype(np.int32)


@pytest.mark.parametrize(("op", "settings"), [(augment.mosaic, {}), (augment.copy_paste, {"object_probability": 0.7})])
def test_an_object_map_is_as_good_as_masks(key, op, settings):
    before, with_masks = run(op, key, **settings)
    batch = {name: jnp.asarray(x) for name, x in before.items() if name != "box_mask"}
    batch["object_map"] = jnp.asarray(numbers(before["box_mask"]).astype(np.uint16))
    _, with_map = run(op, key, batch, **settings)
    assert with_map.keys() == batch.keys()
    np.testing.assert_array_equal(with_map.pop("object_map"), numbers(with_masks["box_mask"]))
    for name, value in with_map.items():
        np.testing.assert_array_equal(value, with_masks[name], err_msg=name)


def test_without_masks_boxes_are_pasted(key):
    """The masks of these images fill their boxes."""
    before, with_masks = run(copy_paste, key, object_probability=0.7)
    batch = {name: jnp.asarray(x) for name, x in before.items() if name != "box_mask"}
    _, with_boxes = run(copy_paste, key, batch, object_probability=0.7)
    for name, value in with_boxes.items():
        np.testing.assert_array_equal(value, with_masks[name], err_msg=name)


@pytest.mark.parametrize("cut_out_by", ["object_map", "mask"])
def test_without_boxes_each_number_is_pasted_or_not(key, cut_out_by):
    plain = {name: x for name, x in numbered_images().items() if name in ("image", "label", "mask")}
    shapes = numbers(np.asarray(numbered_images()["box_mask"]))
    batch = plain | ({"object_map": jnp.asarray(shapes)} if cut_out_by == "object_map" else {})
    before, after = run(copy_paste, key, batch)
    assert after.keys() == before.keys()
    cut = before[cut_out_by][OTHER]
    pasted = after["image"][..., 0] != np.arange(B)[:, None, None]
    assert 0 < pasted[cut > 0].mean() < 1
    assert not pasted[cut == 0].any()
    for i in range(B):
        for number in np.unique(cut[i]):
            assert np.ptp(pasted[i][cut[i] == number].astype(int)) == 0  # all of its pixels, or none
    np.testing.assert_array_equal(after["image"], np.where(pasted[..., None], before["image"][OTHER], before["image"]))
    np.testing.assert_array_equal(after["mask"], np.where(pasted, before["mask"][OTHER], before["mask"]))
    np.testing.assert_allclose(after["label"].max(1), np.maximum(1 - pasted.mean((1, 2)), pasted.mean((1, 2))))


@pytest.mark.parametrize(
    "entries", [("boxes", "box_visible", "box_label", "box_mask"), ("mask",), ("mask", "object_map")]
)
def test_classes_may_have_a_probability_each(key, entries):
    """Of each image the first object has class 0, which is never pasted, and the second class 1, which always is."""
    all_of = numbered_images()
    shapes = numbers(np.asarray(all_of["box_mask"]))
    more = {"box_label": all_of["box_class"], "mask": jnp.asarray(shapes), "object_map": jnp.asarray(7 * shapes)}
    batch = {name: (all_of | more)[name] for name in ("image", *entries)}
    _, after = run(copy_paste, key, batch, object_probability=(0.0, 1.0, 0.0))
    pasted = after["image"][..., 0] != np.arange(B)[:, None, None]
    np.testing.assert_array_equal(pasted, shapes[OTHER] == 2)


@pytest.mark.parametrize("op", [mosaic, copy_paste, augment.cutmix, augment.saliency_cutmix])
def test_objects_of_two_images_stay_apart(key, op):
    shapes = numbers(np.asarray(numbered_images()["box_mask"]))
    batch = {"image": numbered_images()["image"], "object_map": jnp.asarray(shapes), "saliency": jnp.ones(shapes.shape)}
    settings = {"blocks": 2} if op is augment.saliency_cutmix else {}
    _, after = run(op, key, batch, **settings)
    which, y, x = after["image"].astype(int).transpose(3, 0, 1, 2)
    old = shapes[which, y, x]
    np.testing.assert_array_equal(after["object_map"] > 0, old > 0)
    for i in range(B):
        there = old[i] > 0
        pairs = {*zip(which[i][there], old[i][there], after["object_map"][i][there], strict=True)}
        assert len(pairs) == len({pair[:2] for pair in pairs}) == len({pair[2] for pair in pairs})


def test_bad_input_is_refused(key):
    def traced(op, batch, **settings):
        jax.eval_shape(partial(op, **settings), jax.random.split(key, len(batch["image"])), batch)

    batch = numbered_images(4)
    with pytest.raises(UserError, match="center_min"):
        traced(mosaic, batch, center_min=0.6)
    with pytest.raises(UserError, match="multiple of 4 examples, not 6"):
        traced(mosaic, numbered_images(6))
    with pytest.raises(UserError, match="copy_paste: object_probability"):
        traced(copy_paste, batch, object_probability=1.5)
    for given, message in (
        ({"object_probability": (0.5, 1.5)}, r"object_probability \(0\.5, 1\.5\)"),
        ({"object_probability": (0.5, 0.5)}, "has 2 values for 4 classes"),
        ({"object_probability": (0.5,) * 4}, "the batch no 'box_label'"),
    ):
        more = {"box_label": batch["box_class"]} if "2 values" in message else {}
        with pytest.raises(UserError, match=message):
            traced(copy_paste, batch | more, **given)
    for name, message in (("boxes", "'boxes'"), ("box_visible", "box_visible")):
        with pytest.raises(UserError, match=message):
            traced(augment.copy_paste, {k: x for k, x in batch.items() if k != name})
    with pytest.raises(
        UserError, match="no objects; want 'boxes' and their 'box_visible', an 'object_map', or a 'mask'"
    ):
        traced(copy_paste, {name: batch[name] for name in ("image", "label")})
    with pytest.raises(UserError, match="distributions"):
        traced(copy_paste, batch | {"label": jnp.arange(4)})


def test_copy_paste_takes_only_objects_that_are_there(key):
    hidden = numbered_images() | {"box_visible": jnp.zeros((B, N))}
    before, after = run(copy_paste, key, hidden, object_probability=1.0)
    np.testing.assert_array_equal(after["image"], before["image"])
    empty = numbered_images() | {"box_visible": jnp.ones((B, N))}  # the third is said to be there, but has no pixels
    _, after = run(copy_paste, key, empty, object_probability=1.0)
    np.testing.assert_array_equal(after["box_visible"][:, N:], np.broadcast_to([1, 1, 0], (B, N)))
