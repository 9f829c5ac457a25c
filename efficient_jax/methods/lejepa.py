"""LeJEPA (arXiv 2511.08544): views of an image have one projection, and all projections are normally distributed."""

import jax
import jax.numpy as jnp
from jaxtyping import Array

from efficient_jax import keys as random_keys
from efficient_jax.errors import UserError
from efficient_jax.losses.self_supervised import sigreg
from efficient_jax.methods import pretraining
from efficient_jax.methods.views import Keys
from efficient_jax.training import parallel
from efficient_jax.training.loss import LossContext, LossFn
from efficient_jax.types import Apply, Augment, Aux, Batch, Metrics, Tree

GLOBAL = ("", "second_")


def lejepa(
    apply: Apply,
    augment: Augment,
    strong_augment: Augment,
    *,
    regularisation: float = 0.05,
    local_views: int = 4,
    directions: int = 1024,
    hidden: int = 512,
    dim: int = 64,
) -> LossFn:
    """Returns the loss of LeJEPA.

    It is (1 - `regularisation`) times the mean squared distance of each view's projection to the mean of the two
    global views, plus `regularisation` times SIGReg, the mean over the views. No label is read, and nothing but the
    regularisation keeps the projections from being all alike: no teacher, no stopped gradient.

    Args:
        apply: the network.
        augment: the stage's augmentation, which makes the two global views.
        strong_augment: the stage's second augmentation, which makes the local views: small crops.
        regularisation: lambda of the paper, in 0..1.
        local_views: number of local views; the paper has 6.
        directions: number of random directions of SIGReg, the same on all devices.
        hidden: width of the hidden layer of the projection.
        dim: number of projections.

    Returns: a loss function whose metrics are the two parts, "distance" and "sigreg".

    Raises: UserError for a setting out of range.
    """
    del hidden, dim  # `pretraining.parameters` reads them
    if not 0.0 <= regularisation <= 1.0:
        raise UserError(f"method.regularisation: {regularisation} is not in 0.0 .. 1.0")
    if local_views < 0:
        raise UserError(f"method.local_views: {local_views} is negative")
    augments: dict[str, Augment] = dict.fromkeys(GLOBAL, augment)
    augments |= {f"local{i}_": strong_augment for i in range(local_views)}

    def loss_fn(
        params: Tree, model_state: Tree, context: LossContext, batch: dict[str, Batch], keys: Keys
    ) -> tuple[Array, Aux]:
        del context
        views, model_state = pretraining.projected_views(apply, augments, params, model_state, batch, keys)
        together = jnp.stack(list(views.values()))
        count = float(together.shape[1])
        center = (views[GLOBAL[0]] + views[GLOBAL[1]]) / 2.0
        distances = jnp.square(together - center).mean((0, 2))
        first_image = jax.random.key_data(next(iter(keys.values()))[:1])
        key = jax.random.wrap_key_data(parallel.gathered(first_image)[0])  # the same on all devices
        key = random_keys.named(key, "directions")
        every = jnp.stack([parallel.gathered(view) for view in views.values()])
        regular = jnp.stack([sigreg(view, key, directions) for view in every]).mean()
        loss = (1.0 - regularisation) * distances.sum() + regularisation * count * regular
        metrics: Metrics = {"distance": (distances.sum(), count), "sigreg": (regular * count, count)}
        return loss, Aux(count, model_state, metrics)

    return loss_fn
