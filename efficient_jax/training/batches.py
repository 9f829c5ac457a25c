"""Moves images to devices: the whole dataset once if it fits, otherwise batch by batch."""

import collections
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import jax
import numpy as np
from jaxtyping import Array, Int

from efficient_jax.data import sampling
from efficient_jax.data.stream import Streamed
from efficient_jax.training import labels, parallel
from efficient_jax.types import Tree

AHEAD = 2
"""Batches that are decoded while the devices work: one that is next, one more because decoding times differ."""

Images = jax.Array | Streamed
"""uint8 [n h w c], on every device or decoded on access."""

Item = TypeVar("Item")
Made = TypeVar("Made")


def place(images: np.ndarray | Streamed, devices: Sequence[jax.Device]) -> Images:
    """Copies the images of a dataset to every device, unless they are streamed.

    Args:
        images: uint8 [n h w c].
        devices: on which they are placed.
    """
    return images if isinstance(images, Streamed) else parallel.replicate(images, devices)


def resident(images: Images) -> Tree:
    """Returns the data that stay on every device, from which `taken` takes images by their index.

    Args:
        images: as from `place`.

    Returns: {"image": [n h w c]}, {} where images are streamed.
    """
    return {} if isinstance(images, Streamed) else {"image": images}


def on_devices(images: Images, rows: Int[np.ndarray, "*steps b"], devices: Sequence[jax.Device]) -> dict[str, Array]:
    """Returns the inputs of one or several steps, on their devices.

    Args:
        images: as from `place`.
        rows: indices of the images of global batches.
        devices: each batch is split over these.

    Returns: "index" [devices *steps share], and "image" [devices *steps share h w c] where images are streamed.
    """
    index = parallel.shared(rows, devices)
    if not isinstance(images, Streamed):
        return {"index": index}
    return {"index": index, "image": parallel.shared_by(images.__getitem__, rows, devices)}


def taken(data: Tree, inputs: dict[str, Array]) -> dict[str, Any]:
    """Returns the examples of a device's share of a batch; for use within a mapped function.

    Args:
        data: name -> values of all images, as from `resident`, and labels.
        inputs: as from `given`, without the axis of the devices; they replace entries of `data`.

    Returns: name -> values of the share, with "index".
    """
    examples: dict[str, Any] = jax.tree.map(lambda values: values[inputs["index"]], data)
    return examples | inputs


def labelled(examples: dict[str, Any], classes: int) -> dict[str, Array]:
    """Returns examples with one vector of probabilities as the label of each.

    Args:
        examples: as from `taken`; their "label" is a `Labels`.
        classes: number of classes.
    """
    return examples | {"label": labels.dense(examples["label"], classes)}


def padded(
    images: Images, rows: Int[np.ndarray, " n"], size: int, devices: Sequence[jax.Device]
) -> Iterator[dict[str, Array]]:
    """Yields the inputs of all batches of some images, see `given`.

    Args:
        images: as from `place`.
        rows: indices of the images.
        size: images of a batch; the last batch is filled up with the first image.
        devices: each batch is split over these.
    """

    def make(part: tuple[np.ndarray, int]) -> dict[str, Array]:
        return on_devices(images, part[0], devices)

    parts = sampling.padded(rows, size)
    return ahead(make, parts) if isinstance(images, Streamed) else map(make, parts)


def ahead(make: Callable[[Item], Made], items: Iterable[Item]) -> Iterator[Made]:
    """Yields `make(item)` for every item, in order, while other threads make the next ones.

    Args:
        make: called in a thread; what it raises is raised when the result would be yielded.
        items: its arguments.
    """
    waiting: collections.deque[Future[Made]] = collections.deque()
    with ThreadPoolExecutor(AHEAD, "batch") as pool:
        try:
            for item in items:
                waiting.append(pool.submit(make, item))
                if len(waiting) > AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
