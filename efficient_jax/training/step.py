"""One compiled program per step: indices and uint8 images in, new state and metrics out."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import optax

from efficient_jax import keys as random_keys
from efficient_jax.models import adapters
from efficient_jax.optim import optimizer
from efficient_jax.training import batches, parallel
from efficient_jax.training.loss import LossFn, loss_context
from efficient_jax.training.state import update_ema
from efficient_jax.types import Batch, Metrics, Tree

Inputs = dict[str, dict[str, jax.Array]]
"""Stream -> its inputs of a step, see `Step`."""

Sums = tuple[Tree, Tree, jax.Array | float, Metrics]
"""(model state, gradients, weight, metrics) of a step, summed over the devices and the same on all of them."""

BatchAndKeys = tuple[dict[str, Batch], dict[str, jax.Array]]
"""(stream -> examples, stream -> random key of each example), on one device."""

Step = Callable[..., tuple[Tree, Metrics]]
"""`step(state, teachers, class_counts, data, key, inputs) -> (state, metrics)`

state         see `state.create`; donated
teachers      variables of each teacher, replicated
class_counts  labelled images of each class, replicated
data          {"image": uint8 [n h w c], "label": `labels.Labels`} and what else `types.Example` names, replicated
key           the random key of the stage, replicated
inputs        {stream: {"index": [devices k share]}}, the indices of the images of k steps, of which step i takes entry
              i % k: sent together, they cost the host no time per step. An "image" [devices k share h w c] replaces
              that of `data`
