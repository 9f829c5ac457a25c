"""Features of images before anything is trained: of a network pretrained on ImageNet, or components of pixels."""

import dataclasses
import functools

import numpy as np
from jaxtyping import Float, UInt8

from efficient_jax.data import feature_distances
from efficient_jax.data.decode import resized
from efficient_jax.errors import UserError
from efficient_jax.training.classifier import Network, network
from efficient_jax.training.trained import Trained

WEIGHTS, SIZE, BATCH = "efficientnet-lite0", 96, 64
SIDE, COMPONENTS = 16, 40  # pixels of a thumbnail, and components of these


def available(member: Network | None = None) -> tuple[Network | None, str]:
    """Returns the network whose features are the best that there are, and what its features are called.

    Args:
        member: a trained network, which is taken; None: EfficientNet-Lite0 where its weights are installed.

    Returns: (network, name of its features); without any it is None and the features are those of `components`.
    """
    if member:
        return member, "the features of the first member"
    try:
        return lite0_network(), f"the features of EfficientNet-Lite0 at {SIZE} x {SIZE} pixels"
    except UserError:
        return None, (
            f"{COMPONENTS} principal components of {SIDE} x {SIDE} pixels (a pretrained network is better: pip install "
            "'efficient_jax[pretrained]')"
        )


def components(images: UInt8[np.ndarray, "n h w c"]) -> Float[np.ndarray, "n k"]:
    """Returns the scores of images on their own first 40 principal components of 16 x 16 pixels.

    Args:
        images: of any size.
    """
    thumbnails = resized(images, SIDE)
    return feature_distances.principal(thumbnails, COMPONENTS)(thumbnails)


@functools.cache
def lite0_network() -> Network:
    """Returns EfficientNet-Lite0 with the weights of ImageNet, for images of 96 x 96 pixels.

    Raises:
        UserError: the weights are not installed.
    """
    trained = Trained.open(WEIGHTS, WEIGHTS)
    spec = dataclasses.replace(trained.spec, image_shape=(SIZE, SIZE, 3), framing={"fit": "squash"})
    return network(dataclasses.replace(trained, spec=spec), BATCH)


def lite0(images: UInt8[np.ndarray, "n h w c"]) -> Float[np.ndarray, "n 1280"]:
    """Returns the pooled features of EfficientNet-Lite0 for images resized to 96 x 96 pixels.

    Args:
        images: of one channel or three.

    Raises:
        UserError: the weights are not installed, or the images have another number of channels.
    """
    return lite0_network().predict(resized(images, SIZE))[1]
