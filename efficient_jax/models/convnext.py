"""ConvNeXt (arXiv 2201.03545) and ConvNeXt V2 (2301.00808), with timm's names."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float, Key

from efficient_jax.errors import UserError
from efficient_jax.models.attention import XAVIER
from efficient_jax.models.convolution import Conv
from efficient_jax.models.layers import Dropout, StochasticDepth, layer_norm, linear_head
from efficient_jax.settings import choose

SIZES = {  # (blocks of each stage, width of the first; each stage doubles it): arXiv 2201.03545, 2301.00808
    "atto": ((2, 2, 6, 2), 40),
    "femto": ((2, 2, 6, 2), 48),
    "pico": ((2, 2, 6, 2), 64),
    "nano": ((2, 2, 8, 2), 80),
    "tiny": ((3, 3, 9, 3), 96),
    "small": ((3, 3, 27, 3), 96),
    "base": ((3, 3, 27, 3), 128),
    "large": ((3, 3, 27, 3), 192),
}
PATCH, KERNEL = 4, 7  # pixels of the stem's patches, side of the depthwise kernels
LAYER_SCALE = 1e-6


class ConvNeXt(nn.Module):
    """ConvNeXt: depthwise 7x7 convolutions, each followed by an MLP over the channels.

    Intermediates: stage1 .. stage4 [b h w c], features [b c] (normalised), logits [b classes].

    Args:
        classes: number of classes; 0: no head.
        variant: a name in `SIZES`.
        version: 1 scales each branch by a gain that starts at 1e-6; 2 has global response normalisation instead.
        dropout: rate before the head, 0..1 (1 excluded).
        stochastic_depth: rate of the last block, 0..1 (1 excluded); it grows linearly from 0.0 in the first.
        dtype: "float32" or "bfloat16" for the computation; parameters, norm statistics and logits are float32.
        norm_axis: unused, since nothing here depends on the batch.

    Raises: UserError for an unknown variant or version, or an image of less than 32 x 32 pixels.
    """

    classes: int
    variant: str = "tiny"
    version: int = 1
    dropout: float = 0.0
    stochastic_depth: float = 0.0
    dtype: str = "float32"
    norm_axis: str | None = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], train: bool, keys: Key[Array, " b"] | None = None
    ) -> tuple[Float[Array, "b classes"], dict[str, Array]]:
        depths, width = choose(self.variant, SIZES, "model.variant")
        if self.version not in (1, 2):
            raise UserError(f"model.version: ConvNeXt has versions 1 and 2, not {self.version}")
        smallest = PATCH * 2 ** (len(depths) - 1)
        if min(x.shape[1:3]) < smallest:
            raise UserError(
                f"ConvNeXt: an image of {x.shape[1]}x{x.shape[2]} pixels has less than {smallest}x{smallest}"
            )
        keys = keys if train else None
        rates = np.split(np.linspace(0.0, self.stochastic_depth, sum(depths)), np.cumsum(depths)[:-1])
        drops = tuple(tuple(map(float, stage)) for stage in rates)
        x = Stem(width, name="stem")(x.astype(self.dtype))
        x, intermediates = Stages(width, drops, self.version, name="stages")(x, keys)
        features = layer_norm(x.astype(jnp.float32).mean((1, 2)), "norm")
        dropped = Dropout(self.dropout, name="head_drop")(features, keys)
        logits = linear_head(dropped, self.classes)
        return logits, intermediates | {"features": features, "logits": logits}

    def strides(self) -> dict[str, int]:
        """Returns the intermediates that a pyramid is made of, and how many pixels apart their entries are."""
        return {f"stage{i + 1}": PATCH * 2**i for i in range(4)}

    def layers(self) -> tuple[str, ...]:
        """Returns regular expressions of parameter paths, one per layer from the input to the head.

        A block is one; a downsampling belongs to the block after it, the last norm to the last block.
        """
        depths, _ = choose(self.variant, SIZES, "model.variant")
        blocks = [
            f"stages/{i}/({'downsample' if not j and i else 'none'}|blocks/{j})/.*"
            for i, depth in enumerate(depths)
            for j in range(depth)
        ]
        return ("stem/.*", *blocks[:-1], f"{blocks[-1]}|norm/.*", "head/.*")


class Stem(nn.Module):
    """A linear map of patches, and a norm. Its layers are named 0 and 1, as in timm."""

    width: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 d"]:
        return layer_norm(patches(x, self.width, PATCH, "0"), "1")


class Stages(nn.Module):
    """Stages named 0, 1, ..., one for each tuple of rates; returns (feature maps, those of each stage)."""

    width: int
    drops: tuple[tuple[float, ...], ...]
    version: int

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], keys: Key[Array, " b"] | None
    ) -> tuple[Float[Array, "b h2 w2 d"], dict[str, Array]]:
        intermediates = {}
        for i, drops in enumerate(self.drops):
            x = Stage(self.width * 2**i, i > 0, drops, self.version, name=str(i))(x, keys)
            intermediates[f"stage{i + 1}"] = x
        return x, intermediates


class Stage(nn.Module):
    """Downsampling, and a block for each rate of stochastic depth in `drops`."""

    width: int
    halves: bool
    drops: tuple[float, ...]
    version: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], keys: Key[Array, " b"] | None) -> Float[Array, "b h2 w2 d"]:
        if self.halves:
            x = Downsample(self.width, name="downsample")(x)
        return Blocks(self.drops, self.version, name="blocks")(x, keys)


class Downsample(nn.Module):
    """A norm, and a linear map of 2x2 patches. Its layers are named 0 and 1, as in timm."""

    width: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 d"]:
        return patches(layer_norm(x, "0"), self.width, 2, "1")


class Blocks(nn.Module):
    """Blocks named 0, 1, ..., one for each rate."""

    drops: tuple[float, ...]
    version: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], keys: Key[Array, " b"] | None) -> Float[Array, "b h w c"]:
        for i, drop in enumerate(self.drops):
            x = Block(drop, self.version, name=str(i))(x, keys)
        return x


class Block(nn.Module):
    """A depthwise convolution, a norm and an MLP over the channels, with a shortcut."""

    drop: float
    version: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], keys: Key[Array, " b"] | None) -> Float[Array, "b h w c"]:
        width = x.shape[-1]
        y = Conv(width, KERNEL, groups=width, symmetric=True, bias=True, name="conv_dw")(x)
        y = MLP(self.version == 2, name="mlp")(layer_norm(y, "norm"))
        if self.version == 1:
            gamma = self.param("gamma", nn.initializers.constant(LAYER_SCALE), (width,), jnp.float32)
            y = y * gamma.astype(y.dtype)
        return x + StochasticDepth(self.drop, name="drop_path")(y, keys)


class MLP(nn.Module):
    """Two dense layers with GELU between them; the hidden one is four times as wide."""

    response_norm: bool

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        width = x.shape[-1]
        x = nn.Dense(4 * width, kernel_init=XAVIER, dtype=x.dtype, name="fc1")(x)
        x = jax.nn.gelu(x, approximate=False)
        x = ResponseNorm(name="grn")(x) if self.response_norm else x
        return nn.Dense(width, kernel_init=XAVIER, dtype=x.dtype, name="fc2")(x)


class ResponseNorm(nn.Module):
    """Global response normalisation: channels compete by their norms over the image (arXiv 2301.00808)."""

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        scale = self.param("scale", nn.initializers.zeros, (x.shape[-1],), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],), jnp.float32)
        wide = x.astype(jnp.float32)
        # 1e-12: the gradient of a norm of zeros would be NaN
        norms = jnp.sqrt(jnp.square(wide).sum((1, 2), keepdims=True) + 1e-12)
        response = norms / (norms.mean(-1, keepdims=True) + 1e-6)
        return (wide + scale * wide * response + bias).astype(x.dtype)


def patches(x: Float[Array, "b h w c"], width: int, size: int, name: str) -> Float[Array, "b h2 w2 d"]:
    """Applies a linear map to patches that do not overlap; rows and columns that fill none are dropped.

    Args:
        x: images or feature maps.
        width: channels of the result.
        size: side of a patch in pixels.
        name: name of the layer, inside the module that calls this.
    """
    conv = nn.Conv(width, (size, size), strides=(size, size), padding="VALID", dtype=x.dtype, name=name)
    features: Array = conv(x)
    return features
