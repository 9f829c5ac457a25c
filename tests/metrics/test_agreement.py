"""How alike members err."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import matthews_corrcoef

from efficient_jax.metrics.agreement import agreement, change, sign_test


@pytest.fixture(scope="module")
def answers():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 400)
    a = np.where(rng.random(400) < 0.7, labels, rng.integers(0, 3, 400))
    b = np.where(rng.random(400) < 0.5, a, rng.integers(0, 3, 400))
    return labels, a, b


def test_error_correlation_is_that_of_scikit_learn(answers):
    labels, a, b = answers
    found = agreement(a, b, labels)
    assert found.error_correlation == pytest.approx(matthews_corrcoef(a == labels, b == labels))
    assert found.disagreement == (a != b).mean()


def test_two_that_are_the_same(answers):
    labels, a, _ = answers
    np.testing.assert_allclose(agreement(a, a, labels), [0.0, 1.0, 1.0, 1.0])


def test_one_that_is_never_wrong_has_no_correlation(answers):
    labels, a, _ = answers
    assert np.isnan(agreement(labels, a, labels).error_correlation)


def test_what_was_won_and_lost():
    """8 won, 1 lost: two-sided exact p = 2 (1 + 9) / 2^9."""
    labels = np.zeros(20, int)
    a, b = np.r_[np.ones(8, int), np.zeros(12, int)], np.r_[np.zeros(19, int), 1]
    found = change(a, b, labels)
    assert (found.won.sum(), found.lost.sum()) == (8, 1)
    assert found.p_value == pytest.approx(20 / 512)
    assert change(a, a, labels).p_value == 1.0


@pytest.mark.parametrize(("won", "lost"), [(0, 0), (1, 0), (3, 3), (30, 12), (700, 900)])
def test_the_sign_test_is_the_exact_binomial_one(won, lost):
    expected = stats.binomtest(won, won + lost).pvalue if won + lost else 1.0
    assert sign_test(won, lost) == pytest.approx(expected, rel=1e-9)