metrics       name -> (sum, count)
"""
TINY = 1e-12
ARGUMENTS = (None, None, None, None, None, 0)  # axis of the devices of each argument


def make_train_step(
    loss_fn: LossFn,
    tx: optax.GradientTransformation,
    *,
    steps: int,
    ema_decay: float,
    devices: Sequence[jax.Device],
    frozen: Tree = None,
    average_state: bool = False,
    accumulate: int = 1,
    sam: float = 0.0,
    merge: adapters.Merge = adapters.none,
    shard_state: bool = False,
) -> Step:
    """Returns the compiled train step.

    Gradients are summed over devices and divided by the summed weights, so that they are exact for masked batches too.

    Args:
        loss_fn: the loss of a method, see `loss.LossFn`.
        tx: the optimizer.
        steps: number of steps of the stage.
        ema_decay: largest decay of the moving average, in 0..1.
        devices: the batch is split over these.
        frozen: for each parameter whether it is not trained; no gradient of it is computed. None: all are trained.
        average_state: averages the model state over devices, for models with batch statistics of each device.
        accumulate: parts of each device's share, computed one after the other to save memory. The step is the same,
            except for losses and statistics that relate the images of a batch to each other.
        sam: distance rho along the gradient at which the gradient is taken anew (arXiv 2010.01412), 0.0 or more; with
            0.0 it is not. The second pass sees the same views; batch statistics and metrics are those of the first.
        merge: makes the parameters of the network of those that train; the moving average is that of the merged ones,
            since a mean of products is not the product of the means.
        shard_state: the state is spread over the devices, see `parallel.layout`, in place of a copy on each.
    """

    def trained(params: Tree) -> Tree:
        return jax.tree.map(lambda p, f: jax.lax.stop_gradient(p) if f else p, params, frozen) if frozen else params

    def summed(
        state: Tree, teachers: tuple[Tree, ...], class_counts: jax.Array, data: Tree, key: jax.Array, inputs: Inputs
    ) -> Sums:
        context = loss_context(state, teachers, class_counts, steps)
        batch, keys = _batch(state["step"], len(class_counts), data, key, inputs)
        parts = jax.tree.map(lambda x: x.reshape(accumulate, -1, *x.shape[1:]), (batch, keys))

        def gradients(params: Tree) -> tuple[Tree, Tree]:
            def of_part(model_state: Tree, part: BatchAndKeys) -> tuple[Tree, Tree]:
                with jax.named_scope("loss"):
                    (loss, aux), grads = jax.value_and_grad(lambda p, *rest: loss_fn(trained(p), *rest), has_aux=True)(
                        params, model_state, context, *part
                    )
                return aux.model_state, (grads, loss, aux.weight, aux.metrics)

            def add(total: tuple[Tree, Tree], part: BatchAndKeys) -> tuple[tuple[Tree, Tree], None]:
                model_state, sums = of_part(total[0], part)
                return (model_state, jax.tree.map(lambda x, y: x + y, total[1], sums)), None

            model_state, sums = of_part(state["model_state"], jax.tree.map(lambda x: x[0], parts))
            if accumulate > 1:
                (model_state, sums), _ = jax.lax.scan(add, (model_state, sums), jax.tree.map(lambda x: x[1:], parts))
            return model_state, sums

        model_state, sums = gradients(state["params"])
        if sam:
            climbed = _climbed(state["params"], jax.lax.psum(sums[0], parallel.AXIS), sam)
            _, (grads, *_) = gradients(climbed)
            sums = (grads, *sums[1:])
        variables = {name: tree for name, tree in model_state.items() if name in state["ema"]}  # without a memory
        if average_state:
            variables = jax.lax.pmean(variables, parallel.AXIS)
        grads, loss, weight, metrics = jax.lax.psum(sums, parallel.AXIS)
        return model_state | variables, grads, weight, {"loss": (loss, weight), **metrics}

    def renewed(state: Tree, sums: Sums) -> tuple[Tree, Metrics]:
        model_state, grads, weight, metrics = sums
        variables = {name: tree for name, tree in model_state.items() if name in state["ema"]}
        with jax.named_scope("optimizer"):
            grads = jax.tree.map(lambda g: g / weight, grads)
            params, opt = optimizer.update(tx, grads, state["opt"], state["params"])
            network = merge(params)
            of_model = {name: network[name] for name in state["ema"]["params"]}
            ema = update_ema(state["ema"], {"params": of_model, **variables}, state["step"], ema_decay)
        after = {"step": state["step"] + 1, "params": params, "model_state": model_state, "opt": opt, "ema": ema}
        return after, metrics

    return parallel.compiled_step(summed, renewed, devices, in_axes=ARGUMENTS, shard_state=shard_state)


def make_forward(loss_fn: LossFn, *, steps: int, devices: Sequence[jax.Device], shard_state: bool = False) -> Step:
    """Returns the forward pass of the train step, to measure it: `metrics` is the loss.

    Its state counts the steps, so that calls wait for each other as steps do.

    Args:
        loss_fn: the loss of a method, see `loss.LossFn`.
        steps: number of steps of the stage.
        devices: the batch is split over these.
        shard_state: as in `make_train_step`.
    """

    def forward(
        state: Tree, teachers: tuple[Tree, ...], class_counts: jax.Array, data: Tree, key: jax.Array, inputs: Inputs
    ) -> tuple[Tree, jax.Array]:
        context = loss_context(state, teachers, class_counts, steps)
        batch_and_keys = _batch(state["step"], len(class_counts), data, key, inputs)
        loss, aux = loss_fn(state["params"], state["model_state"], context, *batch_and_keys)
        return aux.model_state, jax.lax.psum(loss, parallel.AXIS)

    def renewed(state: Tree, results: tuple[Tree, jax.Array]) -> tuple[Tree, jax.Array]:
        model_state, loss = results
        return state | {"step": state["step"] + 1, "model_state": model_state}, loss

    return parallel.compiled_step(forward, renewed, devices, in_axes=ARGUMENTS, shard_state=shard_state)


def _climbed(params: Tree, gradient: Tree, distance: float) -> Tree:
    """Returns the parameters at a distance along the gradient."""
    norm = jnp.maximum(optax.tree.norm(gradient), TINY)
    return jax.tree.map(lambda p, g: p + (distance * g / norm).astype(p.dtype), params, gradient)


def _batch(number: jax.Array, classes: int, data: Tree, key: jax.Array, inputs: Inputs) -> BatchAndKeys:
    """Returns the examples of each stream on this device, and their random keys."""
    step_key = jax.random.fold_in(key, number)
    now = jax.tree.map(lambda values: values[number % len(values)], inputs)
    batch = {name: batches.labelled(batches.taken(data, of_stream), classes) for name, of_stream in now.items()}
    keys = {
        name: parallel.keys_of_share(random_keys.named(step_key, name), len(examples["index"]))
        for name, examples in batch.items()
    }
    return batch, keys
