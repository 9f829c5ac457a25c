"""Noise tells its class by its colour."""

import numpy as np
import pytest

from efficient_jax.data.sources.colored_noise import synthetic
from efficient_jax.errors import UserError


def test_the_mean_colour_of_synthetic_images_tells_their_class():
    source = synthetic(classes=3, size=16, images=30, seed=1)
    assert (source.images.shape, source.images.dtype) == ((30, 16, 16, 3), np.uint8)
    np.testing.assert_array_equal(np.bincount(source.labels), [10, 10, 10])
    colours = source.images.mean((1, 2))
    centres = np.stack([colours[source.labels == number][:5].mean(0) for number in range(3)])
    nearest = ((colours[:, None] - centres) ** 2).sum(-1).argmin(1)
    np.testing.assert_array_equal(nearest, source.labels)
    assert source.images.std((1, 2)).min() > 20  # and no image is just a colour
    assert len(np.unique(source.images.reshape(30, -1), axis=0)) == 30


def test_synthetic_images_are_those_of_the_seed():
    first, again, other = (synthetic(classes=2, size=4, images=4, channels=1, seed=s) for s in (0, 0, 1))
    np.testing.assert_array_equal(first.images, again.images)
    assert (first.images != other.images).any()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"classes": 1}, "classes: 1 asked; want at least 2"),
        ({"size": 0}, "size: 0 asked; want at least 1"),
        ({"images": 4}, "images: 4 asked; want at least 5"),
        ({"channels": 0}, "channels: 0 asked; want at least 1"),
    ],
)
def test_synthetic_images_that_cannot_be_are_said(settings, message):
    with pytest.raises(UserError) as error:
        synthetic(**{"classes": 5, "size": 4, "images": 10} | settings)
    assert str(error.value) == f"config.data.source.{message}"
