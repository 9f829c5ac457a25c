from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from scipy import stats
from scipy.ndimage import minimum_filter

from efficient_jax import augment
from efficient_jax.augment.geometry import affine, random_matrices
from efficient_jax.augment.kernels import matrices
from efficient_jax.errors import UserError

NOISE = np.random.default_rng(0).integers(0, 256, (12, 12, 3), dtype=np.uint8)


def test_affine_draws_within_its_ranges(key):
    """A point off the centre of a large image shows the shift, and stays within its range."""
    image = jnp.zeros((41, 41, 1)).at[20, 20].set(1.0)
    shifted = jax.jit(jax.vmap(lambda key: affine.affine(key, {"image": image}, translate=0.25)["image"][..., 0]))
    mass = shifted(jax.random.split(key, 256))
    across = np.asarray(mass.sum(1) @ np.arange(41.0, dtype=np.float32)) - 20
    assert np.abs(across).max() < 0.25 * 41 + 1e-3
    assert abs(across.std() - 0.25 * 41 / np.sqrt(3)) < 0.5
    assert abs(np.corrcoef(across, np.asarray(mass.sum(2) @ np.arange(41.0, dtype=np.float32)))[0, 1]) < 0.2


@pytest.mark.parametrize(
    ("draw", "settings", "entry", "largest"),
    [
        (random_matrices.random_rotation, {"degrees": 30.0}, (1, 0), 0.5),
        (random_matrices.random_shear, {"x": 0.3}, (0, 1), 0.3),
        (random_matrices.random_translation, {"x": 0.25, "y": 0.0}, (0, 2), 10.0),
        (random_matrices.random_zoom, {"scale": 0.25}, (0, 0), 1.25),
    ],
)
def test_draws_fill_their_range(key, draw, settings, entry, largest):
    entries = jax.jit(jax.vmap(lambda k: draw(k, (30, 40), **settings)))(jax.random.split(key, 500))[:, *entry]
    least = 0.8 if draw is random_matrices.random_zoom else -largest
    assert least - 1e-5 <= entries.min() < least + 0.05 * abs(largest)
    assert largest - 0.05 * abs(largest) < entries.max() <= largest + 1e-5


@pytest.mark.parametrize("limits", [(10.0, 20.0), (-5.0, 0.0), (3.0, 3.0)])
def test_ranges_are_one_sided(key, limits):
    """Every amount of the affine change within its own range, whether it has zero in it or not."""
    low, high = limits
    keys = jax.random.split(key, 200)

    def entries(draw, name, unit):
        return jax.jit(jax.vmap(lambda k: draw(k, (30, 40), **{name: (low * unit, high * unit)})))(keys)

    turned = entries(random_matrices.random_rotation, "degrees", 1.0)
    angles = np.degrees(np.arctan2(turned[:, 1, 0], turned[:, 0, 0]))
    moved = -entries(random_matrices.random_affine, "translate", 0.01)[:, :2, 2] / jnp.array([40.0, 30.0])
    sheared = entries(random_matrices.random_shear, "x", 0.01)[:, 0, 1]
    for amounts in (angles, np.asarray(moved).ravel() * 100, sheared * 100):
        assert low - 1e-4 <= amounts.min() <= low + 0.05 * (high - low) + 1e-4
        assert high - 0.05 * (high - low) - 1e-4 <= amounts.max() <= high + 1e-4


def test_a_range_of_a_zoom_is_its_factors(key):
    draw = jax.jit(jax.vmap(lambda k: random_matrices.random_zoom(k, (30, 40), scale=(1.0, 1.5))))
    draws = draw(jax.random.split(key, 300))
    factors = 1 / np.asarray(draws[:, 0, 0])
    assert 1 - 1e-5 <= factors.min() < 1.03
    assert 1.45 < factors.max() <= 1.5 + 1e-5
    assert stats.kstest(np.log(factors) / np.log(1.5), "uniform").pvalue > 1e-3


def test_a_number_draws_what_it_drew(key):
    expected = matrices.rotation(jax.random.uniform(key, (1,), minval=-1.0)[0] * 30)
    np.testing.assert_array_equal(random_matrices.random_rotation(key, (3, 4), degrees=30.0), expected)
    np.testing.assert_array_equal(random_matrices.random_rotation(key, (3, 4), degrees=(-30.0, 30.0)), expected)


OLD, NEW = ((50.0, 50.0), (200.0, 50.0), (50.0, 200.0)), ((100.0, 100.0), (200.0, 50.0), (100.0, 250.0))


