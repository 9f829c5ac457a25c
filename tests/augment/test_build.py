"""What holds for every operation, through the pipeline that a config builds."""

from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efficient_jax import augment
from efficient_jax.errors import UserError

SETTINGS = {
    "brightness": {"strength": 0.5},
    "brightness_add": {"amount": 0.3},
    "contrast": {"strength": 0.5},
    "saturation": {"strength": 0.5},
    "hue": {"strength": 0.3},
    "gamma": {"strength": 1.0},
    "color_jitter": {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1},
    "posterize": {"bits": 3},
    "solarize": {"threshold": 100},
    "solarize_add": {},
    "equalize": {},
    "autocontrast": {},
    "invert": {},
    "grayscale": {},
    "channel_shuffle": {},
    "channel_drop": {"fill": 0.5},
    "sharpness": {"strength": 0.5},
    "gaussian_blur": {},
    "motion_blur": {"length": 5},
    "gaussian_noise": {"std": 0.2},
    "shot_noise": {"photons": 20.0},
    "salt_and_pepper": {"amount": 0.3},
    "jpeg": {},
    "flip": {},
    "flip_vertical": {},
    "rot90": {},
    "rotate": {},
    "shear": {},
    "translate": {},
    "scale": {},
    "affine": {"rotate": 20.0, "shear": 0.2, "translate": 0.2, "scale": 0.2},
    "affine_from_points": {"old": ((0.0, 0.0), (8.0, 0.0), (0.0, 8.0)), "new": ((1.0, 0.0), (8.0, 2.0), (0.0, 7.0))},
    "perspective": {},
    "elastic": {"alpha": 9.0, "sigma": 3.0},
    "grid_distortion": {"steps": 3},
    "crop": {"padding": 2},
    "center_crop": {"size": (9, 9)},
    "pad": {"pixels": 0},
    "resize": {"size": (9, 9)},
    "random_resized_crop": {},
    "filter_boxes": {},
    "cutout": {"size": 4},
    "random_erasing": {},
    "gridmask": {},
    "randaugment": {"magnitude": 8.0, "magnitude_std": 1.0, "ops": ("rotate", "brightness", "sharpness")},
    "autoaugment": {"policy": "svhn"},
    "trivialaugment": {},
    "augmix": {},
    "three_augment": {},
    "ink_bleed": {},
    "fading": {},
    "dithering": {},
    "blot": {"radius": 0.3},
    "paper_tint": {},
    "texture": {},
    "folding_shadow": {"reach": 0.5},
    "lighting_gradient": {},
    "document_scan": {},
    "mixup": {"alpha": 0.4},
    "cutmix": {"alpha": 1.0},
    "mixup_or_cutmix": {},
    "saliency_cutmix": {"blocks": 3},
    "mosaic": {},
    "copy_paste": {},
}
NOTHING = {
    "brightness": {"strength": 0.0},
    "brightness_add": {"amount": 0.0},
    "contrast": {"strength": 0.0},
    "saturation": {"strength": 0.0},
    "hue": {"strength": 0.0},
    "gamma": {"strength": 0.0},
    "color_jitter": {},
    "posterize": {"bits": 8},
    "solarize": {"threshold": 256},
    "solarize_add": {"amount": 0},
    "sharpness": {"strength": 0.0},
    "gaussian_blur": {"kernel": 1},
    "motion_blur": {"length": 1},
    "gaussian_noise": {"std": 0.0},
    "salt_and_pepper": {"amount": 0.0},
    "flip": {"probability": 0.0},
    "flip_vertical": {"probability": 0.0},
    "rotate": {"degrees": 0.0},
    "shear": {"x": 0.0},
    "translate": {"x": 0.0, "y": 0.0},
    "scale": {"scale": 0.0},
    "affine": {},
    "affine_from_points": {"old": ((0.0, 0.0), (8.0, 0.0), (0.0, 8.0)), "new": ((0.0, 0.0), (8.0, 0.0), (0.0, 8.0))},
    "perspective": {"distortion": 0.0},
    "elastic": {"alpha": 0.0},
    "grid_distortion": {"limit": 0.0},
    "crop": {},
    "center_crop": {"size": (9, 9)},
    "pad": {"pixels": 0},
    "resize": {"size": (9, 9)},
    "random_resized_crop": {"area_min": 1.0, "ratio": 1.0},
    "filter_boxes": {},
    "ink_bleed": {"strength": 0.0},
    "fading": {"strength": 0.0},
    "blot": {"strength": 0.0},
    "paper_tint": {"lightness": 1.0, "warmth": 0.0},
    "texture": {"strength": 0.0},
    "folding_shadow": {"strength": 0.0},
    "lighting_gradient": {"strength": 0.0},
    "document_scan": {"strength": 0.0},
    "randaugment": {"magnitude": 0.0, "ops": ("rotate", "shear_y", "color", "posterize", "sharpness")},
}
OUTCOMES = {  # of eight draws for one image, at least; 6 where nothing is said
    **dict.fromkeys(("posterize", "solarize", "equalize", "autocontrast", "invert", "grayscale"), 1),
    **dict.fromkeys(("center_crop", "pad", "resize", "filter_boxes", "dithering"), 1),
    "affine_from_points": 1,
    **dict.fromkeys(("flip", "flip_vertical", "channel_drop", "copy_paste"), 2),
    **{"rot90": 3, "channel_shuffle": 3, "trivialaugment": 5},
}
FLOAT_OUT = ("mixup", "mixup_or_cutmix")
COMPOSED = ("document_scan", "autoaugment", "trivialaugment", "three_augment")  # of others, and slow to compile
RNG = np.random.default_rng(0)


