"""Figures of one class an image."""

import numpy as np
import pytest
from sklearn import metrics as sklearn

from efficient_jax.metrics import classification

CLASSES = ("a", "b", "c", "never")


@pytest.fixture(scope="module")
def predicted():
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(4), 300)
    labels = np.where(rng.random(300) < 0.5, probabilities.argmax(1), rng.integers(0, 3, 300)) % 3
    return probabilities, labels


def test_figures_are_those_of_scikit_learn(predicted):
    probabilities, labels = predicted
    answers = probabilities.argmax(1)
    found = classification.figures(probabilities, labels, answers)
    one_hot = np.eye(4)[labels]
    expected = {
        "correct": sklearn.accuracy_score(labels, answers, normalize=False),
        "n": 300,
        "balanced_accuracy": np.mean(sklearn.recall_score(labels, answers, labels=[0, 1, 2], average=None)),
        "macro_f1": sklearn.f1_score(labels, answers, average="macro", zero_division=0),
        "negative_log_likelihood": sklearn.log_loss(labels, probabilities, labels=range(4)),
        "brier": 4 * sklearn.mean_squared_error(one_hot, probabilities),
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    for k in (1, 2, 3):
        theirs = sklearn.top_k_accuracy_score(labels, probabilities, k=k, normalize=False, labels=range(4))
        assert classification.top_k(probabilities, labels, k) == theirs
    assert found["top5"] == 300


def test_shares_of_votes_have_no_likelihood(predicted):
    probabilities, labels = predicted
    answers = probabilities.argmax(1)
    found = classification.figures(np.eye(4)[answers], labels, answers, shares=True)
    of_both = classification.figures(probabilities, labels, answers)
    counted = {"correct", "n", "balanced_accuracy", "macro_f1"}
    assert found == {name: of_both[name] if name in counted else None for name in of_both}


def test_each_class_is_as_scikit_learn_sees_it(predicted):
    probabilities, labels = predicted
    answers = probabilities.argmax(1)
    rows = classification.per_class(np.eye(4, dtype=bool)[answers], np.eye(4, dtype=bool)[labels], CLASSES)
    report = sklearn.classification_report(
        labels, answers, labels=range(4), target_names=CLASSES, output_dict=True, zero_division=0
    )
    for row in rows[:3]:
        theirs = report[row["class"]]
        assert row["precision"][0] == pytest.approx(theirs["precision"])
        assert row["recall"][0] == pytest.approx(theirs["recall"])
        assert row["f1"] == pytest.approx(theirs["f1-score"])
        assert row["recall"][1] < row["recall"][0] < row["recall"][2]
    assert (rows[3]["true"], rows[3]["recall"]) == (0, None)
    assert sum(row["answered"] for row in rows) == 300


def test_of_several_labels_each_is_a_class_of_its_own():
    labels, answers = np.array([[1, 0], [1, 1], [0, 1]], bool), np.array([[1, 1], [0, 1], [0, 1]], bool)
    first, second = classification.per_class(answers, labels, ("a", "b"))
    assert (first["true"], first["answered"], first["right"], first["f1"]) == (2, 1, 1, 2 / 3)
    assert (second["true"], second["answered"], second["right"]) == (2, 3, 2)
