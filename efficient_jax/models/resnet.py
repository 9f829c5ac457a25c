"""Residual networks (arXiv 1512.03385), the most common pretrained backbone."""

from collections.abc import Mapping
from typing import TypeVar

import jax.numpy as jnp
from flax import linen as nn
from jax import nn as jnn
from jaxtyping import Array, Float, Key

from efficient_jax.errors import UserError
from efficient_jax.models.convolution import Conv
from efficient_jax.models.layers import Dropout, Norm, StochasticDepth, linear_head
from efficient_jax.models.pooling import max_pool_overlapping
from efficient_jax.settings import choose

BLOCKS = {  # depth: blocks of each stage (arXiv 1512.03385, table 1)
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
STEMS = {"imagenet": (7, 2), "cifar": (3, 1)}  # size and stride of the first convolution; only a strided one is pooled

T = TypeVar("T")


def of_depth(depth: int, variants: Mapping[int, T]) -> T:
    """Returns the variant of a network that has this depth.

    Args:
        depth: number of layers.
        variants: depth -> variant.

    Returns: `variants[depth]`.

    Raises: UserError, with the nearest depth, if there is none.
    """
    if depth not in variants:
        nearest = min(variants, key=lambda d: abs(d - depth))
        raise UserError(f"model.depth: there is no {depth}; did you mean {nearest}?")
    return variants[depth]


class Downsample(nn.Module):
    """The shortcut of a block that changes the shape. Its layers are named 0 and 1, as in timm."""

    features: int
    stride: int
    norm_axis: str | None

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h2 w2 f"]:
        x = Conv(self.features, 1, self.stride, symmetric=True, name="0")(x)
        return Norm(self.norm_axis, name="1")(x, train)


class Block(nn.Module):
    """Two 3x3 convolutions, or 1x1, 3x3 and 1x1 to 4 `features` channels (`bottleneck`), plus a shortcut."""

    features: int
    stride: int
    bottleneck: bool
    drop: float
    norm_axis: str | None

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], train: bool, keys: Key[Array, " b"] | None
    ) -> Float[Array, "b h2 w2 f"]:
        f, stride = self.features, self.stride
        narrow, wide = [(f, 3, stride), (f, 3, 1)], [(f, 1, 1), (f, 3, stride), (4 * f, 1, 1)]
        *inner, last = wide if self.bottleneck else narrow
        y = x
        for i, conv in enumerate(inner, 1):
            y = Conv(*conv, symmetric=True, name=f"conv{i}")(y)
            y = jnn.relu(Norm(self.norm_axis, name=f"bn{i}")(y, train))
        y = Conv(*last, symmetric=True, name=f"conv{len(inner) + 1}")(y)
        y = Norm(self.norm_axis, zero=True, name=f"bn{len(inner) + 1}")(y, train)
        y = StochasticDepth(self.drop, name="drop_path")(y, keys)
        if x.shape[-1] != y.shape[-1]:
            x = Downsample(y.shape[-1], stride, self.norm_axis, name="downsample")(x, train)
        return jnn.relu(x + y)


class Stage(nn.Module):
    """Blocks named 0, 1, ..., one for each rate of stochastic depth in `drops`; the first has the stride."""

    features: int
    stride: int
    bottleneck: bool
    drops: tuple[float, ...]
    norm_axis: str | None

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], train: bool, keys: Key[Array, " b"] | None
    ) -> Float[Array, "b h2 w2 f"]:
        for i, drop in enumerate(self.drops):
            stride = 1 if i else self.stride
            x = Block(self.features, stride, self.bottleneck, drop, self.norm_axis, name=str(i))(x, train, keys)
        return x


class ResNet(nn.Module):
    """ResNet v1.5 (arXiv 1512.03385): the 3x3 convolution of a bottleneck has the stride, as in torchvision and timm.

    The last normalisation of every block starts with scale 0, timm's default (`zero_init_last`).

    Intermediates: stage1 .. stage4 [b h w c], features [b c], logits [b classes].

    Args:
        classes: number of classes; 0: no head.
        depth: 18, 34, 50, 101 or 152.
        stem: "imagenet": 7x7 convolution of stride 2, then 3x3 max-pooling of stride 2; "cifar", for images of about 32
            pixels: 3x3 convolution of stride 1 without pooling.
        dropout: rate before the head, 0..1 (1 excluded).
        stochastic_depth: rate of the last block, 0..1 (1 excluded); it grows linearly from 0.0 in the first (arXiv
            1603.09382).
        dtype: "float32" or "bfloat16" for the computation; parameters, norm statistics and logits are float32.
        norm_axis: device axis over which batch statistics are averaged; None: one device.

    Raises: UserError for an unknown depth or stem, or a rate outside its range.
    """

    classes: int
    depth: int = 50
    stem: str = "imagenet"
    dropout: float = 0.0
    stochastic_depth: float = 0.0
    dtype: str = "float32"
    norm_axis: str | None = None

    def strides(self) -> dict[str, int]:
        """Returns the intermediates that a pyramid is made of, and how many pixels apart their entries are."""
        _, stride = choose(self.stem, STEMS, "model.stem")
        return {f"stage{i + 1}": stride**2 * 2**i for i in range(4)}  # a strided stem is pooled, too

    def layers(self) -> tuple[str, ...]:
        """Returns regular expressions of parameter paths, one per layer from the input to the head; a block is one."""
        counts = of_depth(self.depth, BLOCKS)
        blocks = (f"layer{i}/{j}/.*" for i, count in enumerate(counts, 1) for j in range(count))
        return ("(conv1|bn1)/.*", *blocks, "head/.*")

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], train: bool, keys: Key[Array, " b"] | None = None
    ) -> tuple[Float[Array, "b classes"], dict[str, Array]]:
        counts = of_depth(self.depth, BLOCKS)
        size, stride = choose(self.stem, STEMS, "model.stem")
        keys = keys if train else None
        intermediates = {}

        x = Conv(64, size, stride, symmetric=True, name="conv1")(x.astype(self.dtype))
        x = jnn.relu(Norm(self.norm_axis, name="bn1")(x, train))
        x = max_pool_overlapping(x) if stride == 2 else x
        drops = [self.stochastic_depth * i / (sum(counts) - 1) for i in range(sum(counts))]
        for i, count in enumerate(counts):
            stage = Stage(
                64 * 2**i, 2 if i else 1, self.depth >= 50, tuple(drops[:count]), self.norm_axis, name=f"layer{i + 1}"
            )
            x = intermediates[f"stage{i + 1}"] = stage(x, train, keys)
            drops = drops[count:]
        intermediates["features"] = x.astype(jnp.float32).mean((1, 2))
        x = Dropout(self.dropout, name="head_drop")(intermediates["features"], keys)
        intermediates["logits"] = linear_head(x, self.classes)
        return intermediates["logits"], intermediates
