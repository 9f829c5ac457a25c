"""Learning curves that are measured on labelled images alone."""

import numpy as np
import pytest

from efficient_jax.errors import UserError
from efficient_jax.explore import label_value, suggestions
from efficient_jax.methods import linear_head
from efficient_jax.metrics.learning_curve import Forecast, Gain


def blobs(n, distance, seed=0, classes=3, dimensions=20):
    """Features of classes around centers that lie apart by about `distance` standard deviations."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    centers = distance * rng.normal(size=(classes, dimensions)) / np.sqrt(2 * dimensions)
    return (centers[labels] + rng.normal(size=(n, dimensions))).astype(np.float32), labels


def test_a_head_is_better_with_more_labels_and_no_image_is_predicted_by_its_own_label():
    features, labels = blobs(120, 4.0)
    counts, correct = label_value.measured(features, labels, seed=0)
    assert counts[-1] == 96  # four fifths
    assert correct[-1].mean() > correct[0].mean() + 0.1
    shuffled = np.random.default_rng(1).permutation(labels)
    _, correct = label_value.measured(features, shuffled, seed=0)
    assert abs(correct[-1].mean() - 1 / 3) < 0.1  # a head that had seen them would be better than chance


def test_the_expected_gain_comes_true():
    """The truth: heads with twice the labels, on other images of the same distribution."""
    features, labels = blobs(1400, 4.0)
    accuracy = {}
    for n in (100, 200):
        hits = []
        for start in range(0, 400, n):
            rows = slice(start, start + n)
            head = linear_head.choose(features[rows], np.eye(3)[labels[rows]], kind="ridge", seed=0)
            hits.append((features[400:] @ head.kernel + head.bias).argmax(1) == labels[400:])
        accuracy[n] = np.mean(hits)
    gain = label_value.forecast(features[:100], labels[:100]).gains[0]
    assert (gain.labels, gain.more) == (100, 200)
    assert gain.low <= accuracy[200] - accuracy[100] <= gain.high


def test_features_that_say_nothing_promise_nothing():
    features, labels = blobs(200, 0.0)
    forecast = label_value.forecast(features, labels)
    (advice,) = suggestions.of_labels(forecast)
    assert not advice.take
    assert "doubling 200 labels to 400 is expected to give" in advice.why


def test_too_few_labels_are_refused_with_the_number_that_is_enough():
    features, labels = blobs(49, 4.0)
    with pytest.raises(UserError, match=r"^49 labels of 3 classes are too few .*; 50 labels of two classes or more"):
        label_value.forecast(features, labels)
    features, labels = blobs(99, 4.0, classes=20)
    with pytest.raises(UserError, match="100 labels"):
        label_value.forecast(features, labels)
    with pytest.raises(UserError, match="60 labels of 1 class are too few"):
        label_value.forecast(np.zeros((60, 2), np.float32), np.zeros(60, int))


def test_every_beginning_of_an_order_has_the_classes_in_their_proportions():
    labels = np.repeat([0, 1, 2], [80, 40, 20])
    order = label_value.mixed(labels, np.random.default_rng(0))
    assert sorted(order) == list(range(140))
    for n in (14, 35, 70):
        counts = np.bincount(labels[order[:n]], minlength=3)
        assert (abs(counts - n * np.array([80, 40, 20]) / 140) <= 1).all()


def test_labels_are_suggested_as_long_as_doubling_them_clearly_pays():
    def advice(*lows):
        gains = tuple(Gain(200 * 2**i, 400 * 2**i, low + 0.02, low, low + 0.04) for i, low in enumerate(lows))
        (suggestion,) = suggestions.of_labels(Forecast(*[np.zeros(1)] * 6, gains))
        return suggestion.take, suggestion.what

    assert advice(0.01, 0.006) == (True, "label 600 more images; select chooses which")
    assert advice(0.01, 0.0) == (True, "label 200 more images; select chooses which")
    assert advice(0.0, 0.0) == (False, "more labels")
    assert advice(0.0, 0.01) == (False, "more labels")


def test_the_sentence_says_both_doublings_with_their_intervals():
    gains = (Gain(200, 400, 0.031, 0.01, 0.052), Gain(400, 800, 0.02, -0.0, 0.04))
    assert suggestions.expected(Forecast(*[np.zeros(1)] * 6, gains)) == (
        "doubling 200 labels to 400 is expected to give +3.1 points [1.0, 5.2], doubling again to 800 another +2.0 "
        "points [0.0, 4.0]"
    )


def test_the_closed_form_of_the_leave_one_out_error_chooses_as_fits_without_each_image_do(monkeypatch):
    features, labels = blobs(12, 3.0, dimensions=4)
    targets, others = np.eye(3)[labels], blobs(10, 3.0, seed=1, dimensions=4)[0]
    l2s = tuple(np.geomspace(0.1, 100.0, 60).tolist())
    monkeypatch.setattr(linear_head, "penalties", lambda *_: l2s)
    errors = np.zeros(60)
    for i in range(12):
        rest = np.arange(12) != i
        kernels, biases = linear_head.ridge_path(features[rest], targets[rest], l2s)
        errors += np.square(features[i] @ kernels + biases - targets[i]).sum(-1)
    assert 0 < errors.argmin() < 59
    kernel, bias = linear_head.ridge(features, targets, l2s[errors.argmin()])
    np.testing.assert_allclose(
        label_value.ridge(features, targets, others), others @ kernel + bias, rtol=1e-3, atol=1e-4
    )


def test_every_fold_has_every_class():
    """Where one were held out as a whole, none of its images could be predicted."""
    labels = np.tile(np.arange(10), 10)
    _, correct = label_value.measured(np.eye(10, dtype=np.float32)[labels], labels, seed=0)
    assert (correct[-1] == 1).all()
