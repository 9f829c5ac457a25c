"""Splits of images with several labels and with maps of classes."""

import numpy as np
import pytest

from efficient_jax.data.split import notes, split
from efficient_jax.data.stratification import MAPS, SEVERAL_LABELS
from efficient_jax.errors import UserError

CLASSES = ("a", "b", "c")
TAGS = (np.random.default_rng(1).random((300, 3)) < [0.5, 0.2, 0.03]).astype(np.int32)
TAGS[np.random.default_rng(2).permutation(300)[:20]] = -1
KNOWN = np.flatnonzero(TAGS[:, 0] >= 0)


def several(labels=TAGS, seed=0, labels_per_class=5, validation=60, test=70, fixed=()):
    parts = {"test": np.array(fixed)} if len(fixed) else {}
    names = tuple(str(number) for number in range(labels.shape[1]))
    sizes = {"labels_per_class": labels_per_class, "validation": validation, "test": test}
    return split(labels, names, SEVERAL_LABELS, seed=seed, fixed=parts, **sizes)


def test_images_with_several_labels_are_in_one_part():
    parts = several()
    np.testing.assert_array_equal(np.sort(np.concatenate(list(parts.values()))), np.arange(300))
    assert (len(parts["validation"]), len(parts["test"])) == (60, 70)
    assert set(np.flatnonzero(TAGS[:, 0] == -1)) <= set(parts["unlabelled"])


@pytest.mark.parametrize("seed", range(4))
def test_several_labels_are_stratified(seed):
    parts = several(seed=seed)
    total = TAGS[KNOWN].sum(0)
    for name, left in (("test", len(KNOWN)), ("validation", len(KNOWN))):
        assert np.abs(TAGS[parts[name]].sum(0) - len(parts[name]) * total / left).max() < 2


@pytest.mark.parametrize("size", [1, 100, 103, 499])
def test_parts_of_many_labels_have_the_size_asked_for(size):
    """Where the package's own parts do not: of 500 images with 20 labels, 93 to 115 where 100 were asked for."""
    rng = np.random.default_rng(0)
    tags = (rng.random((500, 20)) < rng.uniform(0.05, 0.5, 20)).astype(np.int32)
    for seed in range(5):
        rest, part = SEVERAL_LABELS.part(np.arange(1000, 1500), np.repeat(tags, 3, 0), size, seed, (), "")
        assert (len(part), len(rest)) == (size, 500 - size)
        np.testing.assert_array_equal(np.sort(np.concatenate([rest, part])), np.arange(1000, 1500))


def test_many_labels_are_stratified_better_than_the_package_does():
    rng = np.random.default_rng(0)
    tags = (rng.random((500, 20)) < rng.uniform(0.05, 0.5, 20)).astype(np.int32)
    for seed in range(5):
        _, part = SEVERAL_LABELS.part(np.arange(500), tags, 100, seed, (), "")
        assert np.abs(tags[part].sum(0) - tags.sum(0) / 5).max() < 1.5


def test_each_class_is_seen_as_often_as_asked_or_as_it_can_be():
    parts = several(labels_per_class=8)
    rest = np.setdiff1d(KNOWN, np.concatenate([parts["test"], parts["validation"]]))
    available = TAGS[rest].sum(0)
    seen = TAGS[parts["labelled"]].sum(0)
    assert available[2] < 8 <= available[1]
    assert (seen >= np.minimum(8, available)).all()
    assert seen[2] == available[2]


def test_images_of_rare_classes_count_for_the_others():
    """Three images show both classes, nine only the second: three are enough for both."""
    tags = np.array([[1, 1]] * 3 + [[0, 1]] * 9)
    labelled = several(tags, labels_per_class=3, validation=0, test=0)["labelled"]
    np.testing.assert_array_equal(labelled, [0, 1, 2])


def test_no_more_are_drawn_than_a_class_lacks():
    tags = np.eye(3, dtype=np.int32)[np.arange(60) % 3]
    np.testing.assert_array_equal(tags[several(tags, validation=0, test=0)["labelled"]].sum(0), [5, 5, 5])


def test_zero_labels_per_class_are_all_known_images():
    parts = several(labels_per_class=0, test=0, fixed=KNOWN[:50])
    np.testing.assert_array_equal(parts["unlabelled"], np.flatnonzero(TAGS[:, 0] == -1))
    np.testing.assert_array_equal(parts["test"], KNOWN[:50])


