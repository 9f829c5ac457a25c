"""Of every operation, mix and choice: entries that fit keep their kind, what does not fit is one line."""

from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from efficient_jax import augment
from efficient_jax.augment import entries
from efficient_jax.errors import UserError
from tests.augment.test_build import SETTINGS

NAMES = [*augment.OPS, *augment.MIXES]
TARGETS = {"mask", "object_map", "boxes", "box_visible", "box_mask", "box_label", "keypoints", "keypoint_visible"}
TAKEN = {  # of the targets, where an operation refuses the others
    "augmix": set(),
    "mixup": set(),
    "mixup_or_cutmix": set(),
    "cutmix": {"mask", "object_map"},
    "saliency_cutmix": {"mask", "object_map"},
}
GROWN = {"mosaic": 4, "copy_paste": 2}
FLOATS = ("float32", "bfloat16", "float16")
ANY = ("bool", "uint8", "int32", *FLOATS)
KEY = jax.eval_shape(lambda: jax.random.key(0))
B = 4
some = partial(settings, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
sides = st.sampled_from((9, 12))


def example(h=9, w=12, n=2, k=3, image="uint8", visible="float32"):
    """Shapes and dtypes alone; an example is traced, never computed."""
    shapes = {
        "image": ((h, w, 3), image),
        "label": ((5,), "float32"),
        "saliency": ((h, w), "float32"),
        "mask": ((h, w), "int32"),
        "object_map": ((h, w), "int32"),
        "boxes": ((n, 4), "float32"),
        "box_visible": ((n,), visible),
        "box_mask": ((n, h, w), "bool"),
        "box_label": ((n,), "int32"),
        "keypoints": ((k, 2), "float32"),
        "keypoint_visible": ((k,), visible),
    }
    return {name: jax.ShapeDtypeStruct(shape, dtype) for name, (shape, dtype) in shapes.items()}


def batched(entry):
    return jax.ShapeDtypeStruct((B, *entry.shape), entry.dtype)


def traced(name, one):
    """What the operation makes of an example, or the mix of a batch, as shapes and dtypes of one."""
    if name in augment.OPS:
        return jax.eval_shape(partial(augment.OPS[name], **SETTINGS[name]), KEY, one)
    mix = partial(augment.MIXES[name], **SETTINGS[name])
    after = jax.eval_shape(mix, batched(KEY), jax.tree.map(batched, one))
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), after)


@lru_cache
def built(name):
    return augment.build((name,), SETTINGS)


def through_build(name, one):
    jax.eval_shape(built(name), batched(KEY), jax.tree.map(batched, one))


@lru_cache
def out_size(name, h, w):
    after = traced(name, {entry: x for entry, x in example(h, w).items() if entry in {"image", *taken(name)}})
    return after["image"].shape[:2]


def taken(name):
    return TAKEN.get(name, TARGETS)


@pytest.mark.parametrize("name", NAMES)
@some(max_examples=3)
@given(
    image=st.sampled_from(("uint8", *FLOATS)),
    visible=st.sampled_from(ANY),
    n=st.sampled_from((0, 2)),
    k=st.sampled_from((0, 3)),
)
def test_dtypes_are_kept_and_empty_stays_empty(name, image, visible, n, k):
    one = {entry: x for entry, x in example(9, 9, n, k, image, visible).items() if entry not in TARGETS - taken(name)}
    after = traced(name, one)
    mixed = image == "uint8" and name in ("mixup", "mixup_or_cutmix")
    assert after["image"].dtype == ("float32" if mixed else image)
    height, width = after["image"].shape[:2]
    rows = GROWN.get(name, 1)
    expected = example(height, width, rows * n, rows * k) | {
        "keypoint_visible": jax.ShapeDtypeStruct((rows * k,), bool)
    }
    for entry in taken(name):
        assert (after[entry].shape, after[entry].dtype) == (expected[entry].shape, expected[entry].dtype), entry


