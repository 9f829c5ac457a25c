"""The type of the loss functions that methods build, and their context."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from efficient_jax.types import Aux, Batch, Tree


class LossContext(NamedTuple):
    """Inputs of a loss beside parameters, model state and batch. None of them gets a gradient."""

    teachers: tuple[Tree, ...]  # variables of each teacher
    ema: Tree  # moving average of the variables, before this step
    progress: Float[Array, ""]  # share of the steps that are done, in 0..1
    class_counts: Float[Array, " classes"]  # labelled images of each class, the sum of soft labels


LossFn = Callable[[Tree, Tree, LossContext, dict[str, Batch], dict[str, Array]], tuple[jax.Array, Aux]]
"""`loss_fn(params, model_state, context, batch, keys) -> (loss_sum, Aux)`

params       what is trained: parameters of the model, and those that the method adds
model_state  what the forward pass renews (batch statistics), and under "memory" the state of the method, if it has any
context      see `LossContext`
batch        examples of each stream ("labelled", "unlabelled"); "index" is their index in the dataset
keys         random key of each example, by stream
"""


def loss_context(
    state: Tree, teachers: tuple[Tree, ...], class_counts: Float[Array, " classes"], steps: int
) -> LossContext:
    """Returns the context of the step that follows `state`.

    Args:
        state: the training state, see `state.create`.
        teachers: variables of each teacher; () for methods without.
        class_counts: labelled images of each class.
        steps: number of steps of the stage.
    """
    progress = state["step"].astype(jnp.float32) / steps
    return LossContext(teachers, state["ema"], progress, class_counts)
