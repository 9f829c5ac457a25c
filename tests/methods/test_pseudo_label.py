"""The network learns its own sure predictions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efficient_jax.errors import UserError
from efficient_jax.methods.pseudo_label import pseudo_label
from tests.methods.fake import CLASSES, PARAMS, context, cross_entropies, fake, make, softmax, unchanged


@pytest.mark.parametrize(("progress", "share"), [(0.0, 0.0), (0.1, 0.25), (0.4, 1.0), (0.9, 1.0)])
def test_the_loss(progress, share):
    batch, keys = make()
    loss_fn = pseudo_label(fake(), unchanged, threshold=0.8, unlabelled_weight=2.0, ramp=0.4)
    loss, aux = loss_fn(PARAMS, {}, context(progress=progress), batch, keys)
    p = softmax(batch["unlabelled"]["image"])
    mask = p.max(1) >= 0.8
    own = mask * cross_entropies(batch["unlabelled"]["image"], np.eye(CLASSES)[p.argmax(1)])
    labelled = cross_entropies(batch["labelled"]["image"], batch["labelled"]["label"])
    np.testing.assert_allclose(loss / aux.weight, labelled.mean() + 2.0 * share * own.mean(), rtol=1e-5)
    assert aux.metrics["taken"] == (float(mask.sum()), 4.0)


def test_with_the_right_labels_taken_it_is_supervised_on_all():
    """Logits so large that every prediction is sure and right: the same as training on them."""
    batch, keys = make(unlabelled=4)
    sure = 20.0 * jnp.eye(CLASSES)[jnp.array([0, 1, 2, 0])].reshape(4, 1, 1, CLASSES)
    batch["unlabelled"]["image"] = sure
    loss_fn = pseudo_label(fake(), unchanged, threshold=0.0)
    gradient = jax.grad(lambda p: loss_fn(p, {}, context(progress=1.0), batch, keys)[0])(PARAMS)["scale"]

    def by_hand(scale):
        def mean(images, labels):
            return -(jax.nn.log_softmax(scale * images.reshape(-1, CLASSES)) * labels).sum(-1).mean()

        labels = jnp.eye(CLASSES)[jnp.array([0, 1, 2, 0])]
        return mean(batch["labelled"]["image"], batch["labelled"]["label"]) + mean(sure, labels)

    np.testing.assert_allclose(gradient / 2.0, jax.grad(by_hand)(jnp.float32(1.0)), rtol=1e-5)


@pytest.mark.parametrize("ramp", [0.0, 1.5])
def test_a_ramp_out_of_range(ramp):
    with pytest.raises(UserError, match=rf"method\.ramp: {ramp} is not in"):
        pseudo_label(fake(), unchanged, ramp=ramp)
