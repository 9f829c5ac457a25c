"""The bias that makes the mean prediction what it should be."""

import numpy as np
import pytest
from scipy.special import softmax

from efficient_jax.errors import UserError
from efficient_jax.methods.prior_correction import prior_correction

RNG = np.random.default_rng(0)
LOGITS = 2.0 * RNG.standard_normal((500, 4))


def after(logits, bias):
    return softmax(logits + bias, axis=1).mean(0)


@pytest.mark.parametrize("wrong", [np.zeros(4), np.array([-8.0, 0.0, 3.0, 1.0])])
def test_the_mean_prediction_becomes_the_frequencies(wrong):
    frequencies = np.array([0.1, 0.2, 0.3, 0.4])
    shift = prior_correction(softmax(LOGITS + wrong, axis=1).astype(np.float32), frequencies)
    np.testing.assert_allclose(after(LOGITS + wrong, shift), frequencies, atol=1e-4)
    np.testing.assert_allclose(shift.mean(), 0.0, atol=1e-9)


@pytest.mark.parametrize("counts", [(4, 4, 4), (1, 2, 4), (30, 30, 1)])
def test_frequencies_that_do_not_quite_add_up_to_1_make_no_difference(counts):
    """Those of float32: 4 of 12 is 0.33333334."""
    frequencies = np.divide(counts, sum(counts), dtype=np.float32)
    p = softmax(LOGITS[:60, :3], axis=1).astype(np.float32)
    shift = prior_correction(p, frequencies)
    np.testing.assert_allclose(after(LOGITS[:60, :3], shift), frequencies, atol=1e-5)


def test_a_bias_is_found_again():
    """What was added comes off: the frequencies are those of the predictions without it."""
    wrong = np.array([-3.5, 0.5, 1.0, 2.0])
    shift = prior_correction(softmax(LOGITS + wrong, axis=1), after(LOGITS, 0.0))
    np.testing.assert_allclose(shift, -wrong, atol=1e-3)


def test_predictions_that_are_right_on_average_stay():
    p = softmax(LOGITS, axis=1)
    np.testing.assert_allclose(prior_correction(p, p.mean(0)), 0.0, atol=1e-6)


@pytest.mark.parametrize("frequencies", [np.array([0.75, 0.25]), np.array([0.5, 0.5])])
def test_predictions_of_probability_0_can_be_moved_too(frequencies):
    p = np.eye(2, dtype=np.float32)[[0, 0, 0, 1]]
    shift = prior_correction(p, frequencies)
    np.testing.assert_allclose(after(np.log(np.maximum(p, 1e-30)), shift), frequencies, atol=1e-6)


def test_a_class_without_labels_is_said():
    with pytest.raises(UserError, match="a class has no labelled image"):
        prior_correction(softmax(LOGITS, axis=1), np.array([0.5, 0.5, 0.0, 0.0]))
