"""A small convolutional network for small images: it trains in minutes on a laptop, and is strong with few labels."""

from flax import linen as nn
from jax import nn as jnn
from jaxtyping import Array, Float, Key

from efficient_jax.models.convolution import Conv
from efficient_jax.models.layers import Dropout, Norm, linear_head


class Stage(nn.Module):
    """A 3x3 convolution to `features` channels, 2x2 max-pooling, normalisation and ReLU."""

    features: int
    norm_axis: str | None

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h//2 w//2 f"]:
        x = Conv(self.features, pooled=True, name="conv")(x)  # pooled before `norm`, which is then 4 times cheaper
        x = Norm(self.norm_axis, name="norm")(x, train)
        return jnn.relu(x)


class CNN(nn.Module):
    """Three stages of convolution, 2x2 max-pooling, normalisation and ReLU, the mean over pixels and a linear head.

    Intermediates: stage1 .. stage3 [b h w c], features [b c], logits [b classes].

    Args:
        classes: number of classes; 0: no head.
        width: channels of the first stage; the others have 2 and 4 times as many.
        dropout: rate before the head, 0..1 (1 excluded).
        norm_axis: device axis over which batch statistics are averaged; None: one device.

    Raises: UserError for a rate outside its range.
    """

    classes: int
    width: int = 16
    dropout: float = 0.0
    norm_axis: str | None = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], train: bool, keys: Key[Array, " b"] | None = None
    ) -> tuple[Float[Array, "b classes"], dict[str, Array]]:
        intermediates = {}
        for i in range(3):
            x = Stage(self.width * 2**i, self.norm_axis, name=f"stage{i + 1}")(x, train)
            intermediates[f"stage{i + 1}"] = x
        intermediates["features"] = x.mean((1, 2))
        x = Dropout(self.dropout, name="dropout")(intermediates["features"], keys if train else None)
        intermediates["logits"] = linear_head(x, self.classes)
        return intermediates["logits"], intermediates

    def strides(self) -> dict[str, int]:
        """Returns the intermediates that a pyramid is made of, and how many pixels apart their entries are."""
        return {f"stage{i}": 2**i for i in (1, 2, 3)}

    def layers(self) -> tuple[str, ...]:
        """Returns regular expressions of parameter paths, one per layer from the input to the head."""
        return ("stage1/.*", "stage2/.*", "stage3/.*", "head/.*")
