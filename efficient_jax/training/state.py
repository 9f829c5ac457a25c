"""The train state: a plain dict that a step renews, saved and restored as a whole."""

import jax
import jax.numpy as jnp
import optax

from efficient_jax.types import Tree

NOTHING: Tree = {}


def create(variables: Tree, tx: optax.GradientTransformation, of_method: Tree = NOTHING, memory: Tree = None) -> Tree:
    """Returns the state before the first step.

    Args:
        variables: variables of the model, "params" and what a forward pass renews.
        tx: the optimizer.
        of_method: parameters that the method trains beside the model's; they are not part of the trained model.
        memory: state of the method from step to step; None for methods without.

    Returns: a dict of
        step: int32, how many steps are done
        params: the parameters of model and method
        model_state: what a forward pass renews, such as batch statistics, and the memory
        opt: the state of the optimizer
        ema: the exponential moving average of the model's variables, which a stage evaluates and hands on
    """
    model_state = {name: tree for name, tree in variables.items() if name != "params"}
    params = variables["params"] | of_method
    return {
        "step": jnp.int32(0),
        "params": params,
        "model_state": model_state if memory is None else model_state | {"memory": memory},
        "opt": tx.init(params),
        # A copy: two names for one buffer cannot both be donated.
        "ema": jax.tree.map(jnp.copy, variables),
    }


def update_ema(ema: Tree, variables: Tree, step: jax.Array, decay: float) -> Tree:
    """Returns the moving average after one more step; it starts as the plain mean, without the initial weights.

    The decay after `step` steps is min(1 - 1 / (step + 1), decay) (arXiv 1703.01780).

    Args:
        ema: the average so far.
        variables: the variables after the step.
        step: int32, how many steps were done before it.
        decay: the largest decay, in 0..1.
    """
    keep = jnp.minimum(1.0 - 1.0 / (step.astype(jnp.float32) + 1.0), decay)
    # In this form the average of what does not change, a frozen layer, keeps every bit.
    return jax.tree.map(lambda old, new: old + (1.0 - keep) * (new - old), ema, variables)
