import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efficient_jax.augment.kernels import matrices, resample

warp = jax.jit(resample.warp)
NOISE = np.random.default_rng(0).integers(0, 256, (12, 12, 3), dtype=np.uint8)
WIDE = NOISE[:7]


@pytest.mark.parametrize("image", [NOISE[..., :1], NOISE, NOISE[:11, :11]])
@pytest.mark.parametrize("quarters", [-1, 1, 2, 3, 4])
def test_quarter_turns_are_exact(image, quarters):
    turned = warp(image, matrices.rotation(90.0 * quarters)[:2])
    np.testing.assert_array_equal(turned, np.rot90(image, quarters))


def test_translation_moves_right_and_down():
    moved = warp(WIDE, matrices.translation(2.0, 1.0)[:2])
    np.testing.assert_array_equal(moved[1:, 2:], WIDE[:-1, :-2])
    assert not moved[0].any()
    assert not moved[:, :2].any()


def test_zoom_doubles_and_negative_mirrors():
    ramp = jnp.broadcast_to(jnp.linspace(0, 1, 9)[:, None, None], (9, 9, 1))
    zoomed = warp(ramp, matrices.zooming(1.0, 2.0)[:2])
    np.testing.assert_allclose(np.diff(zoomed[:, 4, 0]), 1 / 16, atol=1e-5)
    np.testing.assert_array_equal(warp(WIDE, matrices.zooming(-1.0, 1.0)[:2]), WIDE[:, ::-1])


def test_shear_moves_rows_by_their_distance_from_the_centre():
    sheared = warp(NOISE[:11, :11], matrices.shearing(1.0, 0.0)[:2])
    for row in range(11):
        from_centre = row - 5
        kept = slice(max(0, -from_centre), 11 - max(0, from_centre))
        np.testing.assert_array_equal(
            sheared[row, kept], NOISE[row, :11][max(0, from_centre) :][: kept.stop - kept.start]
        )


def test_one_warp_by_a_product_is_two_warps():
    y, x = np.mgrid[:40, :40] / 39
    smooth = (0.5 + 0.4 * np.sin(3 * x + 1) * np.cos(2 * y)).astype(np.float32)[..., None]
    first = matrices.rotation(20.0)
    second = matrices.compose(matrices.shearing(0.1, -0.2), matrices.translation(1.5, 2.0))
    twice = warp(warp(smooth, first[:2]), second[:2])
    once = warp(smooth, matrices.compose(first, second)[:2])
    np.testing.assert_allclose(once[12:28, 12:28], twice[12:28, 12:28], atol=2e-3)


def test_three_points_give_the_worked_example():
    """OpenCV's: [[2/3, 0, 200/3], [-1/3, 1, 200/3]], of area ratio 2/3."""
    old, new = (
        np.array(p, np.float32) for p in ([[50, 50], [200, 50], [50, 200]], [[100, 100], [200, 50], [100, 250]])
    )
    inverse = np.asarray(matrices.from_points(old, new, (300, 400)), np.float64)
    centre = np.array([[1, 0, -399 / 2], [0, 1, -299 / 2], [0, 0, 1]])
    forward = np.linalg.inv(centre) @ np.linalg.inv(inverse) @ centre
    np.testing.assert_allclose(forward[:2], [[2 / 3, 0, 200 / 3], [-1 / 3, 1, 200 / 3]], atol=2e-3)
    assert np.linalg.det(forward) == pytest.approx(2 / 3, abs=1e-4)


def test_four_corners_go_where_they_should():
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * np.array([20.0, 15.0])
    moved = (corners + np.random.default_rng(0).uniform(-4, 4, (4, 2))).astype(np.float32)
    inverse = np.asarray(matrices.from_corners(moved, (30, 40)), np.float64)
    back = np.column_stack([moved, np.ones(4)]) @ inverse.T
    np.testing.assert_allclose(back[:, :2] / back[:, 2:], corners, atol=1e-3)
