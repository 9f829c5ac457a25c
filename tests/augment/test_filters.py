import jax
import numpy as np
import pytest
from PIL import Image, ImageEnhance
from scipy import ndimage

from efficient_jax.augment import filters
from efficient_jax.errors import UserError

RNG = np.random.default_rng(0)


def random_image(height, width, channels):
    return RNG.integers(0, 256, (height, width, channels), dtype=np.uint8)


def applied(name, **settings):
    op = jax.jit(lambda key, image: getattr(filters, name)(key, {"image": image}, **settings)["image"])
    return lambda key, image: np.asarray(op(key, image))


def drawn(name, n, image, **settings):
    """The results of n keys."""
    run = jax.jit(jax.vmap(lambda key: getattr(filters, name)(key, {"image": image}, **settings)["image"]))
    return np.asarray(run(jax.random.split(jax.random.key(1), n)))


def by_scipy(image, sigma, kernel):
    return ndimage.gaussian_filter(image.astype(np.float64), sigma, radius=kernel // 2, mode="mirror", axes=(0, 1))


@pytest.mark.versions
def test_sharpness_is_pillows_at_uniform_factors():
    image = random_image(24, 21, 3)
    enhance = ImageEnhance.Sharpness(Image.fromarray(image)).enhance
    pillows = np.stack([np.asarray(enhance(factor / 1024)) for factor in range(2049)])
    equal = (drawn("sharpness", 24, image, strength=1.0)[:, None] == pillows).all((2, 3, 4))
    assert equal.any(axis=1).all()
    np.testing.assert_allclose(np.sort(equal.argmax(axis=1)) / 1024, np.linspace(0, 2, 24), atol=0.5)


def test_sharpness_of_floats(key):
    image, op = random_image(9, 12, 1), applied("sharpness", strength=1.0)
    floats = op(key, image / np.float32(255))
    assert np.abs(255 * floats - op(key, image)).max() < 2  # the reference and the result are rounded


@pytest.mark.parametrize("shape", [(1, 1, 3), (2, 5, 1), (5, 2, 3)])
def test_sharpness_leaves_what_is_all_border(key, shape):
    image = random_image(*shape)
    np.testing.assert_array_equal(applied("sharpness", strength=1.0)(key, image), image)


@pytest.mark.parametrize("shape", [(17, 12, 3), (9, 14, 1), (3, 2, 3), (1, 1, 1)])  # kernels reach over small images
@pytest.mark.parametrize(("sigma", "kernel"), [(0.1, 5), (0.8, 3), (2.0, 9)])
def test_gaussian_blur_agrees_with_scipy(key, shape, sigma, kernel):
    image = random_image(*shape)
    expected = by_scipy(image, sigma, kernel)
    op = applied("gaussian_blur", kernel=kernel, sigma_min=sigma, sigma_max=sigma)
    assert np.abs(op(key, image) - expected).max() < 0.6
    np.testing.assert_allclose(op(key, (image / 255).astype(np.float32)), expected / 255, atol=1e-5)


def test_wide_gaussian_blur_of_sharp_edges(key):
    image = np.where(RNG.random((40, 40, 1)) < 0.5, np.uint8(0), np.uint8(255))
    op = applied("gaussian_blur", kernel=23, sigma_min=3.0, sigma_max=3.0)
    assert np.abs(op(key, image) - by_scipy(image, 3.0, 23)).max() < 0.6


def test_blurs_add_their_variances(key):
    image = random_image(60, 60, 1).astype(np.float32) / 255

    def op(sigma):
        return applied("gaussian_blur", kernel=21, sigma_min=sigma, sigma_max=sigma)

    twice, once = op(2.0)(key, op(1.5)(key, image)), op(2.5)(key, image)
    np.testing.assert_allclose(twice[20:40, 20:40], once[20:40, 20:40], atol=2e-3)


def test_deviations_are_uniform():
    point = np.zeros((5, 5, 1), np.float32)
    point[2, 2] = 1
    blurred = drawn("gaussian_blur", 1000, point, sigma_min=0.5, sigma_max=2.0)
    sigma = np.sqrt(0.5 / np.log(blurred[:, 2, 2, 0] / blurred[:, 2, 3, 0]))
    np.testing.assert_allclose(np.sort(sigma), np.linspace(0.5, 2.0, 1000), atol=0.08)


@pytest.mark.parametrize("name", ["gaussian_blur", "motion_blur"])
@pytest.mark.parametrize("level", [0, 1, 100, 255])
def test_one_level_stays_as_it_is(name, level):
    image = np.full((8, 7, 3), level, np.uint8)
    assert (drawn(name, 64, image) == image).all()


@pytest.mark.parametrize(("length", "weights"), [(1, [1]), (3, [1, 1, 1]), (4, [0.5, 1, 1, 1, 0.5])])
def test_horizontal_motion(key, length, weights):
    image = random_image(6, 9, 3)
    expected = ndimage.correlate1d(image.astype(np.float64), np.array(weights) / length, axis=1, mode="mirror")
    op = applied("motion_blur", length=length, angle=0.0)
    assert np.abs(op(key, image) - expected).max() < 0.51
    np.testing.assert_allclose(op(key, (image / 255).astype(np.float32)), expected / 255, atol=1e-4)


def traces(angle, n=200):
    """What becomes of a point: the kernels, their size and angle (from -90 to 90 degrees, counter-clockwise)."""
    point = np.zeros((19, 19, 1), np.float32)
    point[9, 9] = 1
    kernels = drawn("motion_blur", n, point, length=13, angle=angle)[..., 0]
    right = np.arange(-9, 10)
    up = -right[:, None]
    xx, yy, xy = ((kernels * product).sum((1, 2)) for product in (right**2, up**2, right * up))
    return kernels, xx + yy, np.degrees(np.arctan2(2 * xy, xx - yy) / 2)


def test_motion_is_a_line_of_its_length_in_every_direction():
    kernels, variance, angle = traces(90.0)
    np.testing.assert_allclose(kernels.sum((1, 2)), 1, rtol=1e-5)
    np.testing.assert_allclose(kernels, kernels[:, ::-1, ::-1], atol=1e-4)
    # The variance of 13 points in a row, and at most 1/4 in each direction for sharing a point among neighbours.
    assert (variance > (13**2 - 1) / 12 - 0.01).all()
    assert (variance < (13**2 - 1) / 12 + 0.5).all()
    np.testing.assert_allclose(np.sort(angle), np.linspace(-90, 90, 200), atol=25)


def test_motion_angle_is_at_most_angle():
    angle = traces(20.0)[2]
    assert np.abs(angle).max() < 20.5
    assert angle.min() < -15
    assert angle.max() > 15


@pytest.mark.parametrize("shape", [(19, 19, 3), (3, 4, 1)])
def test_motion_blur_is_the_convolution_with_a_line(shape):
    image = random_image(*shape)
    kernel = traces(90.0, 1)[0][0]  # of the same key
    expected = ndimage.correlate(image.astype(np.float64), kernel[..., None], mode="mirror")
    blurred = drawn("motion_blur", 1, image, length=13)[0]
    assert np.abs(blurred - expected).max() < 0.6


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("sharpness", {"strength": -0.1}),
        ("gaussian_blur", {"kernel": 4}),
        ("gaussian_blur", {"sigma_min": 0.0}),
        ("gaussian_blur", {"sigma_min": 2.0, "sigma_max": 1.0}),
        ("motion_blur", {"length": 0}),
        ("motion_blur", {"angle": 91.0}),
    ],
)
def test_bad_settings_are_refused(key, name, settings):
    with pytest.raises(UserError, match=name):
        getattr(filters, name)(key, {"image": random_image(4, 4, 1)}, **settings)