def test_seeds_share_the_test_images_of_several_labels():
    first, second, again = several(seed=0), several(seed=1), several(seed=0)
    np.testing.assert_array_equal(first["test"], second["test"])
    for name in ("labelled", "validation"):
        assert set(first[name]) != set(second[name])
        np.testing.assert_array_equal(first[name], again[name])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"test": 280}, r"config\.data\.test: cannot take 280 stratified images of 280 \("),
        ({"validation": 400}, r"config\.data\.validation: cannot take 400 stratified images of 210 \("),
        ({"test": 0, "fixed": np.flatnonzero(TAGS[:, 0] < 1)[:40]}, r"config\.data\.source: \d+ of its 40 test images"),
        ({"labels": TAGS * [1, 1, 0]}, r"labels_per_class: 5 asked, but class '2' has 0 images left"),
        (
            {"labels": np.eye(200, 2, dtype=np.int32), "test": 1, "validation": 0},
            r"data\.test: none of its 1 image has",
        ),
    ],
)
def test_several_labels_that_cannot_be_split_are_said(settings, message):
    with pytest.raises(UserError, match=message):
        several(**settings)


def shapes(seed, classes=4, count=200):
    """Maps of 6 x 6 pixels: background, and rarer and rarer classes; every tenth image has no mask."""
    rng = np.random.default_rng(seed)
    maps = np.zeros((count, 6, 6), np.uint8)
    for index in range(1, classes):
        maps[rng.random(count) < 0.5**index, index] = index
    maps[:, 0, 0] = 255
    maps[::10] = 255
    return maps


def test_maps_show_the_classes_of_their_pixels():
    maps = np.array([[[0, 1], [255, 0]], [[255] * 2] * 2, [[2, 2], [2, 255]]], np.uint8)
    np.testing.assert_array_equal(MAPS.of_images(maps, 3), [[1, 1, 0], [-1, -1, -1], [0, 0, 1]])


def test_maps_are_split_as_the_labels_of_whole_images():
    maps, names = shapes(0), ("none", "a", "b", "c")
    tags = MAPS.of_images(maps, 4)
    sizes = {"labels_per_class": 3, "validation": 30, "test": 40, "seed": 1}
    found = split(maps, names, MAPS, **sizes)
    assert {name: len(ids) for name, ids in found.items() if name in ("validation", "test")} == {
        "validation": 30,
        "test": 40,
    }
    for name in ("labelled", "validation", "test"):
        assert (tags[found[name]] >= 0).all()
    assert (tags[found["labelled"]].sum(0) >= 3).all()
    assert set(range(0, 200, 10)) <= {*found["unlabelled"].tolist()}
    shares = [tags[found[name]].mean(0) for name in ("validation", "test")]
    everywhere = tags[tags[:, 0] >= 0].mean(0)
    np.testing.assert_allclose(shares, [everywhere] * 2, atol=0.03)
    assert notes(found, maps, names, 3, 0, MAPS) == ()
    folds = [split(maps, names, MAPS, **sizes | {"validation": 0}, folds=3, fold=k) for k in range(3)]
    validations = np.concatenate([parts["validation"] for parts in folds])
    assert len(np.unique(validations)) == len(validations) == len(folds[0]["labelled"]) + len(folds[0]["validation"])


@pytest.mark.parametrize("stratify", [True, False])
def test_one_class_is_drawn_at_random(stratify):
    """Of a detection of one class, with an image in ten that shows none: any number can be drawn, each seed others."""
    labels = (np.arange(100) % 10 > 0).astype(np.int32)[:, None]
    labels[50:60] = -1
    sizes = {"labels_per_class": 5, "validation": 7, "test": 13, "stratify": stratify}
    first, second = (split(labels, ("nucleus",), SEVERAL_LABELS, seed=seed, **sizes) for seed in (0, 1))
    assert [len(first[name]) for name in ("labelled", "validation", "test")] == [5, 7, 13]
    np.testing.assert_array_equal(first["test"], second["test"])
    assert set(first["validation"]) != set(second["validation"])
    assert set(range(50, 60)) <= set(first["unlabelled"].tolist())
    folds = [
        split(labels, ("nucleus",), SEVERAL_LABELS, seed=0, **sizes | {"validation": 0}, folds=2, fold=k)
        for k in range(2)
    ]
    assert sorted(len(parts["validation"]) for parts in folds) == [2, 3]


def test_more_images_of_one_class_than_there_are_are_said():
    labels = np.ones((5, 1), np.int32)
    with pytest.raises(UserError, match=r"config\.data\.test: cannot take 5 stratified images of 5"):
        split(labels, ("nucleus",), SEVERAL_LABELS, labels_per_class=0, validation=0, test=5, seed=0)
