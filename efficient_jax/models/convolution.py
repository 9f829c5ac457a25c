"""Convolution in the form that is fastest on the platform."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from efficient_jax.models.plain_forms import is_plain
from efficient_jax.models.pooling import max_over, max_pool

LARGE = 5  # side of a depthwise kernel; above it a gradient written out at once takes seconds to compile
GROUP = 8  # most images over which a depthwise kernel's gradient is summed at once
FEW_CHANNELS = 4  # up to so many, XLA's CPU convolution is slower than nine slices and a matrix product


class Conv(nn.Module):
    """Square convolution with a float32 kernel (HWIO), computed in the dtype of its input.

    XLA's CPU convolution is up to 10 times slower than other forms of the same arithmetic. On CPU a 1x1 kernel is a
    matrix product, so are the patches of an image with few channels, and a depthwise kernel is a sum of shifted images.
    Accelerators always get the plain convolution. All forms are the same function of the same parameter.

    Args:
        features: output channels.
        size: side of the kernel in pixels.
        stride: pixels from one output to the next.
        groups: 1, or the number of input channels (depthwise).
        symmetric: whether the padding is torch's, `size` // 2 pixels on every side; else TensorFlow's SAME. They differ
            with a stride.
        bias: whether a bias is added; not needed before a normalisation.
        pooled: whether `max_pool` follows.
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
    """Returns the convolution of images and a kernel, in the form that is fast on the platform.

    Args:
        x: images or feature maps.
        kernel: HWIO; `i` is 1 for a depthwise kernel, else the channels of `x`.
        stride: pixels from one output to the next.
        pad: pixels of zeros on every side; None: TensorFlow's SAME.

    Returns: feature maps in the dtype of `x`.
    """
    return (_convolve if is_plain() else _traced_once)(x, kernel, stride, pad)


def _convolve(
    x: Float[Array, "b h w c"], kernel: Float[Array, "k k i f"], stride: int, pad: int | None
) -> Float[Array, "b h2 w2 f"]:
    size, _, per_group, _ = kernel.shape
    pads = _pads(x, size, stride, pad)
    fast: Callable[..., Array]
    if per_group < x.shape[-1]:
        fast = conv_shifted
    elif size == 1 or x.shape[-1] <= FEW_CHANNELS:
        fast = conv_matmul
    else:
        return conv_plain(x, kernel, stride, pads)
    return _on_cpu(lambda x, k: fast(x, k, stride, pads), lambda x, k: conv_plain(x, k, stride, pads), x, kernel)


_traced_once = jax.jit(_convolve, static_argnums=(2, 3), inline=True)  # for each shape: many layers have the same


def _on_cpu(fast: Callable[..., Array], default: Callable[..., Array], *arrays: Array) -> Array:
    """Returns `fast` of the arrays on CPU, `default` elsewhere and within `plain`."""
    features: Array = default(*arrays) if is_plain() else jax.lax.platform_dependent(*arrays, cpu=fast, default=default)
    return features


def convolve_pooled(
    x: Float[Array, "b h w c"], kernel: Float[Array, "k k i f"], stride: int, pad: int | None
) -> Float[Array, "b h2 w2 f"]:
    """Returns `max_pool` of `convolve`. On CPU one pass does both for few channels: it writes half as much.

    Args:
        x: images or feature maps.
        kernel: as for `convolve`.
        stride: as for `convolve`.
        pad: as for `convolve`.

    Returns: feature maps in the dtype of `x`.
    """
    if x.shape[-1] > FEW_CHANNELS or kernel.shape[2] < x.shape[-1]:
        return max_pool(convolve(x, kernel, stride, pad))
    pads = _pads(x, len(kernel), stride, pad)
    return _on_cpu(
        lambda x, k: conv_matmul_pooled(x, k, stride, pads),
        lambda x, k: max_pool(conv_plain(x, k, stride, pads)),
        x,
        kernel,
    )


