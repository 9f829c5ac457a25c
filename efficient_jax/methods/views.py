"""What every method begins with: augmented views of its examples."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from efficient_jax import augment as augmentations
from efficient_jax import keys as random_keys
from efficient_jax.errors import UserError
from efficient_jax.losses.labels import cross_entropy
from efficient_jax.tasks.classification import right
from efficient_jax.types import Apply, Augment, Batch, Saliency, Tree

Keys = dict[str, Key[Array, " ?b"]]
Losses = Callable[[Float[Array, "b classes"], Float[Array, "b classes"]], Float[Array, " b"]]
"""`losses(logits, labels)`: of each image."""


def one_view(
    augment: Augment, batch: dict[str, Batch], keys: Keys, which: str = "", saliency: Saliency | None = None
) -> tuple[Batch, Key[Array, " n"]]:
    """All streams, one behind the other in the order of their names, augmented; and the model's keys for them.

    One program augments all and one forward pass sees all, BatchNorm too. Streams have even lengths where images
    are mixed with their neighbours, so that labelled and unlabelled images do not mix. Another `which` draws anew.
    `saliency` is for operations that ask for it, see `saliency_of`.
    """
    names = sorted(batch)
    entries = batch[names[0]].keys() - {"index"}
    together = {entry: jnp.concatenate([batch[name][entry] for name in names]) for entry in sorted(entries)}
    all_keys = jnp.concatenate([keys[name] for name in names])
    seen = augmentations.augmented(augment, random_keys.view(all_keys, which + "augment"), together, saliency)
    return seen, random_keys.view(all_keys, which + "model")


def saliency_of(apply: Apply, variables: Tree, losses: Losses) -> Saliency:
    """Returns the function that computes the saliency of images: how much each pixel matters to their losses.

    That is the norm, over the channels, of the gradient of an image's loss by the pixel (arXiv 2009.06962, section 3).
    The network is in evaluation mode, without dropout and with its running batch statistics, so that images of a batch
    have nothing to do with each other. No gradient reaches `variables`.

    Args:
        apply: the network.
        variables: its parameters and state.
        losses: `losses(logits, labels) -> [b]`, the method's loss of each image.

    Returns: `saliency(batch) -> float32 [b h w]`, of "image", uint8 or float in 0..1, and "label".
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
) -> tuple[Batch, Key[Array, " n"]]:
    """As `one_view`, and behind it the unlabelled images once more, augmented by `strong_augment` instead.

    "label" stays that of one view. One forward pass sees all three parts: their batch statistics are common.
    """
    weak, model_keys = one_view(augment, batch, keys)
    unlabelled = {"unlabelled": batch["unlabelled"]}
    strong, strong_keys = one_view(strong_augment, unlabelled, {"unlabelled": keys["unlabelled"]}, "strong_")
    images = [weak["image"], strong["image"]]
    if images[0].dtype != images[1].dtype:
        images = [augmentations.to_float(image) for image in images]
    return weak | {"image": jnp.concatenate(images)}, jnp.concatenate([model_keys, strong_keys])


def with_labels(
    logits: Float[Array, "b classes"], labels: Float[Array, "b classes"], batch: dict[str, Batch], weight: float
) -> tuple[Float[Array, ""] | float, dict[str, tuple]]:
    """(`weight` times the mean cross-entropy of the labelled images, times the number of all; their accuracy).

    For a method that has something to learn from all images. With a weight of 0.0 nobody reads a label but to measure.
    """
    if "labelled" not in batch:
        if weight:
            raise UserError(f"method.hard_weight: {weight} asked, but batch.labelled is 0; say hard_weight = 0.0")
        return 0.0, {}
    n = len(batch["labelled"]["label"])  # "labelled" comes before "unlabelled"
    accuracy = {"accuracy": (right(logits, labels)[:n].sum(), float(n))}
    if not weight:
        return 0.0, accuracy
    return weight * cross_entropy(logits[:n], labels[:n]).sum() * (len(logits) / n), accuracy
