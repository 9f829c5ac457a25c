import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efficient_jax.augment import geometry, kernels
from efficient_jax.types import UserError

warp = jax.jit(kernels.warp)
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


def test_zoom_doubles_a_difference_of_levels():
    ramp = jnp.broadcast_to(jnp.linspace(0, 1, 9)[:, None, None], (9, 9, 1))
    zoomed = warp(ramp, geometry.zoom(2.0)[:2])
    np.testing.assert_allclose(np.diff(zoomed[:, 4, 0]), 1 / 16, atol=1e-5)


def test_shear_moves_rows_by_their_distance_from_the_centre():
    sheared = warp(NOISE[:11, :11], geometry.shear(1.0, 0.0)[:2])
    for row in range(11):
        from_centre = row - 5
        kept = slice(max(0, -from_centre), 11 - max(0, from_centre))
        np.testing.assert_array_equal(
            sheared[row, kept], NOISE[row, :11][max(0, from_centre) :][: kept.stop - kept.start]
        )


def test_one_warp_by_a_product_is_two_warps():
    y, x = np.mgrid[:40, :40] / 39
    smooth = (0.5 + 0.4 * np.sin(3 * x + 1) * np.cos(2 * y)).astype(np.float32)[..., None]
    first, second = geometry.rotation(20.0), geometry.compose(geometry.shear(0.1, -0.2), geometry.translation(1.5, 2.0))
    twice = warp(warp(smooth, first[:2]), second[:2])
    once = warp(smooth, geometry.compose(first, second)[:2])
    np.testing.assert_allclose(once[12:28, 12:28], twice[12:28, 12:28], atol=2e-3)


def test_affine_draws_within_its_ranges(key):
    """A point off the centre of a large picture shows the shift, and stays within its range."""
    image = jnp.zeros((41, 41, 1)).at[20, 20].set(1.0)
    shifted = jax.jit(jax.vmap(lambda key: geometry.affine(key, {"image": image}, translate=0.25)["image"][..., 0]))
    mass = shifted(jax.random.split(key, 256))
    across = np.asarray(mass.sum(1) @ np.arange(41.0, dtype=np.float32)) - 20
    assert np.abs(across).max() < 0.25 * 41 + 1e-3
    assert abs(across.std() - 0.25 * 41 / np.sqrt(3)) < 0.5
    assert abs(np.corrcoef(across, np.asarray(mass.sum(2) @ np.arange(41.0, dtype=np.float32)))[0, 1]) < 0.2


def test_flip_mirrors_half_of_the_images(key):
    flip = jax.jit(jax.vmap(lambda key: geometry.flip(key, {"image": jnp.asarray(NOISE)})["image"]))
    images = np.asarray(flip(jax.random.split(key, 400)))
    mirrored = (images == NOISE[:, ::-1]).all((1, 2, 3))
    assert (mirrored | (images == NOISE).all((1, 2, 3))).all()
    assert 160 < mirrored.sum() < 240


def test_negative_amounts_are_refused(key):
    with pytest.raises(UserError, match=r"affine: .*0\.0 or more"):
        geometry.affine(key, {"image": jnp.asarray(NOISE)}, rotate=-5.0)
    with pytest.raises(UserError, match="flip"):
        geometry.flip(key, {"image": jnp.asarray(NOISE)}, probability=1.5)
