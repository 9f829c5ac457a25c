import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from efficient_jax.augment.kernels import matrices, positions, resample

warp = jax.jit(resample.warp, static_argnames=("fill", "size", "border"))
warp_to = jax.jit(resample.warp_to, static_argnames=("fill", "border"))
nearest = jax.jit(resample.nearest)
stretch = jax.jit(resample.stretch)
TILTED = np.array([[0.9, 0.25, 1.3], [-0.2, 1.1, -2.6]], np.float32)


def random_image(height, width, channels, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def by_scipy(plane, matrix, fill, size):
    """scipy's affine_transform in (row, column) order, about the centres, blending with the fill."""
    linear = matrix[::-1, [1, 0]].astype(np.float64)
    old, new = (np.array(plane.shape) - 1) / 2, (np.array(size) - 1) / 2
    offset = old + matrix[::-1, 2] - linear @ new
    return ndimage.affine_transform(
        plane.astype(np.float64), linear, offset, size, order=1, mode="grid-constant", cval=fill, prefilter=False
    )


@pytest.mark.parametrize("shape", [(28, 28, 1), (20, 31, 3)])
@pytest.mark.parametrize("size", [None, (17, 40)])
def test_warp_agrees_with_scipy(shape, size):
    image = random_image(*shape)
    expected = np.stack([by_scipy(image[..., i], TILTED, 51, size or shape[:2]) for i in range(shape[2])], -1)
    assert np.abs(np.asarray(warp(image, TILTED, fill=0.2, size=size)) - expected).max() < 2
    as_float = warp(image.astype(np.float32) / 255, TILTED, fill=0.2, size=size)
    np.testing.assert_allclose(as_float, expected / 255, atol=1e-3)


@pytest.mark.parametrize("shape", [(8, 8, 1), (9, 9, 3), (1, 1, 3), (5, 4, 6)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_identity_is_exact(shape, dtype):
    image = random_image(*shape).astype(dtype)
    np.testing.assert_array_equal(warp(image, np.eye(2, 3, dtype=np.float32)), image)
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    np.testing.assert_array_equal(warp_to(image, x, y), image)
    np.testing.assert_array_equal(stretch(image, y[:, 0], x[0]), image)


def test_far_outside_is_fill():
    far = np.array([[4.0, 0, 1e6], [0, 4.0, -1e6]], np.float32)
    np.testing.assert_array_equal(warp(random_image(6, 7, 3), far, fill=1.0), 255)
    y = x = np.full((2, 2), -1e30, np.float32)
    np.testing.assert_array_equal(warp_to(random_image(6, 7, 3), x, y, fill=1.0), 255)
    assert not nearest(random_image(6, 7, 1)[..., 0] | 1, far).any()


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_points_agree_with_scipy(dtype):
    rng, image = np.random.default_rng(1), random_image(20, 31, 3)
    y, x = rng.uniform(-3, 23, (9, 8)).astype(np.float32), rng.uniform(-3, 34, (9, 8)).astype(np.float32)
    expected = np.stack(
        [ndimage.map_coordinates(image[..., i].astype(float), [y, x], order=1, mode="grid-constant") for i in range(3)],
        -1,
    )
    scale = 1 if dtype == np.uint8 else 255
    out = np.asarray(warp_to((image / dtype(scale)).astype(dtype), x, y)) * np.float64(scale)
    assert np.abs(out - expected).max() < (2 if dtype == np.uint8 else 0.05)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_stretch_agrees_with_scipy(dtype):
    rng, image = np.random.default_rng(1), random_image(20, 31, 3)
    y, x = rng.uniform(-3, 23, 9).astype(np.float32), rng.uniform(-3, 34, 8).astype(np.float32)
    points = np.meshgrid(y, x, indexing="ij")
    expected = np.stack(
        [ndimage.map_coordinates(image[..., i].astype(float), points, order=1, mode="nearest") for i in range(3)], -1
    )
    scale = 1 if dtype == np.uint8 else 255
    out = np.asarray(stretch((image / dtype(scale)).astype(dtype), y, x)) * np.float64(scale)
    assert np.abs(out - expected).max() < (2 if dtype == np.uint8 else 0.05)


@pytest.mark.versions
@pytest.mark.parametrize("size", [33, 64, 224])
@pytest.mark.parametrize("degrees", [7.0, 30.0, -13.3, 45.0, 90.0])
def test_nearest_rotation_is_pillows(size, degrees):
    mask = random_image(size, size + 4, 1)[..., 0]
    expected = Image.fromarray(mask).rotate(degrees, Image.Resampling.NEAREST)
    np.testing.assert_array_equal(nearest(mask, matrices.rotation(degrees)[:2]), expected)


@pytest.mark.versions
@pytest.mark.parametrize("size", [33, 64, 224])
@pytest.mark.parametrize(
    "inverse", [matrices.shearing(0.3, 0.0), matrices.shearing(0.0, -0.27), matrices.translation(5.0, -9.0)]
)
def test_nearest_shear_and_shift_are_pillows(size, inverse):
    mask, matrix = random_image(size, size + 4, 1)[..., 0], np.asarray(inverse, np.float64)
    centre = np.array([(size + 4) / 2, size / 2])
    offset = matrix[:2, 2] + centre - matrix[:2, :2] @ centre  # Pillow counts from the corner of the image
    data = np.column_stack([matrix[:2, :2], offset]).ravel().tolist()
    expected = Image.fromarray(mask).transform(mask.shape[::-1], Image.Transform.AFFINE, data, Image.Resampling.NEAREST)
    np.testing.assert_array_equal(nearest(mask, inverse[:2]), expected)


MODES = {"constant": "grid-constant", "edge": "nearest", "reflect": "mirror"}


@pytest.mark.parametrize("border", positions.BORDERS)
@pytest.mark.parametrize(("dtype", "channels"), [(np.uint8, 1), (np.uint8, 3), (np.uint8, 5), (np.float32, 3)])
def test_borders_are_scipys(border, dtype, channels):
    """Twice the image's size all around it, so that reflections are reflected again."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (7, 9, channels), dtype=np.uint8)
    size, fill = (31, 40), tuple(np.linspace(0.2, 1.0, channels).tolist())
    inverse = np.array([[0.8, -0.3, 1.3], [0.25, 0.9, -0.7]])
    y, x = np.mgrid[: size[0], : size[1]].astype(float)
    across, down = x - (size[1] - 1) / 2, y - (size[0] - 1) / 2
    seen_x, seen_y = (row[0] * across + row[1] * down + row[2] for row in inverse)
    seen_x, seen_y = seen_x + 4, seen_y + 3
    expected = [
        ndimage.map_coordinates(
            image[..., i].astype(float), [seen_y, seen_x], order=1, mode=MODES[border], cval=round(255 * fill[i])
        )
        for i in range(channels)
    ]
    unit = 1 if dtype == np.uint8 else 255
    given = jnp.asarray((image / dtype(unit)).astype(dtype))
    warped = warp(given, jnp.asarray(inverse, jnp.float32), fill, size, border)
    pointwise = warp_to(given, *(jnp.asarray(p, jnp.float32) for p in (seen_x, seen_y)), fill, border)
    for out in (warped, pointwise):
        assert out.dtype == dtype
        difference = np.abs(np.asarray(out, np.float64) * unit - np.stack(expected, -1))
        assert difference.max() <= (2.5 if dtype == np.uint8 else 0.6)


@pytest.mark.parametrize("border", positions.BORDERS)
def test_whole_pixels_outside_are_numpys(border):
    image = np.random.default_rng(0).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    around = {"constant_values": 0} if border == "constant" else {}
    expected = np.pad(image, ((11, 11), (11, 11), (0, 0)), mode=border, **around)
    shown = warp(jnp.asarray(image), jnp.eye(3)[:2], 0.0, (28, 27), border)
    np.testing.assert_array_equal(shown, expected)
    one = jnp.full((1, 1, 3), 9, jnp.uint8)
    assert (np.asarray(warp(one, jnp.eye(3)[:2], 0.0, (3, 3), border))[1, 1] == 9).all()
