import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import accuracy_score, average_precision_score, f1_score, log_loss

from efficient_jax.metrics import accuracy


@pytest.mark.parametrize(("correct", "n"), [(0, 10), (1, 10), (95, 100), (597, 597), (9_812, 10_000)])
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_wilson_is_scipys(correct, n, level):
    peer = stats.binomtest(correct, n).proportion_ci(level, method="wilson")
    np.testing.assert_allclose(accuracy.wilson(correct, n, level), (peer.low, peer.high), atol=1e-12)


def test_paired_difference_is_scipys_t_interval():
    a, b = np.array([0.91, 0.93, 0.90, 0.95, 0.92]), np.array([0.90, 0.90, 0.91, 0.91, 0.90])
    peer = stats.ttest_rel(a, b).confidence_interval(0.95)
    mean, low, high = accuracy.paired_difference(a, b)
    np.testing.assert_allclose([mean, low, high], [0.018, peer.low, peer.high], rtol=1e-9)


def test_what_seeds_do_to_both_cancels():
    seeds = np.array([0.3, 0.9, 0.5])
    mean, low, high = accuracy.paired_difference(seeds + 0.01, seeds)
    np.testing.assert_allclose([mean, low, high], 0.01, atol=1e-12)


def test_one_pair_has_no_interval():
    with pytest.raises(ValueError, match="at least 2 pairs"):
        accuracy.paired_difference(np.array([1.0]), np.array([0.5]))


def test_negative_log_likelihood_is_scikit_learns():
    rng = np.random.default_rng(0)
    probabilities, labels = rng.dirichlet(np.ones(4), size=50), rng.integers(4, size=50)
    ours = accuracy.negative_log_likelihood(probabilities, labels)
    np.testing.assert_allclose(ours, log_loss(labels, probabilities, labels=range(4)), rtol=1e-9)


def test_an_impossible_label_costs_a_finite_amount():
    loss = accuracy.negative_log_likelihood(np.array([[1.0, 0.0]], np.float32), np.array([1]))
    np.testing.assert_allclose(loss, -np.log(np.finfo(np.float32).tiny))


TAGS = np.random.default_rng(0).integers(0, 2, (60, 4)) * [1, 1, 1, 0]  # the last label never occurs
GUESSES = np.clip(0.3 * TAGS + np.random.default_rng(1).integers(0, 15, TAGS.shape) / 20, 0, 1)  # with ties


def test_several_labels_are_scored_as_scikit_learn_scores_them():
    predicted = np.array([0.5, 0.4, 0.65, 0.6]) <= GUESSES
    found = accuracy.several_labels(GUESSES, TAGS, predicted)
    assert found["correct"] / found["n"] == pytest.approx(accuracy_score(TAGS, predicted))
    occur = slice(0, 3)
    assert found["mean_average_precision"] == pytest.approx(average_precision_score(TAGS[:, occur], GUESSES[:, occur]))
    assert found["micro_f1"] == pytest.approx(f1_score(TAGS, predicted, average="micro"))
    assert found["macro_f1"] == pytest.approx(f1_score(TAGS[:, occur], predicted[:, occur], average="macro"))
    assert predicted[:, 3].any()  # what is predicted of a label that never occurs counts in micro F1


def test_mean_average_precision_by_hand():
    labels = np.array([[1, 0], [0, 1], [1, 0]])
    probabilities = np.array([[0.9, 0.8], [0.8, 0.7], [0.1, 0.6]])
    # first label: hits at ranks 1 and 3, (1/1 + 2/3) / 2; second: at rank 2
    assert accuracy.mean_average_precision(probabilities, labels) == pytest.approx((5 / 6 + 1 / 2) / 2)


@pytest.mark.parametrize("seed", range(5))
def test_thresholds_have_the_best_f1_of_all(seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, (30, 3))
    probabilities = np.clip(rng.integers(0, 11, labels.shape) / 10 + 0.2 * (labels - 0.5), 0, 1).astype(np.float32)
    found = accuracy.thresholds(probabilities, labels)
    for k, threshold in enumerate(found):
        predicted = probabilities[:, k] >= np.linspace(0, 1, 1001)[:, None]
        # F1 in one go; for 15,000 calls of scikit-learn it takes 10 seconds
        scores = 2 * (predicted & (labels[:, k] == 1)).sum(1) / (predicted.sum(1) + labels[:, k].sum())
        best = scores.max()
        assert f1_score(labels[:, k], probabilities[:, k] >= threshold) == pytest.approx(best, rel=1e-12)
        if scores[500] == best:
            assert threshold == 0.5


