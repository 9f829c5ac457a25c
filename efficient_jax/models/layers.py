"""Layers that linen lacks or that XLA runs slowly on CPU."""

import zlib

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float, Key

from efficient_jax.types import UserError

FEW_CHANNELS = 4  # up to here XLA's CPU convolution is slower than nine slices and a matrix product


class Conv(nn.Module):
    """Square convolution with SAME padding and no bias (a normalisation follows); `kernel` is HWIO.

    On CPU a 1x1 kernel is a matrix product, and so are the patches of an image with few channels;
    accelerators always get the plain convolution. Both forms are the same function of the same parameter.
    """

    features: int
    size: int = 3
    stride: int = 1

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 f"]:
        shape = (self.size, self.size, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.he_normal(), shape, jnp.float32)
        plain, matmul = conv_plain, conv_matmul
        if self.size > 1 and x.shape[-1] > FEW_CHANNELS:
            return plain(x, kernel, self.stride)
        return jax.lax.platform_dependent(
            x,
            kernel,
            cpu=lambda x, k: matmul(x, k, self.stride),
            default=lambda x, k: plain(x, k, self.stride),
        )


def conv_plain(x: Float[Array, "b h w c"], kernel: Float[Array, "k k c f"], stride: int) -> Float[Array, "b h2 w2 f"]:
    return jax.lax.conv_general_dilated(x, kernel, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def conv_matmul(x: Float[Array, "b h w c"], kernel: Float[Array, "k k c f"], stride: int) -> Float[Array, "b h2 w2 f"]:
    """`conv_plain` as shifted slices side by side (im2col) and one matrix product."""
    size = kernel.shape[0]
    pads = jax.lax.padtype_to_pads(x.shape[1:3], (size, size), (stride, stride), "SAME")
    height, width = (-(-n // stride) for n in x.shape[1:3])
    x = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    patches = [
        x[:, i : i + (height - 1) * stride + 1 : stride, j : j + (width - 1) * stride + 1 : stride]
        for i in range(size)
        for j in range(size)
    ]
    return jnp.concatenate(patches, axis=-1) @ kernel.reshape(-1, kernel.shape[-1])


def max_pool(x: Float[Array, "b h w c"], size: int = 2) -> Float[Array, "b h/size w/size c"]:
    """Maximum of every `size` x `size` tile; rows and columns that fill no tile are dropped.

    `nn.max_pool` gives the same values, but the gradient of its reduce_window costs half of a small
    network's step on CPU.
    """
    b, h, w, c = x.shape
    x = x[:, : h // size * size, : w // size * size]
    return x.reshape(b, h // size, size, w // size, size, c).max((2, 4))


class Dropout(nn.Module):
    """Zeroes entries with probability `rate`, at least 0 and below 1, and divides the rest by 1 - rate.

    Takes one key per example, so that a mask depends neither on the batch nor on the device;
    `keys=None` (evaluation) is the identity.
    """

    rate: float

    @nn.compact
    def __call__(self, x: Float[Array, "b *rest"], keys: Key[Array, "b"] | None) -> Float[Array, "b *rest"]:
        return _drop(x, keys, self.rate, x.shape[1:], self.path)


class StochasticDepth(nn.Module):
    """Zeroes a whole example with probability `rate`, else divides it by 1 - rate (arXiv 1603.09382).

    For the residual branch, before the shortcut is added. `keys` as for `Dropout`.
    """

    rate: float

    @nn.compact
    def __call__(self, x: Float[Array, "b *rest"], keys: Key[Array, "b"] | None) -> Float[Array, "b *rest"]:
        return _drop(x, keys, self.rate, (1,) * (x.ndim - 1), self.path)


def _drop(
    x: Float[Array, "b *rest"],
    keys: Key[Array, "b"] | None,
    rate: float,
    shape: tuple[int, ...],
    path: tuple[str, ...],
) -> Float[Array, "b *rest"]:
    if not 0.0 <= rate < 1.0:
        raise UserError(f"{'/'.join(path)}: the rate {rate} is not in 0.0 .. 1.0 (1.0 excluded)")
    if keys is None or rate == 0.0:
        return x
    salt = np.uint32(zlib.crc32("/".join(path).encode()))  # layers draw differently from the same key
    keep = jax.vmap(lambda key: jax.random.bernoulli(jax.random.fold_in(key, salt), 1.0 - rate, shape))(keys)
    return jnp.where(keep, x / (1.0 - rate), 0.0)
