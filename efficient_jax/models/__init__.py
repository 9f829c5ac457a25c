"""Models by name, and the one way in which the rest of the package sees them."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Key, PRNGKeyArray, UInt8

from efficient_jax.models.cnn import CNN
from efficient_jax.types import Apply, Tree

MODELS = {"cnn": CNN}


def init(module: nn.Module, key: PRNGKeyArray, image_shape: tuple[int, int, int]) -> Tree:
    """New float32 variables {"params": ..., "batch_stats": ...} for images [h w c]."""
    images = jnp.zeros((1, *image_shape), jnp.float32)
    return jax.jit(lambda key: module.init(key, images, train=False, keys=None))(key)


def make_apply(module: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]) -> Apply:
    """The module behind the package's signature (`types.Apply`), which also normalises its images.

    `mean` and `std` are per channel, of pixels in 0..1. With `train=True` the returned state holds the
    renewed batch statistics, with `train=False` those that were given.
    """

    def apply(
        variables: Tree,
        images: UInt8[Array, "b h w c"] | Float[Array, "b h w c"],
        train: bool,
        keys: Key[Array, "b"] | None,
    ) -> tuple[tuple[Float[Array, "b classes"], dict[str, Array]], Tree]:
        if images.dtype == jnp.uint8:
            images = images.astype(jnp.float32) / 255.0
        x = (images - jnp.array(mean, jnp.float32)) / jnp.array(std, jnp.float32)
        state: Tree = {name: tree for name, tree in variables.items() if name != "params"}
        if train:
            outputs, state = module.apply(variables, x, train=True, keys=keys, mutable=list(state))
        else:
            outputs = module.apply(variables, x, train=False, keys=None)
        return outputs, state

    return apply
