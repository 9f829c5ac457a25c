"""Labels are ids on host and devices, and vectors in the step alone."""

import hypothesis
import hypothesis.extra.numpy as arrays
import jax
import numpy as np
import pytest
from hypothesis import strategies as st

from efficient_jax.training import labels

CLASSES = 5


def dense(some):
    return np.asarray(jax.jit(labels.dense, static_argnums=1)(some, CLASSES))


@hypothesis.given(arrays.arrays(bool, (7, CLASSES)))
@hypothesis.settings(max_examples=20, deadline=None)
def test_hard_labels_come_back_as_zeros_and_ones(members):
    """Also images of no class and of several."""
    some = labels.hard(members.__getitem__, np.arange(7), CLASSES)
    assert some.ids.dtype == np.int32
    assert some.probabilities is None
    np.testing.assert_array_equal(dense(some), members.astype(np.float32))
    np.testing.assert_array_equal(labels.on_host(some, CLASSES), members.astype(np.float32))
    np.testing.assert_array_equal(labels.counts(some, np.arange(7), CLASSES), members.sum(0))


def test_one_class_takes_one_id_per_image():
    """1,281,167 labels of ImageNet: 5.1 MB, where vectors took 5.1 GB."""
    classes = np.arange(70_000) % 1000
    some = labels.hard(lambda rows: classes[rows][:, None] == np.arange(1000), np.arange(70_000), 1000)
    np.testing.assert_array_equal(some.ids[:, 0], classes)
    assert sum(leaf.nbytes for leaf in jax.tree.leaves(some)) == 4 * 70_000


@hypothesis.given(st.integers(0, CLASSES), st.integers(0, 2**31))
@hypothesis.settings(max_examples=20, deadline=None)
def test_a_soft_label_keeps_its_most_probable_classes(kept, seed):
    targets = np.random.default_rng(seed).dirichlet(np.ones(CLASSES), 6).astype(np.float32)
    expected = targets.copy()
    for row in expected if kept else ():
        row[np.argsort(-row, kind="stable")[kept:]] = 0.0
        row /= row.sum()
    found = dense(labels.soft(targets, kept))
    if kept in (0, CLASSES):
        np.testing.assert_array_equal(found, targets)
    else:
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_the_most_probable_classes_are_in_order_and_of_equal_ones_the_first_comes(monkeypatch):
    monkeypatch.setattr(labels, "TOP_CHUNK", 7)
    targets = np.float32(np.round(np.random.default_rng(0).dirichlet(np.full(30, 0.1), 50), 1))
    targets[0, 1] = -0.0
    for kept in (1, 10, 30):
        order = np.argsort(-targets, axis=1, kind="stable")[:, :kept]
        ids, probabilities = labels.top(targets, kept)
        np.testing.assert_array_equal(ids, order)
        np.testing.assert_array_equal(probabilities, np.take_along_axis(targets, order, 1))


def test_many_classes_keep_ten():
    targets = np.random.default_rng(0).dirichlet(np.ones(labels.FEW + 1), 4)
    some = labels.soft(targets)
    assert some.ids.shape == some.probabilities.shape == (4, labels.KEPT)
    np.testing.assert_allclose(some.probabilities.sum(1), 1.0, rtol=1e-6)


def test_several_labels_are_not_renormalised():
    targets = np.array([[0.9, 0.8, 0.1, 0.0, 0.0]], np.float32)
    expected = np.where(targets > 0.5, targets, 0.0)
    np.testing.assert_array_equal(dense(labels.soft(targets, 2, exclusive=False)), expected)


PEOPLE = labels.hard(lambda rows: np.eye(CLASSES, dtype=bool)[rows], np.arange(3), CLASSES)


@pytest.mark.parametrize("kept", [0, 2])
def test_a_table_has_labels_of_people_and_of_a_teacher(kept):
    taught = np.random.default_rng(1).dirichlet(np.ones(CLASSES), 2).astype(np.float32)
    teacher = labels.soft(taught, kept)
    table = labels.table(7, CLASSES, [(np.array([0, 2, 4]), PEOPLE), (np.array([1, 6]), teacher)])
    expected = np.zeros((7, CLASSES), np.float32)
    expected[[0, 2, 4]] = np.eye(CLASSES)[:3]
    expected[[1, 6]] = dense(teacher)
    np.testing.assert_array_equal(dense(table), expected)
    np.testing.assert_array_equal(labels.on_host(table, CLASSES), expected)


def test_a_table_of_people_alone_has_no_probabilities():
    table = labels.table(6, CLASSES, [(np.array([5, 1, 0]), PEOPLE)])
    assert table.probabilities is None
    np.testing.assert_array_equal(table.ids[:, 0], [2, 1, CLASSES, CLASSES, CLASSES, 0])


def test_weights_are_the_sums_of_the_probabilities():
    """In all three forms of labels."""
    members = np.eye(CLASSES, dtype=bool)[[1, 4, 0]]
    targets = np.array([[0.5, 0.25, 0.25, 0, 0], [0, 0, 0, 0.75, 0.25], [1, 0, 0, 0, 0]], np.float32)
    weights = np.array([0.5, 1.0, 0.125])
    forms = labels.hard(members.__getitem__, np.arange(3), CLASSES), labels.soft(targets), labels.soft(targets, 3)
    for some in forms:
        np.testing.assert_allclose(dense(labels.weighted(some, weights)), weights[:, None] * dense(some), rtol=1e-6)
