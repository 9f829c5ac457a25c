"""Steps of a consistency method on the model of `fake`, on some devices."""

import jax
import numpy as np

from efficient_jax.training import parallel
from tests.methods.fake import CLASSES, PARAMS, context

IMAGES = 9


def half(keys, batch):
    """A strong view whose logits are half as large."""
    del keys
    return batch | {"image": batch["image"] / 2}


def first_memory(method, unlabelled=(0, 1, 2, 3)):
    return {"memory": method.memory({"unlabelled": np.array(unlabelled)}, IMAGES, CLASSES)}


def stepped(loss_fn, state, batch, keys, count=1):
    """((mean loss, gradient of the scale, memory, metrics) on each of `count` devices, which share the batch."""

    def one(batch, keys):
        (loss, aux), gradient = jax.value_and_grad(loss_fn, has_aux=True)(PARAMS, state, context(), batch, keys)
        sums = jax.lax.psum((loss, gradient["scale"], aux.weight, aux.metrics), parallel.AXIS)
        return sums[0] / sums[2], sums[1] / sums[2], aux.model_state["memory"], sums[3]

    shares = jax.tree.map(lambda x: x.reshape(count, -1, *x.shape[1:]), (batch, keys))
    return jax.jit(jax.vmap(one, axis_name=parallel.AXIS))(*shares)
