"""uint8 operations against Pillow, level for level."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageChops, ImageEnhance, ImageOps
from scipy import stats

from efficient_jax.augment import color, filters
from efficient_jax.augment.kernels import dtypes, packed, pointwise
from efficient_jax.errors import UserError

RNG = np.random.default_rng(0)
FACTORS = np.array([0, 102, 333, 1024, 1500, 1946], np.int32)  # in 1024ths
IMAGES = {
    "noise": RNG.integers(0, 256, (24, 21, 3), dtype=np.uint8),
    "dull": (RNG.normal(90, 20, (24, 21, 3)).clip(37, 170)).astype(np.uint8),
    "flat": np.full((24, 21, 3), 77, np.uint8),
    "digit": (255 * RNG.random((24, 21, 1)) ** 8).astype(np.uint8),
    "pixel": np.array([[[200, 31, 90]]], np.uint8),
}
FIXED = {
    "autocontrast": (color.autocontrast, ImageOps.autocontrast),
    "equalize": (color.equalize, ImageOps.equalize),
    "grayscale": (color.grayscale, lambda im: im.convert("L").convert(im.mode)),
    "invert": (color.invert, ImageOps.invert),
    "posterize": (partial(color.posterize, bits=3), lambda im: ImageOps.posterize(im, 3)),
    "solarize": (partial(color.solarize, threshold=90), lambda im: ImageOps.solarize(im, 90)),
}


@pytest.fixture(params=IMAGES)
def image(request):
    return IMAGES[request.param]


def pillow(image, operation):
    out = operation(Image.fromarray(image[..., 0] if image.shape[2] == 1 else image))
    return np.asarray(out).reshape(image.shape)


def applied(op, image):
    return jax.jit(op)(jax.random.key(0), {"image": jnp.asarray(image)})["image"]


@jax.jit
def enhanced(image, factor):
    pixels, channels = packed.pack(image), image.shape[-1]
    mean = pointwise.mean_level(pixels, channels)

    def through(table):
        return packed.look_up(pixels, jnp.broadcast_to(table, (channels, 256)))

    out = {
        "Brightness": through(pointwise.brightness_table(factor)),
        "Contrast": through(pointwise.contrast_table(mean, factor)),
        "Color": pointwise.blend(pointwise.gray(pixels, channels), pixels, factor, channels),
    }
    if min(image.shape[:2]) > 2:
        out["Sharpness"] = pointwise.blend(filters.smooth(pixels), pixels, factor, channels)
    return {name: packed.unpack(pixels, channels) for name, pixels in out.items()}


@pytest.mark.versions
@pytest.mark.parametrize("factor", FACTORS)
def test_enhance_operations(image, factor):
    for name, ours in enhanced(image, factor).items():
        theirs = pillow(image, lambda im, name=name: getattr(ImageEnhance, name)(im).enhance(factor / 1024))
        np.testing.assert_array_equal(ours, theirs, err_msg=name)


def falls_short(ours, image, theirs):
    """Where Pillow's float64 quotient of autocontrast, a whole one, falls short by one level."""
    low, high = (f(image.astype(int), axis=(0, 1)) for f in (np.min, np.max))
    whole = (image.astype(int) - low) * 255 % np.maximum(high - low, 1) == 0
    return whole & (ours.astype(int) - theirs == 1)


@jax.jit
def fixed(image):
    """What all operations without a draw make of an image, in one program for each shape."""
    return {name: applied(op, image) for name, (op, _) in FIXED.items()}


@pytest.mark.versions
def test_operations_without_a_draw(image):
    for name, ours in fixed(image).items():
        theirs = pillow(image, FIXED[name][1])
        if name == "autocontrast":
            theirs = theirs + falls_short(np.asarray(ours), image, theirs).astype(np.uint8)
        np.testing.assert_array_equal(ours, theirs, err_msg=name)


def test_operations_on_floats_are_those_on_levels(image):
    """Up to the rounding of a uint8 result."""
    levels, floats = fixed(image), fixed(dtypes.to_float(image))
    for name in FIXED:
        rounding = {"autocontrast": 1.0, "grayscale": 0.51}.get(name, 1e-3)
        difference = 255 * np.asarray(floats[name]) - np.asarray(levels[name], np.float32)
        assert np.abs(difference).max() <= rounding, name


