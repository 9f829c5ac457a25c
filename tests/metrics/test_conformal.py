"""Prediction sets keep their promise, and are those of the definition."""

import numpy as np
import pytest
import scipy

from efficient_jax.errors import UserError
from efficient_jax.metrics import conformal

RNG = np.random.default_rng(0)


def drawn(n, classes=4, sharpness=2.0, rng=RNG):
    """Probabilities of a network and labels that follow another distribution than it says."""
    logits = sharpness * rng.standard_normal((n, classes))
    p = scipy.special.softmax(2.0 * logits, axis=1)  # too sure
    gumbel = logits + rng.gumbel(size=logits.shape)
    return p, gumbel.argmax(1)


def test_scores_by_hand():
    p = np.array([[0.5, 0.2, 0.3]])
    np.testing.assert_allclose(conformal.scores(p, "threshold"), [[0.5, 0.8, 0.7]])
    np.testing.assert_allclose(conformal.scores(p, "aps"), [[0.5, 1.0, 0.8]])
    np.testing.assert_allclose(conformal.scores(p, "raps"), [[0.5, 1.0, 0.8]])
    seven = np.full((1, 7), 1 / 7)
    expected = np.arange(1, 8) / 7 + [0, 0, 0, 0, 0, 0.01, 0.02]
    np.testing.assert_allclose(conformal.scores(seven, "raps"), [expected])


def test_the_limit_is_a_rank_of_the_true_scores():
    """Of 9 images, 0.9 needs the 9th smallest score; of 19 the 18th."""
    for n, rank in ((9, 9), (19, 18)):
        p_true = np.linspace(0.1, 0.9, n)
        fitted = conformal.calibrate(np.stack([p_true, 1 - p_true], 1), np.zeros(n, int), 0.9)
        np.testing.assert_allclose(fitted.limits, np.sort(1 - p_true)[rank - 1])


@pytest.mark.parametrize("score", conformal.SCORES)
def test_the_coverage_follows_its_beta_distribution(score):
    """2,000 calibrations of 50 images; the coverage of each is counted on 20,000 images."""
    p, labels = drawn(20_000)
    true = np.sort(conformal.scores(p, score)[np.arange(len(labels)), labels])
    coverages = []
    for _ in range(2000):
        fitted = conformal.calibrate(*drawn(50), 0.9, score)
        coverages.append(np.searchsorted(true, fitted.limits[0], side="right") / len(true))
    k = 46  # ceil(51 x 0.9)
    expected = scipy.stats.beta(k, 51 - k)
    np.testing.assert_allclose(np.mean(coverages), expected.mean(), atol=0.004)
    np.testing.assert_allclose(np.std(coverages), expected.std(), rtol=0.08)
    low, high = conformal.coverage_interval(50, 0.9)
    assert abs(np.mean((np.array(coverages) >= low) & (np.array(coverages) <= high)) - 0.95) < 0.02


def test_sets_by_class_cover_each_class():
    """A class whose probability is always underestimated is covered on average only, or by its own limit."""
    p, labels = drawn(6000, sharpness=1.0)
    p[:, 0] *= 0.05
    p /= p.sum(1, keepdims=True)
    fit, test = slice(0, 3000), slice(3000, 6000)
    covered = {}
    for by_class in (False, True):
        fitted = conformal.calibrate(p[fit], labels[fit], 0.9, by_class=by_class)
        inside = conformal.sets(p[test], fitted)[np.arange(3000), labels[test]]
        covered[by_class] = inside[labels[test] == 0].mean()
    assert covered[False] < 0.8
    assert abs(covered[True] - 0.9) < 0.03


def test_a_class_of_few_images_shares_the_limit_of_all():
    p, labels = drawn(200)
    labels[labels == 3] = 0
    labels[:5] = 3
    fitted = conformal.calibrate(p, labels, 0.9, by_class=True)
    assert fitted.limits[3] == conformal.calibrate(p, labels, 0.9).limits[3]
    assert fitted.limits[0] != fitted.limits[3]


def test_more_coverage_gives_larger_sets():
    p, labels = drawn(400)
    sizes = [conformal.sets(p, conformal.calibrate(p, labels, c, "aps")).sum() for c in (0.5, 0.8, 0.95)]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1]


@pytest.mark.parametrize(
    ("n", "coverage", "message"),
    [
        (8, 0.9, "8 calibration images cannot promise 0.9: it needs 9 or more"),
        (18, 0.95, "needs 19 or more"),
        (50, 1.0, "coverage: 1.0 is not in 0.0 .. 1.0"),
    ],
)
def test_what_cannot_be_promised_is_refused(n, coverage, message):
    with pytest.raises(UserError, match=message):
        conformal.calibrate(*drawn(n), coverage)


def test_measured_on_the_other_half():
    p, labels = drawn(2000)
    figures = conformal.measured(p, labels, 0.9, "threshold")
    assert abs(figures["coverage"] - 0.9) < 0.01
    assert figures["low"] < 0.9 < figures["high"]
    assert figures["calibration_images"] == 1000