FAULTS = {  # an entry that does not fit, its shape and dtype, and what is said of it
    "mask of another size": ("mask", "h w+1", "int32", "'image' is"),
    "mask of half the size": ("mask", "h-4 w-4", "int32", "'image' is"),
    "turned mask": ("mask", "w+3 h", "int32", "'image' is"),
    "mask with an axis more": ("mask", "h w 1", "int32", r"\[(b )?h w\]"),
    "mask of floats": ("mask", "h w", "float32", "integer"),
    "object_map of another size": ("object_map", "h w+1", "uint16", "'image' is"),
    "object_map of floats": ("object_map", "h w", "float32", "integer"),
    "boxes with a class": ("boxes", "n 5", "float32", r"\[(b )?n 4\]"),
    "one box": ("boxes", "4", "float32", r"\[(b )?n 4\]"),
    "another number of boxes": ("boxes", "n+1 4", "float32", "'box(es|_visible)' is"),
    "box_mask of another size": ("box_mask", "n h+1 w", "bool", "'image' is"),
    "another number of masks": ("box_mask", "n+2 h w", "bool", "'box(es|_visible)' is"),
    "one box_mask": ("box_mask", "h w", "bool", r"\[(b )?n h w\]"),
    "box_mask of floats": ("box_mask", "n h w", "float32", "bool"),
    "another number of classes": ("box_label", "n+1", "int32", "'box(es|_visible)' is"),
    "another number of shares": ("box_visible", "n+1", "float32", "'box(es|_visible)' is"),
    "keypoints of objects": ("keypoints", "n k 2", "float32", r"\[(b )?k 2\]"),
    "keypoints with visibility": ("keypoints", "k 3", "float32", r"\[(b )?k 2\]"),
    "another number of keypoints": ("keypoints", "k+1 2", "float32", "'keypoints' is"),
    "a column of visibility": ("keypoint_visible", "k 1", "bool", r"\[(b )?k\]"),
    "wide integers": ("image", "h w 3", "int32", "uint8 in 0..255 or float32"),
    "levels of 16 bits": ("image", "h w 3", "uint16", "/ 65535"),
    "bits": ("image", "h w 3", "bool", "uint8 in 0..255 or float32"),
    "no channels": ("image", "h w", "uint8", "h w c"),
    **{
        wrong: (wrong, "n 4", "float32", f"did you mean '{right}'")
        for right, wrongs in entries.OTHER_NAMES.items()
        for wrong in wrongs
        if not (right == "box_mask" and wrong in entries.OTHER_NAMES["mask"])
    },
    **{wrong: (wrong, "k 2", "float32", "mean 'keypoints'") for wrong in ("keypoint", "keypionts")},
    **{wrong: (wrong, "n 4", "float32", "mean 'boxes'") for wrong in ("Boxes", "boxs")},
}


@pytest.mark.parametrize("name", NAMES)
@some(max_examples=12)
@given(h=sides, w=sides, n=st.integers(1, 3), k=st.integers(3, 5), fault=st.sampled_from(sorted(FAULTS)))
def test_what_does_not_fit_is_refused(name, h, w, n, k, fault):
    entry, shape, dtype, said = FAULTS[fault]
    sizes = {"h": h, "w": w, "n": n, "k": k}
    wrong = [sizes[dim[0]] + int(dim[1:] or 0) if dim[0] in sizes else int(dim) for dim in shape.split()]
    one = example(h, w, n, k) | {entry: jax.ShapeDtypeStruct(wrong, dtype)}
    for run in (traced, through_build):
        with pytest.raises(UserError, match=said) as error:
            run(name, one)
        assert repr(entry) in str(error.value) or entry == "image"
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", NAMES)
def test_half_of_a_pair_is_refused(name):
    for pair in entries.PAIRS:
        for missing in pair:
            one = {entry: x for entry, x in example().items() if entry != missing}
            with pytest.raises(UserError, match=f"needs '{missing}' too"):
                traced(name, one)


