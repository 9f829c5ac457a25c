"""Images with the masks or boxes of their examples drawn on them."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import UInt8

from efficient_jax.report import boxes, maps

Entries = Mapping[str, np.ndarray]
"""What a task says that examples [*n ...] have beside images and vectors of classes, by the names of `types.Example`:
"mask", the class of each pixel plus one; or "boxes", "box_label" and "box_visible"; or nothing."""


def drawn(
    images: UInt8[np.ndarray, "*n h w c"], entries: Entries, classes: Sequence[str]
) -> UInt8[np.ndarray, "*n h2 w2 c2"]:
    """Returns images with their masks tinted or their boxes drawn, enlarged where there are boxes.

    Args:
        images: of any number of channels.
        entries: of their examples; empty: the images are returned as they are.
        classes: class names.
    """
    if "mask" in entries:
        return maps.tinted(images, entries["mask"] - np.uint8(1), classes)  # 0, without a class, becomes 255
    if "boxes" in entries:
        columns = (entries[name][..., None].astype(np.float32) for name in ("box_label", "box_visible"))
        return boxes.drawn(images, np.concatenate([entries["boxes"], *columns], -1))
    return images


def legend(entries: Entries, classes: Sequence[str]) -> list[tuple[str, str]]:
    """Returns (class name, CSS color) of each class that `drawn` draws, "" as the color of one that it does not.

    Args:
        entries: of examples.
        classes: class names.
    """
    if "mask" in entries:
        return maps.legend(classes)
    return boxes.legend(classes) if "boxes" in entries else []
