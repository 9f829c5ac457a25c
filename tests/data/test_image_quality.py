"""Looks of images whose brightness, noise and blur are known."""

import numpy as np
import pytest
from scipy import ndimage

from efficient_jax.data import image_quality

FLAT = np.full((64, 64), 128.0)
TEXTURE = 128 + 60 * np.sin(np.arange(64) / 9)[:, None] * np.cos(np.arange(64) / 7)


@pytest.mark.parametrize("scene", [FLAT, TEXTURE], ids=["flat", "texture"])
@pytest.mark.parametrize("sigma", [2.0, 5.0, 15.0])
def test_known_noise_is_recovered_within_5_per_cent(scene, sigma):
    noisy = np.random.default_rng(0).normal(scene, sigma, (20, 64, 64))
    found = image_quality.quality(np.rint(noisy).clip(0, 255).astype(np.uint8)[..., None]).noise
    assert found.shape == (20,)
    np.testing.assert_allclose(found.mean(), sigma, rtol=0.05)


@pytest.mark.parametrize("sigma", [1.0, 1.5, 2.5])
def test_known_blur_of_edges_is_recovered_whatever_their_height(sigma):
    steps = np.zeros((2, 64, 64), np.float32)
    steps[0, :, 32:], steps[1, 20:] = 200.0, 30.0
    blurred = ndimage.gaussian_filter(steps, (0, sigma, sigma))
    np.testing.assert_allclose(image_quality.edge_width(blurred), sigma, rtol=0.05)
    np.testing.assert_allclose(image_quality.edge_width(2 * blurred + 9), sigma, rtol=0.05)


def test_sharpness_is_the_variance_of_scipys_laplacian():
    levels = np.random.default_rng(0).uniform(0, 255, (3, 9, 12)).astype(np.float32)
    expected = [ndimage.laplace(image)[1:-1, 1:-1].var() for image in levels]
    np.testing.assert_allclose(image_quality.sharpness(levels), expected, rtol=1e-5)


@pytest.mark.parametrize("channels", [1, 3])
def test_brightness_contrast_and_highlights_of_half_black_half_white(channels):
    images = np.zeros((2, 8, 8, channels), np.uint8)
    images[0, :4] = 255
    found = image_quality.quality(images)
    np.testing.assert_allclose(found.brightness, [0.5, 0], atol=1e-6)
    np.testing.assert_allclose(found.contrast, [0.5, 0], atol=1e-6)
    np.testing.assert_allclose(found.highlights, [1, 0], atol=1e-6)
    assert np.isnan(found.edge_width[1])  # no edge


def test_parts_for_threads_come_back_in_order(monkeypatch):
    images = np.random.default_rng(0).integers(0, 256, (7, 6, 6, 3), np.uint8)
    whole = image_quality.quality(images)
    monkeypatch.setattr(image_quality, "CHUNK_PIXELS", 80)
    for one, other in zip(whole, image_quality.quality(images), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)


def test_images_too_small_for_a_mask_have_no_noise():
    found = image_quality.quality(np.full((2, 2, 5, 1), 51, np.uint8))
    np.testing.assert_allclose(found.brightness, 0.2, rtol=1e-6)
    assert np.isnan([found.noise, found.sharpness, found.edge_width]).all()


def test_constant_and_colourless_images_are_found():
    images = np.random.default_rng(0).integers(0, 256, (4, 5, 5, 3), np.uint8)
    images[1] = [10, 20, 30]
    images[2] = images[2, ..., :1]
    assert image_quality.constant(images).tolist() == [False, True, False, False]
    assert image_quality.colourless(images).tolist() == [False, False, True, False]
