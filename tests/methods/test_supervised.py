import jax.numpy as jnp
import numpy as np
import pytest

from efficient_jax.errors import UserError
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


@pytest.mark.parametrize("strength", [0.0, 1.0])
def test_the_log_prior_is_added_to_the_logits(strength):
    batch, keys = make(labelled=5, unlabelled=0)
    loss_fn = supervised(fake(), unchanged, CLASSIFICATION, logit_adjustment=strength)
    loss, _ = loss_fn(PARAMS, {}, context(class_counts=jnp.asarray([100.0, 10.0, 0.0])), batch, keys)
    logits = np.asarray(batch["labelled"]["image"]).reshape(5, -1) + strength * np.log(np.array([100, 10, 1]) / 111)
    np.testing.assert_allclose(loss, cross_entropies(logits, batch["labelled"]["label"]).sum(), rtol=1e-6)


def test_two_corrections_of_rare_classes_are_refused():
    with pytest.raises(UserError, match="class_balance and logit_adjustment both correct for rare classes; take one"):
        supervised(fake(), unchanged, CLASSIFICATION, logit_adjustment=1.0, class_balance=0.9)


def test_the_generalized_cross_entropy_takes_the_place_of_the_loss():
    batch, keys = make(labelled=5, unlabelled=0)
    loss, _ = supervised(fake(), unchanged, CLASSIFICATION, gce=0.7)(PARAMS, {}, context(), batch, keys)
    images, labels = batch["labelled"]["image"], np.asarray(batch["labelled"]["label"])
    p = np.exp(-cross_entropies(images, labels))
    np.testing.assert_allclose(loss, ((1 - p**0.7) / 0.7).sum(), rtol=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"gce": 1.5}, "method.gce: 1.5 is not in"), ({"gce": 0.7, "label_smoothing": 0.1}, "has no label_smoothing")],
)
def test_bad_settings_of_gce(settings, message):
    with pytest.raises(UserError, match=message):
        supervised(fake(), unchanged, CLASSIFICATION, **settings)
