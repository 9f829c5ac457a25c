import colorsys
import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance
from scipy import stats

from efficient_jax.augment import filters, jitter
from efficient_jax.augment.kernels import loops, packed, pointwise
from efficient_jax.augment.kernels.pointwise import ONE, SIXTH
from efficient_jax.errors import UserError

RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (7, 10, 3), dtype=np.uint8)
GRID = np.array(list(itertools.product([0, 1, 50, 128, 200, 254, 255], repeat=3)), np.uint8)[None]
STRENGTHS = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.2, "gamma": 0.5}
ALL = {name: STRENGTHS[name] for name in ("brightness", "contrast", "saturation", "hue")}


def batched(op, image, keys, **settings):
    return jax.jit(jax.vmap(lambda key: op(key, {"image": jnp.asarray(image)}, **settings)["image"]))(keys)


@jax.jit
def turned(image, turn):
    if image.dtype == jnp.uint8:
        return packed.unpack(pointwise.turn_hue(packed.pack(image), turn, 3), 3)
    return pointwise.turn_hue(image, turn, 3)


@pytest.mark.parametrize("degrees", [-180, -77, -60, 0, 13, 120, 179])
def test_hue_turns_as_colorsys_does(degrees):
    def by_colorsys(pixel):
        hue, saturation, value = colorsys.rgb_to_hsv(*(pixel / 255))
        return colorsys.hsv_to_rgb((hue + degrees / 360) % 1, saturation, value)

    expected = 255 * np.apply_along_axis(by_colorsys, -1, GRID.astype(float))
    levels = turned(GRID, jnp.int32(round(degrees / 60 * SIXTH)))
    assert np.abs(np.asarray(levels) - expected).max() < 0.501
    floats = turned(GRID / np.float32(255), jnp.float32(degrees / 60 * SIXTH))
    np.testing.assert_allclose(255 * floats, expected, atol=1e-3)


