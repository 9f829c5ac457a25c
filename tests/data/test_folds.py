"""Folds are scikit-learn's, a partition, and blind to the order in which images are listed."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold

from efficient_jax.data.split import folds_of, split
from efficient_jax.data.stratification import ONE_CLASS, SEVERAL_LABELS
from efficient_jax.errors import UserError

RNG = np.random.default_rng(0)
LABELS = RNG.permutation(np.repeat([0, 1, 2], [53, 31, 19]))
GROUPS = RNG.integers(0, 40, len(LABELS))


@pytest.mark.parametrize(
    ("splitter", "settings"),
    [
        (KFold, {"stratify": False}),
        (GroupKFold, {"stratify": False, "groups": GROUPS}),
        (StratifiedKFold, {}),
        (StratifiedGroupKFold, {"groups": GROUPS}),
    ],
)
def test_folds_are_those_of_scikit_learn(splitter, settings):
    found = folds_of(LABELS, 5, seed=3, **settings)
    theirs = splitter(n_splits=5, shuffle=True, random_state=3).split(LABELS, LABELS, settings.get("groups"))
    for number, (_, part) in enumerate(theirs):
        np.testing.assert_array_equal(np.flatnonzero(found == number), part)


def label_distribution_distance(labels: np.ndarray, folds: np.ndarray) -> float:
    """Of Sechidis et al. 2011, section 4.2."""
    odds = [labels[folds == number].mean(0) for number in np.unique(folds)]
    wanted = labels.mean(0)
    return float(np.mean([np.abs(each / (1 - each) - wanted / (1 - wanted)) for each in odds]))


def test_several_labels_are_spread_as_published_and_better_than_at_random():
    tags = (np.random.default_rng(0).random((600, 6)) < [0.5, 0.3, 0.2, 0.1, 0.05, 0.01]).astype(np.int32)
    near, random = (
        label_distribution_distance(tags, folds_of(tags, 10, 0, None, s, (), SEVERAL_LABELS)) for s in (True, False)
    )
    assert near == pytest.approx(0.0103, abs=0.006)
    assert random == pytest.approx(0.0824, abs=0.02)


@hypothesis.settings(deadline=None, max_examples=25, derandomize=True)
@hypothesis.given(
    n=st.integers(30, 120),
    folds=st.integers(2, 5),
    seed=st.integers(0, 9),
    grouped=st.booleans(),
    stratify=st.booleans(),
    several=st.booleans(),
)
def test_every_image_is_in_one_fold_and_no_group_in_two(n, folds, seed, grouped, stratify, several):
    rng = np.random.default_rng(n)
    labels = rng.integers(0, 2, (n, 3)) if several else np.arange(n) % 2
    groups = rng.permutation(n) // 3 if grouped else None
    found = folds_of(labels, folds, seed, groups, stratify, (), SEVERAL_LABELS if several else ONE_CLASS)
    assert set(found) == set(range(folds))
    if groups is not None:
        assert all(len(set(found[groups == group])) == 1 for group in set(groups))
    elif not several:
        sizes = np.bincount(found)
        assert sizes.max() - sizes.min() <= 2
        shares = np.array([np.bincount(labels[found == f], minlength=2) for f in range(folds)])
        assert not stratify or np.ptp(shares, axis=0).max() <= 1


def parts(labels=LABELS, **settings):
    given = {"labels_per_class": 10, "validation": 0, "test": 12, "seed": 1, "folds": 3}
    return split(labels, ("a", "b", "c"), **given | settings)


def test_the_folds_of_the_labelled_images_are_their_partition():
    whole = parts(folds=0)
    found = [parts(fold=number) for number in range(3)]
    held = np.concatenate([each["validation"] for each in found])
    np.testing.assert_array_equal(np.sort(held), whole["labelled"])
    for each in found:
        np.testing.assert_array_equal(each["test"], whole["test"])
        np.testing.assert_array_equal(each["unlabelled"], whole["unlabelled"])
        np.testing.assert_array_equal(
            np.sort(np.concatenate([each["labelled"], each["validation"]])), whole["labelled"]
        )


def test_folds_follow_content_and_not_the_order_of_files():
    content = RNG.permutation(len(LABELS))  # what the hash of each image would give
    moved = RNG.permutation(len(LABELS))
    settings = {"test": 0, "labels_per_class": 0, "fixed": {"test": np.flatnonzero(content < 9)}}
    first = parts(order=np.argsort(content), **settings)
    settings["fixed"] = {"test": np.flatnonzero(content[moved] < 9)}
    second = parts(LABELS[moved], order=np.argsort(content[moved]), **settings)
    assert set(content[first["validation"]]) == set(content[moved][second["validation"]])
    assert 0 < len(first["validation"]) < len(first["labelled"])


@pytest.mark.parametrize("stratify", [True, False])
def test_groups_stay_together_in_test_validation_and_labelled(stratify):
    groups = np.arange(len(LABELS)) // 3
    found = parts(folds=0, validation=20, labels_per_class=0, groups=groups, stratify=stratify)
    seen = [set(groups[found[name]]) for name in ("test", "validation", "labelled")]
    assert sum(map(len, seen)) == len(set().union(*seen))
    assert abs(len(found["test"]) - 12) <= 6
    assert abs(len(found["validation"]) - 20) <= 6


def test_nothing_of_a_group_that_is_held_out_is_in_another_part():
    """Also without a label, and where the source says what the test images are."""
    groups = np.arange(len(LABELS)) // 3
    drawn = parts(labels_per_class=5, groups=groups)
    given = parts(folds=0, test=0, labels_per_class=5, fixed={"test": np.arange(0, len(LABELS), 30)}, groups=groups)
    for found in (drawn, given):
        held_out = set(groups[np.concatenate([found["test"], found["validation"]])])
        assert len(found["unlabelled"])
        assert not held_out & set(groups[np.concatenate([found["unlabelled"], found["labelled"]])])


def test_parts_at_random_have_the_size_asked_for():
    found = parts(folds=0, validation=20, labels_per_class=0, stratify=False)
    assert (len(found["test"]), len(found["validation"]), len(found["labelled"])) == (12, 20, len(LABELS) - 32)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"folds": 11}, r"folds: 11 asked, and class 'a' has 10 labelled images; .* config\.data\.stratify=False"),
        ({"folds": 31, "stratify": False}, r"folds: 31 asked, and 30 images are labelled; ask for fewer"),
        ({"groups": np.zeros(len(LABELS), int), "test": 0, "labels_per_class": 0}, "and 1 group of images is lab"),
        ({"groups": np.zeros(len(LABELS), int)}, r"data\.test: 12 asked, of 103 images; their groups do not allow"),
        ({"stratify": False, "test": 103}, r"config\.data\.test: cannot take 103 images of 103"),
        ({"labels": np.full(9, -1)}, r"config\.data\.source: no image has a label"),
    ],
)
def test_folds_that_cannot_be_made_are_said(settings, message):
    with pytest.raises(UserError, match=message):
        parts(**settings)
