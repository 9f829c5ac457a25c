"""Splits are a partition, stratified, with one test set for all seeds."""

import numpy as np
import pytest

from efficient_jax.data.splits import split
from efficient_jax.types import UserError

CLASSES = ("a", "b", "c")
LABELS = np.random.default_rng(0).permutation(np.repeat([0, 1, 2, -1], [100, 67, 33, 20]))


def make(seed=0, labels_per_class=5, validation=30, test=41):
    return split(LABELS, CLASSES, labels_per_class=labels_per_class, validation=validation, test=test, seed=seed)


def test_every_image_is_in_one_part():
    parts = make()
    np.testing.assert_array_equal(np.sort(np.concatenate(list(parts.values()))), np.arange(len(LABELS)))
    assert {name: len(ids) for name, ids in parts.items()} == {
        "labelled": 15,
        "unlabelled": 220 - 15 - 30 - 41,
        "validation": 30,
        "test": 41,
    }


def test_labels_per_class_of_each_class():
    np.testing.assert_array_equal(np.bincount(LABELS[make()["labelled"]]), [5, 5, 5])


@pytest.mark.parametrize(("part", "size"), [("test", 41), ("validation", 30)])
def test_stratified_to_within_one(part, size):
    counts = np.bincount(LABELS[make()[part]], minlength=3)
    assert np.abs(counts - size * np.array([100, 67, 33]) / 200).max() < 1


def test_an_image_without_label_is_unlabelled():
    assert set(np.flatnonzero(LABELS == -1)) <= set(make()["unlabelled"])


def test_seeds_share_the_test_set_and_nothing_else():
    first, second, again = make(seed=0), make(seed=1), make(seed=0)
    np.testing.assert_array_equal(first["test"], second["test"])
    for name in ("labelled", "unlabelled", "validation"):
        assert set(first[name]) != set(second[name])
        np.testing.assert_array_equal(first[name], again[name])


def test_labels_are_no_fewer_than_asked():
    with pytest.raises(UserError, match=r"config\.data\.labels_per_class: 30 asked, but class 'c' has 2\d images left"):
        make(labels_per_class=30)


@pytest.mark.parametrize(("part", "size"), [("test", 200), ("test", 1), ("validation", 1000)])
def test_a_part_that_cannot_be_stratified_is_said(part, size):
    with pytest.raises(UserError, match=rf"^config\.data\.{part}: cannot take {size} stratified images of \d+ \(.*\)$"):
        make(**{part: size})
