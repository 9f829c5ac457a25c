"""One compiled program per update: indices and uint8 images in, new state and metrics out."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax

from efficient_jax import keys as random_keys
from efficient_jax import optim
from efficient_jax.data import feed
from efficient_jax.training import parallel
from efficient_jax.training.state import update_ema
from efficient_jax.types import Apply, Aux, Tree

LossFn = Callable[[Tree, Tree, Tree, dict, dict], tuple[jax.Array, Aux]]
"""`loss_fn(params, state, frozen, batch, keys) -> (loss_sum, Aux)`; `batch` and `keys` map the name of a stream
("labelled", "unlabelled") to its examples and to one key for each of them."""


def make_train_step(
    loss_fn: LossFn, tx: optax.GradientTransformation, *, ema_decay: float, devices: Sequence[jax.Device]
) -> Callable:
    """`step(state, frozen, data, key, indices) -> (state, metrics)`, pmapped; `state` is donated.

    data: {"image": uint8 [n h w c], "label": float32 [n classes]}, replicated; indices: {stream: [devices k share]},
    the images of k updates, of which update i takes entry i % k: sent together, they cost the host nothing per update.
    Gradients are summed over devices and divided by the summed weights, so that uneven and masked batches are exact.
    metrics: name -> (sum, count).
    """

    def step(state: Tree, frozen: Tree, data: Tree, key: jax.Array, indices: dict[str, jax.Array]):
        step_key = jax.random.fold_in(key, state["step"])
        now = {name: index[state["step"] % len(index)] for name, index in indices.items()}
        batch = {name: {k: v[index] for k, v in data.items()} for name, index in now.items()}
        keys = {
            name: parallel.keys_of_share(random_keys.named(step_key, name), len(index)) for name, index in now.items()
        }
        (loss, aux), grads = jax.value_and_grad(loss_fn, has_aux=True)(
            state["params"], state["state"], frozen, batch, keys
        )
        grads, loss, weight, metrics = jax.lax.psum((grads, loss, aux.weight, aux.metrics), parallel.AXIS)
        grads = jax.tree.map(lambda g: g / weight, grads)
        params, opt = optim.update(tx, grads, state["opt"], state["params"])
        renewed = {
            "step": state["step"] + 1,
            "params": params,
            "state": aux.state,
            "opt": opt,
            "ema": update_ema(state["ema"], {"params": params, **aux.state}, state["step"], ema_decay),
        }
        return renewed, {"loss": (loss, weight), **metrics}

    return parallel.pmap(step, devices, in_axes=(None, None, None, None, 0), out_axes=None, donate=(0,))


def make_predict(apply: Apply, devices: Sequence[jax.Device]) -> Callable:
    """`predict(variables, images, indices [devices share]) -> probabilities [devices share classes]`, pmapped."""

    def predict(variables: Tree, images: jax.Array, index: jax.Array) -> jax.Array:
        (logits, _), _ = apply(variables, images[index], False, None)
        return jax.nn.softmax(logits.astype(jnp.float32))

    return parallel.pmap(predict, devices, in_axes=(None, None, 0), out_axes=0)


def predict_rows(
    predict: Callable,
    variables: Tree,
    images: Tree,
    rows: np.ndarray,
    *,
    batch: int,
    devices: Sequence[jax.Device],
) -> np.ndarray:
    """Probabilities float32 [len(rows) classes] of the images at `rows`; the last batch is padded, none is dropped."""
    found = []
    for part, real in feed.padded(rows, batch):
        probabilities = predict(variables, images, parallel.shared(part, devices))
        found.append(np.asarray(probabilities).reshape(len(part), -1)[:real])
    return np.concatenate(found)
