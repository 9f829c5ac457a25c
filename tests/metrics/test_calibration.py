"""Calibration."""

import numpy as np
import pytest
from scipy import special

from efficient_jax.metrics import accuracy, calibration


@pytest.fixture(scope="module")
def calibrated():
    """Probabilities, and labels that have them."""
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.full(5, 0.5), 4000)
    labels = (probabilities.cumsum(1) > rng.random((4000, 1))).argmax(1)
    return probabilities, labels


def binary(confidence):
    return np.stack([confidence, 1.0 - np.asarray(confidence)], axis=1)


def test_calibration_error_by_hand():
    # 3 bins: (1/3, 2/3] holds 0.6 right and 0.6 wrong, (2/3, 1] holds 0.8 right, 0.9 right and 0.7 wrong
    probabilities = binary([0.6, 0.6, 0.8, 0.9, 0.7])
    labels = np.array([0, 1, 0, 0, 1])
    expected = 2 / 5 * abs(1 / 2 - 0.6) + 3 / 5 * abs(2 / 3 - 0.8)
    np.testing.assert_allclose(calibration.expected_calibration_error(probabilities, labels, bins=3), expected)


def test_calibration_error_of_a_constant_confidence():
    probabilities, labels = binary([0.75] * 8), np.array([0] * 5 + [1] * 3)
    np.testing.assert_allclose(calibration.expected_calibration_error(probabilities, labels), abs(5 / 8 - 0.75))


def test_a_bin_holds_its_upper_edge():
    probabilities, labels = binary([0.75, 0.8]), np.array([0, 1])
    # with 4 bins 0.75 is in (0.5, 0.75] and 0.8 above; in one bin the two would partly cancel
    expected = (abs(1 - 0.75) + abs(0 - 0.8)) / 2
    np.testing.assert_allclose(calibration.expected_calibration_error(probabilities, labels, bins=4), expected)


def test_certain_and_right_is_perfect():
    probabilities, labels = np.eye(3, dtype=np.float32), np.arange(3)
    assert calibration.expected_calibration_error(probabilities, labels) == 0.0
    assert accuracy.negative_log_likelihood(probabilities, labels) == 0.0


def test_the_floor_is_what_a_calibrated_model_is_given(calibrated):
    probabilities, labels = calibrated
    for n in (200, 4000):
        found = calibration.expected_calibration_error(probabilities[:n], labels[:n])
        assert found == pytest.approx(calibration.floor(probabilities[:n]), rel=0.5)
    assert calibration.floor(probabilities[:200]) > 3 * calibration.floor(probabilities)


def test_a_temperature_divides_the_logits():
    logits = np.random.default_rng(0).normal(0, 3, (20, 5))
    tempered = calibration.tempered(special.softmax(logits, 1), 2.5)
    np.testing.assert_allclose(tempered, special.softmax(logits / 2.5, 1), rtol=1e-9)


def test_a_temperature_is_found_again(calibrated):
    probabilities, labels = calibrated
    assert calibration.temperature(probabilities, labels) == pytest.approx(1.0, abs=0.05)
    sharp = calibration.tempered(probabilities, 1 / 2.5)
    found = calibration.temperature(sharp, labels)
    assert found == pytest.approx(2.5, rel=0.05)
    mended = calibration.tempered(sharp, found)
    np.testing.assert_array_equal(mended.argmax(1), sharp.argmax(1))
    before, after = (calibration.expected_calibration_error(p, labels) for p in (sharp, mended))
    assert after < before / 5


def test_a_temperature_never_makes_the_labels_less_likely():
    rng = np.random.default_rng(0)
    for _ in range(20):
        probabilities, labels = rng.dirichlet(np.ones(3), 30), rng.integers(0, 3, 30)
        mended = calibration.tempered(probabilities, calibration.temperature(probabilities, labels))
        rows = np.arange(30)
        assert np.log(mended[rows, labels]).mean() >= np.log(probabilities[rows, labels]).mean() - 1e-9
