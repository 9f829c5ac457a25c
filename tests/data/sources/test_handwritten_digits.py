"""Digits that packages ship are as their makers say."""

import numpy as np

from efficient_jax.data.sources import handwritten_digits


def test_mnist5k_has_500_of_each_digit():
    source = handwritten_digits.mnist5k()
    assert source.images.shape == (5000, 28, 28, 1)
    assert source.images.dtype == np.uint8
    assert source.images.max() == 255
    np.testing.assert_array_equal(np.bincount(source.labels), [500] * 10)
    ones, zeros = (source.images[source.labels == digit].mean(0)[14, 14, 0] for digit in (1, 0))
    assert ones > 200 > 50 > zeros  # the middle is ink of a 1 and the hole of a 0


def test_digits_are_those_of_scikit_learn():
    """Counts of ink from 0 to 16 become 0 to 255; the first is the 0 of scikit-learn's documentation."""
    source = handwritten_digits.digits()
    assert source.images.shape == (1797, 8, 8, 1)
    np.testing.assert_array_equal(np.bincount(source.labels), [178, 182, 177, 183, 181, 182, 181, 179, 174, 180])
    np.testing.assert_array_equal(source.images[0, 0, :, 0], np.round(np.array([0, 0, 5, 13, 9, 1, 0, 0]) * 15.9375))
    assert source.images.max() == 255
