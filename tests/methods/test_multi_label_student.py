"""The loss of a student of several labels."""

import jax.numpy as jnp
import numpy as np
import pytest

from efficient_jax.methods.noisy_student import noisy_student
from efficient_jax.tasks import MULTI_LABEL
from tests.methods.fake import CLASSES, PARAMS, SAID, context, fake, make, unchanged

TAGS = np.array([[1, 1, 0], [0, 0, 0]], np.float32)


def binary_cross_entropies(images, labels):
    p = 1 / (1 + np.exp(-np.asarray(images, np.float64).reshape(-1, CLASSES)))
    return -(labels * np.log(p) + (1 - labels) * np.log(1 - p)).mean(1)


@pytest.mark.parametrize("weight", [0.0, 1.0, 2.5])
def test_the_loss_is_the_weighted_mean(weight):
    batch, keys = make(labelled=2, unlabelled=4)
    for stream, labels in (("labelled", TAGS), ("unlabelled", SAID)):
        batch[stream] |= {"label": jnp.asarray(labels)}
    loss_fn = noisy_student(fake(), unchanged, MULTI_LABEL, unlabelled_weight=weight, label_smoothing=0.1)
    loss, aux = loss_fn(PARAMS, {}, context(), batch, keys)
    labelled = binary_cross_entropies(batch["labelled"]["image"], 0.9 * TAGS + 0.05)
    unlabelled = binary_cross_entropies(batch["unlabelled"]["image"], SAID)
    expected = np.average(np.append(labelled, unlabelled), weights=[1.0] * 2 + [weight] * 4)
    np.testing.assert_allclose(loss / aux.weight, expected, rtol=1e-6)
    assert (aux.metrics["accuracy"][1], aux.metrics["pseudo_label_accuracy"][1]) == (2.0, 4.0)
