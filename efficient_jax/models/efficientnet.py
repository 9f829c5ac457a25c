"""EfficientNet B0..B7 (arXiv 1905.11946), L0..L2 (arXiv 1911.04252) and Lite0..Lite4, the form for phones."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import linen as nn
from jax import nn as jnn
from jaxtyping import Array, Float, Key

from efficient_jax.models.convolution import Conv
from efficient_jax.models.layers import Dropout, Norm, StochasticDepth
from efficient_jax.settings import choose

Make = Callable[..., Any]  # a module class with some of its fields filled in


class Variant(NamedTuple):
    width: float  # factor of the channels
    depth: float  # factor of the blocks in a stage
    resolution: int  # side of the square image that it is evaluated with, in pixels
    dropout: float
    lite: bool = False


# From the code published with the papers; L0 and L1 from arXiv 1911.04252, version 1, table 7. The L family is trained
# on smaller images than it is evaluated with: 380, 380 and 475 pixels.
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
    blocks: int
    size: int  # of the depthwise kernel
    stride: int  # of the first block
    expansion: int
    features: int


B0 = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)
STEM, HEAD = 32, 1280  # features of B0
ENDS = (1, 2, 4, 6)  # the stages after which the picture is 1/4, 1/8, 1/16 and 1/32 of its size


def resolution(variant: str) -> int:
    """Side in pixels of the square images that the variant's published accuracy belongs to; UserError if unknown."""
    return _find(variant).resolution


def round_features(features: int, width: float) -> int:
    """The multiple of 8 nearest to `features` * `width`, not more than 10 % below it."""
    wanted = features * width
    nearest = max(8, int(wanted + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * wanted else nearest


def scaled_stages(variant: Variant) -> tuple[Stage, ...]:
    """B0's stages with the variant's features and number of blocks."""
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
    """Multiplies each channel by a gate computed from the means of all (arXiv 1709.01507)."""

    hidden: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        y = x.mean((1, 2), keepdims=True)
        y = jnn.silu(Conv(self.hidden, 1, bias=True, name="conv_reduce")(y))
        y = Conv(x.shape[-1], 1, bias=True, name="conv_expand")(y)
        return x * jnn.sigmoid(y)


class Block(nn.Module):
    """Inverted residual: 1x1 expansion (none in the first stage), depthwise, 1x1 projection that nothing activates."""

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
        self, x: Float[Array, "b h w c"], train: bool, keys: Key[Array, "b"] | None
    ) -> Float[Array, "b h/stride w/stride f"]:
        y, inner = x, x.shape[-1] * self.expansion
        # the published names number the norms of a block, and so depend on whether there is an expansion
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
        self, x: Float[Array, "b h w c"], train: bool, keys: Key[Array, "b"] | None
    ) -> Float[Array, "b h/stride w/stride f"]:
        _, size, stride, expansion, features = self.stage
        for i, drop in enumerate(self.drops):
            x = self.block(features, size, 1 if i else stride, expansion, drop, name=str(i))(x, train, keys)
        return x


class Trunk(nn.Module):
    """All stages, named "0", "1"..; returns what each gives."""

    stages: tuple[Stage, ...]
    drop: float
    block: Make

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], train: bool, keys: Key[Array, "b"] | None
    ) -> list[Float[Array, "b _h _w _f"]]:
        total = sum(stage.blocks for stage in self.stages)
        rates = iter([self.drop * i / total for i in range(total)])  # as the reference: the last block stays below
        outputs = []
        for i, stage in enumerate(self.stages):
            drops = tuple(next(rates) for _ in range(stage.blocks))
            x = Blocks(stage, drops, self.block, name=str(i))(x, train, keys)
            outputs.append(x)
        return outputs


class EfficientNet(nn.Module):
    """`variant` is "b0".."b7", "l0".."l2" or "lite0".."lite4".

    Lite has neither squeeze-excitation nor a scaled stem and head, and ReLU6 for SiLU.
    `dropout` acts on the pooled features; negative: the rate published for the variant. `stochastic_depth` is the rate
    that blocks approach from 0 with their depth (the reference calls it drop connect). With `tensorflow`, as published,
    convolutions pad as TensorFlow's SAME and norms have eps 0.001 (timm's tf_efficientnet_*); without, padding is
    symmetric and eps 0.00001 (timm's efficientnet_*). The parameters are the same. `norm_momentum` is what running
    statistics keep in an update; 0.99 is for long training: with a few hundred updates take 0.9.

    `seen`: stage1 .. stage4, at 1/4, 1/8, 1/16 and 1/32 of the picture's size, and stage5, after the last 1x1
    convolution [b h w c], features [b c], logits [b classes].

    Raises: UserError for an unknown variant, and for rates of 1 and above.
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
        self, x: Float[Array, "b h w c"], train: bool, keys: Key[Array, "b"] | None = None
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
        seen = {f"stage{i + 1}": stages[end] for i, end in enumerate(ENDS)}
        x = conv(round_features(HEAD, width), 1, name="conv_head")(stages[-1])
        x = seen["stage5"] = activation(norm(name="bn2")(x, train))
        seen["features"] = x.mean((1, 2), dtype=jnp.float32)
        rate = variant.dropout if self.dropout < 0.0 else self.dropout
        x = Dropout(rate, name="dropout")(seen["features"], keys)
        seen["logits"] = nn.Dense(self.classes, name="head")(x)
        return seen["logits"], seen

    def layers(self) -> tuple[str, ...]:
        """Regular expressions of parameter paths, one for each layer from the stem to the head.

        `conv_head` and its norm count with the last block, as in timm.
        """
        stages = scaled_stages(_find(self.variant))
        blocks = [f"blocks/{i}/{j}/.*" for i, stage in enumerate(stages) for j in range(stage.blocks)]
        return ("(conv_stem|bn1)/.*", *blocks[:-1], f"{blocks[-1]}|(conv_head|bn2)/.*", "head/.*")
