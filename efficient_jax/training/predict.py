"""Predictions and features of images, on all devices."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from efficient_jax.tasks import Task
from efficient_jax.training import batches, parallel
from efficient_jax.types import Apply, Augment, Tree


def make_predict(apply: Apply, devices: Sequence[jax.Device], task: Task) -> Callable:
    """Returns `predict(variables, data, given) -> probabilities [devices share classes]`, pmapped.

    `data` and `given` are as in `step.make_train_step`, for one stream and without k.

    Args:
        apply: the network.
        devices: on which it runs.
        task: makes probabilities of its logits.
    """

    def predict(variables: Tree, data: Tree, given: dict[str, jax.Array]) -> jax.Array:
        (logits, _), _ = apply(variables, batches.taken(data, given)["image"], False, None)
        return task.probabilities(logits)

    return parallel.pmap(predict, devices, in_axes=(None, None, 0), out_axes=0)


def collect_predictions(
    predict: Callable,
    variables: Tree,
    images: batches.Images,
    rows: np.ndarray,
    *,
    batch: int,
    devices: Sequence[jax.Device],
) -> np.ndarray:
    """Probabilities float32 [len(rows) classes] of the images at `rows`; the last batch is padded, none is dropped."""
    data = batches.resident(images)
    each = batches.padded(images, rows, batch, devices)
    return parallel.collected(predict(variables, data, given) for given in each)[: len(rows)]


def make_extract(apply: Apply, augment: Augment, devices: Sequence[jax.Device]) -> Callable:
    """`extract(variables, data, key, given) -> (features, labels)`, pmapped: what the head of a frozen network sees of
    augmented images, and their labels; `data` and `given` as in `make_predict`."""

    def extract(
        variables: Tree, data: Tree, key: jax.Array, given: dict[str, jax.Array]
    ) -> tuple[jax.Array, jax.Array]:
        batch = batches.taken(data, given)
        index = batch.pop("index")
        keys = jax.vmap(lambda image: jax.random.fold_in(key, image))(index)  # the same in batches of any size
        seen = augment(keys, batch)
        (_, intermediates), _ = apply(variables, seen["image"], False, None)
        return intermediates["features"].astype(jnp.float32), seen["label"]

    return parallel.pmap(extract, devices, in_axes=(None, None, None, 0), out_axes=0)


def extract_rows(
    extract: Callable,
    variables: Tree,
    data: Tree,
    rows: np.ndarray,
    *,
    key: jax.Array,
    batch: int,
    devices: Sequence[jax.Device],
) -> tuple[np.ndarray, np.ndarray]:
    """(features [len(rows) d], labels [len(rows) classes]) of the images at `rows`, as `collect_predictions`; of `data`
    the "image" may be streamed, what is beside it is replicated."""
    beside = dict(data)
    images = beside.pop("image")
    placed = batches.resident(images) | beside
    each = batches.padded(images, rows, batch, devices)
    found = [[np.asarray(values) for values in extract(variables, placed, key, given)] for given in each]
    features, targets = (parallel.collected(of_batches)[: len(rows)] for of_batches in zip(*found, strict=True))
    return features, targets
