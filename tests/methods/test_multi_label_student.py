"""A student of several labels: its loss, and what a teacher's probabilities become."""

import jax.numpy as jnp
import numpy as np
import pytest

from efficient_jax.methods.multi_label_student import multi_label_pseudo_labels, multi_label_student
from efficient_jax.types import UserError
from tests.methods.fake import CLASSES, PARAMS, fake, make, unchanged

TAGS = np.array([[1, 1, 0], [0, 0, 0]], np.float32)
SAID = np.array([[0.9, 0.1, 0.6], [0.05, 0.02, 0.01], [0.5, 0.4, 0.6], [0.89, 0.11, 0.91]], np.float32)


def binary_cross_entropies(images, labels):
    p = 1 / (1 + np.exp(-np.asarray(images, np.float64).reshape(-1, CLASSES)))
    return -(labels * np.log(p) + (1 - labels) * np.log(1 - p)).mean(1)


@pytest.mark.parametrize("weight", [0.0, 1.0, 2.5])
def test_the_loss_is_the_weighted_mean(weight):
    batch, keys = make(labelled=2, unlabelled=4)
    for stream, labels in (("labelled", TAGS), ("unlabelled", SAID)):
        batch[stream] |= {"label": jnp.asarray(labels)}
    loss_fn = multi_label_student(fake(), unchanged, unlabelled_weight=weight, label_smoothing=0.1)
    loss, aux = loss_fn(PARAMS, {}, {}, batch, keys)
    labelled = binary_cross_entropies(batch["labelled"]["image"], 0.9 * TAGS + 0.05)
    unlabelled = binary_cross_entropies(batch["unlabelled"]["image"], SAID)
    expected = np.average(np.append(labelled, unlabelled), weights=[1.0] * 2 + [weight] * 4)
    np.testing.assert_allclose(loss / aux.weight, expected, rtol=1e-6)
    assert (aux.metrics["accuracy"][1], aux.metrics["pseudo_label_accuracy"][1]) == (2.0, 4.0)


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
