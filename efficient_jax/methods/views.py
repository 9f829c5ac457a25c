"""Augmented views of a batch, with which every method begins, and parts of losses that several methods share."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from efficient_jax import augment as augmentations
from efficient_jax import keys as random_keys
from efficient_jax.errors import UserError
from efficient_jax.tasks import Task
from efficient_jax.types import Apply, Augment, Batch, Metrics, Saliency, Tree

Keys = dict[str, Key[Array, " _b"]]  # one for each example of a stream; streams differ in length
Losses = Callable[[Float[Array, "b classes"], Float[Array, "b classes"]], Float[Array, " b"]]
"""`losses(logits, labels) -> [b]`: the loss of each image."""


def one_view(
    augment: Augment, batch: dict[str, Batch], keys: Keys, which: str = "", saliency: Saliency | None = None
) -> tuple[Batch, Key[Array, " n"], int]:
    """Returns one augmented view of all images of a step.

    One program augments all streams and one forward pass sees them, so batch statistics are common. Streams have even
    lengths where images are mixed with their neighbours, so that labelled and unlabelled images do not mix.

    Args:
        augment: the augmentation of a batch.
        batch: examples of each stream.
        keys: one random key for each example.
        which: prefix of the names of random keys; another prefix draws another view of the same images.
        saliency: for operations that need it, see `saliency_of`.

    Returns: (the labelled images, then the unlabelled ones; the model's random key for each image; number of labelled
        images).
    """
    names = [name for name in ("labelled", "unlabelled") if name in batch]
    entries = batch[names[0]].keys() - {"index"}
    together = {entry: jnp.concatenate([batch[name][entry] for name in names]) for entry in sorted(entries)}
    all_keys = jnp.concatenate([keys[name] for name in names])
    view = augmentations.augmented(augment, random_keys.view(all_keys, which + "augment"), together, saliency)
    labelled = len(batch["labelled"]["label"]) if "labelled" in batch else 0
    return view, random_keys.view(all_keys, which + "model"), labelled


def saliency_of(apply: Apply, variables: Tree, losses: Losses) -> Saliency:
    """Returns the function that computes the saliency of images: how much each pixel matters to their losses.

    That is the norm, over the channels, of the gradient of an image's loss by the pixel (arXiv 2009.06962, section 3).
    The network is in evaluation mode, without dropout and with its running batch statistics, so that images of a batch
    do not depend on each other. No gradient reaches `variables`.

    Args:
        apply: the network.
        variables: its parameters and state.
        losses: `losses(logits, labels) -> [b]`, the method's loss of each image.

    Returns: `saliency(batch) -> float32 [b h w]`; it reads "image", uint8 or float in 0..1, and "label".
    """
    still = jax.lax.stop_gradient(variables)

    def saliency(batch: Batch) -> Float[Array, "b h w"]:
        def total(image: Float[Array, "b h w c"]) -> Float[Array, ""]:
            (logits, _), _ = apply(still, image, False, None)
            return losses(logits, batch["label"]).sum()

        gradient = jax.grad(total)(augmentations.to_float(batch["image"]))
        return jax.lax.stop_gradient(jnp.sqrt(jnp.square(gradient).sum(-1)))

    return saliency


def two_views(
    augment: Augment, strong_augment: Augment, batch: dict[str, Batch], keys: Keys
) -> tuple[Batch, Key[Array, " n"], int]:
    """Returns one view of all images, then a second, strong view of the unlabelled ones.

    One forward pass sees all three parts, so batch statistics are common. "label" belongs to the first view: it is
    shorter than "image" by the number of unlabelled images.

    Args:
        augment: the augmentation of the first view.
        strong_augment: the augmentation of the second view.
        batch: examples of the streams "labelled" and "unlabelled".
        keys: one random key for each example.

    Returns: as `one_view`.
    """
    weak, model_keys, labelled = one_view(augment, batch, keys)
    unlabelled = {"unlabelled": batch["unlabelled"]}
    strong, strong_keys, _ = one_view(strong_augment, unlabelled, {"unlabelled": keys["unlabelled"]}, "strong_")
    images = [weak["image"], strong["image"]]
    if images[0].dtype != images[1].dtype:
        images = [augmentations.to_float(image) for image in images]
    return weak | {"image": jnp.concatenate(images)}, jnp.concatenate([model_keys, strong_keys]), labelled


def with_labels(
    logits: Float[Array, "b ..."], labels: Float[Array, "b ..."], labelled: int, weight: float, task: Task
) -> tuple[Float[Array, ""] | float, Metrics]:
    """Returns the loss of the labelled images for a method that also learns something else from all images.

    Args:
        logits: of all images, the labelled ones first.
        labels: targets of the task. With a weight of 0.0 they are read for the accuracy only.
        labelled: how many images are labelled.
        weight: factor of the loss, 0.0 or more.
        task: what the labels are.

    Returns: (`weight` times the mean loss of the labelled images times the number of all images; metrics).

    Raises: UserError for a weight above 0.0 without labelled images.
    """
    if not labelled:
        if weight:
            raise UserError(
                f"method.hard_weight: {weight} needs labels, but batch.labelled is 0; set hard_weight = 0.0"
            )
        return 0.0, {}
    accuracy: Metrics = {"accuracy": (task.right(logits[:labelled], labels[:labelled]).sum(), float(labelled))}
    if not weight:
        return 0.0, accuracy
    return weight * task.loss(logits[:labelled], labels[:labelled]).sum() * (len(logits) / labelled), accuracy
