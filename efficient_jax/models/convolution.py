"""Convolution and pooling, in the form that each platform runs fastest."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

FEW_CHANNELS = 4  # up to here XLA's CPU convolution is slower than nine slices and a matrix product


class Conv(nn.Module):
    """Square convolution; `kernel` is HWIO, float32, and computes in the dtype of its input.

    The padding is TensorFlow's SAME, or torch's, `size` // 2 pixels on every side, when `symmetric`: with a stride
    they differ. `groups` = 1, or the number of input channels (depthwise). `bias` is off where a normalisation follows.
    With `pooled`, `max_pool` follows.

    XLA's CPU convolution is up to 10 times slower than the same arithmetic written otherwise: there a 1x1 kernel is a
    matrix product, so are the patches of an image with few channels, and a depthwise kernel is a sum of shifted images.
    Accelerators always get the plain convolution. All forms are the same function of the same parameter.
    """

    features: int
    size: int = 3
    stride: int = 1
    groups: int = 1
    symmetric: bool = False
    bias: bool = False
    pooled: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 f"]:
        shape = (self.size, self.size, x.shape[-1] // self.groups, self.features)
        kernel = self.param("kernel", nn.initializers.he_normal(), shape, jnp.float32).astype(x.dtype)
        pads = self.size // 2 if self.symmetric else None
        y = (convolve_pooled if self.pooled else convolve)(x, kernel, self.stride, pads)
        return y + self.param("bias", nn.initializers.zeros, (self.features,)).astype(x.dtype) if self.bias else y


def convolve(
    x: Float[Array, "b h w c"], kernel: Float[Array, "k k i f"], stride: int, pad: int | None
) -> Float[Array, "b h2 w2 f"]:
    """The form that is fast on the platform. `pad` pixels on every side; None: SAME."""
    size, _, per_group, _ = kernel.shape
    pads = _pads(x, size, stride, pad)
    fast: Callable[..., Array]
    if per_group < x.shape[-1]:
        fast = conv_shifted
    elif size == 1 or x.shape[-1] <= FEW_CHANNELS:
        fast = conv_matmul
    else:
        return conv_plain(x, kernel, stride, pads)
    return jax.lax.platform_dependent(
        x,
        kernel,
        cpu=lambda x, k: fast(x, k, stride, pads),
        default=lambda x, k: conv_plain(x, k, stride, pads),
    )


def convolve_pooled(
    x: Float[Array, "b h w c"], kernel: Float[Array, "k k i f"], stride: int, pad: int | None
) -> Float[Array, "b h2 w2 f"]:
    """`max_pool` of `convolve`. On CPU, of an image with few channels, both in one: half as much is written."""
    if x.shape[-1] > FEW_CHANNELS or kernel.shape[2] < x.shape[-1]:
        return max_pool(convolve(x, kernel, stride, pad))
    pads = _pads(x, len(kernel), stride, pad)
    return jax.lax.platform_dependent(
        x,
        kernel,
        cpu=lambda x, k: conv_matmul_pooled(x, k, stride, pads),
        default=lambda x, k: max_pool(conv_plain(x, k, stride, pads)),
    )


Pads = tuple[tuple[int, int], ...]


def _pads(x: Float[Array, "b h w c"], size: int, stride: int, pad: int | None) -> Pads:
    same = jax.lax.padtype_to_pads(x.shape[1:3], (size, size), (stride, stride), "SAME")
    return tuple(same if pad is None else ((pad, pad), (pad, pad)))


def conv_plain(
    x: Float[Array, "b h w c"], kernel: Float[Array, "k k i f"], stride: int, pads: Pads
) -> Float[Array, "b h2 w2 f"]:
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        pads,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x.shape[-1] // kernel.shape[2],
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def conv_matmul(
    x: Float[Array, "b h w c"], kernel: Float[Array, "k k c f"], stride: int, pads: Pads
) -> Float[Array, "b h2 w2 f"]:
    """`conv_plain` as shifted slices side by side (im2col) and one matrix product."""
    return _patches(x, len(kernel), stride, pads) @ kernel.reshape(-1, kernel.shape[-1])


def _conv_matmul_backward(stride: int, pads: Pads, kept: tuple[Array, Array], g: Float[Array, "b h2 w2 f"]) -> tuple:
    """Automatic differentiation would turn the gradient round, pixel by pixel, before it is multiplied."""
    x, kernel = kept
    patches, pull = jax.vjp(lambda x: _patches(x, len(kernel), stride, pads), x)
    pixels = (tuple(range(g.ndim - 1)),) * 2
    kernel_gradient = jax.lax.dot_general(patches, g, (pixels, ((), ()))).reshape(kernel.shape)
    return *pull(g @ kernel.reshape(-1, kernel.shape[-1]).T), kernel_gradient


conv_matmul.defvjp(
    lambda x, kernel, stride, pads: (conv_matmul(x, kernel, stride, pads), (x, kernel)), _conv_matmul_backward
)


def conv_matmul_pooled(
    x: Float[Array, "b h w c"], kernel: Float[Array, "k k c f"], stride: int, pads: Pads
) -> Float[Array, "b h2 w2 f"]:
    """`max_pool` of `conv_matmul`: a larger kernel sees a tile, and gives its four corners side by side."""
    corners = [(i * stride, j * stride) for i in (0, 1) for j in (0, 1)]
    around = [((i, stride - i), (j, stride - j), (0, 0), (0, 0)) for i, j in corners]
    kernels = jnp.stack([jnp.pad(kernel, edges) for edges in around], axis=-2)
    y = conv_matmul(x, kernels.reshape(*kernels.shape[:3], -1), 2 * stride, pads)
    return _max_over(y.reshape(*y.shape[:3], *kernels.shape[-2:]), (3,))


def _patches(x: Float[Array, "b h w c"], size: int, stride: int, pads: Pads) -> Float[Array, "b h2 w2 size*size*c"]:
    return jnp.concatenate(_shifted(x, size, stride, pads), axis=-1)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def conv_shifted(
    x: Float[Array, "b h w c"], kernel: Float[Array, "k k 1 c"], stride: int, pads: Pads
) -> Float[Array, "b h2 w2 c"]:
    """`conv_plain` of a depthwise kernel as a sum of shifted slices, each times its weight per channel.

    Image by image: XLA would compute the sum anew for each of its users, and knows no barrier but a loop.
    """
    weights = kernel.reshape(-1, kernel.shape[-1])

    def one(image: Float[Array, "h w c"]) -> Float[Array, "h2 w2 c"]:
        terms = zip(_shifted(image[None], len(kernel), stride, pads), weights, strict=True)
        return sum(patch * weight for patch, weight in terms)[0]

    return jax.lax.map(one, x)


def _conv_shifted_backward(stride: int, pads: Pads, kept: tuple[Array, Array], g: Float[Array, "b h2 w2 c"]) -> tuple:
    """Automatic differentiation would scatter what a shifted sum can gather, and sum pixels channel by channel."""
    x, kernel = kept
    size = len(kernel)
    patches = _shifted(x, size, stride, pads)
    kernel_gradient = jnp.stack([_sum_pixels(patch * g) for patch in patches]).reshape(kernel.shape)
    # To the input: the same sum over the gradient, spread out by the stride, with the kernel turned round.
    spread = [(n - 1) * stride + 1 for n in g.shape[1:3]]
    before = [size - 1 - low for low, _ in pads]
    edges = [(low, n + size - 1 - low - m) for low, n, m in zip(before, x.shape[1:3], spread, strict=True)]
    config = [(0, 0, 0), *((low, high, stride - 1) for low, high in edges), (0, 0, 0)]
    spread_g = jax.lax.pad(g, jnp.zeros((), g.dtype), config)
    return conv_shifted(spread_g, kernel[::-1, ::-1], 1, ((0, 0), (0, 0))), kernel_gradient


conv_shifted.defvjp(
    lambda x, kernel, stride, pads: (conv_shifted(x, kernel, stride, pads), (x, kernel)), _conv_shifted_backward
)


def _sum_pixels(x: Float[Array, "b h w c"]) -> Float[Array, " c"]:
    """`x.sum((0, 1, 2))`, adding whole images pairwise first: XLA on CPU would read the pixels channel by channel."""
    while len(x) > 1:
        half, rest = len(x) // 2, x[len(x) // 2 * 2 :]
        x = x[:half] + x[half : 2 * half]
        x = jnp.concatenate([x[:1] + rest, x[1:]]) if len(rest) else x
    return x.sum((0, 1, 2))


def _shifted(x: Float[Array, "b h w c"], size: int, stride: int, pads: Pads) -> list[Float[Array, "b h2 w2 c"]]:
    """What each of the kernel's size^2 entries meets."""
    x = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    height, width = ((n - size) // stride + 1 for n in x.shape[1:3])
    return [
        x[:, i : i + (height - 1) * stride + 1 : stride, j : j + (width - 1) * stride + 1 : stride]
        for i in range(size)
        for j in range(size)
    ]


def max_pool(x: Float[Array, "b h w c"]) -> Float[Array, "b h//2 w//2 c"]:
    """Maximum of every 2 x 2 tile; a last row or column that fills no tile is dropped. Equal pixels share the gradient.

    The values are those of `nn.max_pool`, but the gradient of its reduce_window costs half of a small network's step on
    CPU, and that of a maximum over two axes of tiles still a quarter.
    """
    b, h, w, c = x.shape
    tiles = x[:, : h // 2 * 2, : w // 2 * 2].reshape(b, h // 2, 2, w // 2, 2, c)
    return _max_over(tiles, (2, 4))


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _max_over(x: Float[Array, "*all"], axes: tuple[int, ...]) -> Float[Array, "*others"]:
    return functools.reduce(jnp.maximum, _along(x, axes))


def _max_over_backward(
    axes: tuple[int, ...], kept: tuple[Array, Array], g: Float[Array, "*others"]
) -> tuple[Float[Array, "*all"]]:
    x, highest = kept
    share = g / sum((entries == highest).astype(g.dtype) for entries in _along(x, axes))
    highest, share = (jnp.expand_dims(y, axes) for y in (highest, share))
    return (jnp.where(x == highest, share, 0.0).astype(x.dtype),)


_max_over.defvjp(lambda x, axes: (y := _max_over(x, axes), (x, y)), _max_over_backward)


def _along(x: Float[Array, "*all"], axes: tuple[int, ...]) -> list[Float[Array, "*others"]]:
    """`x` at every place along `axes`."""
    found = []
    for place in np.ndindex(*(x.shape[axis] for axis in axes)):
        index: list = [slice(None)] * x.ndim
        for axis, at in zip(axes, place, strict=True):
            index[axis] = at
        found.append(x[tuple(index)])
    return found


def max_pool_overlapping(x: Float[Array, "b h w c"]) -> Float[Array, "b (h+1)//2 (w+1)//2 c"]:
    """Maximum of 3x3 windows with stride 2, one row and column of padding: torch's MaxPool2d(3, 2, 1).

    Rows, then columns: six slices, where XLA's reduce_window has a gradient that is slow on CPU.
    """
    for axis in (1, 2):
        n = (x.shape[axis] + 1) // 2
        x = jnp.pad(x, [(1, 1) if a == axis else (0, 0) for a in range(4)], constant_values=-jnp.inf)
        first, second, third = (jax.lax.slice_in_dim(x, i, i + 2 * n - 1, 2, axis) for i in range(3))
        x = jnp.maximum(jnp.maximum(first, second), third)
    return x