@jax.jit
def through_tables(image):
    pixels, channels = packed.pack(image), image.shape[-1]
    tables = {name: getattr(pointwise, f"{name}_tables")(pixels, channels) for name in ("autocontrast", "equalize")}
    return {name: packed.unpack(packed.look_up(pixels, table), channels) for name, table in tables.items()}


def test_tables_do_what_the_operations_do(image):
    operations = fixed(image)
    for name, found in through_tables(image).items():
        np.testing.assert_array_equal(found, operations[name], err_msg=name)


@pytest.mark.parametrize("size", [8, 9])
def test_every_stretch_rounds_down(size):
    """All levels of all ranges, divided as floats and by Python's integers."""
    low, high = (x.ravel() for x in np.triu_indices(256, k=1))
    low, high = low[size::20], high[size::20]
    levels = np.minimum(low + np.arange(256)[:, None], high).astype(np.int32)
    ours = jax.jit(pointwise.stretched)(levels, low.astype(np.int32), high.astype(np.int32))
    np.testing.assert_array_equal(ours, 255 * (levels - low) // (high - low))


@pytest.mark.parametrize("bits", range(9))
def test_posterize(bits):
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    expected = np.asarray(ImageOps.posterize(Image.fromarray(levels), bits)) if bits else np.zeros_like(levels)
    np.testing.assert_array_equal(pointwise.posterize_table(bits), expected.ravel())


@pytest.mark.parametrize("threshold", [0, 1, 100, 255, 256])
def test_solarize(threshold):
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    expected = ImageOps.solarize(Image.fromarray(levels), threshold)
    np.testing.assert_array_equal(pointwise.solarize_table(threshold), np.asarray(expected).ravel())
    op = partial(color.solarize, threshold=threshold)
    np.testing.assert_array_equal(applied(op, levels[..., None])[..., 0], expected)
    floats = applied(op, levels[..., None] / np.float32(255))
    np.testing.assert_allclose(255 * floats[..., 0], expected, atol=1e-3)


@pytest.mark.parametrize("dtype", [jnp.uint8, jnp.float32])
def test_solarize_add_adds_every_number_to_dark_levels(key, dtype):
    levels = np.array([0, 127, 128, 254], np.uint8).reshape(2, 2, 1)
    image = jnp.asarray(levels if dtype == jnp.uint8 else levels / np.float32(255))
    run = jax.vmap(lambda key: color.solarize_add(key, {"image": image}, amount=4)["image"])
    out = np.asarray(jax.jit(run)(jax.random.split(key, 1000)))
    added = (out if dtype == jnp.uint8 else np.round(255 * out)).reshape(-1, 4).astype(int) - levels.ravel()
    np.testing.assert_array_equal(added[:, 0], added[:, 1])
    assert not added[:, 2:].any()
    assert stats.chisquare(np.bincount(added[:, 0], minlength=5)).pvalue > 1e-3


def test_solarize_add_stops_at_white(key):
    image = jnp.full((1, 1, 1), 200, jnp.uint8)
    run = jax.vmap(lambda key: color.solarize_add(key, {"image": image}, amount=255, threshold=256)["image"])
    out = np.asarray(run(jax.random.split(key, 100)))
    assert out.min() >= 200
    assert out.max() == 255


def test_inverting_twice_changes_nothing(image):
    np.testing.assert_array_equal(applied(color.invert, applied(color.invert, image)), image)


def test_posterizing_again_changes_nothing(image):
    once = applied(color.posterize, dtypes.to_float(image))
    np.testing.assert_array_equal(applied(color.posterize, once), once)


@pytest.mark.parametrize("dtype", [jnp.uint8, jnp.float32])
@pytest.mark.parametrize("channels", [2, 3])
def test_channels_are_shuffled_uniformly(key, dtype, channels):
    image = jnp.arange(6 * channels).reshape(2, 3, channels).astype(dtype) / jnp.asarray(18, dtype)
    image = image if dtype == jnp.float32 else jnp.arange(6 * channels, dtype=dtype).reshape(2, 3, channels)
    run = jax.vmap(lambda key: color.channel_shuffle(key, {"image": image})["image"])
    out = np.asarray(jax.jit(run)(jax.random.split(key, 1200)))
    orders = [np.asarray(image)[..., list(order)] for order in itertools.permutations(range(channels))]
    counts = [(out == expected).all((1, 2, 3)).sum() for expected in orders]
    assert sum(counts) == 1200
    assert stats.chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize(("dtype", "value"), [(jnp.uint8, 204), (jnp.float32, 0.8)])
def test_one_channel_is_dropped(key, dtype, value):
    run = jax.vmap(lambda key: color.channel_drop(key, {"image": jnp.ones((2, 3, 3), dtype)}, fill=0.8)["image"])
    out = np.asarray(jax.jit(run)(jax.random.split(key, 900)))
    dropped = np.isclose(out, value).all((1, 2))
    np.testing.assert_array_equal(dropped.sum(1), 1)
    np.testing.assert_array_equal((out == 1).all((1, 2)), ~dropped)
    assert stats.chisquare(dropped.sum(0)).pvalue > 1e-3


@pytest.mark.parametrize("op", [color.grayscale, color.channel_drop, color.channel_shuffle])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_one_channel_stays_as_it_is(op, dtype):
    image = IMAGES["digit"] if dtype == np.uint8 else IMAGES["digit"] / np.float32(255)
    np.testing.assert_allclose(applied(op, image), image, rtol=1e-6)


def test_the_mean_of_a_large_white_image_is_white():
    """The sum is beyond int32."""
    white = jax.ShapeDtypeStruct((), jnp.uint32)
    mean = jax.jit(lambda level: pointwise.mean_level(jnp.broadcast_to(level, (4096, 4096)), 1)).lower(white).compile()
    assert mean(np.uint32(255)) == 255


@pytest.mark.parametrize("image", [jnp.zeros((4, 4, 2), jnp.uint8), jnp.zeros((4, 4, 4))])
def test_colour_needs_one_or_three_channels(image):
    with pytest.raises(UserError, match="1 or 3 channels"):
        applied(color.grayscale, image)


@pytest.mark.parametrize(
    ("op", "message"),
    [
        (partial(color.posterize, bits=9), "bits 9"),
        (partial(color.solarize, threshold=257), "threshold 257"),
        (partial(color.solarize_add, threshold=-1), "threshold -1"),
        (partial(color.solarize_add, amount=256), "amount 256"),
    ],
)
def test_bad_settings_are_refused(op, message):
    with pytest.raises(UserError, match=message):
        applied(op, IMAGES["pixel"])


@pytest.mark.versions
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("constant", [-51, -1, 0, 102, 255])
def test_an_added_constant_is_pillows(key, dtype, constant):
    image = IMAGES["noise"]
    plane = Image.fromarray(np.full_like(image, abs(constant)))
    add = ImageChops.add if constant >= 0 else ImageChops.subtract
    expected = np.asarray(add(Image.fromarray(image), plane), np.float64)
    unit = 1 if dtype == np.uint8 else 255
    given = {"image": jnp.asarray((image / dtype(unit)).astype(dtype))}
    amount = (constant / 255, constant / 255)
    out = jax.jit(partial(color.brightness_add, amount=amount))(key, given)["image"]
    assert out.dtype == dtype
    np.testing.assert_allclose(np.asarray(out, np.float64) * unit, expected, atol=0 if dtype == np.uint8 else 1e-3)


@pytest.mark.parametrize(("amount", "low", "high"), [(0.1, -26, 26), ((0.0, 0.2), 0, 51), ((-0.2, -0.1), -51, -26)])
def test_added_constants_are_uniform(key, amount, low, high):
    example = {"image": jnp.full((1, 1, 1), 100, jnp.uint8)}
    run = jax.jit(jax.vmap(lambda k: color.brightness_add(k, example, amount=amount)["image"][0, 0, 0]))
    added = np.asarray(run(jax.random.split(key, 8000)), int) - 100
    assert stats.chisquare(np.bincount(added - low, minlength=high - low + 1)).pvalue > 1e-3
    with pytest.raises(UserError, match=r"amount 1.5 is not in -1\.\.1"):
        color.brightness_add(key, example, amount=1.5)
