"""What the devices are given of a set: all of its images once, or with every batch those that are in it."""

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
"""Batches that are decoded while the devices work: one to wait for, one more because pictures take unequally long."""

Images = jax.Array | Streamed
"""uint8 [n h w c], on every device or decoded when asked for."""

Item = TypeVar("Item")
Made = TypeVar("Made")


def place(images: np.ndarray | Streamed, devices: Sequence[jax.Device]) -> Images:
    return images if isinstance(images, Streamed) else parallel.replicate(images, devices)


def resident(images: Images) -> Tree:
    """What lies on every device, to be looked up by "index"."""
    return {} if isinstance(images, Streamed) else {"image": images}


def given(images: Images, rows: Int[np.ndarray, "*steps b"], devices: Sequence[jax.Device]) -> dict[str, Array]:
    """What comes with global batches: their "index" [devices *steps share], and the "image" where none is resident."""
    index = parallel.shared(rows, devices)
    if not isinstance(images, Streamed):
        return {"index": index}
    return {"index": index, "image": parallel.shared_by(images.__getitem__, rows, devices)}


def taken(data: Tree, given: dict[str, Array]) -> dict[str, Array]:
    """On a device: the examples of its share, whatever it is not given looked up in `data`."""
    return jax.tree.map(lambda values: values[given["index"]], data) | given


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
    """What is `given` of `rows` in batches of `size`; the last repeats a row until it is full."""

    def make(part: tuple[np.ndarray, int]) -> dict[str, Array]:
        return given(images, part[0], devices)

    parts = sampling.padded(rows, size)
    return ahead(make, parts) if isinstance(images, Streamed) else map(make, parts)


def ahead(make: Callable[[Item], Made], items: Iterable[Item]) -> Iterator[Made]:
    """`make(item)` of each, in order, while other threads make the next ones. What `make` raises comes in its turn."""
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
            for left in waiting:
                left.cancel()
