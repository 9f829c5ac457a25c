"""Models by name, their initialisation, and the function through which the rest of the package calls them."""

import functools
import inspect
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray, UInt8

from efficient_jax.models import heads
from efficient_jax.models.cnn import CNN
from efficient_jax.models.convnext import ConvNeXt
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
    "convnext": ConvNeXt,
}

SUPPLIED = ("classes", "norm_axis", "parent", "name")
"""Fields of a model that are no settings: the stage gives the first two, flax the others."""

DTYPES = dict.fromkeys(("float32", "bfloat16"))
"""The dtypes of computation. float16 is not among them, since its gradients would need a loss scale."""


def of_patches() -> list[str]:
    """Returns the names of the models that can be given a part of the patches of an image, as MAE does."""
    return [name for name, model in MODELS.items() if "kept" in inspect.signature(model.__call__).parameters]


def init(module: nn.Module, key: PRNGKeyArray, image_shape: tuple[int, int, int]) -> Tree:
    """Returns new float32 variables of a model, on the default device.

    Args:
        module: a model of `MODELS`, built.
        key: random key of the initial values.
        image_shape: (height, width, channels) of its images in pixels.

    Returns: {"params": ..., "batch_stats": ...}, the latter only if the model has batch statistics.
    """
    variables: Tree = _init(module, key, image_shape)
    return variables


def shapes(module: nn.Module, image_shape: tuple[int, int, int]) -> Tree:
    """Returns the shapes of a model's variables, see `init`.

    Args:
        module: a model of `MODELS`, built.
        image_shape: (height, width, channels) of its images in pixels.
    """
    return jax.eval_shape(lambda: init(module, jax.random.key(0), image_shape))


def completed(module: nn.Module, key: PRNGKeyArray, image_shape: tuple[int, int, int], variables: Tree) -> Tree:
    """Returns variables with new values, those of `init` up to rounding, in place of shapes; no others are computed.

    It cannot be part of another program, since it says how its own is compiled.

    Args:
        module: a model of `MODELS`, built.
        key: random key of the initial values.
        image_shape: (height, width, channels) of its images in pixels.
        variables: of the model, or its parameters with another head; arrays, and shapes of those that are not there.
    """
    missing = [p for p, leaf in jax.tree.leaves_with_path(variables) if isinstance(leaf, jax.ShapeDtypeStruct)]
    if not missing:
        return variables
    values = _values(module, key, image_shape, tuple(map(jax.tree_util.keystr, missing)))
    return jax.tree.map_with_path(lambda path, leaf: values.get(jax.tree_util.keystr(path), leaf), variables)


# It runs once, and takes longer to compile than to run. At LLVM's level 0 the last bits of its values would differ.
@functools.partial(jax.jit, static_argnums=(0, 2, 3), compiler_options={"xla_backend_optimization_level": 1})
def _values(
    module: nn.Module, key: PRNGKeyArray, image_shape: tuple[int, int, int], paths: tuple[str, ...]
) -> dict[str, jax.Array]:
    new = {jax.tree_util.keystr(p): leaf for p, leaf in jax.tree.leaves_with_path(_init(module, key, image_shape))}
    return {path: new[path] for path in paths}


@functools.partial(jax.jit, static_argnums=(0, 2))  # one function, so that equal networks are traced once
def _init(module: nn.Module, key: PRNGKeyArray, image_shape: tuple[int, int, int]) -> Tree:
    return module.init(key, jnp.zeros((1, *image_shape), jnp.float32), train=False, keys=None)


def make_apply(
    module: nn.Module,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    frozen: Tree = None,
    head: Mapping[str, Any] = heads.LINEAR,
) -> Apply:
    """Returns a function of the package's signature (`types.Apply`) that normalises images and applies the module.

    With `train=True` it returns the new batch statistics, with `train=False` those in its arguments.

    Args:
        module: a model of `MODELS` or a network of `dense`, built.
        mean: mean of each channel, of pixels in 0..1. Gray images are broadcast to as many channels.
        std: standard deviation of each channel, above 0.
        frozen: a tree like the parameters of bools, true where a parameter does not train; None: all train. A layer
            with only frozen parameters runs as in evaluation: it keeps its batch statistics and drops nothing.
        head: `name` in `heads.HEADS` and `pool`, the features that it takes; another than the model's own replaces it.

    Returns: `apply(variables, images, train, keys, kept=None) -> ((logits, intermediates), state)`; `kept` is for
        networks of patches, see `of_patches`.
    """

    own_head = dict(head) == heads.LINEAR

    def intercept(
        call: Any, args: tuple[Any, ...], kwargs: dict[str, Any], context: nn.module.InterceptorContext
    ) -> Any:
        layer = context.module
        if layer.path == ("head",) and not own_head:
            return jnp.zeros((len(args[0]), layer.features))  # in its place; its parameters are those of `head`
        if isinstance(layer, Norm) and _frozen(frozen, layer.path):
            return call(args[0], False)
        if isinstance(layer, Dropout | StochasticDepth) and _frozen(frozen, layer.path[:-1]):
            return call(args[0], None)
        return call(*args, **kwargs)

    def apply(
        variables: Tree,
        images: UInt8[Array, "b h w c"] | Float[Array, "b h w c"],
        train: bool,
        keys: Key[Array, " b"] | None,
        kept: Int[Array, "b k"] | None = None,
    ) -> tuple[tuple[Float[Array, "b *locations classes"], dict[str, Array]], Tree]:
        if images.dtype == jnp.uint8:
            images = images.astype(jnp.float32) / 255.0
        x = (images - jnp.array(mean, jnp.float32)) / jnp.array(std, jnp.float32)
        chosen = () if kept is None else (kept,)  # which only networks of patches take
        state: Tree = {name: tree for name, tree in variables.items() if name != "params"}
        with nn.intercept_methods(intercept):
            if train:
                (logits, seen), state = module.apply(variables, x, True, keys, *chosen, mutable=list(state))
            else:
                logits, seen = module.apply(variables, x, False, None, *chosen)
        if not own_head:
            taken = heads.features(seen, getattr(module, "prefix_tokens", 0))[head["pool"]]
            logits = heads.HEADS[head["name"]](variables["params"]["head"], taken)
            seen = seen | {"features": taken, "logits": logits}
        return (logits, seen), state

    return apply


def _frozen(frozen: Tree, path: tuple[str, ...]) -> bool:
    """Returns whether there are parameters below `path` and all are frozen."""
    for name in path:
        frozen = (frozen or {}).get(name)
    leaves = jax.tree.leaves(frozen)
    return bool(leaves) and all(leaves)