def batch(channels=3, dtype=jnp.uint8, n=8, objects=False):
    image = RNG.integers(0, 256, (n, 9, 9, channels), dtype=np.uint8)
    if n == 8:
        image[4:] = np.array([0, 255, 0, 0], np.uint8)[:, None, None, None]  # black, white, one pixel, two levels
        image[6, -1, -1] = 255
        image[7, RNG.random((9, 9)) < 0.5] = 255
    corner = jnp.asarray(RNG.integers(0, 5, (n, 2, 2)).astype(np.float32))
    inside = (np.arange(9)[:, None] < 6) & (np.arange(9) > 3)
    boxes = {
        "boxes": jnp.concatenate([corner, corner + 3], axis=-1),
        "box_visible": jnp.ones((n, 2)),
        "box_mask": jnp.broadcast_to(jnp.asarray(inside), (n, 2, 9, 9)),
    }
    return (boxes if objects else {}) | {
        "image": jnp.asarray(image) if dtype == jnp.uint8 else jnp.asarray(image / np.float32(255)),
        "label": jax.nn.one_hot(jnp.arange(n), n),
        "row": jnp.arange(n),
        "saliency": jnp.asarray(RNG.random((n, 9, 9), dtype=np.float32)),
    }


@lru_cache
def compiled(name):
    """One function for all tests, so that a form (channels, dtype) of eight images is compiled once."""
    return jax.jit(augment.build((name,), SETTINGS))


def test_every_operation_is_tested_here():
    assert set(SETTINGS) == set(augment.OPS | augment.MIXES)


@pytest.mark.parametrize(
    ("name", "channels", "dtype"),
    [(name, channels, jnp.uint8) for name in SETTINGS for channels in ((3,) if name in COMPOSED else (1, 3))]
    # The others: test_any_content.py, of float32 images and those of one pixel.
    + [(name, 3, jnp.float32) for name in (*augment.MIXES, "augmix", "center_crop")],
)
def test_range_dtype_and_other_entries_are_kept(key, name, dtype, channels):
    before = batch(channels, dtype, objects=name == "copy_paste")
    after = compiled(name)(jax.random.split(key, 8), before)
    assert after["image"].shape == before["image"].shape
    assert after["image"].dtype == (jnp.float32 if name in FLOAT_OUT else dtype)
    assert after["image"].min() >= 0
    assert after["image"].max() <= (1 if after["image"].dtype == jnp.float32 else 255)
    np.testing.assert_array_equal(after["row"], before["row"])


