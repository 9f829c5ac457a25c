from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efficient_jax.augment import geometry, resample
from efficient_jax.types import UserError

warp = jax.jit(resample.warp)
NOISE = np.random.default_rng(0).integers(0, 256, (12, 12, 3), dtype=np.uint8)
WIDE = NOISE[:7]


@pytest.mark.parametrize("image", [NOISE[..., :1], NOISE, NOISE[:11, :11]])
@pytest.mark.parametrize("quarters", [-1, 1, 2, 3, 4])
def test_quarter_turns_are_exact(image, quarters):
    turned = warp(image, geometry.rotation(90.0 * quarters)[:2])
    np.testing.assert_array_equal(turned, np.rot90(image, quarters))


def test_translation_moves_right_and_down():
    moved = warp(WIDE, geometry.translation(2.0, 1.0)[:2])
    np.testing.assert_array_equal(moved[1:, 2:], WIDE[:-1, :-2])
    assert not moved[0].any()
    assert not moved[:, :2].any()


def test_zoom_doubles_and_negative_mirrors():
    ramp = jnp.broadcast_to(jnp.linspace(0, 1, 9)[:, None, None], (9, 9, 1))
    zoomed = warp(ramp, geometry.zooming(1.0, 2.0)[:2])
    np.testing.assert_allclose(np.diff(zoomed[:, 4, 0]), 1 / 16, atol=1e-5)
    np.testing.assert_array_equal(warp(WIDE, geometry.zooming(-1.0, 1.0)[:2]), WIDE[:, ::-1])


def test_shear_moves_rows_by_their_distance_from_the_centre():
    sheared = warp(NOISE[:11, :11], geometry.shearing(1.0, 0.0)[:2])
    for row in range(11):
        from_centre = row - 5
        kept = slice(max(0, -from_centre), 11 - max(0, from_centre))
        np.testing.assert_array_equal(
            sheared[row, kept], NOISE[row, :11][max(0, from_centre) :][: kept.stop - kept.start]
        )


def test_one_warp_by_a_product_is_two_warps():
    y, x = np.mgrid[:40, :40] / 39
    smooth = (0.5 + 0.4 * np.sin(3 * x + 1) * np.cos(2 * y)).astype(np.float32)[..., None]
    first = geometry.rotation(20.0)
    second = geometry.compose(geometry.shearing(0.1, -0.2), geometry.translation(1.5, 2.0))
    twice = warp(warp(smooth, first[:2]), second[:2])
    once = warp(smooth, geometry.compose(first, second)[:2])
    np.testing.assert_allclose(once[12:28, 12:28], twice[12:28, 12:28], atol=2e-3)


def test_three_points_give_the_worked_example():
    """OpenCV's: [[2/3, 0, 200/3], [-1/3, 1, 200/3]], of area ratio 2/3."""
    old, new = (
        np.array(p, np.float32) for p in ([[50, 50], [200, 50], [50, 200]], [[100, 100], [200, 50], [100, 250]])
    )
    inverse = np.asarray(geometry.from_points(old, new, (300, 400)), np.float64)
    centre = np.array([[1, 0, -399 / 2], [0, 1, -299 / 2], [0, 0, 1]])
    forward = np.linalg.inv(centre) @ np.linalg.inv(inverse) @ centre
    np.testing.assert_allclose(forward[:2], [[2 / 3, 0, 200 / 3], [-1 / 3, 1, 200 / 3]], atol=2e-3)
    assert np.linalg.det(forward) == pytest.approx(2 / 3, abs=1e-4)


def test_four_corners_go_where_they_should():
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * np.array([20.0, 15.0])
    moved = (corners + np.random.default_rng(0).uniform(-4, 4, (4, 2))).astype(np.float32)
    inverse = np.asarray(geometry.from_corners(moved, (30, 40)), np.float64)
    back = np.column_stack([moved, np.ones(4)]) @ inverse.T
    np.testing.assert_allclose(back[:, :2] / back[:, 2:], corners, atol=1e-3)


def test_affine_draws_within_its_ranges(key):
    """A point off the centre of a large picture shows the shift, and stays within its range."""
    image = jnp.zeros((41, 41, 1)).at[20, 20].set(1.0)
    shifted = jax.jit(jax.vmap(lambda key: geometry.affine(key, {"image": image}, translate=0.25)["image"][..., 0]))
    mass = shifted(jax.random.split(key, 256))
    across = np.asarray(mass.sum(1) @ np.arange(41.0, dtype=np.float32)) - 20
    assert np.abs(across).max() < 0.25 * 41 + 1e-3
    assert abs(across.std() - 0.25 * 41 / np.sqrt(3)) < 0.5
    assert abs(np.corrcoef(across, np.asarray(mass.sum(2) @ np.arange(41.0, dtype=np.float32)))[0, 1]) < 0.2


@pytest.mark.parametrize(
    ("draw", "settings", "entry", "largest"),
    [
        (geometry.random_rotation, {"degrees": 30.0}, (1, 0), 0.5),
        (geometry.random_shear, {"x": 0.3}, (0, 1), 0.3),
        (geometry.random_translation, {"x": 0.25, "y": 0.0}, (0, 2), 10.0),
        (geometry.random_zoom, {"scale": 0.25}, (0, 0), 1.25),
    ],
)
def test_draws_fill_their_range(key, draw, settings, entry, largest):
    entries = jax.jit(jax.vmap(lambda k: draw(k, (30, 40), **settings)))(jax.random.split(key, 500))[:, *entry]
    least = 0.8 if draw is geometry.random_zoom else -largest
    assert least - 1e-5 <= entries.min() < least + 0.05 * abs(largest)
    assert largest - 0.05 * abs(largest) < entries.max() <= largest + 1e-5


def test_a_chain_resamples_once(key):
    """Two rotations that undo each other leave the picture as it is, not blurred."""

    def turned(_, size, *, degrees):
        assert size == (12, 12)
        return geometry.rotation(degrees)

    there_and_back = partial(turned, degrees=17.0), partial(turned, degrees=-17.0)
    chained = geometry.chain(key, {"image": jnp.asarray(NOISE)}, draws=there_and_back)
    assert np.abs(np.asarray(chained["image"], int) - NOISE).max() <= 1


def test_perspective_keeps_the_picture_inside(key):
    white = {"image": jnp.full((31, 40, 1), 255, jnp.uint8)}
    still = geometry.perspective(key, white, distortion=0.0)["image"]
    np.testing.assert_array_equal(still, 255)
    seen = jax.jit(jax.vmap(lambda k: geometry.perspective(k, white)["image"]))(jax.random.split(key, 64)) > 127
    share = np.asarray(seen).mean((1, 2, 3))
    assert (seen[:, 13:18, 17:23]).all()  # a quarter of each side at most is lost
    assert 0.25 < share.min() < share.max() < 1


def test_negative_amounts_are_refused(key):
    with pytest.raises(UserError, match=r"affine: .*0\.0 or more"):
        geometry.affine(key, {"image": jnp.asarray(NOISE)}, rotate=-5.0)
    with pytest.raises(UserError, match="half a side"):
        geometry.perspective(key, {"image": jnp.asarray(NOISE)}, distortion=0.9)
