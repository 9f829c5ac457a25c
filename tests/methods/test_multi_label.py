import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efficient_jax import augment
from efficient_jax.methods.supervised import supervised
from efficient_jax.tasks import MULTI_LABEL
from tests.methods.fake import CLASSES, PARAMS, context, fake, make, unchanged

LABELS = np.array([[1, 1, 0], [0, 0, 0], [1, 1, 1], [0, 1, 0]], np.float32)


def example():
    batch, keys = make(labelled=4, unlabelled=0)
    return {"labelled": batch["labelled"] | {"label": jnp.asarray(LABELS)}}, keys


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_is_the_sum_over_images_of_the_mean_over_labels(smoothing):
    batch, keys = example()
    loss, aux = supervised(fake(), unchanged, MULTI_LABEL, label_smoothing=smoothing)(
        PARAMS, {}, context(), batch, keys
    )
    logits = np.asarray(batch["labelled"]["image"], np.float64).reshape(4, CLASSES)
    p, y = 1 / (1 + np.exp(-logits)), (1 - smoothing) * LABELS + smoothing / 2
    np.testing.assert_allclose(loss, -(y * np.log(p) + (1 - y) * np.log(1 - p)).mean(1).sum(), rtol=1e-6)
    assert aux.weight == 4.0


@pytest.mark.parametrize("flipped", [0, 1, 3])
def test_accuracy_counts_images_with_all_labels_right(flipped):
    batch, keys = example()
    logits = 0.1 * (2 * LABELS - 1)
    logits[:flipped, 1] *= -1
    batch["labelled"]["image"] = jnp.asarray(logits.reshape(4, 1, 1, CLASSES))
    _, aux = supervised(fake(), unchanged, MULTI_LABEL)(PARAMS, {}, context(), batch, keys)
    np.testing.assert_array_equal(aux.metrics["accuracy"], [4 - flipped, 4.0])


def test_mixed_labels_are_learned_as_mixed():
    """After mixup the loss is least at logits whose probabilities are the mixed labels: the gradient is their gap."""
    batch, keys = example()
    mixed = augment.build(("mixup",), {"mixup": {"alpha": 1.0}}, "")
    seen = {}

    def keep(each, examples):
        seen.update(mixed(each, examples))
        return dict(seen)

    loss_fn = supervised(lambda variables, *_: ((variables["params"]["z"], {}), {}), keep, MULTI_LABEL)
    logits = jnp.zeros((4, CLASSES))
    gradient = jax.grad(lambda z: loss_fn({"z": z}, {}, context(), batch, keys)[0])(logits)
    label = np.asarray(seen["label"])
    assert ((label > 0) & (label < 1)).any()
    np.testing.assert_allclose(gradient, (0.5 - label) / CLASSES, atol=1e-6)
