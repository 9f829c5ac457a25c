"""Models by name, and the one way in which the rest of the package sees them."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Key, PRNGKeyArray, UInt8

from efficient_jax.models.cnn import CNN
from efficient_jax.models.densenet import DenseNet
from efficient_jax.models.efficientnet import EfficientNet
from efficient_jax.models.layers import Dropout, Norm, StochasticDepth
from efficient_jax.models.mlp import MLP
from efficient_jax.models.resnet import ResNet
from efficient_jax.models.vit import ViT
from efficient_jax.models.wide_resnet import WideResNet
from efficient_jax.types import Apply, Tree

MODELS = {
    "cnn": CNN,
    "mlp": MLP,
    "resnet": ResNet,
    "wide_resnet": WideResNet,
    "densenet": DenseNet,
    "efficientnet": EfficientNet,
    "vit": ViT,
}

DTYPES = dict.fromkeys(("float32", "bfloat16"))
"""What models compute in. Gradients of float16 would need a loss scale."""


def init(module: nn.Module, key: PRNGKeyArray, image_shape: tuple[int, int, int]) -> Tree:
    """New float32 variables {"params": ..., "batch_stats": ...} for images [h w c]."""
    images = jnp.zeros((1, *image_shape), jnp.float32)
    return jax.jit(lambda key: module.init(key, images, train=False, keys=None))(key)


def make_apply(module: nn.Module, mean: tuple[float, ...], std: tuple[float, ...], frozen: Tree = None) -> Apply:
    """The module behind the package's signature (`types.Apply`), which also normalises its images.

    `mean` and `std` are per channel, of pixels in 0..1; grey images become as many channels as these have. With
    `train=True` the returned state holds the renewed batch statistics, with `train=False` those that were given.
    `frozen` says of each parameter whether it is: a layer whose parameters all are behaves as in evaluation, its
    batch statistics stay and nothing in it is dropped.
    """

    def still(following: Any, args: tuple, kwargs: dict, context: nn.module.InterceptorContext) -> Any:
        layer = context.module
        if isinstance(layer, Norm) and _frozen(frozen, layer.path):
            return following(args[0], False)
        if isinstance(layer, Dropout | StochasticDepth) and _frozen(frozen, layer.path[:-1]):
            return following(args[0], None)
        return following(*args, **kwargs)

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
            with nn.intercept_methods(still):
                outputs, state = module.apply(variables, x, train=True, keys=keys, mutable=list(state))
        else:
            outputs = module.apply(variables, x, train=False, keys=None)
        return outputs, state

    return apply


def _frozen(frozen: Tree, path: tuple[str, ...]) -> bool:
    """Whether all parameters below `path` are frozen."""
    for name in path:
        frozen = (frozen or {}).get(name)
    leaves = jax.tree.leaves(frozen)
    return bool(leaves) and all(leaves)
