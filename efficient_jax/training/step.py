"""One compiled program per update: indices and uint8 images in, new state and metrics out."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from efficient_jax import keys as random_keys
from efficient_jax.optim import optimizer
from efficient_jax.training import batches, parallel
from efficient_jax.training.state import update_ema
from efficient_jax.types import Apply, Augment, Aux, Tree

Given = dict[str, dict[str, jax.Array]]
"""Stream -> what a step is given of it."""

LossFn = Callable[[Tree, Tree, Tree, dict, dict], tuple[jax.Array, Aux]]
"""`loss_fn(params, state, frozen, batch, keys) -> (loss_sum, Aux)`

state   what the forward pass renews (batch statistics), and under "memory" what the method remembers, if it does
frozen  what gets no gradient: "ema", the average of the variables before this update; "progress", the share of the
        updates that are done; and what the method was given, such as a "teacher"
batch   examples of each stream ("labelled", "unlabelled"); "index" is their place in the data set
keys    one key for each of them
"""


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


def probabilities(logits: Float[Array, "*b classes"], multi_label: bool) -> Float[Array, "*b classes"]:
    """Of the classes, one of which each image has; or with `multi_label` of each label by itself."""
    return (jax.nn.sigmoid if multi_label else jax.nn.softmax)(logits.astype(jnp.float32))


def make_predict(apply: Apply, devices: Sequence[jax.Device], multi_label: bool) -> Callable:
    """`predict(variables, data, given) -> probabilities [devices share classes]`, pmapped; `data` and `given` as in
    `make_train_step`, for one stream and without k."""

    def predict(variables: Tree, data: Tree, given: dict[str, jax.Array]) -> jax.Array:
        (logits, _), _ = apply(variables, batches.taken(data, given)["image"], False, None)
        return probabilities(logits, multi_label)

    return parallel.pmap(predict, devices, in_axes=(None, None, 0), out_axes=0)


def make_extract(apply: Apply, augment: Augment, devices: Sequence[jax.Device]) -> Callable:
    """`extract(variables, data, key, given) -> (features, labels)`, pmapped: what the head of a frozen network sees of
    augmented images, and their labels; `data` and `given` as in `make_predict`."""

    def extract(
        variables: Tree, data: Tree, key: jax.Array, given: dict[str, jax.Array]
    ) -> tuple[jax.Array, jax.Array]:
        batch = batches.taken(data, given)
        index = batch.pop("index")
        keys = jax.vmap(lambda image: jax.random.fold_in(key, image))(index)  # the same in batches of any size
        seen = augment(keys, batch)
        (_, intermediates), _ = apply(variables, seen["image"], False, None)
        return intermediates["features"].astype(jnp.float32), seen["label"]

    return parallel.pmap(extract, devices, in_axes=(None, None, None, 0), out_axes=0)


def predict_rows(
    predict: Callable,
    variables: Tree,
    images: batches.Images,
    rows: np.ndarray,
    *,
    batch: int,
    devices: Sequence[jax.Device],
) -> np.ndarray:
    """Probabilities float32 [len(rows) classes] of the images at `rows`; the last batch is padded, none is dropped."""
    data = batches.resident(images)
    each = batches.padded(images, rows, batch, devices)
    return parallel.collected(predict(variables, data, given) for given in each)[: len(rows)]


def extract_rows(
    extract: Callable,
    variables: Tree,
    data: Tree,
    rows: np.ndarray,
    *,
    key: jax.Array,
    batch: int,
    devices: Sequence[jax.Device],
) -> tuple[np.ndarray, np.ndarray]:
    """(features [len(rows) d], labels [len(rows) classes]) of the images at `rows`, as `predict_rows`; of `data`
    the "image" may be streamed, what is beside it is replicated."""
    beside = dict(data)
    images = beside.pop("image")
    placed = batches.resident(images) | beside
    each = batches.padded(images, rows, batch, devices)
    found = [[np.asarray(values) for values in extract(variables, placed, key, given)] for given in each]
    features, targets = (parallel.collected(of_batches)[: len(rows)] for of_batches in zip(*found, strict=True))
    return features, targets