@pytest.mark.usefixtures("every_platform")
@pytest.mark.parametrize("name", SETTINGS)
def test_every_operation_has_a_form_for_other_platforms(key, name):
    """It is traced only: what it computes is that of the form for CPUs, see `kernels.loops.platform_loop`."""
    examples = batch(objects=name == "copy_paste")
    after = jax.eval_shape(augment.build((name,), SETTINGS), jax.random.split(key, 8), examples)
    assert after["image"].shape == examples["image"].shape


@pytest.mark.parametrize("name", NOTHING)
def test_zero_strength_changes_nothing(key, name):
    levels, floats = batch(), batch(dtype=jnp.float32)
    built = augment.build((name,), NOTHING)
    run = jax.jit(lambda keys, *batches: [built(keys, each)["image"] for each in batches])
    of_levels, of_floats = run(jax.random.split(key, 8), levels, floats)
    np.testing.assert_array_equal(of_levels, levels["image"])
    np.testing.assert_allclose(of_floats, floats["image"], atol=1e-6)


@pytest.mark.parametrize("name", SETTINGS)
def test_images_draw_for_themselves(key, name):
    examples = batch(objects=name == "copy_paste")
    same = {entry: jnp.concatenate([x[:2]] * 4) for entry, x in examples.items()}  # four pairs of the same two images
    halves = jax.random.split(key, 16).reshape(2, 8)
    after = np.concatenate([compiled(name)(keys, same)["image"] for keys in halves])
    distinct = len({image.tobytes() for image in after[::2]})
    assert distinct >= OUTCOMES.get(name, 6)
    assert distinct <= 2 or not name.startswith("flip")


@pytest.mark.parametrize("name", augment.MIXES)
def test_the_same_in_a_batch_of_any_size(key, name):
    whole, keys = batch(objects=name == "copy_paste"), jax.random.split(key, 8)
    run = compiled(name)
    halves = [run(keys[i : i + 4], {name: x[i : i + 4] for name, x in whole.items()}) for i in (0, 4)]
    together = run(keys, whole)
    for entry, expected in together.items():
        np.testing.assert_array_equal(np.concatenate([half[entry] for half in halves]), expected, err_msg=entry)


@pytest.mark.parametrize("name", augment.OPS)
def test_alone_as_in_a_batch(key, name):
    examples, keys = batch(), jax.random.split(key, 8)
    op = jax.jit(lambda key, example: augment.OPS[name](jax.random.fold_in(key, 0), example, **SETTINGS[name]))
    together = compiled(name)(keys, examples)
    for i in range(8):
        alone = op(keys[i], {entry: x[i] for entry, x in examples.items()})
        np.testing.assert_array_equal(alone["image"], together["image"][i])


def test_operations_run_in_order_with_keys_by_position(key):
    keys, before = jax.random.split(key, 8), batch()
    built = jax.jit(augment.build(("flip", "mixup", "flip"), SETTINGS))(keys, before)

    @jax.jit
    def one_after_the_other(keys, expected):
        for position, op in enumerate(
            (jax.vmap(augment.flip), lambda k, b: augment.mixup(k, b, alpha=0.4), jax.vmap(augment.flip))
        ):
            expected = op(jax.vmap(lambda k, position=position: jax.random.fold_in(k, position))(keys), expected)
        return expected

    for entry, value in one_after_the_other(keys, before).items():
        np.testing.assert_array_equal(built[entry], value)


def test_no_operations_is_the_identity(key):
    before = batch()
    assert augment.build((), {})(jax.random.split(key, 8), before) is before


def test_unknown_names_are_refused():
    with pytest.raises(UserError, match="did you mean 'cutmix'"):
        augment.build(("cutmx",), {})
