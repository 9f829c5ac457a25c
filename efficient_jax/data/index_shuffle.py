"""The order of rows in an epoch, evaluated at any positions: datasets of any size need no array of their order."""

import functools
import math

import numpy as np
from jaxtyping import Int, UInt64

LIMIT = 2**20
"""From so many rows on the order comes from `feistel`; below it is a permutation of numpy, of 8 MB at most. That one
costs nothing to keep, and published results depend on it."""

ROUNDS = 20
"""Of 12 rounds the orders of 5 to 7 rows are not equally frequent, of 16 they are. Pairs of 9 and more rows are from 12
rounds on, pairs of a million from 4 on."""


def shuffled(positions: Int[np.ndarray, " m"], n: int, seed: int, epoch: int) -> Int[np.ndarray, " m"]:
    """Returns the rows at some positions of a random order of 0..n-1.

    Args:
        positions: int [m], in 0..n-1.
        n: number of rows, 1 or more.
        seed: of the orders, 0 or more.
        epoch: 0 or more; each has another order.

    Returns: int64 [m].
    """
    if n < LIMIT:
        rows: np.ndarray = _permutation(n, seed, epoch)[positions]
        return rows
    return feistel(positions, n, np.random.SeedSequence((seed, epoch)).generate_state(ROUNDS, np.uint64))


@functools.lru_cache(maxsize=8)
def _permutation(n: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch)).permutation(n)


def feistel(positions: Int[np.ndarray, "*m"], n: int, keys: UInt64[np.ndarray, "rounds *#m"]) -> Int[np.ndarray, "*m"]:
    """Returns the values of a bijection of 0..n-1 at some positions, by a Feistel network of mixed radix.

    A position is (high, low) in Z_a x Z_b with a * b just above n. Rounds take turns: each adds a hash of one half to
    the other. Values of n or more go through the network again. These are FE2 (Bellare et al., Format-Preserving
    Encryption, SAC 2009) and cycle walking (Black and Rogaway, CT-RSA 2002). Swap-or-not (Hoang et al., CRYPTO 2012)
    needs no halves, but six rounds for each bit of n.

    Args:
        positions: int [*m], in 0..n-1.
        n: size of the domain, 1..2^60.
        keys: one for each round, an even number of them.
    """
    a = math.isqrt(n - 1) // 2 * 2 + 2  # even: with two odd halves all rounds would be even permutations
    b = -(-n // a)

    def network(x: np.ndarray) -> np.ndarray:
        high, low = x // b, x % b
        for for_high, for_low in zip(keys[::2], keys[1::2], strict=True):
            high = (high + _hash(low, for_high)) % a
            low = (low + _hash(high, for_low)) % b
        mixed: np.ndarray = high * b + low
        return mixed

    x = network(positions.astype(np.uint64))
    while (outside := x >= n).any():
        x = np.where(outside, network(x), x)
    rows: np.ndarray = x.astype(np.int64)
    return rows


def _hash(x: np.ndarray, key: np.ndarray) -> np.ndarray:
    """Returns 32 random bits, as uint64, by the mixing function of SplitMix64 (Steele et al., OOPSLA 2014)."""
    x = x * np.uint64(0x9E3779B97F4A7C15) + key
    x = (x ^ (x >> 30)) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> 27)) * np.uint64(0x94D049BB133111EB)
    return x >> 32
