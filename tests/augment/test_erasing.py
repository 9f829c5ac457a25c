from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from efficient_jax.augment import cutout
from efficient_jax.augment.erasing import gridmask, random_erasing
from efficient_jax.errors import UserError

B = 2000


def hidden(key, op, shape, n=B, **settings):
    """Which pixels of a white image are black, in `n` draws."""
    example = {"image": jnp.ones((*shape, 1))}
    run = jax.jit(jax.vmap(lambda key: op(key, example, **settings)["image"][..., 0] == 0))
    return np.asarray(run(jax.random.split(key, n)))


def expected_fraction(side, size):
    """Mean over all centres: rows and columns are clipped independently."""
    start = np.arange(side) - size // 2
    overlap = np.minimum(start + size, side) - np.maximum(start, 0)
    return (overlap.mean() / side) ** 2


@pytest.mark.parametrize(("side", "size"), [(32, 16), (28, 8), (9, 5)])
def test_cutout_hides_the_expected_fraction(key, side, size):
    fractions = hidden(key, cutout, (side, side), size=size).mean((1, 2))
    assert abs(fractions.mean() - expected_fraction(side, size)) < 5 * fractions.std() / B**0.5


def test_cutout_hides_one_rectangle_no_larger_than_the_square(key):
    squares = hidden(key, cutout, (16, 19), n=64, size=6)
    rows, columns = squares.any(2), squares.any(1)
    np.testing.assert_array_equal(squares, rows[:, :, None] & columns[:, None])
    assert rows.sum(1).max() == columns.sum(1).max() == 6
    assert rows.sum(1).min() >= 3


def test_cutout_draws_every_centre(key):
    assert hidden(key, cutout, (4, 3), n=400, size=1).any(0).all()


def test_random_erasing_hides_an_inner_rectangle_of_uniform_area(key):
    rectangles = hidden(key, random_erasing, (48, 64))
    rows, columns = rectangles.any(2), rectangles.any(1)
    np.testing.assert_array_equal(rectangles, rows[:, :, None] & columns[:, None])
    assert stats.kstest(rectangles.mean((1, 2)), stats.uniform(0.02, 1 / 3 - 0.02).cdf).pvalue > 1e-3
    ratio = np.log(rows.sum(1) / columns.sum(1)) / np.log(1 / 0.3)
    assert stats.kstest(ratio, stats.uniform(-1, 2).cdf).statistic < 0.06  # sides are whole pixels, the longest are cut


def test_random_erasing_is_uniform_in_place(key):
    """Squares of 2 x 2 pixels begin at 0 to 6 of 8 rows and 0 to 10 of 12 columns, equally often."""
    squares = hidden(key, random_erasing, (8, 12), area_min=4 / 96, area_max=4 / 96, ratio_min=1.0)
    assert (squares.sum((1, 2)) == 4).all()
    for axis, places in ((2, 7), (1, 11)):
        assert stats.chisquare(np.bincount(squares.any(axis).argmax(1), minlength=places)).pvalue > 1e-3


def test_random_erasing_keeps_the_area_of_what_does_not_fit(key):
    """A quarter of 8 x 32 pixels, half to twice as high as wide."""
    strips = hidden(key, random_erasing, (8, 32), n=200, area_min=0.25, area_max=0.25, ratio_min=0.5)
    rows, columns = strips.any(2).sum(1), strips.any(1).sum(1)
    assert ((rows == 8) & (columns == 8)).sum() > 80  # all that were to be higher than 8 pixels
    assert np.abs(rows * columns - 64).max() <= 4  # half a column


def test_random_erasing_of_nothing(key):
    assert not hidden(key, random_erasing, (8, 8), n=8, area_min=0.0, area_max=0.0).any()
    assert hidden(key, random_erasing, (8, 8), n=8, area_min=1.0, area_max=1.0).all()


@pytest.mark.parametrize("dtype", [jnp.uint8, jnp.float32])
def test_noise_is_uniform_over_the_levels(key, dtype):
    example = {"image": jnp.zeros((64, 64, 3), dtype)}
    run = jax.jit(partial(random_erasing, area_min=1.0, area_max=1.0, noise=True))
    first, second = (np.asarray(run(k, example)["image"]) for k in jax.random.split(key))
    levels = first * (255 if dtype == jnp.float32 else 1)
    assert stats.chisquare(np.bincount(np.round(levels).astype(int).ravel(), minlength=256)).pvalue > 1e-3
    for other in (second, np.roll(first, 1, 0), np.roll(first, 1, 1), np.roll(first, 1, 2)):
        assert abs(np.corrcoef(first.ravel().astype(float), other.ravel().astype(float))[0, 1]) < 0.05


@pytest.mark.parametrize(("ratio", "d"), [(0.6, 10), (0.4, 5), (0.5, 14)])
def test_gridmask_keeps_what_the_paper_keeps(key, ratio, d):
    """Each pixel is kept 2r - r^2 of the time, whether the grid is finer or coarser than the image."""
    grids = hidden(key, gridmask, (10, 10), n=4 * B, ratio=ratio, d_min=d / 10, d_max=d / 10)
    kept, expected = 1 - grids.mean(0), 2 * ratio - ratio**2
    assert np.abs(kept - expected).max() < 5 * (expected * (1 - expected) / (4 * B)) ** 0.5
    if d <= 10:  # all offsets can be told apart, and their average is exact
        different = np.unique(grids.reshape(4 * B, -1), axis=0)
        assert len(different) == d * d
        np.testing.assert_allclose(1 - different.mean(0), expected, atol=1e-6)