@pytest.mark.parametrize("name", NAMES)
def test_one_key_for_each_example(name):
    images = jnp.zeros((B, 9, 9, 3), jnp.uint8)
    keys = jax.random.split(jax.random.key(0), B)
    several = [built(name)]
    if name in augment.MIXES:
        several.append(augment.MIXES[name])
    for run in several:
        with pytest.raises(UserError, match=r"one key for each of 4 examples, jax.random.split\(key, 4\); got one key"):
            run(keys[0], {"image": images})
        with pytest.raises(UserError, match=r"got keys of shape \[3\]"):
            run(keys[:3], {"image": images})
        with pytest.raises(UserError, match=r"'label' is float32.*, but the batch has 4 images"):
            run(keys, {"image": images, "label": jnp.zeros((2, 5))})
    if name in augment.OPS:
        with pytest.raises(UserError, match="one key for one example"):
            augment.OPS[name](keys, {"image": images[0]}, **SETTINGS[name])
        with pytest.raises(UserError, match=r"jax.random.key\(seed\), not 7"):
            augment.OPS[name](7, {"image": images[0]}, **SETTINGS[name])
        with pytest.raises(UserError, match="a batch goes through"):
            augment.OPS[name](keys[0], {"image": images}, **SETTINGS[name])


@pytest.mark.parametrize("name", augment.OPS)
@some(max_examples=2)
@given(dtype=st.sampled_from(FLOATS), low=st.sampled_from((0.0, -2.0)), high=st.sampled_from((255.0, 1.01, np.nan)))
def test_floats_outside_the_range_are_refused_where_they_can_be_seen(name, dtype, low, high):
    image = np.linspace(low, high, 9 * 9 * 3).reshape(9, 9, 3).astype(dtype)
    with pytest.raises(UserError, match=r"a float image is in 0\.\.1, this one is in"):
        augment.OPS[name](jax.random.key(0), {"image": image}, **SETTINGS[name])
    constant = jnp.asarray(image)
    with pytest.raises(UserError, match=r"a float image is in 0\.\.1"):
        jax.eval_shape(lambda key: augment.OPS[name](key, {"image": constant}, **SETTINGS[name]), KEY)
    with pytest.raises(UserError, match=r"a float image is in 0\.\.1"):
        built(name)(jax.random.split(jax.random.key(0), 2), {"image": jnp.stack([image] * 2)})


@pytest.mark.parametrize("names", [("flip", "invert"), ("some_of",), ("cutmix",)])
def test_raw_keys_draw_what_typed_keys_draw(names):
    keys, image = jax.random.split(jax.random.key(0), 2), jnp.arange(2 * 4 * 4, dtype=jnp.uint8).reshape(2, 4, 4, 1)
    pipeline = augment.build(names, {"some_of": {"ops": ("flip", "invert"), "n_min": 1, "n_max": 2}})
    typed, raw = (pipeline(each, {"image": image})["image"] for each in (keys, jax.random.key_data(keys)))
    np.testing.assert_array_equal(typed, raw)


def test_visible_means_above_zero():
    image = {"image": jnp.zeros((4, 6, 1), jnp.uint8), "keypoints": jnp.ones((4, 2)), "boxes": jnp.zeros((4, 4))}
    coco = jnp.array([2, 1, 0, -1])
    for dtype in (jnp.int32, jnp.int8, jnp.float32, jnp.bfloat16):
        visible = {"keypoint_visible": coco.astype(dtype), "box_visible": coco.astype(dtype)}
        found = augment.invert(jax.random.key(0), image | visible)
        np.testing.assert_array_equal(found["keypoint_visible"], [True, True, False, False])
        whole = jnp.issubdtype(dtype, jnp.integer)
        np.testing.assert_array_equal(found["box_visible"], [1, 1, 0, 0] if whole else [2, 1, 0, -1])
        assert found["box_visible"].dtype == jnp.float32
    masks = {"box_mask": jnp.array([0, 1, 255, 2], jnp.uint8)[:, None, None] * jnp.ones((4, 4, 6), jnp.uint8)}
    found = augment.invert(jax.random.key(0), image | visible | masks)
    np.testing.assert_array_equal(found["box_mask"][:, 0, 0], [False, True, True, True])


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_floats_are_the_float32_image_rounded_once(key, dtype):
    image = jnp.asarray(np.random.default_rng(0).random((9, 9, 3), dtype=np.float32)).astype(dtype)
    for name in ("affine", "color_jitter"):
        run = jax.jit(partial(augment.OPS[name], **SETTINGS[name]))
        exact = run(key, {"image": image.astype(jnp.float32)})["image"].astype(dtype)
        # Near black two programs may round a difference of float32 in two ways; beyond that every bit is the same.
        found, exact = (np.asarray(x, np.float32) for x in (run(key, {"image": image})["image"], exact))
        np.testing.assert_allclose(found, exact, rtol=0, atol=1e-7)


