"""Splits are a partition, stratified, with one test set for all seeds."""

import numpy as np
import pytest

from efficient_jax.data.split import notes, split
from efficient_jax.data.stratification import SEVERAL_LABELS
from efficient_jax.errors import UserError

CLASSES = ("a", "b", "c")
LABELS = np.random.default_rng(0).permutation(np.repeat([0, 1, 2, -1], [100, 67, 33, 20]))


GIVEN = np.flatnonzero(LABELS >= 0)[10:50]


def make(seed=0, labels_per_class=5, validation=30, test=41, fixed=()):
    parts = {"test": np.array(fixed, int)} if len(fixed) else {}
    return split(
        LABELS, CLASSES, labels_per_class=labels_per_class, validation=validation, test=test, seed=seed, fixed=parts
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


def test_labels_are_up_to_as_many_as_asked():
    """Of class c, which has 33 images, 21 are left; the draw of the others is the same."""
    parts = make(labels_per_class=30)
    left = np.setdiff1d(np.flatnonzero(LABELS == 2), np.concatenate([parts["test"], parts["validation"]]))
    np.testing.assert_array_equal(np.bincount(LABELS[parts["labelled"]]), [30, 30, len(left)])
    assert 0 < len(left) < 30
    assert set(left) <= set(parts["labelled"])
    assert notes(parts, LABELS, CLASSES, 30, 0) == (
        f"config.data.labels_per_class: 30 asked, but of labelled images 'c' has {len(left)}",
    )
    assert notes(make(labels_per_class=5), LABELS, CLASSES, 5, 0) == ()


RARE = np.repeat([0, 1], [1000, 5])


@pytest.mark.parametrize("stratify", [True, False])
def test_classes_that_a_part_leaves_out_are_noted(stratify):
    parts = split(RARE, ("a", "b"), labels_per_class=0, validation=60, test=60, seed=0, stratify=stratify)
    expected = tuple(
        f"{name} images show none of 'b' (of 5): its {name} accuracy is not measured"
        for name in ("test", "validation")
        if not (RARE[parts[name]] == 1).any()
    )
    assert expected
    assert notes(parts, RARE, ("a", "b"), 0, 0) == expected


def test_labels_that_a_part_leaves_out_are_noted():
    tags = np.array([[1, 0], [0, 1], [1, 1], [-1, -1]])
    parts = {"labelled": np.array([1, 2]), "validation": np.array([0]), "test": np.array([], int)}
    assert notes(parts, tags, ("a", "b"), 2, 0, SEVERAL_LABELS) == (
        "validation images show none of 'b' (of 2): its validation accuracy is not measured",
        "config.data.labels_per_class: 2 asked, but of labelled images 'a' has 1",
    )


def test_a_fold_counts_for_the_labelled_images():
    labels = np.repeat([0, 1], 8)
    sizes = {"labels_per_class": 6, "validation": 0, "test": 0, "folds": 3}
    parts = split(labels, ("a", "b"), seed=0, **sizes)
    assert np.bincount(labels[parts["labelled"]]).tolist() == [4, 4]
    assert notes(parts, labels, ("a", "b"), 6, 3) == ()
    few = split(labels, ("a", "b"), seed=0, **sizes | {"labels_per_class": 9})
    assert notes(few, labels, ("a", "b"), 9, 3) == (
        "config.data.labels_per_class: 9 asked, but of labelled images 'a' has 8, 'b' has 8",
    )


@pytest.mark.parametrize("part", ["test", "validation"])
def test_a_class_with_one_image_is_named_and_needs_no_strata(part):
    labels = np.repeat([0, 1, 2], [20, 10, 1])
    sizes = {"labels_per_class": 0, "validation": 0, "test": 0} | {part: 5}
    with pytest.raises(UserError) as error:
        split(labels, CLASSES, seed=0, **sizes)
    assert str(error.value) == (
        f"config.data.{part}: cannot take 5 stratified images of 31: one image is left of class 'c', and of each class "
        "want two or more; label more of them, or say config.data.stratify=False"
    )
    parts = split(labels, CLASSES, seed=0, stratify=False, **sizes)
    assert len(parts[part]) == 5


def test_a_class_with_one_group_is_named():
    labels, groups = np.repeat([0, 1], [20, 4]), np.r_[np.arange(20) // 2, [99] * 4]
    with pytest.raises(UserError, match=r"each class wants two or more \('b' has one\), or say config\.data\.stratify"):
        split(labels, ("a", "b"), labels_per_class=0, validation=0, test=5, seed=0, groups=groups)


@pytest.mark.parametrize(("part", "size"), [("test", 200), ("test", 1), ("validation", 1000)])
def test_a_part_that_cannot_be_stratified_is_said(part, size):
    with pytest.raises(
        UserError, match=rf"^config\.data\.{part}: cannot take {size} stratified images of \d+ \(.*\); "
    ):
        make(**{part: size})


@pytest.mark.parametrize("fixed", [(), GIVEN])
def test_zero_labels_per_class_are_all_that_are_left(fixed):
    parts = make(labels_per_class=0, test=0 if len(fixed) else 41, fixed=fixed)
    np.testing.assert_array_equal(np.sort(np.concatenate(list(parts.values()))), np.arange(len(LABELS)))
    np.testing.assert_array_equal(parts["unlabelled"], np.flatnonzero(LABELS == -1))
    assert len(parts["validation"]) == 30


def test_a_given_test_part_takes_the_place_of_a_drawn_one():
    parts = make(test=0, fixed=GIVEN)
    np.testing.assert_array_equal(parts["test"], GIVEN)
    np.testing.assert_array_equal(np.sort(np.concatenate(list(parts.values()))), np.arange(len(LABELS)))
    counts, left = (
        np.bincount(LABELS[ids]) for ids in (parts["validation"], np.delete(np.flatnonzero(LABELS >= 0), np.s_[10:50]))
    )
    assert np.abs(counts - 30 * left / left.sum()).max() < 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fixed": GIVEN}, r"^config\.data\.test: 41 asked, but the source has 40 test images of its own; say 0$"),
        (
            {"fixed": np.flatnonzero(LABELS < 1)[:30], "test": 0},
            r"^config\.data\.source: \d\d of its 30 test images have a label; take other",
        ),
    ],
)
def test_a_given_test_part_that_does_not_fit_is_said(settings, message):
    with pytest.raises(UserError, match=message):
        make(**settings)


