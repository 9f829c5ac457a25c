"""Class maps of squares, as networks see images, brought back to the pixels of the original images."""

import numpy as np
from jaxtyping import Integer, UInt8

from efficient_jax.data import objects
from efficient_jax.data.framing import Framing
from efficient_jax.metrics.classification import NOT_COUNTED


def original(
    classes: Integer[np.ndarray, "s s"], height: int, width: int, framing: Framing
) -> UInt8[np.ndarray, "h w"]:
    """Returns the map of an original image: each pixel has the class of the nearest one of the square.

    Args:
        classes: index of the class of each pixel of the square, 0..254.
        height: of the original image in pixels.
        width: of the original image in pixels.
        framing: how the image became the square.

    Returns: 255, no class, where the square does not show a pixel: fit="crop" cuts it off.
    """
    back = objects.inverse(objects.window(width, height, framing), width, height)
    return objects.mask(classes.astype(np.uint8), back, NOT_COUNTED)
