"""A small convolutional network for small images: minutes on a laptop, and strong with few labels."""

from flax import linen as nn
from jax import nn as jnn
from jaxtyping import Array, Float, Key

from efficient_jax.models.convolution import Conv
from efficient_jax.models.layers import Dropout, Norm


class Stage(nn.Module):
    features: int
    norm_axis: str | None

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h/2 w/2 f"]:
        x = Conv(self.features, pooled=True, name="conv")(x)  # the normalisation then sees a quarter of the pixels
        x = Norm(self.norm_axis, name="norm")(x, train)
        return jnn.relu(x)


class CNN(nn.Module):
    """Three stages of convolution, 2x2 max-pooling, normalisation and ReLU, of `width`, 2 `width` and
    4 `width` channels, then the mean over pixels and a linear head.

    `norm_axis` names the device axis over which batch statistics are averaged (None: one device).
    """

    classes: int
    width: int = 16
    dropout: float = 0.0
    norm_axis: str | None = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], train: bool, keys: Key[Array, "b"] | None = None
    ) -> tuple[Float[Array, "b classes"], dict[str, Array]]:
        seen = {}
        for i in range(3):
            x = seen[f"stage{i + 1}"] = Stage(self.width * 2**i, self.norm_axis, name=f"stage{i + 1}")(x, train)
        seen["features"] = x.mean((1, 2))
        x = Dropout(self.dropout, name="dropout")(seen["features"], keys if train else None)
        seen["logits"] = nn.Dense(self.classes, name="head")(x)
        return seen["logits"], seen

    def layers(self) -> tuple[str, ...]:
        """Regular expressions of parameter paths, from the input to the head."""
        return ("stage1/.*", "stage2/.*", "stage3/.*", "head/.*")
