"""Images become squares."""

import numpy as np
import pytest
from PIL import Image

from efficient_jax.data.framing import fit

SMOOTH = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 13, 3), np.uint8)).resize((130, 90))


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(
    ("size", "crop", "shorter"), [(32, 1.0, 32), (56, 0.875, 64), (33, 0.9, 37), (224, 0.875, 256)]
)
def test_crop_is_a_resize_of_the_shorter_side_and_a_cut_of_the_middle(size, crop, shorter, turned, interpolation):
    image = SMOOTH.transpose(Image.Transpose.TRANSPOSE) if turned else SMOOTH
    longer = shorter * 130 // 90
    width, height = (shorter, longer) if turned else (longer, shorter)
    resized = np.asarray(image.resize((width, height), getattr(Image.Resampling, interpolation.upper())), int)
    top, left = round((height - size) / 2), round((width - size) / 2)
    expected = resized[top : top + size, left : left + size]
    assert np.abs(fit(image, size, "crop", crop, interpolation) - expected).max() <= 1


def test_crop_keeps_the_middle_squash_keeps_all_and_pad_adds_grey():
    stripes = np.repeat(np.array([10, 100, 250], np.uint8), 20)[None, :, None].repeat(20, 0).repeat(3, 2)  # 20 x 60
    np.testing.assert_array_equal(fit(stripes, 20, "crop", 1.0, "bicubic"), 100)
    squashed = fit(stripes, 60, "squash", 1.0, "bilinear")
    np.testing.assert_array_equal(squashed, stripes[:1].repeat(60, 0))
    padded = fit(stripes, 60, "pad", 1.0, "bicubic")
    np.testing.assert_array_equal(padded[20:40], stripes)
    np.testing.assert_array_equal(np.delete(padded, slice(20, 40), 0), 128)
    np.testing.assert_array_equal(fit(stripes.transpose(1, 0, 2), 60, "pad", 1.0, "bicubic"), padded.transpose(1, 0, 2))


@pytest.mark.parametrize("way", ["crop", "squash", "pad"])
def test_a_image_of_that_size_is_left_alone(way):
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    np.testing.assert_array_equal(fit(pixels, 16, way, 1.0, "bicubic"), pixels)
    np.testing.assert_array_equal(fit(pixels[..., :1], 16, way, 1.0, "bicubic"), pixels[..., :1])


@pytest.mark.parametrize("way", ["crop", "squash", "pad"])
def test_fine_patterns_become_their_mean(way):
    """A resize without antialiasing would return black and white."""
    board = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)[..., None]
    inner = fit(board, 16, way, 1.0, "bilinear")[2:-2, 2:-2].astype(int)
    assert np.abs(inner - 127.5).max() <= 2


@pytest.mark.parametrize("way", ["crop", "squash", "pad"])
@pytest.mark.parametrize("shape", [(1, 5000), (5000, 1), (1, 1)])
def test_strips_fit_too(way, shape):
    assert (fit(np.full((*shape, 3), 7, np.uint8), 8, way, 1.0, "bicubic") == 7).any()
