"""A model whose logits are known: the image, times one parameter."""

import jax
import jax.numpy as jnp
import numpy as np

from efficient_jax import keys
from efficient_jax.training.loss import LossContext

CLASSES = 3


def fake(seen=None):
    """apply; it appends (images, train, keys) of each call to `seen`."""

    def apply(variables, images, train, keys):
        if seen is not None:
            seen.append((images, train, keys))
        state = {name: tree for name, tree in variables.items() if name != "params"}
        return (images.reshape(len(images), CLASSES) * variables["params"]["scale"], {}), state

    return apply


def unchanged(keys, batch):
    del keys
    return batch


def noise(keys, batch):
    shape = batch["image"].shape[1:]
    return batch | {"image": batch["image"] + jax.vmap(lambda key: jax.random.normal(key, shape))(keys)}


def make(labelled=2, unlabelled=4):
    """(batch, keys): random logits as images, one-hot labels for the labelled, soft ones for the others."""
    rng = np.random.default_rng(0)
    sizes = {"labelled": labelled} | ({"unlabelled": unlabelled} if unlabelled else {})
    hard = {name: np.eye(CLASSES, dtype=np.float32)[rng.integers(0, CLASSES, n)] for name, n in sizes.items()}
    batch = {
        name: {
            "image": jnp.asarray(2 * rng.standard_normal((n, 1, 1, CLASSES)), jnp.float32),
            "label": jnp.asarray(hard[name] if name == "labelled" else 0.7 * hard[name] + 0.1),
            "index": jnp.arange(n, dtype=jnp.int32),
        }
        for name, n in sizes.items()
    }
    root = jax.random.key(0)
    return batch, {name: keys.by_position(keys.named(root, name), 0, n) for name, n in sizes.items()}


def softmax(logits):
    """Of each row, in float64."""
    z = np.asarray(logits, np.float64).reshape(-1, CLASSES)
    return np.exp(z) / np.exp(z).sum(1, keepdims=True)


def cross_entropies(logits, labels):
    """Per example, in float64."""
    z = np.asarray(logits, np.float64).reshape(-1, CLASSES)
    return np.log(np.exp(z).sum(1)) - (z * np.asarray(labels, np.float64)).sum(1)


def context(teachers=(), ema=None, progress=0.0, class_counts=None):
    """What a loss may see; all parts that a test does not name are empty."""
    return LossContext(teachers, ema, jnp.float32(progress), class_counts)


PARAMS = {"scale": jnp.float32(1.0)}
SAID = np.array(
    [[0.9, 0.1, 0.6], [0.05, 0.02, 0.01], [0.5, 0.4, 0.6], [0.89, 0.11, 0.91]], np.float32
)  # a teacher's answers, of several labels
