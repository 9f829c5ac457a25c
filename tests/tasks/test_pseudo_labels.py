"""Which of a teacher's answers become labels."""

import numpy as np
import pytest

from efficient_jax.errors import UserError
from efficient_jax.tasks.classification import pseudo_labels
from efficient_jax.tasks.multi_label import pseudo_labels as multi_label_pseudo_labels
from efficient_jax.tasks.selected_images import suggestion
from tests.methods.fake import SAID


def sure(*found: tuple[int, float], classes: int = 3) -> np.ndarray:
    """Probabilities of images by (class, confidence); the others share the rest."""
    table = np.array([[(1 - p) / (classes - 1)] * classes for _, p in found], np.float32)
    for row, (number, p) in zip(table, found, strict=True):
        row[number] = p
    return table


def random_probabilities(n=3000, classes=4):
    """A teacher that likes class 0 most and class 3 least."""
    logits = 2.0 * np.random.default_rng(0).standard_normal((n, classes)) + np.array([1.5, 1.0, 0.5, 0.0])
    p = np.exp(logits)
    return (p / p.sum(1, keepdims=True)).astype(np.float32)


def test_nothing_below_the_threshold_is_kept():
    p = random_probabilities()
    for balance in (False, True):
        _, copies = pseudo_labels(p, 0, threshold=0.6, balance=balance)
        assert copies[p.max(1) < 0.6].max() == 0
    _, copies = pseudo_labels(p, 0, threshold=0.6, balance=False)
    np.testing.assert_array_equal(copies, p.max(1) >= np.float32(0.6))


def test_confidence_equal_to_the_threshold_is_kept():
    for balance in (False, True):
        _, copies = pseudo_labels(sure((0, 0.7), (1, 0.7), (2, 0.7)), 0, threshold=0.7, balance=balance)
        np.testing.assert_array_equal(copies, [1, 1, 1])


def test_of_many_the_surest_are_kept_and_few_are_copied():
    """Class 0 has two sure and two doubtful images, class 1 one, class 2 four: two of each are wanted."""
    p = sure(*[(0, 0.905)] * 2, *[(0, 0.505)] * 2, (1, 0.605), *[(2, 0.955), (2, 0.905), (2, 0.805), (2, 0.405)])
    _, copies = pseudo_labels(p, 0, threshold=0.5, per_class=2)
    np.testing.assert_array_equal(copies, [1, 1, 0, 0, 2, 1, 1, 0, 0])


def test_by_default_a_class_gets_the_mean_number_kept():
    p = sure(*[(0, 0.9)] * 5, (1, 0.9))
    _, copies = pseudo_labels(p, 0, threshold=0.5)  # 6 of 3 classes: 2 each, and of class 2 there is none
    assert copies[5] == 2
    assert 0 <= copies[:5].min() <= copies[:5].max() <= 1


def test_few_images_of_many_classes_are_kept():
    _, copies = pseudo_labels(sure((1, 0.9), (2, 0.9), classes=10), 0, threshold=0.5)
    np.testing.assert_array_equal(copies, [1, 1])


@pytest.mark.parametrize("per_class", [0, 300, 1000])
def test_classes_are_balanced_to_three_deviations(per_class):
    """Copies are n / count each, the fraction by a coin: their sum has mean n and a binomial's deviation."""
    p = random_probabilities()
    target = per_class or round((p.max(1) >= 0.3).sum() / 4)
    for seed in range(5):
        _, copies = pseudo_labels(p, seed, per_class=per_class)
        for number in range(4):
            mine = copies[(p.argmax(1) == number) & (p.max(1) >= 0.3)]
            assert abs(mine.sum() - target) <= 3 * np.sqrt(len(mine) / 4)
            assert mine.max() - mine[mine > 0].min() <= 1


def test_the_seed_decides():
    p = random_probabilities(300)
    results = [pseudo_labels(p, seed, shuffled=True) for seed in (0, 0, 1)]
    for one, same, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, same)
        assert not np.array_equal(one, other)


