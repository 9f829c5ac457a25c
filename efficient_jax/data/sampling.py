"""The order of images: a function of (seed, step), so nothing about it is stored and a resumed run carries on."""

import functools
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Int


@functools.lru_cache(maxsize=8)
def _permutation(n: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch)).permutation(n)


def batch_at(rows: np.ndarray, size: int, step: int, seed: int) -> np.ndarray:
    """Batch number `step` of an endless stream that visits every row once per epoch, in a new order each time.

    Batches run over the ends of epochs, so every batch is full, also when there are fewer rows than `size`.
    """
    epochs, positions = np.divmod(np.arange(step * size, (step + 1) * size), len(rows))
    parts = [_permutation(len(rows), seed, int(e))[positions[epochs == e]] for e in np.unique(epochs)]
    return rows[np.concatenate(parts)]


def copies(rates: Float[np.ndarray, " n"], coins: Float[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """How often each row comes to be there `rates` times on average: the integer part, and the fraction by
    `coins` drawn from 0 to 1."""
    whole = np.floor(rates).astype(np.int32)
    return whole + (coins < rates - whole)


def balanced(classes: Int[np.ndarray, " n"], seed: int) -> Int[np.ndarray, " n"]:
    """Copies of rows by which every class has as many as the largest, on average; no row is left out."""
    counts = np.bincount(classes)
    return copies(counts.max() / counts[classes], np.random.default_rng(seed).random(len(classes)))


def padded(rows: np.ndarray, size: int) -> Iterator[tuple[np.ndarray, int]]:
    """`rows` in order in batches of `size`, each with its number of real rows; the last is filled up with row 0."""
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        yield np.pad(part, (0, size - len(part)), constant_values=rows[0]), len(part)
