"""Wide residual networks: methods of semi-supervised learning are compared on WRN-28-2 and WRN-28-8."""

import jax.numpy as jnp
from flax import linen as nn
from jax import nn as jnn
from jaxtyping import Array, Float, Key

from efficient_jax.errors import UserError
from efficient_jax.models.convolution import Conv
from efficient_jax.models.layers import Dropout, Norm, linear_head

EPS = 1e-3  # of all normalisations, as in FixMatch


class Block(nn.Module):
    """Normalisation, leaky ReLU and a 3x3 convolution, twice, plus a shortcut.

    With `activate_shortcut` the shortcut too starts after the first normalisation and leaky ReLU.
    """

    features: int
    stride: int
    activate_shortcut: bool
    slope: float
    norm_momentum: float
    norm_axis: str | None

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h2 w2 f"]:
        norm1, norm2 = (Norm(self.norm_axis, EPS, self.norm_momentum, name=f"norm{i}") for i in (1, 2))
        y = jnn.leaky_relu(norm1(x, train), self.slope)
        x = y if self.activate_shortcut else x
        y = Conv(self.features, stride=self.stride, name="conv1")(y)
        y = jnn.leaky_relu(norm2(y, train), self.slope)
        y = Conv(self.features, name="conv2")(y)
        if x.shape[-1] != self.features:
            x = Conv(self.features, 1, self.stride, name="shortcut")(x)
        return x + y


class Stage(nn.Module):
    """`count` blocks named 0, 1, ...; only the first has the stride and may have an activated shortcut."""

    features: int
    stride: int
    count: int
    activate_shortcut: bool
    slope: float
    norm_momentum: float
    norm_axis: str | None

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h2 w2 f"]:
        same = (self.slope, self.norm_momentum, self.norm_axis)
        x = Block(self.features, self.stride, self.activate_shortcut, *same, name="0")(x, train)
        for i in range(1, self.count):
            x = Block(self.features, 1, False, *same, name=str(i))(x, train)
        return x


class WideResNet(nn.Module):
    """WRN-`depth`-`width` (arXiv 1605.07146) as in MixMatch and FixMatch (arXiv 1905.02249, 2001.07685).

    It is made for images of about 32 pixels. WRN-28-2 has 1,467,610 parameters for 10 classes, WRN-28-8 has 23,401,012
    for 100.

    As in FixMatch, convolutions have TensorFlow's SAME padding, normalisations have eps 1e-3, and the shortcut of the
    very first block starts after its normalisation and leaky ReLU. Unlike there, convolutions have no biases (2,032 in
    WRN-28-2): the mean of a later normalisation would remove each. TorchSSL differs: its first convolution in stages 2
    and 3 has no normalisation and activation before it.

    Intermediates: stage1, stage2, and stage3, after the last normalisation and leaky ReLU [b h w c], features [b c],
    logits [b classes].

    Args:
        classes: number of classes; 0: no head.
        depth: 6 n + 4, for three stages of n blocks of two convolutions.
        width: the stages have 16, 32 and 64 times this many channels.
        dropout: rate before the head, 0..1 (1 excluded), as in FixMatch; the paper drops between the convolutions of a
            block.
        slope: slope of leaky ReLU below 0: 0.1 in FixMatch; 0.0, which is ReLU, in the paper.
        norm_momentum: share that running statistics keep in a step, 0..1. FixMatch has 0.999 and 2^20 steps. After n
            steps norm_momentum^n of the initial values is left (0.999: 37% after 1,000 steps): below about 5,000 steps
            use a lower one, such as 0.99.
        dtype: "float32" or "bfloat16" for the computation; parameters, norm statistics and logits are float32.
        norm_axis: device axis over which batch statistics are averaged; None: one device.

    Raises: UserError for another depth, or a rate outside its range.
    """

    classes: int
    depth: int = 28
    width: int = 2
    dropout: float = 0.0
    slope: float = 0.1
    norm_momentum: float = 0.999
    dtype: str = "float32"
    norm_axis: str | None = None

    def strides(self) -> dict[str, int]:
        """Returns the intermediates that a pyramid is made of, and how many pixels apart their entries are."""
        return {"stage1": 1, "stage2": 2, "stage3": 4}

    def layers(self) -> tuple[str, ...]:
        """Returns regular expressions of parameter paths, one per layer from the input to the head; a block is one."""
        blocks = (f"stage{i}/{j}/.*" for i in (1, 2, 3) for j in range(blocks_per_stage(self.depth)))
        return ("stem/.*", *blocks, "(norm|head)/.*")

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], train: bool, keys: Key[Array, " b"] | None = None
    ) -> tuple[Float[Array, "b classes"], dict[str, Array]]:
        count = blocks_per_stage(self.depth)
        same = (self.slope, self.norm_momentum, self.norm_axis)
        intermediates = {}
        x = Conv(16, name="stem")(x.astype(self.dtype))
        for i in (1, 2, 3):
            stage = Stage(8 * 2**i * self.width, 1 if i == 1 else 2, count, i == 1, *same, name=f"stage{i}")
            x = intermediates[f"stage{i}"] = stage(x, train)
        x = Norm(self.norm_axis, EPS, self.norm_momentum, name="norm")(x, train)
        x = intermediates["stage3"] = jnn.leaky_relu(x, self.slope)
        intermediates["features"] = x.astype(jnp.float32).mean((1, 2))
        x = Dropout(self.dropout, name="head_drop")(intermediates["features"], keys if train else None)
        intermediates["logits"] = linear_head(x, self.classes)
        return intermediates["logits"], intermediates


def blocks_per_stage(depth: int) -> int:
    """Returns n, the number of blocks in each of the three stages of a network of 6 n + 4 layers.

    Args:
        depth: 6 n + 4, for n of at least 1.

    Returns: n.

    Raises: UserError for another depth.
    """
    count = (depth - 4) // 6
    if count < 1 or depth != 6 * count + 4:
        nearest = 6 * max(1, round((depth - 4) / 6)) + 4
        raise UserError(f"model.depth: {depth} is not 6 n + 4; did you mean {nearest}?")
    return count