@pytest.mark.versions
def test_three_points_move_the_image_as_pillow_does(key):
    height, width = 260, 300
    y, x = np.mgrid[:height, :width]
    waves = [127 + 100 * np.sin(x / a + y / b) for a, b in ((9, 14), (20, 8), (13, 30))]
    image = np.stack(waves, -1).astype(np.uint8)
    points = jnp.array(OLD, jnp.float32)
    example = {"image": jnp.asarray(image), "keypoints": points, "keypoint_visible": jnp.ones(3, bool)}
    out = jax.jit(partial(affine.affine_from_points, old=OLD, new=NEW))(key, example)
    np.testing.assert_allclose(out["keypoints"], NEW, atol=1e-3)
    forward = np.array(NEW).T @ np.linalg.inv(np.vstack([np.array(OLD).T, np.ones(3)]))
    np.testing.assert_allclose(forward, [[2 / 3, 0, 200 / 3], [-1 / 3, 1, 200 / 3]], atol=1e-9)
    back = np.linalg.inv(np.vstack([forward, [0, 0, 1]]))[:2]
    from_corner = back[:, 2] + back[:, :2] @ [-0.5, -0.5] + 0.5  # Pillow counts from the corner of the first pixel
    data = [*back[0, :2], from_corner[0], *back[1, :2], from_corner[1]]

    def pillows(image):
        how = Image.Transform.AFFINE, data, Image.Resampling.BILINEAR
        return np.asarray(Image.fromarray(image).transform((width, height), *how), int)

    inside = minimum_filter(pillows(np.full((height, width), 255, np.uint8)), 5) == 255
    assert inside.mean() > 0.2
    assert np.abs(np.asarray(out["image"], int) - pillows(image))[inside].max() <= 2


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (OLD[:2], NEW, "old .* is not three points"),
        (OLD, ((0.0, 0.0), (1.0, 1.0), (2.0, 2.0)), "new .* on one line"),
    ],
)
def test_three_points_that_span_nothing_are_refused(key, old, new, message):
    with pytest.raises(UserError, match=message):
        affine.affine_from_points(key, {"image": jnp.asarray(NOISE)}, old=old, new=new)


@pytest.mark.parametrize("pair", [(20.0, 10.0), (1.0,), (0.0, float("nan"))])
def test_what_is_no_range_is_refused(key, pair):
    with pytest.raises(UserError, match=r"rotate: .* is not a range \(lowest, highest\)"):
        affine.rotate(key, {"image": jnp.asarray(NOISE)}, degrees=pair)


OUTSIDE = {
    "rotate": {"degrees": (30.0, 30.0)},
    "shear": {"x": (0.4, 0.4)},
    "translate": {"x": (0.3, 0.3), "y": (-0.4, -0.4)},
    "scale": {"scale": (0.5, 0.5)},
    "affine": {"rotate": (20.0, 20.0), "scale": (0.7, 0.7)},
    "affine_from_points": {"old": ((0.0, 0.0), (9.0, 0.0), (0.0, 9.0)), "new": ((3.0, 2.0), (8.0, 1.0), (1.0, 8.0))},
    "perspective": {},
    "elastic": {"alpha": 120.0, "sigma": 4.0},
    "pad": {"pixels": 3},
    "crop": {"padding": 8, "size": (25, 25)},
}


@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_every_change_knows_borders_and_a_fill_for_each_channel(key, name, dtype):
    most = 255 if dtype == np.uint8 else 1
    white = {"image": jnp.full((12, 12, 3), most, dtype)}
    op = partial(augment.OPS[name], **OUTSIDE[name])
    fill = (0.2, 0.4, 0.6)

    @jax.jit
    @jax.vmap
    def run(key):
        return [op(key, white, **how)["image"] for how in ({"border": "edge"}, {"border": "reflect"}, {"fill": fill})]

    *others, seen = run(jax.random.split(key, 4))
    for other in others:
        np.testing.assert_array_equal(other, most)
    np.testing.assert_allclose(np.asarray(seen, np.float64).min((0, 1, 2)), np.array(fill) * most, atol=1e-6)
    with pytest.raises(UserError, match="2 levels, the image 3 channels"):
        op(key, white, fill=(0.1, 0.2))
    with pytest.raises(UserError, match="did you mean 'reflect'"):
        op(key, white, border="reflct")


def test_perspective_keeps_the_image_inside(key):
    white = {"image": jnp.full((31, 40, 1), 255, jnp.uint8)}
    still = jax.jit(partial(affine.perspective, distortion=0.0))(key, white)["image"]
    np.testing.assert_array_equal(still, 255)
    seen = jax.jit(jax.vmap(lambda k: affine.perspective(k, white)["image"]))(jax.random.split(key, 64)) > 127
    share = np.asarray(seen).mean((1, 2, 3))
    assert (seen[:, 13:18, 17:23]).all()  # a quarter of each side at most is lost
    assert 0.25 < share.min() < share.max() < 1


def test_negative_amounts_are_refused(key):
    with pytest.raises(UserError, match=r"affine: .*0\.0 or more"):
        affine.affine(key, {"image": jnp.asarray(NOISE)}, rotate=-5.0)
    with pytest.raises(UserError, match="half a side"):
        affine.perspective(key, {"image": jnp.asarray(NOISE)}, distortion=0.9)
