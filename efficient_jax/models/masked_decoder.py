"""The decoder of a masked autoencoder, which predicts pixels from the tokens of a ViT and is dropped after training."""

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from efficient_jax.models.attention import XAVIER
from efficient_jax.models.layers import layer_norm
from efficient_jax.models.positions import sine_cosine
from efficient_jax.models.vit import Encoder

HEAD_WIDTH = 32
"""Channels of a head, as in the paper: 512 channels in 16 heads."""
EPS = 1e-6


class MaskedDecoder(nn.Module):
    """Predicts the pixels of all patches from the tokens of those that are kept (arXiv 2111.06377, section 3).

    A learned token stands in the place of every other patch; a fixed position embedding is added to all patches.
    Blocks compute in the dtype of the tokens; the predictions are float32.

    Args:
        pixels: values of a patch.
        width: channels of its tokens, a multiple of `HEAD_WIDTH`.
        depth: number of blocks.
    """

    pixels: int
    width: int
    depth: int

    @nn.compact
    def __call__(
        self, tokens: Float[Array, "b m d"], kept: Int[Array, "b k"], grid: tuple[int, int]
    ) -> Float[Array, "b n pixels"]:
        prefix = tokens.shape[1] - kept.shape[1]  # the class token and others, which have no position
        x = nn.Dense(self.width, kernel_init=XAVIER, dtype=tokens.dtype, name="embed")(tokens)
        mask_token = self.param("mask_token", nn.initializers.normal(0.02), (1, 1, self.width), jnp.float32)
        patches = jnp.broadcast_to(mask_token.astype(x.dtype), (len(x), grid[0] * grid[1], self.width))
        patches = patches.at[jnp.arange(len(x))[:, None], kept].set(x[:, prefix:], unique_indices=True)
        patches = patches + sine_cosine(grid, self.width).astype(x.dtype)
        x = jnp.concatenate([x[:, :prefix], patches], axis=1)
        x, _ = Encoder(
            heads=self.width // HEAD_WIDTH,
            drop_rates=(0.0,) * self.depth,
            dropout=0.0,
            gelu="exact",
            hidden=4 * self.width,
            swiglu=False,
            qkv_bias="qkv",
            layer_scale=0.0,
            eps=EPS,
            remat=False,
            name="blocks",
        )(x, None, None)
        x = layer_norm(x[:, prefix:], "norm", EPS).astype(jnp.float32)
        return nn.Dense(self.pixels, kernel_init=XAVIER, name="pixels")(x)
