"""Whatever the key, the image and the boxes: a result within its range, or one line of explanation; never a NaN."""

from functools import lru_cache

import jax
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from efficient_jax import augment
from efficient_jax.errors import UserError
from tests.augment.test_build import COMPOSED, SETTINGS

FLOATS = ((5, 8, 3), np.float32)
FORMS = (((1, 1, 1), np.uint8), FLOATS)  # uint8 images of three channels and the same contents: test_build.py
CONTENTS = ("black", "white", "noise", "one pixel", "two levels")
OBJECTS = 2
REFUSED = ("augmix", "center_crop")  # masks under mixed chains; a window of 9 x 9


def image(content, shape, seed, dtype):
    rng = np.random.default_rng(seed)
    levels = {
        "black": np.zeros(shape),
        "white": np.full(shape, 255),
        "noise": rng.integers(0, 256, shape),
        "one pixel": np.zeros(shape),
        "two levels": 255 * rng.integers(0, 2, shape),
    }[content].astype(np.uint8)
    if content == "one pixel":
        levels[-1, -1] = 255
    return levels if dtype == np.uint8 else levels / np.float32(255)


def targets(shape, boxes, seed):
    """Boxes anywhere, inside the image or not, empty or not; empty and full masks."""
    height, width, _ = shape
    rng = np.random.default_rng(seed)
    return {
        "boxes": np.array(boxes, np.float32),
        "box_visible": rng.integers(0, 2, OBJECTS).astype(np.float32),
        "box_mask": rng.integers(0, 2, (OBJECTS, 1, 1)).astype(bool) & np.ones((OBJECTS, height, width), bool),
        "mask": rng.integers(0, 3, (height, width)).astype(np.int32),
        "keypoints": np.array(boxes, np.float32)[:, :2],
        "keypoint_visible": rng.integers(0, 3, OBJECTS).astype(np.int32),  # as COCO has it
    }


@lru_cache
def compiled(name):
    return jax.jit(jax.vmap(lambda key, example: augment.OPS[name](key, example, **SETTINGS[name])))


@pytest.mark.parametrize(
    ("name", "form"), [(name, form) for name in augment.OPS for form in ((FLOATS,) if name in COMPOSED else FORMS)]
)
@settings(max_examples=3, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    seed=st.integers(0, 2**31),
    contents=st.lists(st.sampled_from(CONTENTS), min_size=8, max_size=8),
    boxes=st.lists(st.lists(st.floats(-20, 20, width=32), min_size=4, max_size=4), min_size=OBJECTS, max_size=OBJECTS),
)
def test_a_good_result_or_one_line(name, form, seed, contents, boxes):
    shape, dtype = form
    examples = {"image": np.stack([image(content, shape, seed + i, dtype) for i, content in enumerate(contents)])}
    examples["row"] = np.arange(8)
    moved = targets(shape, boxes, seed)
    examples |= {entry: np.broadcast_to(value, (8, *value.shape)) for entry, value in moved.items()}
    keys = jax.random.split(jax.random.key(seed), 8)
    if name in REFUSED:
        with pytest.raises(UserError, match=f"^{name}"):
            compiled(name)(keys, examples)
        return
    out = jax.tree.map(np.asarray, compiled(name)(keys, examples))
    assert out["image"].dtype == dtype
    above_zero = {"keypoint_visible": (examples["keypoint_visible"] > 0).astype(np.int32)}
    assert out["keypoint_visible"].dtype == bool
    assert not out["keypoint_visible"][examples["keypoint_visible"] == 0].any()
    np.testing.assert_array_equal(
        out["keypoint_visible"], compiled(name)(keys, examples | above_zero)["keypoint_visible"]
    )
    assert 0 <= out["image"].min() <= out["image"].max() <= (255 if dtype == np.uint8 else 1)
    np.testing.assert_array_equal(out["row"], examples["row"])
    height, width = out["image"].shape[1:3]
    assert (height, width) == ((9, 9) if name == "resize" else shape[:2])
    assert 0 <= out["box_visible"].min() <= out["box_visible"].max() <= 1 + 1e-5
    seen = out["boxes"][out["box_visible"] > 0]
    assert np.isfinite(out["keypoints"]).all()
    assert np.isfinite(out["boxes"]).all()
    if name in MOVING:
        assert (seen[:, :2] >= -1e-3).all()
        assert (seen[:, 2:] <= np.array([width, height]) + 1e-3).all()
        assert (seen[:, :2] <= seen[:, 2:]).all()
    assert out["mask"].shape == (8, height, width)
    assert out["mask"].max() <= 2


MOVING = (
    "rotate",
    "shear",
    "translate",
    "scale",
    "affine",
    "perspective",
    "elastic",
    "grid_distortion",
    "flip",
    "crop",
)
