"""DenseNet: networks of layers that see the outputs of all layers before them (arXiv 1608.06993)."""

import jax.numpy as jnp
from flax import linen as nn
from jax import nn as jnn
from jaxtyping import Array, Float, Key

from efficient_jax.models.convolution import Conv
from efficient_jax.models.layers import Dropout, Norm, linear_head
from efficient_jax.models.pooling import max_pool_overlapping
from efficient_jax.models.resnet import of_depth

VARIANTS = {  # depth: (growth, layers of each block), arXiv 1608.06993, table 1; 161 is torchvision's
    121: (32, (6, 12, 24, 16)),
    161: (48, (6, 12, 36, 24)),
    169: (32, (6, 12, 32, 32)),
    201: (32, (6, 12, 48, 32)),
}


class DenseLayer(nn.Module):
    """Normalisation, ReLU and a 1x1 convolution to 4 `growth` channels; the same with 3x3, to `growth` channels."""

    growth: int
    norm_axis: str | None

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h w growth"]:
        x = jnn.relu(Norm(self.norm_axis, name="norm1")(x, train))
        x = Conv(4 * self.growth, 1, name="conv1")(x)
        x = jnn.relu(Norm(self.norm_axis, name="norm2")(x, train))
        return Conv(self.growth, name="conv2")(x)


class DenseBlock(nn.Module):
    """`count` dense layers; the input of each is the concatenation of the block's input and all earlier outputs."""

    growth: int
    count: int
    norm_axis: str | None

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h w c2"]:
        outputs = [x]  # concatenated anew for every layer: XLA compiles that faster than growing one array
        for i in range(1, self.count + 1):
            x = jnp.concatenate(outputs, axis=-1)
            outputs.append(DenseLayer(self.growth, self.norm_axis, name=f"denselayer{i}")(x, train))
        return jnp.concatenate(outputs, axis=-1)


class Transition(nn.Module):
    """Halves the channels, the height and the width (rounded down)."""

    norm_axis: str | None

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h//2 w//2 c//2"]:
        b, h, w, c = x.shape
        x = jnn.relu(Norm(self.norm_axis, name="norm")(x, train))
        # The paper pools after the 1x1 convolution: they commute, and this order is a quarter of the work.
        x = x[:, : h // 2 * 2, : w // 2 * 2].reshape(b, h // 2, 2, w // 2, 2, c).mean((2, 4))
        return Conv(c // 2, 1, name="conv")(x)


class Features(nn.Module):
    """All but the head; returns (the last feature map, {"stage1": ... "stage4": ...})."""

    depth: int
    norm_axis: str | None

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> tuple[Float[Array, "b h2 w2 c2"], dict[str, Array]]:
        growth, counts = of_depth(self.depth, VARIANTS)
        intermediates = {}
        x = Conv(2 * growth, 7, 2, symmetric=True, name="conv0")(x)
        x = max_pool_overlapping(jnn.relu(Norm(self.norm_axis, name="norm0")(x, train)))
        for i, count in enumerate(counts, 1):
            x = DenseBlock(growth, count, self.norm_axis, name=f"denseblock{i}")(x, train)
            if i < len(counts):
                intermediates[f"stage{i}"] = x
                x = Transition(self.norm_axis, name=f"transition{i}")(x, train)
        x = intermediates["stage4"] = jnn.relu(Norm(self.norm_axis, name="norm5")(x, train))
        return x, intermediates


class DenseNet(nn.Module):
    """DenseNet-BC (arXiv 1608.06993) as in torchvision and timm.

    Intermediates: stage1 .. stage3, the dense blocks before their transitions, and stage4, after the last
    normalisation and ReLU [b h w c], features [b c], logits [b classes].

    Args:
        classes: number of classes; 0: no head.
        depth: 121, 161, 169 or 201.
        dropout: rate before the head, 0..1 (1 excluded).
        dtype: "float32" or "bfloat16" for the computation; parameters, norm statistics and logits are float32.
        norm_axis: device axis over which batch statistics are averaged; None: one device.

    Raises: UserError for an unknown depth, or a rate outside its range.
    """

    classes: int
    depth: int = 121
    dropout: float = 0.0
    dtype: str = "float32"
    norm_axis: str | None = None

    def strides(self) -> dict[str, int]:
        """Returns the intermediates that a pyramid is made of, and how many pixels apart their entries are."""
        return {f"stage{i}": 2 ** (i + 1) for i in (1, 2, 3, 4)}

    def layers(self) -> tuple[str, ...]:
        """Returns regular expressions of parameter paths, one per layer from the input to the head.

        As in timm, each dense layer is one; a transition belongs to the one before it, the last norm to the head.
        """
        _, counts = of_depth(self.depth, VARIANTS)
        inner = []
        for i, count in enumerate(counts, 1):
            inner += [f"features/denseblock{i}/denselayer{j}/.*" for j in range(1, count + 1)]
            if i < len(counts):
                inner[-1] += f"|features/transition{i}/.*"
        return ("features/(conv0|norm0)/.*", *inner, "(features/norm5|head)/.*")

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], train: bool, keys: Key[Array, " b"] | None = None
    ) -> tuple[Float[Array, "b classes"], dict[str, Array]]:
        x, intermediates = Features(self.depth, self.norm_axis, name="features")(x.astype(self.dtype), train)
        intermediates["features"] = x.astype(jnp.float32).mean((1, 2))
        x = Dropout(self.dropout, name="head_drop")(intermediates["features"], keys if train else None)
        intermediates["logits"] = linear_head(x, self.classes)
        return intermediates["logits"], intermediates
