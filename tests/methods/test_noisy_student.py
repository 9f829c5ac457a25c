"""The student's loss."""

import numpy as np
import pytest

from efficient_jax.losses.labels import class_weights
from efficient_jax.methods.noisy_student import noisy_student
from efficient_jax.tasks import CLASSIFICATION
from tests.methods.fake import CLASSES, PARAMS, context, cross_entropies, fake, make, unchanged


@pytest.mark.parametrize("weight", [0.0, 1.0, 2.5])
def test_the_loss_is_the_weighted_mean(weight):
    batch, keys = make(labelled=2, unlabelled=4)
    loss_fn = noisy_student(fake(), unchanged, CLASSIFICATION, unlabelled_weight=weight, label_smoothing=0.1)
    loss, aux = loss_fn(PARAMS, {}, context(), batch, keys)
    smoothed = 0.9 * batch["labelled"]["label"] + 0.1 / CLASSES  # the teacher's labels are soft already
    labelled = cross_entropies(batch["labelled"]["image"], smoothed)
    unlabelled = cross_entropies(batch["unlabelled"]["image"], batch["unlabelled"]["label"])
    expected = np.average(np.append(labelled, unlabelled), weights=[1.0] * 2 + [weight] * 4)
    np.testing.assert_allclose(loss / aux.weight, expected, rtol=1e-6)
    assert aux.metrics["accuracy"][1] == 2.0
    assert aux.metrics["pseudo_label_accuracy"][1] == 4.0


def test_rare_classes_of_the_labelled_images_may_weigh_more():
    batch, keys = make(labelled=2, unlabelled=4)
    counts = np.array([100.0, 10.0, 1.0], np.float32)
    loss, aux = noisy_student(fake(), unchanged, CLASSIFICATION, class_balance=0.9)(
        PARAMS, {}, context(class_counts=counts), batch, keys
    )
    weights = np.asarray(class_weights(counts, 0.9))[batch["labelled"]["label"].argmax(1)]
    labelled, unlabelled = (cross_entropies(stream["image"], stream["label"]) for stream in batch.values())
    np.testing.assert_allclose(loss, (weights * labelled).sum() + unlabelled.sum(), rtol=1e-6)
    assert aux.weight == 6.0