Pads = tuple[tuple[int, int], ...]


def _pads(x: Float[Array, "b h w c"], size: int, stride: int, pad: int | None) -> Pads:
    same = jax.lax.padtype_to_pads(x.shape[1:3], (size, size), (stride, stride), "SAME")
    return tuple(same if pad is None else ((pad, pad), (pad, pad)))


def conv_plain(
    x: Float[Array, "b h w c"], kernel: Float[Array, "k k i f"], stride: int, pads: Pads
) -> Float[Array, "b h2 w2 f"]:
    """Returns the convolution by XLA.

    Args:
        x: images or feature maps.
        kernel: as for `convolve`.
        stride: pixels from one output to the next.
        pads: zeros ((top, bottom), (left, right)) in pixels.

    Returns: feature maps in the dtype of `x`.
    """
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
    """Returns `conv_plain` by shifted slices side by side (im2col) and one matrix product.

    Args:
        x: images or feature maps.
        kernel: HWIO, for all channels of `x`.
        stride: as for `conv_plain`.
        pads: as for `conv_plain`.

    Returns: feature maps in the dtype of `x`.
    """
    return _patches(x, len(kernel), stride, pads) @ kernel.reshape(-1, kernel.shape[-1])


def _conv_matmul_backward(
    stride: int, pads: Pads, kept: tuple[Array, Array], g: Float[Array, "b h2 w2 f"]
) -> tuple[Array, Array]:
    """Gradient of `conv_matmul`: automatic differentiation would transpose `g`, pixel by pixel, before the product."""
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
    """Returns `max_pool` of `conv_matmul`: a larger kernel computes the four outputs of a tile side by side.

    Args:
        x: images or feature maps.
        kernel: as for `conv_matmul`.
        stride: as for `conv_plain`.
        pads: as for `conv_plain`.

    Returns: feature maps in the dtype of `x`.
    """
    corners = [(i * stride, j * stride) for i in (0, 1) for j in (0, 1)]
    around = [((i, stride - i), (j, stride - j), (0, 0), (0, 0)) for i, j in corners]
    kernels = jnp.stack([jnp.pad(kernel, edges) for edges in around], axis=-2)
    y = conv_matmul(x, kernels.reshape(*kernels.shape[:3], -1), 2 * stride, pads)
    pooled: Array = max_over(y.reshape(*y.shape[:3], *kernels.shape[-2:]), (3,))
    return pooled


def _patches(x: Float[Array, "b h w c"], size: int, stride: int, pads: Pads) -> Float[Array, "b h2 w2 {size}*{size}*c"]:
    return jnp.concatenate(_shifted(x, size, stride, pads), axis=-1)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def conv_shifted(
    x: Float[Array, "b h w c"], kernel: Float[Array, "k k 1 c"], stride: int, pads: Pads
) -> Float[Array, "b h2 w2 c"]:
    """Returns `conv_plain` of a depthwise kernel by a sum of shifted slices, each times its weight per channel.

    It loops over images: XLA would compute the sum again for each of its uses, and only a loop prevents that.

    Args:
        x: images or feature maps.
        kernel: HWIO, one filter per channel.
        stride: as for `conv_plain`.
        pads: as for `conv_plain`.

    Returns: feature maps in the dtype of `x`.
    """
    weights = kernel.reshape(-1, kernel.shape[-1])

    def of_image(image: Float[Array, "h w c"]) -> Float[Array, "h2 w2 c"]:
        terms = zip(_shifted(image[None], len(kernel), stride, pads), weights, strict=True)
        total: Array = sum(patch * weight for patch, weight in terms)
        return total[0]

    features: Array = jax.lax.map(of_image, x)
    return features


