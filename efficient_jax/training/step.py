"""One compiled program per update: indices and uint8 images in, new state and metrics out."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import optax

from efficient_jax import keys as random_keys
from efficient_jax.optim import optimizer
from efficient_jax.training import batches, parallel
from efficient_jax.training.loss import LossFn
from efficient_jax.training.state import update_ema
from efficient_jax.types import Tree

Given = dict[str, dict[str, jax.Array]]
"""Stream -> what a step is given of it."""


def make_train_step(
    loss_fn: LossFn,
    tx: optax.GradientTransformation,
    *,
    updates: int,
    ema_decay: float,
    devices: Sequence[jax.Device],
    frozen: Tree = None,
    average_state: bool = False,
    accumulate: int = 1,
) -> Callable:
    """`step(state, frozen, data, key, given) -> (state, metrics)`, pmapped; `state` is donated.

    data: {"image": uint8 [n h w c], "label": float32 [n classes]} and what else `types.Example` names, replicated;
    given: {stream: {"index": [devices k share]}}, the images of k updates, of which update i takes entry i % k: sent
    together, they cost the host nothing per update. An "image" [devices k share h w c] beside the index takes the place
    of that in data. Gradients are summed over devices and divided by the summed weights, so that uneven and masked
    batches are exact.
    metrics: name -> (sum, count). `updates` is how many there will be. `frozen` says of each parameter whether it is
    (None: no one): no gradient of it is computed. `average_state` is for models whose devices renew the state each for
    itself. `accumulate` cuts each device's share into so many parts, which it takes one after the other, for want of
    memory: the same update, but for what relates the images of a batch to each other, such as their statistics.
    """
    still = frozen

    def trained(params: Tree) -> Tree:
        return jax.tree.map(lambda p, f: jax.lax.stop_gradient(p) if f else p, params, still) if still else params

    def step(state: Tree, frozen: Tree, data: Tree, key: jax.Array, given: Given):
        beside, batch, keys = _of_update(state, frozen, data, key, given, updates)

        def of_part(carried: Tree, part: tuple[dict, dict]) -> tuple[Tree, Tree]:
            (loss, aux), grads = jax.value_and_grad(lambda p, *rest: loss_fn(trained(p), *rest), has_aux=True)(
                state["params"], carried, beside, *part
            )
            return aux.state, (grads, loss, aux.weight, aux.metrics)

        def add(so_far: tuple[Tree, Tree], part: tuple[dict, dict]) -> tuple[tuple[Tree, Tree], None]:
            carried, sums = of_part(so_far[0], part)
            return (carried, jax.tree.map(lambda x, y: x + y, so_far[1], sums)), None

        parts = jax.tree.map(lambda x: x.reshape(accumulate, -1, *x.shape[1:]), (batch, keys))
        found = of_part(state["state"], jax.tree.map(lambda x: x[0], parts))
        if accumulate > 1:
            found, _ = jax.lax.scan(add, found, jax.tree.map(lambda x: x[1:], parts))
        carried, sums = found
        variables = {name: tree for name, tree in carried.items() if name in state["ema"]}  # without a memory
        if average_state:
            variables = jax.lax.pmean(variables, parallel.AXIS)
        grads, loss, weight, metrics = jax.lax.psum(sums, parallel.AXIS)
        grads = jax.tree.map(lambda g: g / weight, grads)
        params, opt = optimizer.update(tx, grads, state["opt"], state["params"])
        of_model = {name: params[name] for name in state["ema"]["params"]}
        renewed = {
            "step": state["step"] + 1,
            "params": params,
            "state": carried | variables,
            "opt": opt,
            "ema": update_ema(state["ema"], {"params": of_model, **variables}, state["step"], ema_decay),
        }
        return renewed, {"loss": (loss, weight), **metrics}

    return parallel.pmap(step, devices, in_axes=(None, None, None, None, 0), out_axes=None, donate=(0,))


def make_forward(loss_fn: LossFn, *, updates: int, devices: Sequence[jax.Device]) -> Callable:
    """`forward(state, frozen, data, key, given) -> (state, loss)`: as the train step, as far as the loss. To measure
    it: `state` counts on, so that calls wait for each other as steps do."""

    def forward(state: Tree, frozen: Tree, data: Tree, key: jax.Array, given: Given) -> tuple[Tree, jax.Array]:
        loss, aux = loss_fn(state["params"], state["state"], *_of_update(state, frozen, data, key, given, updates))
        return state | {"step": state["step"] + 1, "state": aux.state}, jax.lax.psum(loss, parallel.AXIS)

    return parallel.pmap(forward, devices, in_axes=(None, None, None, None, 0), out_axes=None, donate=(0,))


def _of_update(
    state: Tree, frozen: Tree, data: Tree, key: jax.Array, given: Given, updates: int
) -> tuple[Tree, dict[str, Tree], dict[str, jax.Array]]:
    """What a loss is given beside parameters and state."""
    step_key = jax.random.fold_in(key, state["step"])
    now = jax.tree.map(lambda values: values[state["step"] % len(values)], given)
    batch = {name: batches.taken(data, of_stream) for name, of_stream in now.items()}
    keys = {
        name: parallel.keys_of_share(random_keys.named(step_key, name), len(examples["index"]))
        for name, examples in batch.items()
    }
    progress = state["step"].astype(jnp.float32) / updates
    return frozen | {"ema": state["ema"], "progress": progress}, batch, keys
