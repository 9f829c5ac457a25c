"""uint8 operations against Pillow, level for level."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from efficient_jax.augment import color, filters, kernels
from efficient_jax.types import UserError

RNG = np.random.default_rng(0)
FACTORS = np.array([0, 102, 333, 1024, 1500, 1946], np.int32)  # in 1024ths
PICTURES = {
    "noise": RNG.integers(0, 256, (24, 21, 3), dtype=np.uint8),
    "dull": (RNG.normal(90, 20, (24, 21, 3)).clip(37, 170)).astype(np.uint8),
    "flat": np.full((24, 21, 3), 77, np.uint8),
    "digit": (255 * RNG.random((24, 21, 1)) ** 8).astype(np.uint8),
}


@pytest.fixture(params=PICTURES)
def image(request):
    return PICTURES[request.param]


def pillow(image, operation):
    out = operation(Image.fromarray(image[..., 0] if image.shape[2] == 1 else image))
    return np.asarray(out).reshape(image.shape)


@jax.jit
def enhanced(image, factor):
    pixels, channels = kernels.pack(image), image.shape[-1]
    mean = color.mean_level(pixels, channels)

    def through(table):
        return kernels.look_up(pixels, jnp.broadcast_to(table, (channels, 256)))

    out = {
        "Brightness": through(color.brightness_table(factor)),
        "Contrast": through(color.contrast_table(mean, factor)),
        "Color": color.blend(color.gray(pixels, channels), pixels, factor, channels),
        "Sharpness": color.blend(filters.smooth(pixels), pixels, factor, channels),
    }
    return {name: kernels.unpack(pixels, channels) for name, pixels in out.items()}


@pytest.mark.parametrize("factor", FACTORS)
def test_enhance_operations(image, factor):
    for name, ours in enhanced(image, factor).items():
        theirs = pillow(image, lambda im, name=name: getattr(ImageEnhance, name)(im).enhance(factor / 1024))
        np.testing.assert_array_equal(ours, theirs, err_msg=name)


@jax.jit
def adjusted(image):
    pixels, channels = kernels.pack(image), image.shape[-1]
    out = [color.equalize_tables(pixels, channels), color.autocontrast_tables(pixels, channels)]
    return [kernels.unpack(kernels.look_up(pixels, tables), channels) for tables in out]


def test_equalize(image):
    np.testing.assert_array_equal(adjusted(image)[0], pillow(image, ImageOps.equalize))


def test_autocontrast(image):
    """Equal to Pillow, except where the quotient is whole and Pillow's float64 falls short of it by one level."""
    low, high = (f(image.astype(int), axis=(0, 1)) for f in (np.min, np.max))
    whole = (image.astype(int) - low) * 255 % np.maximum(high - low, 1) == 0
    short = np.asarray(adjusted(image)[1]).astype(int) - pillow(image, ImageOps.autocontrast)
    assert not short[~whole].any()
    assert set(np.unique(short)) <= {0, 1}


@pytest.mark.parametrize("bits", range(9))
def test_posterize(bits):
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    expected = np.asarray(ImageOps.posterize(Image.fromarray(levels), bits)) if bits else np.zeros_like(levels)
    np.testing.assert_array_equal(color.posterize_table(bits), expected.ravel())


@pytest.mark.parametrize("threshold", [0, 1, 100, 255, 256])
def test_solarize(threshold):
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    expected = ImageOps.solarize(Image.fromarray(levels), threshold)
    np.testing.assert_array_equal(color.solarize_table(threshold), np.asarray(expected).ravel())


@pytest.mark.parametrize("name", ["brightness", "contrast"])
@pytest.mark.parametrize("channels", [1, 3])
def test_float_images_get_what_uint8_images_get(key, name, channels):
    image = jnp.asarray(PICTURES["dull"][..., :channels])
    op = jax.jit(lambda key, image: getattr(color, name)(key, {"image": image}, strength=0.4)["image"])
    for k in jax.random.split(key, 3):
        levels, floats = op(k, image), op(k, kernels.to_float(image))
        assert levels.dtype == jnp.uint8
        assert (
            np.abs(255 * np.asarray(floats) - np.asarray(levels)).max() < 1.7
        )  # uint8: factor and mean rounded, the result rounded down


def test_factors_are_uniform_around_one(key):
    image = {"image": jnp.full((1, 1, 1), 0.25)}
    draw = jax.jit(jax.vmap(lambda key: 4 * color.brightness(key, image, strength=0.4)["image"].sum()))
    factors = np.sort(draw(jax.random.split(key, 1000)))
    np.testing.assert_allclose(factors, np.linspace(0.6, 1.4, 1000), atol=0.04)


def test_negative_strength_is_refused(key):
    with pytest.raises(UserError, match="strength"):
        color.contrast(key, {"image": jnp.zeros((4, 4, 1))}, strength=-0.1)


def test_colour_needs_one_or_three_channels():
    with pytest.raises(UserError, match="1 or 3 channels"):
        color.luma(jnp.zeros((4, 4), jnp.uint32), 2)
