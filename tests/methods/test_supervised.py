import jax.numpy as jnp
import numpy as np
import pytest

from efficient_jax.losses.labels import class_weights
from efficient_jax.methods.supervised import supervised
from efficient_jax.tasks import CLASSIFICATION
from tests.methods.fake import CLASSES, PARAMS, context, cross_entropies, fake, make, unchanged


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_the_summed_cross_entropy(smoothing):
    batch, keys = make(labelled=5, unlabelled=0)
    loss, aux = supervised(fake(), unchanged, CLASSIFICATION, label_smoothing=smoothing)(
        PARAMS, {}, context(), batch, keys
    )
    images, labels = batch["labelled"]["image"], batch["labelled"]["label"]
    expected = cross_entropies(images, (1 - smoothing) * labels + smoothing / CLASSES)
    np.testing.assert_allclose(loss, expected.sum(), rtol=1e-6)
    assert aux.weight == 5.0
    correct = (np.asarray(images).reshape(5, -1).argmax(1) == np.asarray(labels).argmax(1)).sum()
    np.testing.assert_array_equal(aux.metrics["accuracy"], [correct, 5.0])


def test_the_model_trains_and_hands_its_state_on():
    batch, keys = make(unlabelled=0)
    seen = []
    state = {"batch_stats": {"mean": jnp.ones(2)}}
    _, aux = supervised(fake(seen), unchanged, CLASSIFICATION)(PARAMS, state, context(), batch, keys)
    ((_, train, model_keys),) = seen
    assert train is True
    assert len(model_keys) == 2
    assert aux.model_state is not state
    np.testing.assert_array_equal(aux.model_state["batch_stats"]["mean"], np.ones(2))


@pytest.mark.parametrize("beta", [0.0, 0.9])
def test_rare_classes_may_weigh_more(beta):
    batch, keys = make(labelled=5, unlabelled=0)
    counts = jnp.asarray([100.0, 10.0, 1.0])
    loss_fn = supervised(fake(), unchanged, CLASSIFICATION, class_balance=beta)
    loss, aux = loss_fn(PARAMS, {}, context(class_counts=counts), batch, keys)
    images, labels = batch["labelled"]["image"], np.asarray(batch["labelled"]["label"])
    weights = np.asarray(class_weights(counts, beta))[labels.argmax(1)]
    np.testing.assert_allclose(loss, (weights * cross_entropies(images, labels)).sum(), rtol=1e-6)
    assert aux.weight == 5.0