@pytest.mark.parametrize("size", [(7, 20), (33, 5), (60, 60)])
def test_resized_floats_stay_between_the_least_and_the_most(size):
    levels = np.linspace(0, 1, 61 * 61 * 3, dtype=np.float32).reshape(61, 61, 3)
    flat = np.linspace(0, 1, 64, dtype=np.float32)[:, None, None, None] * np.ones((61, 61, 3), np.float32)
    images = jnp.asarray(np.concatenate([flat, levels[None]]))
    keys = jax.random.split(jax.random.key(0), len(images))
    small = jax.jit(jax.vmap(partial(augment.resize, size=size)))(keys, {"image": images})["image"]
    np.testing.assert_array_equal(small[:64], np.broadcast_to(flat[:, :1, :1], small[:64].shape))
    assert 0 <= small[64].min() < 0.1 < 0.9 < small[64].max() <= 1


def test_choices_check_and_name_what_they_are_given(key):
    spots = {"keypoints": jnp.zeros((2, 2)), "keypoint_visible": jnp.array([2, 0])}
    image = {"image": jnp.zeros((6, 6, 3), jnp.uint8)}
    pair = (augment.invert, augment.flip)
    choices = (
        augment.one_of(pair),
        augment.some_of(pair, n_min=1, n_max=2),
        augment.with_probability(augment.flip, 0.5),
        augment.by_class(pair),
    )
    for choice in choices:
        after = jax.eval_shape(choice, key, image | spots | {"label": jnp.zeros(2)})
        assert after["keypoint_visible"].dtype == bool
        with pytest.raises(UserError, match="did you mean 'boxes'"):
            choice(key, image | {"bboxes": jnp.zeros((2, 4)), "label": jnp.zeros(2)})
    for choose in (augment.one_of, partial(augment.some_of, n_min=0, n_max=1), augment.by_class):
        with pytest.raises(UserError, match=r"want a tuple of functions .*, got 'flip'; names stand in a config"):
            choose("flip")
        with pytest.raises(UserError, match="got 'flip'"):
            choose(("flip", augment.flip))
        with pytest.raises(UserError, match=r"one alone is \(augmentation,\)"):
            choose(augment.flip)
    with pytest.raises(UserError, match="got 'flip'"):
        augment.with_probability("flip", 0.5)


def test_a_string_is_no_list_of_names(key):
    with pytest.raises(UserError, match=r"augment.ops: want a tuple of names, such as \('flip',\), got 'flip'"):
        augment.build("flip", {})
    with pytest.raises(UserError, match=r"randaugment.ops: want a tuple of names, such as \('rotate',\)"):
        augment.randaugment(key, {"image": jnp.zeros((6, 6, 3), jnp.uint8)}, ops="rotate")
    with pytest.raises(UserError, match=r"augment\.ops: want a tuple of names"):
        augment.operations({"ops": "flip"})


def test_a_mix_is_given_what_else_it_takes(key):
    def shifted(keys, batch, amount, *, times=1):
        del keys
        return batch | {"image": batch["image"] + times * amount}

    keys, batch = jax.random.split(key, 2), {"image": jnp.zeros((2, 1, 1, 1), jnp.bfloat16)}
    after = entries.checked_mix(shifted)(keys, batch, jnp.float32(2), times=3)
    np.testing.assert_array_equal(after["image"], jnp.full((2, 1, 1, 1), 6, jnp.bfloat16))