def test_labels_are_soft_or_hard():
    p = random_probabilities(50)
    soft, _ = pseudo_labels(p, 0)
    hard, _ = pseudo_labels(p, 0, soft=False)
    np.testing.assert_array_equal(soft, p)
    np.testing.assert_array_equal(hard, np.eye(4)[p.argmax(1)])
    assert soft.dtype == hard.dtype == np.float32


@pytest.mark.parametrize("soft", [True, False])
def test_the_negative_control_deals_the_same_labels_to_the_same_images(soft):
    """Every label comes as often as before, copies included, so that the student's classes are balanced as before."""
    p = random_probabilities(400)
    before = p.copy()
    (labels, copies), (dealt, dealt_copies) = (
        pseudo_labels(p, 0, threshold=0.6, soft=soft, shuffled=shuffled) for shuffled in (False, True)
    )
    np.testing.assert_array_equal(dealt_copies > 0, copies > 0)

    def multiset(labels, copies):
        rows = np.repeat(labels, copies, axis=0)
        return rows[np.lexsort(rows.T)]

    np.testing.assert_array_equal(multiset(dealt, dealt_copies), multiset(labels, copies))
    kept = copies > 0
    agreement = (dealt.argmax(1) == labels.argmax(1))[kept].mean()
    by_chance = (np.bincount(labels[kept].argmax(1)) / kept.sum()) ** 2
    assert abs(agreement - by_chance.sum()) < 3 * np.sqrt(0.25 / kept.sum())
    np.testing.assert_array_equal(p, before)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"threshold": 0.95},
            r"pseudo_labels\.threshold: no image reaches 0\.95; the highest confidence is 0\.900; 0\.80 would",
        ),
        ({"threshold": 1.0}, r"pseudo_labels\.threshold: 1\.0 is not in"),
        ({"threshold": -0.1}, r"pseudo_labels\.threshold: -0\.1 is not in"),
        ({"per_class": -1}, r"pseudo_labels\.per_class: -1 is negative"),
    ],
)
def test_settings_that_keep_nothing_are_said(settings, message):
    with pytest.raises(UserError, match=message):
        pseudo_labels(sure((0, 0.9), (1, 0.806), (2, 0.5)), 0, **settings)


def test_the_suggested_threshold_keeps_half():
    p = random_probabilities(301)
    level = float(suggestion(p.max(1)).split("; ")[1].split()[0])
    _, copies = pseudo_labels(p, 0, threshold=level, balance=False)
    assert 0.5 <= (copies > 0).mean() < 0.55


def test_certain_labels_are_rounded_and_doubtful_ones_stay():
    labels, copies = multi_label_pseudo_labels(SAID, 0, threshold=0.9)
    expected = [[1, 0, 0.6], [0, 0, 0], [0.5, 0.4, 0.6], [0.89, 0.11, 1]]
    np.testing.assert_array_equal(labels, np.array(expected, np.float32))
    np.testing.assert_array_equal(copies, [1, 1, 0, 1])  # of the third nothing is certain
    assert (labels.dtype, copies.dtype) == (np.float32, np.int32)


def test_soft_labels_are_the_probabilities():
    labels, copies = multi_label_pseudo_labels(SAID, 0, threshold=0.9, soft=True)
    np.testing.assert_array_equal(labels, SAID)
    np.testing.assert_array_equal(copies, [1, 1, 0, 1])


@pytest.mark.parametrize(
    ("threshold", "message"),
    [
        (0.5, r"pseudo_labels\.threshold: 0\.5 is not between 0\.5 and 1\.0"),
        (1.0, r"pseudo_labels\.threshold: 1\.0 is not between"),
        (
            0.995,
            r"no label of any image reaches 0\.995; the highest confidence is 0\.990; 0\.90 would keep at least half",
        ),
    ],
)
def test_thresholds_that_keep_nothing_are_said(threshold, message):
    with pytest.raises(UserError, match=message):
        multi_label_pseudo_labels(SAID, 0, threshold=threshold)
