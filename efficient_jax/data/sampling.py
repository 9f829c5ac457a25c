"""The order of images in training: a function of (seed, step), so a resumed run needs no stored state."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Int

from efficient_jax.data.index_shuffle import shuffled


def batch_at(rows: np.ndarray, size: int, step: int, seed: int) -> np.ndarray:
    """Returns the rows of one batch, [size], of an endless stream that visits every row once per epoch.

    Each epoch has another order. Batches run over the ends of epochs, so every batch is full, also where there are
    fewer rows than `size`.

    Args:
        rows: int [n], n of 1 or more.
        size: rows of a batch, 1 or more.
        step: index of the batch, 0 or more.
        seed: of the orders, 0 or more.
    """
    epochs, positions = np.divmod(np.arange(step * size, (step + 1) * size), len(rows))
    parts = [shuffled(positions[epochs == epoch], len(rows), seed, int(epoch)) for epoch in np.unique(epochs)]
    batch: np.ndarray = rows[np.concatenate(parts)]
    return batch


def copies(rates: Float[np.ndarray, " n"], coins: Float[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """Returns how often each row is repeated, int [n]: `rates` times on average.

    Args:
        rates: float [n], 0.0 or more; the integer part is certain, the rest is the probability of one more.
        coins: float [n], drawn uniformly from 0..1.
    """
    whole = np.floor(rates).astype(np.int32)
    counts: np.ndarray = whole + (coins < rates - whole)
    return counts


def balanced(classes: Int[np.ndarray, "n most"], count: int, seed: int) -> Int[np.ndarray, " n"]:
    """Returns how often each row is repeated, int [n], so that all classes are equally frequent on average.

    A row of several classes is repeated as its rarest one wants: the others then come more often, too.

    Args:
        classes: indices of the classes of each row, `count` for none; rows of the largest class alone are there once,
            no row is left out.
        count: number of classes.
        seed: of the draw of fractional repeats, 0 or more.
    """
    counts = np.bincount(classes.ravel(), minlength=count + 1)[:count]
    rates = np.append(counts.max() / np.maximum(counts, 1), 1.0)[classes].max(1)
    return copies(rates, np.random.default_rng(seed).random(len(classes)))


def padded(rows: np.ndarray, size: int) -> Iterator[tuple[np.ndarray, int]]:
    """Yields (rows [size], number of real rows) of each batch of `rows`, in order; the last is padded with the first
    row.

    Args:
        rows: int [n].
        size: rows of a batch, 1 or more.
    """
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        yield np.pad(part, (0, size - len(part)), constant_values=rows[0]), len(part)
