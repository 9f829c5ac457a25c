import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import log_loss

from efficient_jax import metrics


@pytest.mark.parametrize(("correct", "n"), [(0, 10), (1, 10), (95, 100), (597, 597), (9_812, 10_000)])
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_wilson_is_scipys(correct, n, level):
    peer = stats.binomtest(correct, n).proportion_ci(level, method="wilson")
    np.testing.assert_allclose(metrics.wilson(correct, n, level), (peer.low, peer.high), atol=1e-12)


def test_paired_difference_is_scipys_t_interval():
    a, b = np.array([0.91, 0.93, 0.90, 0.95, 0.92]), np.array([0.90, 0.90, 0.91, 0.91, 0.90])
    peer = stats.ttest_rel(a, b).confidence_interval(0.95)
    mean, low, high = metrics.paired_difference(a, b)
    np.testing.assert_allclose([mean, low, high], [0.018, peer.low, peer.high], rtol=1e-9)


def test_what_seeds_do_to_both_cancels():
    seeds = np.array([0.3, 0.9, 0.5])
    mean, low, high = metrics.paired_difference(seeds + 0.01, seeds)
    np.testing.assert_allclose([mean, low, high], 0.01, atol=1e-12)


def test_one_pair_has_no_interval():
    with pytest.raises(ValueError, match="at least 2 pairs"):
        metrics.paired_difference(np.array([1.0]), np.array([0.5]))


def binary(confidence):
    return np.stack([confidence, 1.0 - np.asarray(confidence)], axis=1)


def test_calibration_error_by_hand():
    # 3 bins: (1/3, 2/3] holds 0.6 right and 0.6 wrong, (2/3, 1] holds 0.8 right, 0.9 right and 0.7 wrong
    probabilities = binary([0.6, 0.6, 0.8, 0.9, 0.7])
    labels = np.array([0, 1, 0, 0, 1])
    expected = 2 / 5 * abs(1 / 2 - 0.6) + 3 / 5 * abs(2 / 3 - 0.8)
    np.testing.assert_allclose(metrics.expected_calibration_error(probabilities, labels, bins=3), expected)


def test_calibration_error_of_a_constant_confidence():
    probabilities, labels = binary([0.75] * 8), np.array([0] * 5 + [1] * 3)
    np.testing.assert_allclose(metrics.expected_calibration_error(probabilities, labels), abs(5 / 8 - 0.75))


def test_a_bin_holds_its_upper_edge():
    probabilities, labels = binary([0.75, 0.8]), np.array([0, 1])
    # with 4 bins 0.75 is in (0.5, 0.75] and 0.8 above; in one bin the two would partly cancel
    expected = (abs(1 - 0.75) + abs(0 - 0.8)) / 2
    np.testing.assert_allclose(metrics.expected_calibration_error(probabilities, labels, bins=4), expected)


def test_certain_and_right_is_perfect():
    probabilities, labels = np.eye(3, dtype=np.float32), np.arange(3)
    assert metrics.expected_calibration_error(probabilities, labels) == 0.0
    assert metrics.negative_log_likelihood(probabilities, labels) == 0.0


def test_negative_log_likelihood_is_scikit_learns():
    rng = np.random.default_rng(0)
    probabilities, labels = rng.dirichlet(np.ones(4), size=50), rng.integers(4, size=50)
    ours = metrics.negative_log_likelihood(probabilities, labels)
    np.testing.assert_allclose(ours, log_loss(labels, probabilities, labels=range(4)), rtol=1e-9)


def test_an_impossible_label_costs_a_finite_amount():
    loss = metrics.negative_log_likelihood(np.array([[1.0, 0.0]], np.float32), np.array([1]))
    np.testing.assert_allclose(loss, -np.log(np.finfo(np.float32).tiny))