@pytest.mark.parametrize(
    ("scores", "labels", "threshold"),
    [
        ([0.1, 0.2, 0.3, 0.4], [0, 0, 1, 1], 0.25),  # between 0.2 and 0.3
        ([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1], 0.5),  # anything between 0.2 and 0.8
        ([0.7, 0.8, 0.9], [0, 1, 1], 0.75),
        ([0.1, 0.4, 0.6], [1, 1, 1], 0.05),  # all
        ([0.0, 0.0, 0.9], [1, 1, 1], 0.0),  # all, though some are impossible
        ([0.9, 0.9, 0.9], [0, 0, 0], 0.5),  # nothing to choose by
        # {0.95} and {0.95, 0.7, 0.6} have the same F1, 2/3: 0.65 would be another set, 0.55 is nearer than 0.825
        ([0.95, 0.7, 0.6, 0.5], [1, 0, 1, 0], 0.55),
    ],
)
def test_thresholds_by_hand(scores, labels, threshold):
    found = accuracy.thresholds(np.array(scores)[:, None], np.array(labels)[:, None])
    np.testing.assert_allclose(found, [threshold])


def test_of_equal_thresholds_the_nearest_to_a_half():
    """F1 is 2/3 for the first alone, at 0.85, and 2 * 2 / (4 + 2) for the first four, at 0.15."""
    scores, labels = np.array([[0.9], [0.8], [0.6], [0.2], [0.1]]), np.array([[1], [0], [0], [1], [0]])
    np.testing.assert_allclose(accuracy.thresholds(scores - 0.05, labels), [0.8])
    np.testing.assert_allclose(accuracy.thresholds(scores + 0.05, labels), [0.2])


def test_label_losses_are_scikit_learns():
    labels, probabilities = TAGS[:, :3], np.clip(GUESSES[:, :3], 0.05, 0.95)
    each = [log_loss(row, p, labels=[0, 1]) for row, p in zip(labels, probabilities, strict=True)]
    np.testing.assert_allclose(accuracy.label_losses(probabilities, labels), each)


def test_an_impossible_label_that_occurs_costs_a_finite_amount():
    (loss,) = accuracy.label_losses(np.array([[0.0, 1.0]], np.float32), np.array([[1, 0]]))
    np.testing.assert_allclose(loss, -np.log(np.finfo(np.float32).tiny))


@pytest.mark.parametrize(("n", "expected", "ceiling"), [(100, 0.40, 0.41), (597, 0.72, 0.73), (5000, 0.93, 0.93)])
def test_the_noise_ceiling_is_the_correlation_of_finite_sets(n, expected, ceiling):
    """20 models of true accuracies 95 +- 1%, tested on 10,000 images."""
    assert accuracy.noise_ceiling(1e-4, 0.95, n, 10_000) == pytest.approx(ceiling, abs=0.005)
    rng = np.random.default_rng(0)
    true = np.clip(rng.normal(0.95, 0.01, (400, 20)), 0, 1)
    validation, test = rng.binomial(n, true) / n, rng.binomial(10_000, true) / 10_000
    found = [accuracy.agreement(*pair, n, 10_000) for pair in zip(validation, test, strict=True)]
    assert np.mean([each.pearson for each in found]) == pytest.approx(expected, abs=0.03)
    assert np.median([each.ceiling for each in found]) == pytest.approx(ceiling, abs=0.04)


def test_agreement_of_equal_accuracies_is_perfect():
    accuracies = np.array([0.5, 0.6, 0.8, 0.9])
    found = accuracy.agreement(accuracies, accuracies, 1000, 1000)
    assert (found.pearson, found.spearman, found.slope) == pytest.approx((1, 1, 1))
    assert accuracy.agreement(accuracies, 1 - accuracies**3, 1000, 1000).spearman == pytest.approx(-1)
    assert 0.9 < found.ceiling < 1


def test_agreement_needs_three_models_that_differ():
    assert accuracy.agreement(np.array([0.5, 0.6]), np.array([0.5, 0.6]), 10, 10) is None
    assert accuracy.agreement(np.full(5, 0.5), np.linspace(0, 1, 5), 10, 10) is None
    alike = accuracy.agreement(np.array([0.5, 0.51, 0.49]), np.array([0.5, 0.49, 0.51]), 20, 20)
    assert alike.ceiling == 0


def test_a_mean_correlation_and_its_interval_stay_in_their_range():
    """Fisher's z: artanh of 0.5 is log(3) / 2; with Student's t the interval of two far apart was [-1.62, +1.96]."""
    mean, low, high = accuracy.mean_correlation(np.array([0.0, 0.5, 0.8]))
    z = np.log([1.0, 3.0, 9.0]) / 2
    half = stats.t.ppf(0.975, 2) * z.std(ddof=1) / np.sqrt(3)
    np.testing.assert_allclose([mean, low, high], np.tanh([z.mean(), z.mean() - half, z.mean() + half]), rtol=1e-12)
    assert (
        -1
        < accuracy.mean_correlation(np.array([0.03, 0.31]))[1]
        < accuracy.mean_correlation(np.array([-0.4, 0.9]))[2]
        < 1
    )
    np.testing.assert_allclose(accuracy.mean_correlation(np.ones(3)), 1.0, atol=2e-6)
    assert accuracy.mean_correlation(np.array([0.5]))[0] == pytest.approx(0.5)
    assert np.isnan(accuracy.mean_correlation(np.array([0.5]))[1:]).all()


def test_holms_correction_by_hand():
    np.testing.assert_allclose(accuracy.holm(np.array([0.01, 0.04, 0.03, 0.8])), [0.04, 0.09, 0.09, 0.8])