def test_gridmask_repeats_with_its_period(key):
    masks = hidden(key, gridmask, (30, 40), n=32, ratio=0.6, d_min=1 / 3, d_max=1 / 3)
    np.testing.assert_array_equal(masks[:, :-10], masks[:, 10:])
    np.testing.assert_array_equal(masks[:, :, :-10], masks[:, :, 10:])
    rows, columns = masks.any(2), masks.any(1)
    np.testing.assert_array_equal(masks, rows[:, :, None] & columns[:, None])
    assert (rows.sum(1) == 12).all()
    assert (columns.sum(1) == 16).all()


def test_gridmask_draws_every_period(key):
    kept = ~hidden(key, gridmask, (16, 16), n=400, ratio=0.5, d_min=0.25, d_max=0.5).any(2)
    bars = [np.flatnonzero(np.diff(column.astype(int)) == 1) for column in kept]
    assert {int(start[1] - start[0]) for start in bars if len(start) > 1} == {4, 5, 6, 7, 8}


@pytest.mark.parametrize(("ratio", "share"), [(0.0, 1.0), (1.0, 0.0)])
def test_gridmask_of_all_or_nothing(key, ratio, share):
    assert hidden(key, gridmask, (9, 9), n=8, ratio=ratio).mean() == share


@pytest.mark.parametrize(
    "op", [partial(cutout, size=5), partial(random_erasing, area_min=0.3), partial(gridmask, d_min=0.5)]
)
def test_all_channels_of_a_pixel_are_hidden(key, op):
    keys = jax.random.split(key, 16)
    run = jax.jit(lambda image: jax.vmap(lambda key: op(key, {"image": image})["image"])(keys))
    colour, gray = (np.asarray(run(jnp.ones((9, 14, channels)))) for channels in (3, 1))
    np.testing.assert_array_equal(colour, np.broadcast_to(gray, colour.shape))


@pytest.mark.parametrize(("dtype", "value"), [(jnp.uint8, 153), (jnp.float32, np.float32(0.6))])
@pytest.mark.parametrize(
    "op",
    [
        partial(cutout, size=12),
        partial(random_erasing, area_min=1.0, area_max=1.0),
        partial(gridmask, ratio=0.0),
    ],
)
def test_fill_is_a_fraction_of_the_range(key, op, dtype, value):
    image = jax.jit(partial(op, fill=0.6))(key, {"image": jnp.zeros((6, 6, 3), dtype)})["image"]
    assert image.dtype == dtype
    np.testing.assert_array_equal(image, value)


@pytest.mark.parametrize(
    ("op", "settings"),
    [
        (cutout, {"size": 0}),
        (random_erasing, {"area_min": 0.5, "area_max": 0.4}),
        (random_erasing, {"area_max": 1.5}),
        (random_erasing, {"ratio_min": 0.0}),
        (gridmask, {"ratio": 1.2}),
        (gridmask, {"d_min": 0.0}),
    ],
)
def test_bad_settings_are_refused(key, op, settings):
    with pytest.raises(UserError, match=f"{op.__name__}: "):
        op(key, {"image": jnp.zeros((6, 6, 3))}, **settings)


@pytest.mark.parametrize("rotate", [180.0, (45.0, 45.0)])
def test_a_turned_gridmask_keeps_what_the_paper_keeps(key, rotate):
    masks = hidden(key, gridmask, (24, 30), ratio=0.6, d_min=10 / 24, d_max=10 / 24, rotate=rotate)
    assert 1 - masks.mean() == pytest.approx(2 * 0.6 - 0.6**2, abs=0.01)
    everywhere = 1 - masks.mean(0)
    np.testing.assert_allclose(everywhere, 0.84, atol=5 * np.sqrt(0.84 * 0.16 / B))


@pytest.mark.parametrize("degrees", [45.0, 30.0, 90.0, -20.0])
def test_a_turned_gridmask_is_a_turned_grid(key, degrees):
    """With float64 arithmetic, up to pixels whose centre is on an edge; at 45 degrees the holes are diamonds."""
    size, period, bar = (41, 51), 20, 12
    masks = hidden(key, gridmask, size, n=6, d_min=20 / 41, d_max=20 / 41, rotate=(degrees, degrees))
    angle = np.radians(degrees)
    y, x = np.mgrid[: size[0], : size[1]] - np.array([20, 25])[:, None, None]
    along_x, along_y = np.cos(angle) * x - np.sin(angle) * y, np.sin(angle) * x + np.cos(angle) * y
    for mask in masks:
        rows, columns = (
            [(np.floor(along + 1e-4) + offset) % period >= bar for offset in range(period)]
            for along in (along_y, along_x)
        )
        assert min(((down & across) != mask).mean() for down in rows for across in columns) < 0.01
