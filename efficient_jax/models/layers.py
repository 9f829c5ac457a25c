"""Layers that flax.linen lacks, such as batch normalisation over devices and dropout with one key per example."""

import functools
import zlib

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float, Key

from efficient_jax.errors import UserError


class Norm(nn.Module):
    """Batch normalisation (arXiv 1502.03167) over all pixels and devices.

    Statistics are float32. The variance is biased, also the running one (torch's running one is not).

    Args:
        axis: device axis over which statistics are averaged; None: one device.
        eps: added to the variance.
        momentum: share that the running statistics keep in a step, 0..1; torch's momentum is 1 minus it.
        zero: whether the scale starts at 0, so that a residual block starts as its shortcut (arXiv 1706.02677,
            section 5.1).
    """

    axis: str | None
    eps: float = 1e-5
    momentum: float = 0.9
    zero: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "b *hw c"], train: bool) -> Float[Array, "b *hw c"]:
        features = (x.shape[-1],)
        scale = self.param("scale", nn.initializers.constant(float(not self.zero)), features, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, features, jnp.float32)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, features, jnp.float32)
        running_var = self.variable("batch_stats", "var", jnp.ones, features, jnp.float32)
        if train:
            mean, var = _moments(x, self.axis)
            keep = self.momentum
            running_mean.value = keep * running_mean.value + (1.0 - keep) * mean
            running_var.value = keep * running_var.value + (1.0 - keep) * var
        else:
            mean, var = running_mean.value, running_var.value
        normalised: Array = _normalised(x, mean, var, scale, bias, self.eps)
        return normalised


@functools.partial(jax.jit, static_argnums=1, inline=True)  # traced once for each shape: many layers have the same
def _moments(x: Float[Array, "b *hw c"], axis: str | None) -> tuple[Float[Array, " c"], Float[Array, " c"]]:
    wide = x.astype(jnp.float32)
    axes = tuple(range(x.ndim - 1))
    moments = jnp.stack([wide.mean(axes), jnp.square(wide).mean(axes)])
    if axis:
        moments = jax.lax.pmean(moments, axis)
    return moments[0], jnp.maximum(moments[1] - jnp.square(moments[0]), 0.0)


@functools.partial(jax.jit, static_argnums=5, inline=True)
def _normalised(
    x: Float[Array, "b *hw c"],
    mean: Float[Array, " c"],
    var: Float[Array, " c"],
    scale: Float[Array, " c"],
    bias: Float[Array, " c"],
    eps: float,
) -> Float[Array, "b *hw c"]:
    factor = scale * jax.lax.rsqrt(var + eps)
    return (x.astype(jnp.float32) * factor + (bias - mean * factor)).astype(x.dtype)


def layer_norm(x: Float[Array, "b *hw c"], name: str, eps: float = 1e-6) -> Float[Array, "b *hw c"]:
    """Applies layer normalisation over the channels, computed in float32.

    Args:
        x: tokens or feature maps.
        name: name of the layer, inside the module that calls this.
        eps: added to the variance.

    Returns: an array of the same shape and dtype.
    """
    normalised: Array = nn.LayerNorm(epsilon=eps, name=name)(x.astype(jnp.float32))
    return normalised.astype(x.dtype)


def linear_head(x: Float[Array, "b d"], classes: int) -> Float[Array, "b classes"]:
    """Applies the linear layer "head", with which every model ends.

    Args:
        x: features.
        classes: number of classes; 0: there is no layer, since something else makes use of the features.

    Returns: logits.
    """
    logits: Array = nn.Dense(classes, name="head")(x) if classes else x[:, :0]
    return logits


class LayerScale(nn.Module):
    """Multiplies each channel by a gain, which starts small so that a deep network starts as its shortcuts.

    Source: arXiv 2103.17239.

    Args:
        start: the gains before training.
    """

    start: float

    @nn.compact
    def __call__(self, x: Float[Array, "b n d"]) -> Float[Array, "b n d"]:
        gamma = self.param("gamma", nn.initializers.constant(self.start), (x.shape[-1],), jnp.float32)
        return x * gamma.astype(x.dtype)


class Dropout(nn.Module):
    """Dropout: zeroes entries with probability `rate` and divides the others by 1 - rate.

    Takes one key per example, so that a mask depends neither on the batch nor on the device. With `keys=None`
    (evaluation) it is the identity.

    Args:
        rate: in 0..1 (1 excluded).

    Raises: UserError for a rate outside its range.
    """

    rate: float

    @nn.compact
    def __call__(self, x: Float[Array, " b *rest"], keys: Key[Array, " b"] | None) -> Float[Array, " b *rest"]:
        return _drop(x, keys, self.rate, x.shape[1:], self.path)


class StochasticDepth(nn.Module):
    """Stochastic depth: zeroes a whole example with probability `rate`, else divides it by 1 - rate.

    It belongs on the residual branch, before the shortcut is added (arXiv 1603.09382). Keys are as for `Dropout`.

    Args:
        rate: in 0..1 (1 excluded).

    Raises: UserError for a rate outside its range.
    """

    rate: float

    @nn.compact
    def __call__(self, x: Float[Array, " b *rest"], keys: Key[Array, " b"] | None) -> Float[Array, " b *rest"]:
        return _drop(x, keys, self.rate, (1,) * (x.ndim - 1), self.path)


def _drop(
    x: Float[Array, " b *rest"],
    keys: Key[Array, " b"] | None,
    rate: float,
    shape: tuple[int, ...],
    path: tuple[str, ...],
) -> Float[Array, " b *rest"]:
    if not 0.0 <= rate < 1.0:
        raise UserError(f"{'/'.join(path)}: the rate {rate} is not in 0.0 .. 1.0 (1.0 excluded)")
    if keys is None or rate == 0.0:
        return x
    salt = np.uint32(zlib.crc32("/".join(path).encode()))  # layers draw different masks from one key
    keep = jax.vmap(lambda key: jax.random.bernoulli(jax.random.fold_in(key, salt), 1.0 - rate, shape))(keys)
    return jnp.where(keep, x / (1.0 - rate), 0.0)
