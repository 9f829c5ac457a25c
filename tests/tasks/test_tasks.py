"""What the tasks make of labels and predictions."""

import jax.numpy as jnp
import numpy as np
import pytest

from efficient_jax.data.dataset import Source
from efficient_jax.tasks import CLASSIFICATION, MULTI_LABEL, SEGMENTATION, TASKS, of_labels, targets

CLASSES = ("a", "b", "c")
ONE = np.array([1, 0, -1], np.int32)
SEVERAL = np.array([[1, 0, 1], [0, 0, 0], [-1, -1, -1]], np.int32)
MAPS = np.array([[[0, 1], [1, 255]], [[2, 2], [2, 2]]], np.int32)
SOURCE = Source(np.zeros((3, 1, 1, 1), np.uint8), ONE, CLASSES)


def test_a_task_is_found_under_its_name():
    assert [task.name for task in TASKS.values()] == list(TASKS)


@pytest.mark.parametrize(
    ("task", "labels"), [(CLASSIFICATION, ONE), (MULTI_LABEL, SEVERAL), (SEGMENTATION, MAPS)], ids=lambda x: str(x)[:20]
)
def test_labels_of_other_programs_are_known_by_their_shape(task, labels):
    assert of_labels(labels) is task
    shape = task.targets(labels, 3).shape
    assert task.label_shape(shape) == labels.shape


def test_targets_are_rows_of_zeros_and_ones():
    np.testing.assert_array_equal(targets(SOURCE, np.array([1, 0])), [[1, 0, 0], [0, 1, 0]])
    several = SOURCE._replace(labels=SEVERAL, task="multi_label")
    np.testing.assert_array_equal(targets(several, np.array([1, 0])), [[0, 0, 0], [1, 0, 1]])
    assert targets(SOURCE, np.array([0])).dtype == targets(several, np.array([0])).dtype == np.float32


def test_soft_labels_take_the_place_of_labels():
    soft = np.array([[0.5, 0.5, 0.0]] * 3, np.float32)
    np.testing.assert_array_equal(targets(SOURCE._replace(soft_labels=soft), np.array([2])), soft[:1])


def test_names_of_classes():
    assert CLASSIFICATION.names(ONE, CLASSES) == [("b",), ("a",), None]
    assert MULTI_LABEL.names(SEVERAL, CLASSES) == [("a", "c"), (), None]


@pytest.mark.parametrize(("task", "labels"), [(CLASSIFICATION, ONE), (MULTI_LABEL, SEVERAL)], ids=["one", "several"])
def test_columns_are_read_as_they_were_written(task, labels):
    columns = [list(map(str, column)) for column in task.to_columns(labels, CLASSES)]
    assert len(columns) == len(task.label_columns(CLASSES))
    np.testing.assert_array_equal(task.from_columns(columns, CLASSES), labels)


@pytest.mark.parametrize("task", [CLASSIFICATION, MULTI_LABEL, SEGMENTATION], ids=lambda task: task.name)
def test_logits_of_probabilities_have_these_probabilities(task):
    p = task.probabilities(jnp.asarray([[0.5, -1.0, 2.0]]))
    np.testing.assert_allclose(task.probabilities(task.logits(p)), p, rtol=1e-5)


def test_of_several_labels_all_must_be_right():
    answers = MULTI_LABEL.answers(np.array([[0.9, 0.2, 0.6], [0.6, 0.1, 0.1]]), (0.5, 0.5, 0.5))
    np.testing.assert_array_equal(MULTI_LABEL.correct(answers, SEVERAL[:2]), [True, False])


def test_pixels_without_a_class_do_not_count():
    logits = jnp.log(jnp.full((2, 2, 2, 3), 1e-3).at[..., 1].set(1.0))  # all pixels answer b
    wanted = jnp.asarray(SEGMENTATION.targets(MAPS, 3))
    np.testing.assert_allclose(SEGMENTATION.right(logits, wanted), [2 / 3, 0.0], rtol=1e-6)
    loss = np.log(1.002) + np.log(1e3) * np.array([1 / 3, 1.0])
    np.testing.assert_allclose(SEGMENTATION.loss(logits, wanted), loss, rtol=1e-5)
    p = np.asarray(SEGMENTATION.probabilities(logits))
    np.testing.assert_allclose(SEGMENTATION.severity(p, MAPS), loss, rtol=1e-5)
    counts = SEGMENTATION.counts(p, MAPS, SEGMENTATION.answers(p, ()))
    assert (counts["correct"], counts["n"]) == (2, 7)
    assert counts["mean_iou"] == pytest.approx((0 + 2 / 7 + 0) / 3)
