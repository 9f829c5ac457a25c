from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from efficient_jax.augment.documents import ink
from efficient_jax.errors import UserError

RNG = np.random.default_rng(0)
PAGE = np.where(ndimage.uniform_filter(RNG.normal(size=(24, 30, 3)), (3, 3, 0)) > 0.3, 30, 255).astype(np.uint8)


def batch(op, key, page, n=32, **settings):
    run = jax.jit(jax.vmap(lambda k: op(k, {"image": jnp.asarray(page)}, **settings)["image"]))
    return np.asarray(run(jax.random.split(key, n)))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("radius", [1, 2])
def test_bleeding_darkens_at_most_to_the_local_minimum(key, dtype, radius):
    page = PAGE if dtype == np.uint8 else (PAGE / 255).astype(dtype)
    bled = batch(ink.ink_bleed, key, page, 300, strength=1.0, radius=radius)
    side = 2 * radius + 1
    darkest = ndimage.minimum_filter(page, (side, side, 1), mode="nearest")
    assert (bled <= page).all()
    assert (bled >= darkest).all()
    reached = (page - bled.min(0).astype(float)).sum() / (page - darkest.astype(float)).sum()
    assert reached > 0.85


def test_bleeding_is_ragged(key):
    halves = np.repeat(np.where(np.arange(60) < 30, 0, 255), 60).reshape(60, 60, 1).astype(np.uint8)
    edge = batch(ink.ink_bleed, key, halves, strength=1.0)[:, 30, :, 0]  # the first white row
    assert np.median(edge.std(1) / (255 - edge.mean(1))) > 0.3


@pytest.mark.parametrize("cells", [(4, 4), (1, 10)])
def test_fading_lightens_at_most_by_strength(key, cells):
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    faded = batch(ink.fading, key, levels, 400, strength=0.6, cells=cells).astype(float)
    assert (faded >= levels).all()
    share = (faded - levels)[:, :-1] / (255 - levels[:-1])
    assert 0.54 < share[:, :8].max() < 0.61


def test_fading_is_smooth_and_streaks_run_down_the_page(key):
    black = np.zeros((60, 60, 1), np.float32)
    patches = batch(ink.fading, key, black, strength=1.0, cells=(4, 4))
    steepest = 1.5 * 4 / 60  # of the smooth step that joins 0 to 1 in a quarter of the page
    assert 0.5 * steepest < abs(np.diff(patches, axis=2)).max() < 1.1 * steepest
    streaks = batch(ink.fading, key, black, strength=1.0, cells=(1, 20))
    assert abs(np.diff(streaks, axis=2)).mean() > 5 * abs(np.diff(streaks, axis=1)).mean()


@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_dithering_keeps_the_mean_level(key, size):
    for_every_level = jax.jit(jax.vmap(lambda x: ink.dithering(key, {"image": x}, size=size)["image"]))
    levels = np.broadcast_to(np.arange(256, dtype=np.uint8)[:, None, None, None], (256, 2 * size, size, 3))
    dithered = np.asarray(for_every_level(jnp.asarray(levels)))
    assert set(np.unique(dithered)) == {0, 255}
    expected = np.floor(np.arange(256) * size**2 / 255 + 0.5)
    for half in (dithered[:, :size, :, 0], dithered[:, size:, :, 0]):
        np.testing.assert_array_equal((half == 255).sum((1, 2)), expected)
    np.testing.assert_array_equal(for_every_level(jnp.asarray(levels / np.float32(255))), dithered / 255)


def test_dithering_has_bayers_matrix_and_pillows_luma(key):
    every_level = np.broadcast_to(np.arange(256)[:, None, None, None], (256, 4, 4, 1)).astype(np.uint8)
    dithered = jax.vmap(lambda x: ink.dithering(key, {"image": x})["image"])(jnp.asarray(every_level))
    black_levels = np.asarray(dithered == 0).sum(0).reshape(-1)
    rank = np.argsort(np.argsort(black_levels)).reshape(4, 4)
    np.testing.assert_array_equal(rank, [[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]])
    luma = np.asarray(Image.fromarray(PAGE).convert("L"))[..., None]
    colour, plain = (ink.dithering(key, {"image": jnp.asarray(x)})["image"] for x in (PAGE, luma))
    np.testing.assert_array_equal(colour, np.repeat(plain, 3, axis=2))


