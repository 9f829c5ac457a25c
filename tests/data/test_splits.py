"""Splits are a partition, stratified, with one test set for all seeds."""

import numpy as np
import pytest

from efficient_jax.data.splits import split
from efficient_jax.types import UserError

CLASSES = ("a", "b", "c")
LABELS = np.random.default_rng(0).permutation(np.repeat([0, 1, 2, -1], [100, 67, 33, 20]))


GIVEN = np.flatnonzero(LABELS >= 0)[10:50]


def make(seed=0, labels_per_class=5, validation=30, test=41, given=()):
    parts = {"test": np.array(given, int)} if len(given) else {}
    return split(
        LABELS, CLASSES, labels_per_class=labels_per_class, validation=validation, test=test, seed=seed, given=parts
    )


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


@pytest.mark.parametrize("given", [(), GIVEN])
def test_zero_labels_per_class_are_all_that_are_left(given):
    parts = make(labels_per_class=0, test=0 if len(given) else 41, given=given)
    np.testing.assert_array_equal(np.sort(np.concatenate(list(parts.values()))), np.arange(len(LABELS)))
    np.testing.assert_array_equal(parts["unlabelled"], np.flatnonzero(LABELS == -1))
    assert len(parts["validation"]) == 30


def test_a_given_test_part_takes_the_place_of_a_drawn_one():
    parts = make(test=0, given=GIVEN)
    np.testing.assert_array_equal(parts["test"], GIVEN)
    np.testing.assert_array_equal(np.sort(np.concatenate(list(parts.values()))), np.arange(len(LABELS)))
    counts, left = (
        np.bincount(LABELS[ids]) for ids in (parts["validation"], np.delete(np.flatnonzero(LABELS >= 0), np.s_[10:50]))
    )
    assert np.abs(counts - 30 * left / left.sum()).max() < 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"given": GIVEN}, r"^config\.data\.test: 41 asked, but the source has 40 test images of its own; say 0$"),
        (
            {"given": np.flatnonzero(LABELS < 1)[:30], "test": 0},
            r"^config\.data\.source: \d\d of its 30 test images have a label; take other",
        ),
        (
            {"given": np.flatnonzero(LABELS == 2), "test": 0, "labels_per_class": 0},
            r"^config\.data\.labels_per_class: all asked, but class 'c' has 0 images left",
        ),
    ],
)
def test_a_given_test_part_that_does_not_fit_is_said(settings, message):
    with pytest.raises(UserError, match=message):
        make(**settings)


def test_a_given_test_part_without_images_is_said():
    with pytest.raises(UserError, match="0 of its 0 test images have a label"):
        split(LABELS, CLASSES, labels_per_class=1, validation=0, test=0, seed=0, given={"test": np.arange(0)})
