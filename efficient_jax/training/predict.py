"""Predictions and features of images, on all devices."""

import functools
from collections.abc import Callable, Iterator, Sequence

import jax
import numpy as np

from efficient_jax.errors import UserError
from efficient_jax.inference import box_views, tta
from efficient_jax.models import heads
from efficient_jax.tasks import Task
from efficient_jax.training import batches, parallel
from efficient_jax.types import Apply, Augment, Tree

Predict = Callable[[Tree, Tree, dict[str, jax.Array]], jax.Array]
"""`predict(variables, data, inputs) -> probabilities [devices share classes]`, see `make_predict`."""

Extract = Callable[[Tree, Tree, jax.Array, dict[str, jax.Array]], tuple[dict[str, jax.Array], jax.Array]]
"""`extract(variables, data, key, inputs) -> (pool -> features [devices share d], labels)`, see `make_extract`."""


def through_views(apply: Apply, views: Sequence[tta.View], task: Task, vote: str = "soft") -> Apply:
    """Wraps `apply`, for predicting, with test-time augmentation: returns the log of the mean probability over `views`.

    Probabilities of pixels are mapped back to the image; a view counts for the pixels that it shows.

    Args:
        apply: the network.
        views: transformations of the image, see `tta.VIEWS`; one or more.
        task: makes probabilities of logits, and logits of their mean.
        vote: "soft", the mean probability, or "hard", the share of the views that answer each class. Of boxes a fusion,
            see `box_views.fused`; "soft" means "wbf".

    Returns: a function like `apply`, with the intermediates of the image itself.

    Raises: UserError for a hard vote where an image can have several labels, and for a fusion of what are no boxes.
    """
    if task.probable and vote not in ("soft", "hard"):
        raise UserError(f"--tta: {vote} merges boxes; an image has {task.labels}: take soft or hard")
    if vote == "hard" and not task.exclusive:
        instead = (
            "where an image can have several labels take soft" if task.probable else "boxes are merged by wbf or nms"
        )
        raise UserError(f"--tta: hard counts one answer for each view; {instead}")

    def seen_through(
        variables: Tree, images: jax.Array, train: bool, keys: jax.Array | None
    ) -> tuple[tuple[jax.Array, dict[str, jax.Array]], Tree]:
        def classify(view: jax.Array) -> jax.Array:
            return task.probabilities(apply(variables, view, False, None)[0][0])

        (_, seen), state = apply(variables, images, train, keys)
        predicted = tta.predictions(classify, images, views)
        if not task.probable:
            _, h, w, _ = images.shape
            merged = box_views.fused(predicted, views, (h, w), "wbf" if vote == "soft" else vote)
            return (task.logits(merged), seen), state
        weights = None
        if not task.by_image:
            predicted, weights = tta.restored(predicted, views)
        combined = tta.shares(predicted, weights) if vote == "hard" else tta.mean(predicted, weights)
        return (task.logits(combined), seen), state

    return seen_through


def make_predict(apply: Apply, devices: Sequence[jax.Device], task: Task) -> Predict:
    """Returns `predict(variables, data, inputs) -> probabilities [devices share classes]`, pmapped.

    `data` and `inputs` are those of one stream for one step, see `batches.resident` and `batches.on_devices`.

    Args:
        apply: the network.
        devices: on which it runs.
        task: makes probabilities of its logits.
    """
    return _predict(apply, tuple(devices), task)


@functools.lru_cache(maxsize=16)
def _predict(apply: Apply, devices: tuple[jax.Device, ...], task: Task) -> Predict:
    """Returns the same function for the same network: stages and members that share one compile once."""

    def predict(variables: Tree, data: Tree, inputs: dict[str, jax.Array]) -> jax.Array:
        (logits, _), _ = apply(variables, batches.taken(data, inputs)["image"], False, None)
        return task.probabilities(logits)

    return parallel.pmap(predict, devices, in_axes=(None, None, 0), out_axes=0)


def predicted_batches(
    predict: Predict,
    variables: Tree,
    images: batches.Images,
    rows: np.ndarray,
    *,
    batch: int,
    devices: Sequence[jax.Device],
) -> Iterator[np.ndarray]:
    """Predicts images, and yields the probabilities of each batch. The last one is filled up, so that no image is left
    out.

    Args:
        predict: as from `make_predict`.
        variables: replicated on the devices.
        images: as from `batches.place`.
        rows: indices of the n images to predict.
        batch: images of a batch, over all devices.
        devices: those of `predict`.

    Yields: probabilities float32 [up to batch ... classes], n in all.
    """
    data, left = batches.resident(images), len(rows)
    for inputs in batches.padded(images, rows, batch, devices):
        part = parallel.collected([predict(variables, data, inputs)])[:left]
        left -= len(part)
        yield part


def make_extract(
    apply: Apply, prefix_tokens: int, augment: Augment, classes: int, devices: Sequence[jax.Device]
) -> Extract:
    """Returns `extract(variables, data, key, inputs) -> (features, labels)`, pmapped; see `make_predict`.

    Features are all that a head can take, see `models.heads.features`; labels are those of the augmented images.

    Args:
        apply: the network.
        prefix_tokens: number of its tokens in front of the patches.
        augment: augmentation of the images.
        classes: number of classes.
        devices: on which it runs.
    """

    def extract(
        variables: Tree, data: Tree, key: jax.Array, inputs: dict[str, jax.Array]
    ) -> tuple[dict[str, jax.Array], jax.Array]:
        batch = batches.labelled(batches.taken(data, inputs), classes)
        index = batch.pop("index")
        keys = jax.vmap(lambda image: jax.random.fold_in(key, image))(index)  # the same in batches of any size
        seen = augment(keys, batch)
        (_, intermediates), _ = apply(variables, seen["image"], False, None)
        return heads.features(intermediates, prefix_tokens), seen["label"]

    return parallel.pmap(extract, devices, in_axes=(None, None, None, 0), out_axes=0)


def extract_rows(
    extract: Extract,
    variables: Tree,
    data: Tree,
    rows: np.ndarray,
    *,
    key: jax.Array,
    batch: int,
    devices: Sequence[jax.Device],
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Computes the features of images. The last batch is filled up, so that no image is left out.

    Args:
        extract: as from `make_extract`.
        variables: replicated on the devices.
        data: "image" as from `batches.place`, and what else examples have, replicated.
        rows: indices of the n images.
        key: random key of the augmentation, replicated; the key of an image does not depend on its batch.
        batch: images of a batch, over all devices.
        devices: those of `extract`.

    Returns: (pool -> features float32 [n d], labels [n classes]).
    """
    other_data = dict(data)
    images = other_data.pop("image")
    placed = batches.resident(images) | other_data
    padded = batches.padded(images, rows, batch, devices)
    outputs = [jax.tree.map(np.asarray, extract(variables, placed, key, inputs)) for inputs in padded]
    features, targets = jax.tree.map(lambda *parts: parallel.collected(parts)[: len(rows)], *outputs)
    return features, targets
