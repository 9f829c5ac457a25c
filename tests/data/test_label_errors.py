"""Labels that are wrong on purpose are found by predictions that did not see them."""

import numpy as np
from sklearn.datasets import load_digits

from efficient_jax.data.label_errors import sparing, suspects


def test_a_row_is_suspect_where_another_class_reaches_its_own_average():
    labels = np.array([0, 0, 1, 1, 1])
    probabilities = np.array([[0.9, 0.1], [0.3, 0.7], [0.1, 0.9], [0.45, 0.55], [0.7, 0.3]])
    # thresholds: 0.6 and 0.583; the last row's 0.7 for class 0 and the second's 0.7 for class 1 reach them
    rows, seems = suspects(labels, probabilities)
    assert rows.tolist() == [1, 4]
    assert seems.tolist() == [1, 0]


def test_the_surest_disagreement_comes_first_and_classes_without_images_are_not_suggested():
    labels = np.array([0, 0, 1, 1])
    probabilities = np.array([[0.5, 0.1, 0.4], [0.2, 0.75, 0.05], [0.1, 0.6, 0.3], [0.9, 0.1, 0.0]])
    assert suspects(labels, probabilities)[0].tolist() == [3, 1]


def test_nothing_is_suspect_where_predictions_agree():
    labels = np.arange(12) % 3
    rows, seems = suspects(labels, np.eye(3)[labels] * 0.8 + 0.1)
    assert len(rows) == len(seems) == 0


def test_planted_errors_in_digits_are_found():
    digits = load_digits()
    rng = np.random.default_rng(0)
    images, truth = digits.data, digits.target
    wrong = rng.choice(len(truth), 90, replace=False)  # 5%
    labels = truth.copy()
    labels[wrong] = (labels[wrong] + rng.integers(1, 10, 90)) % 10
    apart = np.square(images).sum(1) - 2 * images @ images.T
    np.fill_diagonal(apart, np.inf)  # no image speaks for itself
    probabilities = np.eye(10)[labels[np.argpartition(apart, 10, 1)[:, :10]]].mean(1)
    rows, seems = suspects(labels, probabilities)
    planted = np.isin(rows, wrong)
    assert planted.mean() > 0.85  # precision
    assert planted.sum() > 0.7 * 90  # recall
    assert (seems[planted] == truth[rows[planted]]).mean() > 0.95
    assert planted[:40].mean() > 0.95


def test_the_surest_suspects_are_given_up_until_a_class_has_its_last_rows():
    labels = np.array([0, 0, 0, 0, 1, 1, 2])
    assert sparing(np.array([6, 3, 5, 0, 4, 1, 2]), labels, keep=1).tolist() == [3, 5, 0, 1]
    assert sparing(np.array([6, 3, 5, 0, 4, 1, 2]), labels, keep=3).tolist() == [3]
    assert sparing(np.array([], int), labels, keep=1).tolist() == []
