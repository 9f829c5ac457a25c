"""A feature pyramid of any backbone: maps of one width, from fine to coarse.

A backbone says by `strides()` which of its intermediates are feature maps. Those of a Vision Transformer are its
tokens, of which the other maps are made (a simple feature pyramid, arXiv 2203.16527).
"""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from efficient_jax.errors import UserError
from efficient_jax.models.convolution import Conv
from efficient_jax.models.layers import Norm, layer_norm
from efficient_jax.models.pooling import max_pool

OF_TOKENS = (1, 2, 4, 8)  # strides of the maps of a ViT, in quarters of a patch (arXiv 2203.16527)

Maps = dict[int, Array]
"""Stride in pixels -> feature map [b h w c]."""


def strides_of(backbone: nn.Module) -> tuple[int, ...]:
    """Returns the strides of the feature maps that a pyramid of a backbone can have, the finest first.

    Those of a ViT are 1/4, 1/2, 1 and 2 times its patch size, where that is a whole number of pixels.

    Args:
        backbone: a model of `MODELS`, built.

    Raises: UserError for a model without feature maps, and for settings that it does not know.
    """
    if not hasattr(backbone, "strides"):
        raise UserError(
            f"model.name: {type(backbone).__name__} has no feature maps, which masks and boxes need; take a network of "
            "convolutions or a vit"
        )
    found: dict[str, int] = backbone.strides()
    if "tokens" in found:
        return tuple(found["tokens"] * n // 4 for n in OF_TOKENS if found["tokens"] * n % 4 == 0)
    return tuple(sorted(found.values()))


def check_strides(backbone: nn.Module, strides: Sequence[int], default: slice) -> tuple[int, ...]:
    """Returns the strides of the levels of a pyramid, the finest first.

    Args:
        backbone: a model of `MODELS`, built.
        strides: in pixels, from `strides_of`; (): those of `default`.
        default: which of `strides_of` are taken without any.

    Raises: UserError as `strides_of`, and for strides that the backbone does not have.
    """
    possible = strides_of(backbone)
    if not set(strides) <= set(possible) or len(set(strides)) < len(strides):
        raise UserError(
            f"strides: {tuple(strides)} are not different ones of {possible}, the strides of {type(backbone).__name__}"
        )
    return tuple(sorted(strides)) or possible[default]


def feature_maps(backbone: nn.Module, seen: Mapping[str, Array], image: tuple[int, int]) -> Maps:
    """Returns the feature maps among the intermediates of a backbone, in its dtype.

    Args:
        backbone: a model of `MODELS`.
        seen: its intermediates.
        image: (height, width) of its images in pixels.
    """
    dtype = getattr(backbone, "dtype", "float32")  # tokens are always float32
    maps = {stride: seen[name].astype(dtype) for name, stride in backbone.strides().items()}
    if "tokens" not in backbone.strides():
        return maps
    ((patch, tokens),) = maps.items()
    tokens = tokens[:, backbone.prefix_tokens :]
    return {patch: tokens.reshape(tokens.shape[0], image[0] // patch, image[1] // patch, tokens.shape[-1])}


def resize(x: Float[Array, "b h w c"], size: tuple[int, ...]) -> Float[Array, "b h2 w2 c"]:
    """Returns feature maps enlarged by bilinear interpolation, as torch's with align_corners=False.

    Args:
        x: feature maps.
        size: (height, width) of the result, not below those of `x`.
    """
    enlarged: Array = jax.image.resize(x, (x.shape[0], *size, x.shape[-1]), "bilinear")
    return enlarged


class Pyramid(nn.Module):
    """A feature pyramid network (arXiv 1612.03144): every level has the information of all coarser ones, too.

    Each map is brought to `width` channels and normalised; then each level is added to the next finer one. From here on
    the maps of different stages have one scale, whatever the backbone.

    Args:
        width: channels of all levels.
        strides: of the levels, in pixels, the finest first.
        norm_axis: device axis over which batch statistics are averaged; None: one device.
    """

    width: int
    strides: tuple[int, ...]
    norm_axis: str | None

    @nn.compact
    def __call__(self, maps: Maps, train: bool) -> list[Float[Array, "b _h _w width"]]:
        if len(maps) == 1:
            maps = TokenMaps(self.strides, name="tokens")(maps)
        levels: list[Array] = []
        for stride in reversed(self.strides):
            y = Conv(self.width, 1, name=f"lateral{stride}")(maps[stride])
            y = Norm(self.norm_axis, name=f"norm{stride}")(y, train)
            levels.append(y + resize(levels[-1], (y.shape[1], y.shape[2])) if levels else y)
        return levels[::-1]


class TokenMaps(nn.Module):
    """Finer and coarser maps of the tokens of a ViT: learned upsampling by 2, max-pooling by 2.

    Unlike in the paper, the finest map is made of the one before it: one layer less.
    """

    strides: tuple[int, ...]

    @nn.compact
    def __call__(self, maps: Maps) -> Maps:
        ((patch, tokens),) = maps.items()
        maps, x, stride = dict(maps), tokens, patch
        while stride > min(self.strides):
            x = x if stride == patch else jax.nn.gelu(layer_norm(x, f"norm{stride}"))
            stride //= 2
            x = maps[stride] = Upsample(x.shape[-1] // 2, name=f"up{stride}")(x)
        x, stride = tokens, patch
        while stride < max(self.strides):
            stride *= 2
            x = maps[stride] = max_pool(x)
        return maps


class Upsample(nn.Module):
    """Transposed 2x2 convolution of stride 2: a linear map of each pixel to a tile of 2x2 pixels."""

    features: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b 2*h 2*w features"]:
        b, h, w, _ = x.shape
        tiles = Conv(4 * self.features, 1, bias=True, name="conv")(x).reshape(b, h, w, 2, 2, self.features)
        return jnp.swapaxes(tiles, 2, 3).reshape(b, 2 * h, 2 * w, self.features)