def test_a_class_that_only_given_test_images_have_is_not_learned():
    parts = make(fixed=np.flatnonzero(LABELS == 2), test=0)
    assert set(LABELS[parts["labelled"]]) == {0, 1}
    assert notes(parts, LABELS, CLASSES, 0, 0)[-1] == (
        "labelled images show none of 'c' (of 33): it is not learned, and its test images count as wrong"
    )


def draws(labels, fixed, **sizes):
    settings = {"labels_per_class": 0, "validation": 0, "test": 0, "seed": 0} | sizes
    return split(labels, CLASSES, fixed=fixed, **settings)


SELECTED = np.flatnonzero(LABELS >= 0)[:150]


def test_selected_images_are_learned_and_never_drawn_for_a_figure():
    parts = draws(LABELS, {"selected": SELECTED}, test=20, validation=10)
    assert not np.isin(SELECTED, np.concatenate([parts["test"], parts["validation"]])).any()
    assert np.isin(SELECTED, parts["labelled"]).all()
    assert [len(parts[name]) for name in ("labelled", "validation", "test")] == [170, 10, 20]


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"test": 50}, r"^config\.data\.test: 50 asked, but 150 of 200 labelled images were selected"),
        ({"validation": 60}, r"^config\.data\.validation: 60 asked, but 150 of 200 labelled images were selected"),
        ({"folds": 2}, r"^config\.data\.folds: 2 asked, but 150 of 200 labelled images were selected"),
    ],
)
def test_figures_on_selected_images_are_refused(sizes, message):
    with pytest.raises(UserError, match=message):
        draws(LABELS, {"selected": SELECTED}, **sizes)


def test_given_validation_images_are_those():
    fixed = {"validation": GIVEN[:20], "test": GIVEN[20:]}
    parts = draws(LABELS, fixed)
    np.testing.assert_array_equal(parts["validation"], np.sort(GIVEN[:20]))
    np.testing.assert_array_equal(parts["test"], np.sort(GIVEN[20:]))
    assert not np.isin(GIVEN, parts["labelled"]).any()
    with pytest.raises(UserError, match=r"config\.data\.validation: 3 asked, but the source has 20 validation images"):
        draws(LABELS, fixed, validation=3)
    with pytest.raises(UserError, match=r"config\.data\.folds: 2 asked, but the source has validation images"):
        draws(LABELS, fixed, folds=2)


def test_a_given_test_part_without_images_is_said():
    with pytest.raises(UserError, match="0 of its 0 test images have a label"):
        split(LABELS, CLASSES, labels_per_class=1, validation=0, test=0, seed=0, fixed={"test": np.arange(0)})