@pytest.mark.parametrize("sixths", [-2, 0, 2])
def test_a_third_of_the_circle_rolls_the_channels(sixths):
    np.testing.assert_array_equal(turned(GRID, jnp.int32(sixths * SIXTH)), np.roll(GRID, sixths // 2, axis=-1))


def test_two_half_turns_are_none():
    half = jnp.int32(3 * SIXTH)
    np.testing.assert_array_equal(turned(turned(GRID, half), half), GRID)
    np.testing.assert_array_equal(turned(turned(GRID, half), -half), GRID)


def test_a_turn_keeps_gray_value_and_chroma():
    out = np.asarray(turned(GRID, jnp.int32(12345)))
    for extreme in (np.min, np.max):
        np.testing.assert_array_equal(extreme(out, axis=-1), extreme(GRID, axis=-1))


@pytest.mark.parametrize("name", STRENGTHS)
@pytest.mark.parametrize("channels", [1, 3])
def test_float_images_get_what_uint8_images_get(key, name, channels):
    keys, image = jax.random.split(key, 8), NOISE[..., :channels]
    run = jax.jit(partial(batched, getattr(jitter, name), strength=STRENGTHS[name]))
    levels, floats = run(image, keys), run(image / np.float32(255), keys)
    assert levels.dtype == jnp.uint8
    # uint8: amount and mean are rounded, the result is rounded down.
    assert np.abs(255 * np.asarray(floats) - np.asarray(levels)).max() < 1.7


@pytest.mark.parametrize("name", STRENGTHS)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_no_strength_changes_nothing(key, name, dtype):
    image = NOISE if dtype == np.uint8 else NOISE / np.float32(255)
    out = batched(getattr(jitter, name), image, key[None], strength=0.0)[0]
    np.testing.assert_allclose(out, image, atol=0 if dtype == np.uint8 else 1e-6)


def by_pillow(name):
    return lambda image, factor: np.asarray(getattr(ImageEnhance, name)(Image.fromarray(image)).enhance(factor / ONE))


@pytest.mark.parametrize(
    ("name", "enhancer"), [("brightness", "Brightness"), ("contrast", "Contrast"), ("saturation", "Color")]
)
def test_every_draw_is_one_of_pillows(key, name, enhancer):
    """A strength of 1/32 draws 65 factors."""
    out = np.asarray(batched(getattr(jitter, name), NOISE, jax.random.split(key, 64), strength=1 / 32))
    expected = {by_pillow(enhancer)(NOISE, factor).tobytes() for factor in range(ONE - 32, ONE + 33)}
    drawn = {image.tobytes() for image in out}
    assert drawn <= expected
    assert len(drawn) > 10


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_factors_are_uniform_around_one(key, dtype):
    image = np.full((1, 1, 1), 100 if dtype == np.uint8 else 0.4, dtype)
    factors = np.asarray(jax.jit(partial(batched, jitter.brightness, strength=0.4))(image, jax.random.split(key, 1000)))
    np.testing.assert_allclose(np.sort(factors.ravel() / image.item()), np.linspace(0.6, 1.4, 1000), atol=0.04)


def test_factors_of_a_great_strength_begin_at_zero(key):
    image = np.full((1, 1, 1), 0.1, np.float32)
    factors = 10 * np.asarray(batched(jitter.brightness, image, jax.random.split(key, 1000), strength=3.0)).ravel()
    np.testing.assert_allclose(np.sort(factors), np.linspace(0, 4, 1000), atol=0.2)


@pytest.mark.parametrize(("drawn", "factor"), [(0.0, 614), (1 - 2**-23, 1434)])
def test_amounts_reach_both_ends(key, drawn, factor, monkeypatch):
    """The least and the most that can be drawn; all levels together tell neighbouring factors apart."""
    monkeypatch.setattr(jax.random, "uniform", lambda *_: jnp.float32(drawn))
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1) * np.ones(3, np.uint8)
    found = jitter.brightness(key, {"image": jnp.asarray(levels)}, strength=0.4)["image"]
    np.testing.assert_array_equal(found, by_pillow("Brightness")(levels, factor))
    inner = np.float32(factor) + (1 if factor < ONE else -1)
    assert (found != by_pillow("Brightness")(levels, inner)).any()
    half = jitter.brightness(key, {"image": jnp.full((1, 1, 1), 0.5)}, strength=0.4)["image"].item()
    assert half == pytest.approx(0.3 if factor < ONE else 0.7, abs=1e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_turns_are_uniform(key, dtype):
    """Red and half a sixth further or less: the amount of green, or of blue, is the turn."""
    image = np.array([[[1, 0, 0]]], dtype) * dtype(255 if dtype == np.uint8 else 1)
    out = jax.jit(partial(batched, jitter.hue, strength=1 / 12))(image, jax.random.split(key, 1000))
    red, green, blue = np.asarray(out, np.float32).reshape(-1, 3).T / image.max()
    assert (red == 1).all()
    np.testing.assert_allclose(np.sort(green - blue), np.linspace(-0.5, 0.5, 1000), atol=0.06)


def test_powers_are_log_uniform(key):
    image = np.full((1, 1, 1), 0.5, np.float32)
    out = jax.jit(partial(batched, jitter.gamma, strength=1.0))(image, jax.random.split(key, 1000))
    exponents = np.log2(np.log(np.asarray(out, np.float64).ravel()) / np.log(0.5))
    np.testing.assert_allclose(np.sort(exponents), np.linspace(-1, 1, 1000), atol=0.1)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_gamma_keeps_black_and_white(key, dtype):
    image = np.array([[[0], [1]]], dtype) * dtype(255 if dtype == np.uint8 else 1)
    out = batched(jitter.gamma, image, jax.random.split(key, 20), strength=2.0)
    np.testing.assert_array_equal(out, np.broadcast_to(image, out.shape))


AMOUNTS = np.array([1600, 500, 1500, 3 * SIXTH], np.int32)


def test_images_draw_each_of_the_24_orders_for_themselves(key):
    steps = [
        by_pillow("Brightness"),
        by_pillow("Contrast"),
        by_pillow("Color"),
        lambda im, _: im.max(-1, keepdims=True) + im.min(-1, keepdims=True) - im,  # what half a turn is
    ]
    expected = {}
    for order in itertools.permutations(range(4)):
        image = NOISE
        for i in order:
            image = steps[i](image, AMOUNTS[i])
        expected[image.tobytes()] = order
    assert len(expected) == 24
    ends = {name: (amount / ONE, amount / ONE) for name, amount in zip(ALL, AMOUNTS, strict=True)} | {"hue": (0.5, 0.5)}
    out = batched(jitter.color_jitter, NOISE, jax.random.split(key, 2400), **ends)
    orders = [expected[image.tobytes()] for image in np.asarray(out)]
    assert stats.chisquare([orders.count(order) for order in expected.values()]).pvalue > 1e-3
    neighbours = np.mean([a == b for a, b in zip(orders[1:], orders[:-1], strict=True)])
    assert abs(neighbours - 1 / 24) < 4 * (1 / 24 / 2400) ** 0.5


def test_order_and_amounts_are_drawn_apart(key):
    """Black is brightened to black whatever the factor; the contrast of white and black tells its own."""
    image = np.array([[[0], [255]]], np.uint8)
    out = jax.jit(partial(batched, jitter.color_jitter, brightness=0.4, contrast=0.4))(
        image, jax.random.split(key, 2000)
    )
    low, high = np.asarray(out, int).reshape(-1, 2).T
    # Less contrast lifts black, whatever else is drawn; brightness then scales it only if it comes later.
    lifted = low[low > 0]
    assert abs(len(lifted) / 2000 - 0.5) < 0.06
    assert len({*zip(low, high, strict=True)}) > 500


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_no_jitter_changes_nothing(key, dtype):
    image = jnp.asarray(NOISE, dtype)
    np.testing.assert_array_equal(jitter.color_jitter(key, {"image": image})["image"], image)


def test_the_same_pixels_alone_nested_on_devices_and_without_a_loop(key, monkeypatch):
    images, keys = jnp.asarray(RNG.integers(0, 256, (8, 9, 7, 3), dtype=np.uint8)), jax.random.split(key, 8)

    def run(keys, images):
        return jax.vmap(lambda key, image: jitter.color_jitter(key, {"image": image}, **ALL)["image"])(keys, images)

    flat = jax.jit(run)(keys, images)
    split = (keys.reshape(4, 2), images.reshape(4, 2, 9, 7, 3))
    np.testing.assert_array_equal(jax.jit(jax.vmap(run))(*split).reshape(flat.shape), flat)
    np.testing.assert_array_equal(jax.pmap(run)(*split).reshape(flat.shape), flat)
    monkeypatch.setattr(loops, "platform_loop", lambda one: one)
    np.testing.assert_array_equal(jax.jit(lambda *a: run(*a))(keys, images), flat)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_one_channel_has_no_colour(key, dtype):
    image = NOISE[..., :1] if dtype == np.uint8 else NOISE[..., :1] / np.float32(255)
    for op in (partial(jitter.saturation, strength=0.9), partial(jitter.hue, strength=0.5)):
        np.testing.assert_allclose(op(key, {"image": jnp.asarray(image)})["image"], image, rtol=1e-6)
    out = jitter.color_jitter(key, {"image": jnp.asarray(image)}, saturation=0.9, hue=0.5)["image"]
    np.testing.assert_allclose(out, image, rtol=1e-6)


@pytest.mark.parametrize("name", ["contrast", "saturation", "hue"])
@pytest.mark.parametrize("dtype", [jnp.uint8, jnp.float32])
def test_colour_needs_one_or_three_channels(key, name, dtype):
    with pytest.raises(UserError, match="1 or 3 channels"):
        getattr(jitter, name)(key, {"image": jnp.zeros((4, 4, 2), dtype)}, strength=0.1)


@pytest.mark.parametrize("name", STRENGTHS)
def test_bad_strengths_are_refused(key, name):
    example = {"image": jnp.zeros((4, 4, 3))}
    with pytest.raises(UserError, match=f"{name}: strength -0.1"):
        getattr(jitter, name)(key, example, strength=-0.1)
    if name in ALL:
        with pytest.raises(UserError, match=f"{name}: strength -0.1"):
            jitter.color_jitter(key, example, **{name: -0.1})
    with pytest.raises(UserError, match=r"hue: strength 0\.6"):
        jitter.hue(key, example, strength=0.6)


@pytest.mark.parametrize(
    "op",
    [jitter.brightness, jitter.contrast, jitter.saturation, filters.sharpness, jitter.gamma],
)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_a_range_is_of_factors(key, op, dtype):
    """(f, f) is always the factor f: Pillow's, or a power."""
    enhance = {
        jitter.brightness: ImageEnhance.Brightness,
        jitter.contrast: ImageEnhance.Contrast,
        jitter.saturation: ImageEnhance.Color,
        filters.sharpness: ImageEnhance.Sharpness,
    }
    if op is jitter.gamma:
        expected = 255 * (NOISE / 255) ** 1.5
    else:
        expected = np.asarray(enhance[op](Image.fromarray(NOISE)).enhance(1.5), np.float64)
    unit = 1 if dtype == np.uint8 else 255
    out = batched(op, (NOISE / dtype(unit)).astype(dtype), jax.random.split(key, 3), strength=(1.5, 1.5))
    exact = dtype == np.uint8 and op is not jitter.gamma
    np.testing.assert_allclose(np.asarray(out[2], np.float64) * unit, expected, atol=0 if exact else 1.3)


def test_ranges_are_one_sided(key):
    keys = jax.random.split(key, 300)
    flat = np.full((1, 1, 3), 100, np.uint8)
    brighter = np.asarray(batched(jitter.brightness, flat, keys, strength=(1.0, 1.5)))[:, 0, 0, 0]
    assert 100 <= brighter.min() < 103
    assert 147 < brighter.max() <= 150
    darker = np.asarray(batched(jitter.gamma, flat, keys, strength=(1.0, 2.0)))[:, 0, 0, 0]
    assert darker.max() == 100
    assert darker.min() < 42
    jittered = np.asarray(batched(jitter.color_jitter, flat, keys, brightness=(1.0, 1.5)))[:, 0, 0, 0]
    assert jittered.min() >= 100
    red = np.array([[[200, 0, 0]]], np.uint8)
    turned = np.asarray(batched(jitter.hue, red, keys, strength=(0.0, 0.1)))[:, 0, 0]
    assert not turned[:, 2].any()  # towards yellow only
    assert turned[:, 1].max() > 100
    with pytest.raises(UserError, match=r"brightness: strength \(1.5, 1.0\) is not a range"):
        jitter.brightness(key, {"image": jnp.asarray(flat)}, strength=(1.5, 1.0))