def _conv_shifted_backward(
    stride: int, pads: Pads, kept: tuple[Array, Array], g: Float[Array, "b h2 w2 c"]
) -> tuple[Array, Array]:
    """Gradient of `conv_shifted`: automatic differentiation would scatter, and sum pixels channel by channel."""
    x, kernel = kept
    size = len(kernel)
    if size > LARGE and stride == 1:
        kernel_gradient = _gradient_by_rows(x, g, size, pads)
    else:
        kernel_gradient = _gradient_by_groups(x, g, size, stride, pads)
    kernel_gradient = kernel_gradient.reshape(kernel.shape)
    # For the input: the same sum over the gradient, dilated by the stride, with the kernel rotated by 180 degrees.
    spread = [(n - 1) * stride + 1 for n in g.shape[1:3]]
    before = [size - 1 - low for low, _ in pads]
    edges = [(low, n + size - 1 - low - m) for low, n, m in zip(before, x.shape[1:3], spread, strict=True)]
    config = [(0, 0, 0), *((low, high, stride - 1) for low, high in edges), (0, 0, 0)]
    spread_g = jax.lax.pad(g, jnp.zeros((), g.dtype), config)
    return conv_shifted(spread_g, kernel[::-1, ::-1], 1, ((0, 0), (0, 0))), kernel_gradient


conv_shifted.defvjp(
    lambda x, kernel, stride, pads: (conv_shifted(x, kernel, stride, pads), (x, kernel)), _conv_shifted_backward
)


def _gradient_by_groups(
    x: Float[Array, "b h w c"], g: Float[Array, "b h2 w2 c"], size: int, stride: int, pads: Pads
) -> Float[Array, "taps c"]:
    """Returns the gradient of a depthwise kernel, by a loop over groups of images.

    XLA on CPU sums all images of a pixel at once. Of many images these are as many places in memory, and it waits.
    """

    def of_group(images: tuple[Array, Array]) -> Float[Array, "taps c"]:
        x, g = images
        return jnp.stack([_sum_pixels(patch * g) for patch in _shifted(x, size, stride, pads)])

    count = max(n for n in range(1, GROUP + 1) if len(x) % n == 0)
    if count == len(x):
        return of_group((x, g))
    groups = tuple(array.reshape(-1, count, *array.shape[1:]) for array in (x, g))
    gradient: Array = jax.lax.map(of_group, groups).sum(0)
    return gradient


def _gradient_by_rows(
    x: Float[Array, "b h w c"], g: Float[Array, "b h2 w2 c"], size: int, pads: Pads
) -> Float[Array, "k k c"]:
    """Returns the gradient of a depthwise kernel of stride 1, by a loop over its rows.

    For 7x7 it compiles five times faster than 49 sums side by side, and runs at two thirds of their speed.
    """
    x = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    height, width = g.shape[1:3]

    def of_row(i: Array) -> Float[Array, "k c"]:
        rows = jax.lax.dynamic_slice_in_dim(x, i, height, 1)
        return jnp.stack([_sum_pixels(rows[:, :, j : j + width] * g) for j in range(size)])

    gradient: Array = jax.lax.map(of_row, jnp.arange(size))
    return gradient


def _sum_pixels(x: Float[Array, "b h w c"]) -> Float[Array, " c"]:
    """Returns `x.sum((0, 1, 2))`, by pairs of images first: XLA on CPU would read the pixels channel by channel."""
    while len(x) > 1:
        half, rest = len(x) // 2, x[len(x) // 2 * 2 :]
        x = x[:half] + x[half : 2 * half]
        x = jnp.concatenate([x[:1] + rest, x[1:]]) if len(rest) else x
    return x.sum((0, 1, 2))


def _shifted(x: Float[Array, "b h w c"], size: int, stride: int, pads: Pads) -> list[Float[Array, "b h2 w2 c"]]:
    """Returns for each of the size^2 entries of a kernel the pixels that it is multiplied with."""
    x = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    height, width = ((n - size) // stride + 1 for n in x.shape[1:3])
    return [
        x[:, i : i + (height - 1) * stride + 1 : stride, j : j + (width - 1) * stride + 1 : stride]
        for i in range(size)
        for j in range(size)
    ]
