"""What a train step carries: a plain dict, saved and restored as a whole."""

import jax
import jax.numpy as jnp
import optax

from efficient_jax.types import Tree

NOTHING: Tree = {}


def create(variables: Tree, tx: optax.GradientTransformation, of_method: Tree = NOTHING, memory: Tree = None) -> Tree:
    """{"step", "params", "state", "opt", "ema"}: `state` are the variables that a forward pass renews, `ema` the
    exponential moving average of the variables, which is what a stage evaluates and hands on. `of_method` are
    parameters which the method trains beside the model's, `memory` what it remembers; both end with it."""
    state = {name: tree for name, tree in variables.items() if name != "params"}
    params = variables["params"] | of_method
    return {
        "step": jnp.int32(0),
        "params": params,
        "state": state if memory is None else state | {"memory": memory},
        "opt": tx.init(params),
        # A copy: two names for one buffer cannot both be donated.
        "ema": jax.tree.map(jnp.copy, variables),
    }


def update_ema(ema: Tree, variables: Tree, step: jax.Array, decay: float) -> Tree:
    """Moving average that starts as the plain mean, so that the initial weights leave no trace.

    The decay after `step` updates is min(1 - 1 / (step + 1), decay) (arXiv 1703.01780).
    """
    keep = jnp.minimum(1.0 - 1.0 / (step.astype(jnp.float32) + 1.0), decay)
    # In this form the average of what does not change, a frozen layer, keeps every bit.
    return jax.tree.map(lambda old, new: old + (1.0 - keep) * (new - old), ema, variables)
