"""EfficientNet B0..B7 (arXiv 1905.11946), L0..L2 (arXiv 1911.04252) and Lite0..Lite4, the variants for phones."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import linen as nn
from jax import nn as jnn
from jaxtyping import Array, Float, Key

from efficient_jax.models.convolution import Conv
from efficient_jax.models.layers import Dropout, Norm, StochasticDepth, linear_head
from efficient_jax.settings import choose

Make = Callable[..., Any]  # a module class with some of its fields filled in


class Variant(NamedTuple):
    """What distinguishes a variant from B0."""

    width: float  # factor of the channels
    depth: float  # factor of the blocks in a stage
    resolution: int  # side of the square images that it is evaluated on, in pixels
    dropout: float  # published rate before the head
    lite: bool = False  # without squeeze-excitation, with ReLU6 for SiLU


# From the code published with the papers; L0 and L1 from arXiv 1911.04252, version 1, table 7. The L family is trained
# on smaller images than it is evaluated on: 380, 380 and 475 pixels.
VARIANTS = {
    "b0": Variant(1.0, 1.0, 224, 0.2),
    "b1": Variant(1.0, 1.1, 240, 0.2),
    "b2": Variant(1.1, 1.2, 260, 0.3),
    "b3": Variant(1.2, 1.4, 300, 0.3),
    "b4": Variant(1.4, 1.8, 380, 0.4),
    "b5": Variant(1.6, 2.2, 456, 0.4),
    "b6": Variant(1.8, 2.6, 528, 0.5),
    "b7": Variant(2.0, 3.1, 600, 0.5),
    "l0": Variant(2.8, 3.7, 600, 0.5),
    "l1": Variant(3.9, 3.7, 600, 0.5),
    "l2": Variant(4.3, 5.3, 800, 0.5),
    "lite0": Variant(1.0, 1.0, 224, 0.2, lite=True),
    "lite1": Variant(1.0, 1.1, 240, 0.2, lite=True),
    "lite2": Variant(1.1, 1.2, 260, 0.3, lite=True),
    "lite3": Variant(1.2, 1.4, 280, 0.3, lite=True),
    "lite4": Variant(1.4, 1.8, 300, 0.3, lite=True),
}


class Stage(NamedTuple):
    """Blocks of one width."""

    blocks: int
    size: int  # of the depthwise kernel
    stride: int  # of the first block
    expansion: int  # factor of the channels inside a block
    features: int  # channels of the output


B0 = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)
STEM, HEAD = 32, 1280  # channels of B0
ENDS = (1, 2, 4, 6)  # the stages after which the image is 1/4, 1/8, 1/16 and 1/32 of its size


def resolution(variant: str) -> int:
    """Returns the side, in pixels, of the square images that the published accuracy of a variant was measured on.

    Args:
        variant: a name in `VARIANTS`.

    Returns: a number of pixels.

    Raises: UserError for an unknown variant.
    """
    return _find(variant).resolution


def round_features(features: int, width: float) -> int:
    """Returns the multiple of 8 nearest to `features` * `width`, but not more than 10% below it.

    Args:
        features: channels of B0.
        width: factor of the channels.

    Returns: a number of channels, at least 8.
    """
    wanted = features * width
    nearest = max(8, int(wanted + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * wanted else nearest


def scaled_stages(variant: Variant) -> tuple[Stage, ...]:
    """Returns the stages of B0 with the channels and numbers of blocks of a variant.

    Args:
        variant: a value of `VARIANTS`.

    Returns: seven stages.
    """
    ends = (B0[0], B0[-1]) if variant.lite else ()  # Lite scales the depth of the inner stages only
    return tuple(
        stage._replace(
            blocks=stage.blocks if stage in ends else math.ceil(stage.blocks * variant.depth),
            features=round_features(stage.features, variant.width),
        )
        for stage in B0
    )


def _find(variant: str) -> Variant:
    return choose(variant, VARIANTS, "model.variant")


class SqueezeExcite(nn.Module):
    """Multiplies each channel by a gate that is computed from the means of all channels (arXiv 1709.01507)."""

    hidden: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        y = x.mean((1, 2), keepdims=True)
        y = jnn.silu(Conv(self.hidden, 1, bias=True, name="conv_reduce")(y))
        y = Conv(x.shape[-1], 1, bias=True, name="conv_expand")(y)
        return x * jnn.sigmoid(y)


class Block(nn.Module):
    """Inverted residual: 1x1 expansion (none in the first stage), depthwise, 1x1 projection without activation."""

    features: int
    size: int
    stride: int
    expansion: int
    drop: float
    squeeze: bool
    conv: Make
    norm: Make
    activation: Callable[[Array], Array]

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], train: bool, keys: Key[Array, " b"] | None
    ) -> Float[Array, "b h2 w2 f"]:
        y: Array = x
        inner = x.shape[-1] * self.expansion
        # The published names number the norms of a block, so that they depend on whether there is an expansion.
        depthwise_norm, projection, projection_norm = "bn1", "conv_pw", "bn2"
        if self.expansion > 1:
            y = self.conv(inner, 1, name="conv_pw")(y)
            y = self.activation(self.norm(name="bn1")(y, train))
            depthwise_norm, projection, projection_norm = "bn2", "conv_pwl", "bn3"
        y = self.conv(inner, self.size, self.stride, groups=inner, name="conv_dw")(y)
        y = self.activation(self.norm(name=depthwise_norm)(y, train))
        if self.squeeze:
            y = SqueezeExcite(x.shape[-1] // 4, name="se")(y)
        y = self.conv(self.features, 1, name=projection)(y)
        y = self.norm(name=projection_norm)(y, train)
        if self.stride > 1 or x.shape[-1] != self.features:
            return y
        return x + StochasticDepth(self.drop, name="drop_path")(y, keys)


class Blocks(nn.Module):
    """The blocks of one stage, named "0", "1"..."""

    stage: Stage
    drops: tuple[float, ...]  # one for each block
    block: Make

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], train: bool, keys: Key[Array, " b"] | None
    ) -> Float[Array, "b h2 w2 f"]:
        _, size, stride, expansion, features = self.stage
        for i, drop in enumerate(self.drops):
            x = self.block(features, size, 1 if i else stride, expansion, drop, name=str(i))(x, train, keys)
        return x


class Trunk(nn.Module):
    """All stages, named "0", "1"...; returns the output of each."""

    stages: tuple[Stage, ...]
    drop: float
    block: Make

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], train: bool, keys: Key[Array, " b"] | None
    ) -> list[Float[Array, "b _h _w _f"]]:
        total = sum(stage.blocks for stage in self.stages)
        rates = iter([self.drop * i / total for i in range(total)])  # below `drop` in the last block, as the reference
        outputs = []
        for i, stage in enumerate(self.stages):
            drops = tuple(next(rates) for _ in range(stage.blocks))
            x = Blocks(stage, drops, self.block, name=str(i))(x, train, keys)
            outputs.append(x)
        return outputs


class EfficientNet(nn.Module):
    """EfficientNet (arXiv 1905.11946, 1911.04252).

    Lite variants have neither squeeze-excitation nor a scaled stem and head, and ReLU6 in place of SiLU.

    Intermediates: stage1 .. stage4, at 1/4, 1/8, 1/16 and 1/32 of the size of the image, and stage5, after the last 1x1
    convolution [b h w c], features [b c], logits [b classes].

    Args:
        classes: number of classes; 0: no head.
        variant: "b0".."b7", "l0".."l2" or "lite0".."lite4".
        dropout: rate before the head, below 1; negative: the rate published for the variant.
        stochastic_depth: rate that the blocks approach from 0 with their depth, 0..1 (1 excluded); the reference calls
            it drop connect.
        tensorflow: whether convolutions pad as TensorFlow's SAME and norms have eps 0.001, as published (timm's
            tf_efficientnet_*). Else padding is symmetric and eps 0.00001 (timm's efficientnet_*). The parameters are
            the same.
        norm_momentum: share that running statistics keep in a step, 0..1; 0.99 is for long training: with a few hundred
            steps use 0.9.
        dtype: "float32" or "bfloat16" for the computation; parameters, norm statistics and logits are float32.
        norm_axis: device axis over which batch statistics are averaged; None: one device.

    Raises: UserError for an unknown variant, or a rate outside its range.
    """

    classes: int
    variant: str = "b0"
    dropout: float = -1.0
    stochastic_depth: float = 0.2
    tensorflow: bool = True
    norm_momentum: float = 0.99
    dtype: str = "float32"
    norm_axis: str | None = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], train: bool, keys: Key[Array, " b"] | None = None
    ) -> tuple[Float[Array, "b classes"], dict[str, Array]]:
        variant = _find(self.variant)
        keys = keys if train else None
        eps = 1e-3 if self.tensorflow else 1e-5
        conv = partial(Conv, symmetric=not self.tensorflow)
        norm = partial(Norm, self.norm_axis, eps=eps, momentum=self.norm_momentum)
        activation = jnn.relu6 if variant.lite else jnn.silu
        block = partial(Block, squeeze=not variant.lite, conv=conv, norm=norm, activation=activation)
        width = 1.0 if variant.lite else variant.width  # of stem and head

        x = conv(round_features(STEM, width), 3, 2, name="conv_stem")(x.astype(self.dtype))
        x = activation(norm(name="bn1")(x, train))
        stages = Trunk(scaled_stages(variant), self.stochastic_depth, block, name="blocks")(x, train, keys)
        intermediates = {f"stage{i + 1}": stages[end] for i, end in enumerate(ENDS)}
        x = conv(round_features(HEAD, width), 1, name="conv_head")(stages[-1])
        x = intermediates["stage5"] = activation(norm(name="bn2")(x, train))
        intermediates["features"] = x.mean((1, 2), dtype=jnp.float32)
        rate = variant.dropout if self.dropout < 0.0 else self.dropout
        x = Dropout(rate, name="dropout")(intermediates["features"], keys)
        intermediates["logits"] = linear_head(x, self.classes)
        return intermediates["logits"], intermediates

    def strides(self) -> dict[str, int]:
        """Returns the intermediates that a pyramid is made of, and how many pixels apart their entries are."""
        return {f"stage{i}": 2 ** (i + 1) for i in (1, 2, 3, 4)}

    def layers(self) -> tuple[str, ...]:
        """Returns regular expressions of parameter paths, one per layer from the input to the head.

        A block is one; `conv_head` and its norm belong to the last block, as in timm.
        """
        stages = scaled_stages(_find(self.variant))
        blocks = [f"blocks/{i}/{j}/.*" for i, stage in enumerate(stages) for j in range(stage.blocks)]
        return ("(conv_stem|bn1)/.*", *blocks[:-1], f"{blocks[-1]}|(conv_head|bn2)/.*", "head/.*")
