"""Predictions and features of images, on all devices."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from efficient_jax.errors import UserError
from efficient_jax.inference import tta
from efficient_jax.tasks import Task
from efficient_jax.training import batches, parallel
from efficient_jax.types import Apply, Augment, Tree


def through_views(apply: Apply, views: Sequence[tta.View], task: Task, vote: str = "soft") -> Apply:
    """Wraps `apply`, for predicting, with test-time augmentation: returns the log of the mean probability over `views`.

    Args:
        apply: the network.
        views: transformations of the image, see `tta.VIEWS`; one or more.
        task: makes probabilities of logits, and logits of their mean.
        vote: "soft", the mean probability, or "hard", the share of the views that answer each class.

    Returns: a function like `apply`, with the intermediates of the image itself.

    Raises: UserError for a hard vote where an image can have several labels.
    """
    if vote == "hard" and not task.exclusive:
        raise UserError("--tta: hard counts one answer for each view; where an image can have several labels take soft")

    def seen_through(variables: Tree, images: jax.Array, train: bool, keys: jax.Array | None) -> tuple:
        def classify(view: jax.Array) -> jax.Array:
            return task.probabilities(apply(variables, view, False, None)[0][0])

        (_, seen), state = apply(variables, images, train, keys)
        predicted = tta.predictions(classify, images, views)
        combined = tta.shares(predicted) if vote == "hard" else tta.mean(predicted)
        return (task.logits(combined), seen), state

    return seen_through


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


def make_extract(apply: Apply, augment: Augment, classes: int, devices: Sequence[jax.Device]) -> Callable:
    """`extract(variables, data, key, given) -> (features, labels)`, pmapped: what the head of a frozen network sees of
    augmented images, and their labels; `data` and `given` as in `make_predict`."""

    def extract(
        variables: Tree, data: Tree, key: jax.Array, given: dict[str, jax.Array]
    ) -> tuple[jax.Array, jax.Array]:
        batch = batches.labelled(batches.taken(data, given), classes)
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
