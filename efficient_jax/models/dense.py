"""Networks that answer for every pixel or every location: a backbone of `MODELS`, a decoder and a last layer.

The parameters of the backbone keep their names, so that published weights, checkpoints and rules of learning rates fit;
those of the decoder are under "decoder" and those of the last layer under "head".
"""

import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jax import nn as jnn
from jaxtyping import Array, Float, Key

from efficient_jax.detection.targets import locations
from efficient_jax.errors import UserError
from efficient_jax.models.convolution import Conv
from efficient_jax.models.layers import Norm
from efficient_jax.models.pyramid import Maps, Pyramid, check_strides, feature_maps, resize
from efficient_jax.types import Apply, Tree

PRIOR = -math.log((1.0 - 0.01) / 0.01)  # of class logits: a class is expected at 1% of the locations (arXiv 1708.02002)
FARTHEST = 8.0  # exponent of a distance in strides: e^8 strides are more than any image has
GROUPS = 32  # of channels that are normalised together (arXiv 1803.08494)
BOX = 5  # numbers of a box: the logit of its centerness and four distances


def dense_masks(backbone: nn.Module, classes: int, *, width: int = 128, strides: tuple[int, ...] = ()) -> "Dense":
    """Returns a network for a class of each pixel.

    Its logits are float32 [b h w classes], for the pixels of the image.

    Args:
        backbone: a model of `MODELS` without its head: built with `classes=0`.
        classes: number of classes.
        width: channels of the decoder.
        strides: levels of the pyramid, in pixels: the maps of the backbone that the decoder sees. The finest sets the
            memory, time and detail; (): all of `pyramid.strides_of`.

    Raises: UserError for a backbone without feature maps or with a head, and for strides that it does not have.
    """
    levels = _checked(backbone, width, strides, slice(None))
    decoder = MaskDecoder(width, levels, _norm_axis(backbone))
    return Dense(backbone, decoder, MaskHead(classes))


def dense_boxes(
    backbone: nn.Module, classes: int, *, width: int = 128, strides: tuple[int, ...] = (), tower: int = 2
) -> "Dense":
    """Returns a network for boxes of objects: FCOS (arXiv 1904.01355), which has no anchors.

    Its logits are float32 [b locations classes + 8]: of each location of `detection.targets.locations` the logits of
    the classes, the logit of the centerness, the distances to the left, top, right and bottom edge of the box, and
    where the location is: x, y and the stride of its level, all in pixels. `detection.fcos` has the loss and the boxes.

    Args:
        backbone: a model of `MODELS` without its head: built with `classes=0`.
        classes: number of classes.
        width: channels of the decoder.
        strides: levels of the pyramid, in pixels. An object has a location if its sides are at least the finest stride:
            objects of 5 pixels need 4. (): the three coarsest of `pyramid.strides_of`, 8, 16 and 32 for most.
        tower: 3x3 convolutions before the last layers, for classes and for boxes each, 1 or more; 4 in the paper.

    Raises: UserError for a backbone without feature maps or with a head, and for settings out of range.
    """
    levels = _checked(backbone, width, strides, slice(-3, None))
    if tower < 1:
        raise UserError(f"tower: {tower} is less than 1")
    return Dense(backbone, BoxDecoder(width, levels, tower, _norm_axis(backbone)), BoxHead(classes, levels))


def changing_maps(apply: Apply, change: Callable[[Maps], Maps]) -> Apply:
    """Returns the function of a dense network whose feature maps are changed before the decoder sees them.

    Args:
        apply: the network.
        change: of the maps of the backbone.
    """

    def intercept(
        call: Any, args: tuple[Any, ...], kwargs: dict[str, Any], context: nn.module.InterceptorContext
    ) -> Any:
        if context.module.path == ("decoder",) and context.method_name == "__call__":
            args = (change(args[0]), *args[1:])
        return call(*args, **kwargs)

    def changed(variables: Tree, images: Array, train: bool, keys: Array | None) -> Any:
        with nn.intercept_methods(intercept):
            return apply(variables, images, train, keys)

    return changed


def _checked(backbone: nn.Module, width: int, strides: tuple[int, ...], default: slice) -> tuple[int, ...]:
    """Returns the strides of the levels; UserError unless the settings fit the backbone."""
    levels = check_strides(backbone, strides, default)
    if getattr(backbone, "classes", 0):
        raise UserError(f"the backbone has a head for {backbone.classes} classes; build it with classes=0")
    if width < 1:
        raise UserError(f"width: {width} is less than 1")
    return levels


def _norm_axis(backbone: nn.Module) -> str | None:
    axis: str | None = backbone.norm_axis
    return axis