def test_blots_are_dark_spots_with_soft_edges_anywhere(key):
    white = np.full((60, 90, 1), 255, np.uint8)
    blotted = batch(ink.blot, key, white, 400, strength=1.0, count=1, radius=0.06)[..., 0]
    dark = 255.0 - blotted
    assert len({image.tobytes() for image in blotted}) > 380
    assert np.quantile([len(np.unique(image)) for image in blotted], 0.9) > 15  # white, its darkest, the edge
    places = np.array([ndimage.center_of_mass(drop) for drop in dark if drop.any()])
    np.testing.assert_allclose(places.mean(0), [29.5, 44.5], rtol=0.08)
    np.testing.assert_allclose(places.std(0), [60 / 12**0.5, 90 / 12**0.5], rtol=0.1)
    span = np.ptp(np.argwhere(dark[0] > 0), axis=0).max()
    assert span < 8 * 0.06 * 60
    one, many = (batch(ink.blot, key, white, 200, count=count, radius=0.03) < 250 for count in (1, 8))
    assert many.mean() == pytest.approx(8 * one.mean(), rel=0.3)


def test_an_image_draws_its_strength(key):
    black = np.zeros((8, 8, 1), np.float32)
    strongest = batch(ink.fading, key, black, 300, strength=0.8, cells=(20, 20)).max((1, 2, 3))
    assert strongest.min() < 0.02
    np.testing.assert_allclose(np.quantile(strongest, [0.25, 0.5, 0.75]), [0.19, 0.38, 0.57], atol=0.07)


@pytest.mark.parametrize("op", [ink.ink_bleed, ink.fading, partial(ink.fading, cells=(1, 7)), ink.blot])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_no_strength_changes_nothing(key, op, dtype):
    page = PAGE if dtype == np.uint8 else (PAGE / 255).astype(dtype)
    np.testing.assert_array_equal(batch(op, key, page, 1, strength=0.0)[0], page)


@pytest.mark.parametrize("op", [ink.ink_bleed, ink.fading, ink.dithering, ink.blot])
@pytest.mark.parametrize("level", [0, 255])
def test_one_pixel(key, op, level):
    out = batch(op, key, np.full((1, 1, 1), level, np.uint8), 1)[0]
    assert op in (ink.fading, ink.blot) or int(out[0, 0, 0]) == level


def test_towards_goes_that_way():
    start, end = (RNG.integers(0, 256, (16, 16, 3), dtype=np.uint8) for _ in range(2))
    way = RNG.integers(0, ink.ONE + 1, (16, 16), dtype=np.int32)
    share = way[..., None] / ink.ONE
    for target, level in ((jnp.asarray(end), end), (1.0, 255), (0.0, 0)):
        out = ink.towards(jnp.asarray(start), target, jnp.asarray(way))
        np.testing.assert_allclose(out, start + share * (level - start.astype(float)), atol=1.01)
        floating = ink.towards(
            jnp.asarray(start / np.float32(255)), jnp.asarray(level / np.float32(255), jnp.float32), jnp.asarray(way)
        )
        np.testing.assert_allclose(floating, (start + share * (level - start.astype(float))) / 255, atol=1e-5)
    for all_the_way, expected in ((0, start), (ink.ONE, end)):
        out = ink.towards(jnp.asarray(start), jnp.asarray(end), jnp.full((16, 16), all_the_way))
        np.testing.assert_array_equal(out, expected)


def test_the_product_of_levels_is_rounded():
    one, other = np.mgrid[:256, :256]
    product = ink.multiply(jnp.asarray(one[..., None], jnp.uint8), jnp.asarray(other[..., None], jnp.uint8))
    np.testing.assert_array_equal(product[..., 0], np.floor(one * other / 255 + 0.5))


def test_noise_has_the_moments_it_says():
    seed = jnp.array([3, 4], jnp.uint32)
    grain = np.asarray(ink.grain(seed, 200, 201))
    assert grain.shape == (200, 201)
    assert grain.mean() == pytest.approx(127, abs=3)
    assert grain.std() == pytest.approx(55, abs=2)
    for axis in (0, 1):  # neighbours: [1 2 1] with itself, one further
        near, far = (
            np.corrcoef(grain.take(range(d, 200), axis).ravel(), grain.take(range(200 - d), axis).ravel())
            for d in (1, 3)
        )
        assert near[0, 1] == pytest.approx(4 / 6, abs=0.04)
        assert abs(far[0, 1]) < 0.04
    clouds = np.asarray(ink.clouds(seed, 400, 400, (50, 50)))
    corners = clouds[7::8, 7::8]  # half a pixel before the corners
    np.testing.assert_allclose(np.quantile(corners, [0.1, 0.5, 0.9]), [25, 127, 230], atol=12)
    assert (clouds >= 0).all()
    assert (clouds <= 255).all()


def test_bad_settings_are_refused(key):
    page = {"image": jnp.asarray(PAGE)}
    for op, settings in (
        (ink.ink_bleed, {"strength": 1.2}),
        (ink.ink_bleed, {"radius": -1}),
        (ink.fading, {"cells": (0, 3)}),
        (ink.dithering, {"size": 3}),
        (ink.blot, {"count": 0}),
        (ink.blot, {"radius": 0.0}),
    ):
        with pytest.raises(UserError, match=op.__name__):
            op(key, page, **settings)
