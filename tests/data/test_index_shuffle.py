"""A random order without an array of it: every row once, all orders alike, any position by itself."""

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from efficient_jax.data.index_shuffle import LIMIT, ROUNDS, feistel, shuffled

EDGES = sorted({2**bits + more for bits in range(11) for more in (-1, 0, 1)} - {0})
KEYS = 20_000


def drawn(rounds: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 2**64, (rounds, *shape), dtype=np.uint64)


def permutations(positions: np.ndarray, n: int, _: np.ndarray) -> np.ndarray:
    """What numpy draws."""
    rng = np.random.default_rng(1)
    return np.stack([rng.permutation(n)[row] for row in positions])


def p_value(codes: np.ndarray, expected: np.ndarray) -> float:
    """Of a chi-square test that codes 0..m-1 come as often as expected [m]."""
    return float(stats.chisquare(np.bincount(codes, minlength=len(expected)), expected).pvalue)


@pytest.mark.parametrize("n", [*EDGES, 1_000, 99_999, 100_000])
def test_every_row_comes_once(n):
    np.testing.assert_array_equal(np.sort(feistel(np.arange(n), n, drawn(ROUNDS))), np.arange(n))


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 5_000), st.integers(0, 2**64), st.integers(0, 2**20), st.integers(1, 6))
def test_every_row_comes_once_for_any_key(n, seed, epoch, pairs):
    keys = np.random.SeedSequence((seed, epoch)).generate_state(2 * pairs, np.uint64)
    np.testing.assert_array_equal(np.sort(feistel(np.arange(n), n, keys)), np.arange(n))


def test_every_row_comes_once_at_the_limit():
    np.testing.assert_array_equal(np.sort(shuffled(np.arange(LIMIT), LIMIT, 1, 2)), np.arange(LIMIT))


def test_small_datasets_have_the_order_of_numpy():
    """Published results depend on it."""
    n = LIMIT - 1
    np.testing.assert_array_equal(shuffled(np.arange(n), n, 3, 5), np.random.default_rng((3, 5)).permutation(n))


def test_the_order_of_large_datasets_stays():
    """A resumed run wants the order with which it began, also of another version of this package."""
    expected = [10050875, 41404789, 79898692, 95972325]
    np.testing.assert_array_equal(shuffled(np.arange(4), 130_000_000, 0, 0), expected)


@pytest.mark.parametrize("n", [LIMIT, 130_000_000, 10**12, 2**60])
def test_a_position_does_not_depend_on_its_batch(n):
    positions = np.random.default_rng(0).integers(0, n, 100)
    together = shuffled(positions, n, 1, 2)
    alone = np.concatenate([shuffled(positions[i : i + 1], n, 1, 2) for i in range(100)])
    np.testing.assert_array_equal(together, alone)
    assert together.dtype == np.int64
    assert (together >= 0).all()
    assert (together < n).all()


def test_seeds_and_epochs_have_orders_of_their_own():
    orders = [shuffled(np.arange(64), LIMIT, seed, epoch) for seed in range(8) for epoch in range(8)]
    assert len(np.unique(orders, axis=0)) == 64
    assert len(np.unique(orders)) > 0.99 * 64 * 64  # 4,096 draws of a million have 8 pairs in common


@pytest.mark.parametrize("n", [130_000_000, 10**12])
def test_a_batch_takes_kilobytes(n):
    positions = np.arange(1_024)
    shuffled(positions, n, 0, 0)
    tracemalloc.start()
    shuffled(positions, n, 0, 1)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 100_000


@pytest.mark.parametrize("n", [2, 3, 4, 5, 6, 7])
def test_all_orders_are_equally_frequent(n):
    """Those of numpy pass the same test, two rounds fail."""
    expected = np.full(math.factorial(n), KEYS / math.factorial(n))

    def p(order, rounds: int) -> float:
        rows = order(np.tile(np.arange(n), (KEYS, 1)), n, drawn(rounds, KEYS, 1))
        return p_value(np.unique(rows @ n ** np.arange(n), return_inverse=True)[1], expected)

    assert p(feistel, ROUNDS) > 0.001
    assert p(permutations, ROUNDS) > 0.001
    assert n < 3 or p(feistel, 2) < 1e-9


@pytest.mark.parametrize("n", [9, 16, 100, 1_000])
def test_pairs_of_rows_are_equally_frequent(n):
    """Of first rows, last ones, and of two whose positions have one half in common. Numpy's pass, two rounds fail."""
    bins = 4
    sizes = np.bincount(np.arange(n) * bins // n)
    expected = (np.outer(sizes, sizes) - np.diag(sizes)) * KEYS / (n * (n - 1))
    pairs = np.array([[0, 1], [0, n // 2], [0, -(-n // (math.isqrt(n - 1) // 2 * 2 + 2))], [n - 2, n - 1]])

    def p(order, rounds: int) -> list[float]:
        rows = order(np.tile(pairs.ravel(), (KEYS, 1)), n, drawn(rounds, KEYS, 1)) * bins // n
        return [p_value(rows[:, i : i + 2] @ [bins, 1], expected.ravel()) for i in range(0, 8, 2)]

    assert min(p(feistel, ROUNDS)) > 0.001
    assert min(p(permutations, ROUNDS)) > 0.001
    assert min(p(feistel, 2)) < 1e-9


def test_neighbours_of_a_large_dataset_are_far_apart():
    """Distances of two rows that follow each other are uniform, within an epoch and from epoch to epoch."""
    n, bins, positions = 130_000_000, 100, np.arange(50_000)
    first, next_epoch = (shuffled(positions, n, 0, epoch) for epoch in (0, 1))
    for distances in (np.diff(first), next_epoch - first, first - positions):
        assert p_value(distances % n * bins // n, np.full(bins, len(distances) / bins)) > 0.001
