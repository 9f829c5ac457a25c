"""What FixMatch and its relatives share: the strong view of an unlabelled image learns the prediction of its weak view.

Each method is a judge: it says what is learned, and with which weight."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from efficient_jax.losses.labels import cross_entropy
from efficient_jax.methods import marginals, settings
from efficient_jax.methods.energy import familiar
from efficient_jax.methods.views import Keys, two_views
from efficient_jax.settings import choose
from efficient_jax.tasks.classification import right
from efficient_jax.training.loss import LossContext, LossFn
from efficient_jax.types import Apply, Augment, Aux, Batch, Tree


class Views(NamedTuple):
    """What the network predicts in one step, without gradient."""

    labelled: Float[Array, "n classes"]  # logits of the labelled images
    weak: Float[Array, "m classes"]  # logits of the weak views of the unlabelled images
    aligned: Float[Array, "m classes"]  # the same after alignment; equal to `weak` without
    image_index: Int[Array, " m"]  # of each unlabelled image, in the dataset
    marginals: Tree  # moving averages with those of this step, see `marginals.first`


class Judgement(NamedTuple):
    """What the strong views learn."""

    targets: Float[Array, "m classes"]  # distributions over classes
    weights: Float[Array, " m"]  # of each image, in 0..1; 0.0 where it is not learned
    memory: Tree  # what the judge remembers; as it was for judges that remember nothing


Judge = Callable[[Views, Tree], Judgement]
"""`judge(views, memory) -> Judgement`."""


class Shared(NamedTuple):
    """Settings that all these methods have."""

    unlabelled_weight: float  # weight of the loss of the unlabelled images, 0.0 or more
    label_smoothing: float  # of the labelled images' labels, in 0..1 (1 excluded)
    alignment: str  # "uniform" or "labelled", see `marginals.aligned`; "" does not align
    fairness_weight: float  # weight of `marginals.fairness`, 0.0 or more
    momentum: float  # of the moving averages, in 0..1 (1 excluded)
    energy: float  # share of `energy.familiar`, in 0..1; 0.0: every image may be learned


def weak_to_strong(
    apply: Apply,
    augment: Augment,
    strong_augment: Augment,
    judge: Judge,
    shared: Shared,
    *,
    margin: float = 0.0,
    needs_marginals: bool = False,
) -> LossFn:
    """Returns the loss of weak and strong views.

    It is the mean cross-entropy of the labelled images, plus `unlabelled_weight` times the mean, over all unlabelled
    images, of weight times cross-entropy between target and strong view, plus `fairness_weight` times the fairness.

    Args:
        apply: the network.
        augment: the stage's augmentation, which makes the weak views.
        strong_augment: the stage's second augmentation, which makes the strong views.
        judge: says what the strong views learn.
        shared: settings that all methods have.
        margin: times the logarithm of the mean prediction is added to the strong views' logits, 0.0 or more.
        needs_marginals: whether the judge reads the moving averages. They are renewed only where something reads them,
            since they ask all devices.

    Returns: a loss function whose metrics are "accuracy" of the labelled images and "taken", the mean weight of the
        unlabelled images. It reads and renews the memory, see `memory`.

    Raises: UserError for a setting out of range.
    """
    settings.not_negative(shared.unlabelled_weight, "unlabelled_weight")
    settings.not_negative(shared.fairness_weight, "fairness_weight")
    settings.below_one(shared.momentum, "momentum")
    settings.energy(shared.energy)
    choose(shared.alignment, marginals.ALIGNMENTS, "method.alignment")
    renews = bool(needs_marginals or shared.alignment or shared.fairness_weight or margin)

    def loss_fn(
        params: Tree, model_state: Tree, context: LossContext, batch: dict[str, Batch], keys: Keys
    ) -> tuple[Array, Aux]:
        del context
        before = model_state["memory"]
        model_state = {name: tree for name, tree in model_state.items() if name != "memory"}
        seen, model_keys, n = two_views(augment, strong_augment, batch, keys)
        (logits, _), model_state = apply({"params": params, **model_state}, seen["image"], True, model_keys)
        m = len(seen["label"]) - n
        strong, still = logits[n + m :], jax.lax.stop_gradient(logits)
        means = before["marginals"]
        if renews:
            means = marginals.renewed(means, still[:n], still[n : n + m], shared.momentum)
        aligned = marginals.aligned(still[n : n + m], means, shared.alignment)
        views = Views(still[:n], still[n : n + m], aligned, batch["unlabelled"]["index"], means)
        judgement = judge(views, before["judge"])
        weights = judgement.weights
        if shared.energy:
            weights *= familiar(views.labelled, views.weak, shared.energy)
        labelled = cross_entropy(logits[:n], seen["label"][:n], shared.label_smoothing)
        shifted = strong + margin * jnp.log(means["weak"]) if margin else strong
        unlabelled = weights * cross_entropy(shifted, judgement.targets)
        loss = labelled.sum() + shared.unlabelled_weight * unlabelled.sum() * (n / m)
        if shared.fairness_weight:
            loss += shared.fairness_weight * n * marginals.fairness(strong, weights, means)
        return loss, Aux(
            float(n),
            model_state | {"memory": {"marginals": means, "judge": judgement.memory}},
            {
                "accuracy": (right(logits[:n], seen["label"][:n]).sum(), float(n)),
                "taken": (weights.sum(), float(m)),
            },
        )

    return loss_fn


def memory(rows: Mapping[str, np.ndarray], images: int, classes: int) -> Tree:
    """Returns the memory before the first step of a judge that remembers nothing itself.

    Args:
        rows: indices of the images of each stream.
        images: number of images of the dataset.
        classes: number of classes.
    """
    del rows, images
    return {"marginals": marginals.first(classes), "judge": {}}


def sure(logits: Float[Array, "m classes"], threshold: Float[Array, " m"] | float) -> Float[Array, " m"]:
    """Returns 1.0 for each image whose highest probability reaches the threshold, else 0.0.

    Args:
        logits: one row per image.
        threshold: of each image, or one for all.
    """
    return (jax.nn.softmax(logits).max(-1) >= threshold).astype(jnp.float32)


def one_hot(logits: Float[Array, "m classes"]) -> Float[Array, "m classes"]:
    """Returns the most probable class of each image as a distribution.

    Args:
        logits: one row per image.
    """
    return jax.nn.one_hot(logits.argmax(-1), logits.shape[-1], dtype=jnp.float32)
