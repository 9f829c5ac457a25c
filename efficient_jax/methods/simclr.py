"""SimCLR (arXiv 2002.05709): two views of an image are more alike than views of different images."""

import jax
import jax.numpy as jnp
from jaxtyping import Array

from efficient_jax.errors import UserError
from efficient_jax.losses.features import unit
from efficient_jax.losses.self_supervised import nt_xent
from efficient_jax.methods import pretraining
from efficient_jax.methods.views import Keys
from efficient_jax.training import parallel
from efficient_jax.training.loss import LossContext, LossFn
from efficient_jax.types import Apply, Augment, Aux, Batch, Tree


def simclr(apply: Apply, augment: Augment, *, temperature: float = 0.2, hidden: int = 512, dim: int = 128) -> LossFn:
    """Returns the loss of SimCLR: NT-Xent between projections of two views, over the images of all devices.

    No label is read. The projection is dropped after the stage; the layers below are what other stages start from.

    Args:
        apply: the network.
        augment: the stage's augmentation, which makes both views.
        temperature: divides the cosine similarities, above 0.0; 0.1 to 0.5.
        hidden: width of the hidden layer of the projection.
        dim: number of projections.

    Returns: a loss function whose metric is "matched", the share of images whose views are nearest to each other.

    Raises: UserError for a temperature that is not above 0.0.
    """
    del hidden, dim  # `pretraining.parameters` reads them
    if temperature <= 0.0:
        raise UserError(f"method.temperature: {temperature} is not above 0.0")

    def loss_fn(
        params: Tree, model_state: Tree, context: LossContext, batch: dict[str, Batch], keys: Keys
    ) -> tuple[Array, Aux]:
        del context
        augments = {"": augment, "second_": augment}
        views, model_state = pretraining.projected_views(apply, augments, params, model_state, batch, keys)
        count = len(views[""])
        first, second = parallel.gathered((views[""], views["second_"]))
        own = jax.lax.axis_index(parallel.AXIS) * count + jnp.arange(count, dtype=jnp.int32)
        nearest = (unit(first[own]) @ unit(second).T).argmax(1)
        matched = (nearest == own).astype(jnp.float32).sum()
        losses = nt_xent(first, second, own, temperature)
        return losses.sum(), Aux(float(count), model_state, {"matched": (matched, float(count))})

    return loss_fn