class Dense(nn.Module):
    """A backbone, a decoder of its feature maps and a last layer: see `dense_masks` and `dense_boxes`.

    Intermediates: those of the backbone, and logits.

    Args:
        backbone: a model of `MODELS` without its head.
        decoder: (feature maps, train) -> features.
        head: (features, size of the image) -> logits.
    """

    backbone: nn.Module
    decoder: nn.Module
    head: nn.Module

    def setup(self) -> None:
        """Gives the backbone the scope of this module, in which its parameters have their own names."""
        nn.share_scope(self, self.backbone)

    def __call__(
        self, x: Float[Array, "b h w c"], train: bool, keys: Key[Array, " b"] | None = None
    ) -> tuple[Float[Array, "b *locations outputs"], dict[str, Array]]:
        _, seen = self.backbone(x, train, keys)
        image = x.shape[1], x.shape[2]
        logits = self.head(self.decoder(feature_maps(self.backbone, seen, image), train), image)
        return logits, seen | {"logits": logits}

    @property
    def strides(self) -> tuple[int, ...]:
        """The strides of the levels in pixels, the finest first."""
        levels: tuple[int, ...] = self.decoder.strides
        return levels

    @property
    def prefix_tokens(self) -> int:
        """The number of tokens in front of the patches; 0: the backbone has none."""
        return getattr(self.backbone, "prefix_tokens", 0)

    def layers(self) -> tuple[str, ...]:
        """Returns regular expressions of parameter paths, one per layer from the input to the head.

        The decoder is new where the head is, so it belongs to the head.
        """
        *lower, last = self.backbone.layers()
        return (*lower, f"{last}|decoder/.*")


class MaskDecoder(nn.Module):
    """The finest level of a pyramid after a 3x3 convolution, normalisation and ReLU."""

    width: int
    strides: tuple[int, ...]
    norm_axis: str | None

    @nn.compact
    def __call__(self, maps: Maps, train: bool) -> Float[Array, "b h w width"]:
        x = Pyramid(self.width, self.strides, self.norm_axis, name="pyramid")(maps, train)[0]
        return jnn.relu(Norm(self.norm_axis, name="norm")(Conv(self.width, name="conv")(x), train))


class MaskHead(nn.Module):
    """A linear layer for each pixel, enlarged to the size of the image."""

    classes: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w d"], image: tuple[int, int]) -> Float[Array, "b h2 w2 classes"]:
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (x.shape[-1], self.classes), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (self.classes,), jnp.float32)
        return resize(x.astype(jnp.float32) @ kernel + bias, image)


class BoxDecoder(nn.Module):
    """For each level the features of two towers, one for the classes and one for the boxes; all levels share them."""

    width: int
    strides: tuple[int, ...]
    tower: int
    norm_axis: str | None

    @nn.compact
    def __call__(self, maps: Maps, train: bool) -> list[tuple[Array, Array]]:
        levels = Pyramid(self.width, self.strides, self.norm_axis, name="pyramid")(maps, train)
        classes, boxes = (Tower(self.width, self.tower, name=name) for name in ("class_tower", "box_tower"))
        return [(classes(level), boxes(level)) for level in levels]


class Tower(nn.Module):
    """3x3 convolutions, each followed by group normalisation (arXiv 1803.08494) and ReLU."""

    width: int
    depth: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w width"]:
        for i in range(self.depth):
            y = Conv(self.width, name=f"conv{i}")(x).astype(jnp.float32)
            y = nn.GroupNorm(math.gcd(GROUPS, self.width), epsilon=1e-5, name=f"norm{i}")(y)
            x = jnn.relu(y).astype(x.dtype)
        return x


class BoxHead(nn.Module):
    """Linear layers for each location of each level: class logits; centerness and distances, with a scale per level."""

    classes: int
    strides: tuple[int, ...]

    @nn.compact
    def __call__(
        self, levels: list[tuple[Array, Array]], image: tuple[int, int]
    ) -> Float[Array, "b locations outputs"]:
        if any(side % self.strides[-1] for side in image):
            raise UserError(
                f"an image of {image[0]}x{image[1]} pixels is not divided by the stride {self.strides[-1]}; resize it "
                f"to multiples of {self.strides[-1]}, or leave this stride out"
            )
        small = nn.initializers.normal(0.01)
        to_classes = nn.Dense(
            self.classes, kernel_init=small, bias_init=nn.initializers.constant(PRIOR), name="classes"
        )
        to_box = nn.Dense(BOX, kernel_init=small, name="box")
        scales = self.param("level_scale", nn.initializers.ones, (len(self.strides),), jnp.float32)
        outputs = []
        for (of_classes, of_box), stride, scale in zip(levels, self.strides, scales, strict=True):
            centerness, exponents = jnp.split(to_box(of_box.astype(jnp.float32)), [1], axis=-1)
            distances = stride * jnp.exp(jnp.minimum(scale * exponents, FARTHEST))
            level = jnp.concatenate([to_classes(of_classes.astype(jnp.float32)), centerness, distances], axis=-1)
            outputs.append(level.reshape(level.shape[0], -1, level.shape[-1]))
        there = locations(image, self.strides)
        where = jnp.concatenate([there.centers, there.strides[:, None]], axis=-1)
        answers = jnp.concatenate(outputs, axis=1)
        return jnp.concatenate([answers, jnp.broadcast_to(where, (answers.shape[0], *where.shape))], axis=-1)


DECODERS = {"masks": dense_masks, "boxes": dense_boxes}
