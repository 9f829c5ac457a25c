"""Finds duplicate images, exact ones and near ones: between training and test they are a leak."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Shaped, UInt8, UInt64

from efficient_jax.data.identity import comparable
from efficient_jax.data.known import Column, chunks, rows_at
from efficient_jax.data.stream import Streamed
from efficient_jax.data.thumbnails import CELL, MARGIN, thumbnails

STEPS = (0.0, -0.5, 0.5, -1.0, 1.0)  # points, each a 19th of the image
VERSIONS = [(mirror, y, x) for mirror in (1, -1) for y in STEPS for x in STEPS]
ORDERS, NEIGHBOURS = 12, 16  # random orders of the bits, and hashes that are compared in each
MOST_BITS = 12  # most bits that may differ where thumbnails are compared
COMPARED = 24  # thumbnails that each image is compared with, those of the fewest differing bits
MOST_DISTANCE, SURE = 0.2, 0.02  # 1 - correlation: no duplicates beyond the first, certain ones up to the second
CROWD = 5  # if the fifth neighbour is less than twice as far, such images all look alike, for example digits 1
FLAT = 1e-3  # gray levels: smaller differences are rounding
CHUNK = 256  # images that are processed at once: of more, most of the time goes into new memory
Hashes = UInt8[np.ndarray, "n 16"] | Column
DIGIT = 64  # base of packed numbers: above the number of versions and of bits that may differ


def of_test(hashes: Hashes, test: Int[np.ndarray, " t"]) -> dict[int, int]:
    """Returns the index of every image that is not a test image and equals one -> that test image.

    Args:
        hashes: uint8 [n DIGEST], content hash of each image.
        test: int [t], indices of the test images.
    """
    equal_ones: dict[int, int] = {}
    if not len(test):
        return equal_ones
    tested = comparable(hashes[test])
    order = np.argsort(tested, kind="stable")
    tested, start = tested[order], 0
    for part in chunks(hashes):
        keys = comparable(part)
        place = np.maximum(np.searchsorted(tested, keys, "right") - 1, 0)  # the last of equal ones
        ids = np.flatnonzero(tested[place] == keys)
        others = np.setdiff1d(ids + start, test)
        equal_ones |= zip(others.tolist(), test[order[place[others - start]]].tolist(), strict=True)
        start += len(part)
    return equal_ones


def contradictions(
    hashes: Hashes, labels: Shaped[np.ndarray, " n *classes"], ids: Int[np.ndarray, " m"]
) -> list[tuple[int, int]]:
    """Returns pairs of equal images with different labels: (the first of them, another).

    Args:
        hashes: uint8 [n DIGEST], content hash of each image.
        labels: int [n], [n classes] or [n h w], of all images.
        ids: int [m], indices of the images that are compared.
    """
    _, first, unique = np.unique(comparable(hashes[ids]), return_index=True, return_inverse=True)
    pairs = np.stack([ids[first[unique]], ids], 1)[first[unique] != np.arange(len(ids))]
    return [(one, other) for one, other in pairs.tolist() if np.any(labels[one] != labels[other])]


class Near(NamedTuple):
    """Pairs of near duplicates, the nearest first."""

    pairs: Int[np.ndarray, "p 2"]
    distances: Float[np.ndarray, " p"]  # from 0.0 for equal images to `MOST_DISTANCE`


def near(
    images: UInt8[np.ndarray, "n h w c"] | Streamed,
    queries: Int[np.ndarray, " q"] | None = None,
    among: Int[np.ndarray, " m"] | None = None,
) -> Near:
    """Returns pairs of near duplicates: mirrored, stored anew, brighter, or shifted a little.

    The dHashes of each query, mirrored and shifted, are looked up among those of the others as Charikar (2002) does:
    sorted by their bits in several random orders, hashes that differ in few bits are neighbours in one of them.
    Candidates are compared on `thumbnails` without their low frequencies, which all photographs of one kind share. The
    distance is 1 - the correlation, after the best brightness, contrast and shift by less than a grid point. Beyond
    `SURE`, it must also be at most half of that to the fifth image: digits look alike and are no copies. Images of one
    color have no near duplicates. Time is n log n, memory a few kB an image. Of streamed images nothing is decoded:
    their thumbnails are known.

    Args:
        images: uint8 [n h w c], in memory or streamed.
        queries: int [q], indices of the images whose duplicates are searched; None: all.
        among: int [m], indices of the images that are searched; None: all.

    Returns: pairs (query, other image) and their distances. Without `queries` and `among` each pair is there once, the
    lower index first.
    """
    all_pairs = queries is None and among is None
    first, second = (np.arange(len(images)) if ids is None else np.asarray(ids) for ids in (queries, among))
    seen = _thumbnails(images, first)
    others = seen if all_pairs else _thumbnails(images, second)
    hashes = _hashes(seen, VERSIONS)
    (known,) = hashes[:1] if all_pairs else _hashes(others, VERSIONS[:1])
    candidates = [np.zeros(0, np.int64)]  # pair, bits and version as one number, because numbers sort quickly
    orders = _orders(known)
    for version_index, query_hashes in enumerate(hashes if len(second) else ()):
        query, match = _neighbours(query_hashes, orders)
        bits = np.bitwise_count(query_hashes[query] ^ known[match])
        candidates.append(np.unique(((query * len(second) + match) * DIGIT + bits) * DIGIT + version_index))
    pair, rest = np.divmod(np.sort(np.concatenate(candidates)), DIGIT * DIGIT)
    fewest_bits = np.diff(pair, prepend=-1) > 0  # the version of each pair in which the fewest bits differ
    query, match = np.divmod(pair[fewest_bits], max(1, len(second)))
    bits, version = np.divmod(rest[fewest_bits], DIGIT)
    order = np.flatnonzero(first[query] != second[match])
    order = order[np.lexsort((bits[order], query[order]))]
    order = order[_rank(query[order]) < COMPARED]
    distances = np.concatenate(
        [np.zeros(0), *(_distances(seen[query[i]], others[match[i]], version[i]) for i in _chunks(order))]
    )
    by_distance = np.lexsort((distances, query[order]))
    query, match, distances = query[order[by_distance]], match[order[by_distance]], distances[by_distance]
    crowd = np.full(len(first), np.inf)
    last = _rank(query) == CROWD - 1
    crowd[query[last]] = distances[last]
    close = (distances <= SURE) | (distances <= np.minimum(MOST_DISTANCE, crowd[query] / 2))
    pairs, distances = np.stack([first[query], second[match]], 1)[close], distances[close]
    pairs = np.sort(pairs, 1) if all_pairs else pairs
    order = np.argsort(distances, kind="stable")
    _, once = np.unique(pairs[order], axis=0, return_index=True)
    order = order[np.sort(once)]
    return Near(pairs[order], distances[order])


def _rank(ids: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """Returns the rank of each entry among equal ones, where `ids` are sorted."""
    return np.arange(len(ids)) - np.searchsorted(ids, ids)


def dhash(grey: Float[np.ndarray, "n 16 18"]) -> UInt64[np.ndarray, " n"]:
    """Returns a hash of 64 bits, uint64 [n]: whether each of 8 x 8 cells has a brighter right neighbour.

    It is the same for `a * grey + b`, a > 0.

    Args:
        grey: gray levels [n 16 18] in 0..255.
    """
    n, h, w = grey.shape
    cells = grey.reshape(n, h // CELL, CELL, w // CELL, CELL).mean((2, 4))
    return np.packbits((np.diff(cells) > FLAT).reshape(n, -1), axis=1).view(np.uint64)[:, 0]


def _chunks(ids: np.ndarray) -> Iterator[np.ndarray]:
    return (ids[i : i + CHUNK] for i in range(0, len(ids), CHUNK))


def _thumbnails(images: np.ndarray | Streamed, ids: np.ndarray) -> np.ndarray | Column:
    """Returns uint8 [ids *GRID c] of images."""
    if isinstance(images, np.ndarray):
        return np.concatenate([thumbnails(images[:0]), *(thumbnails(images[part]) for part in _chunks(ids))])
    known: Column = images.known.thumbnails
    return Column(known.parts, rows_at(known.rows, ids))


def _hashes(seen: np.ndarray | Column, versions: list[tuple[int, float, float]]) -> UInt64[np.ndarray, "versions n"]:
    """Returns the hashes of thumbnails, mirrored and shifted."""
    hashes = np.zeros((len(versions), len(seen)), np.uint64)
    for start in range(0, len(seen), CHUNK):
        grey = seen[start : start + CHUNK].mean(-1, dtype=np.float32)
        hashes[:, start : start + CHUNK] = [dhash(_window(grey, *version)) for version in versions]
    return hashes


def _window(grid: np.ndarray, mirror: int, y: float, x: float) -> np.ndarray:
    """Returns the image, mirrored and shifted by (y, x) points; between two points it is the mean of both."""
    shifted = grid[:, :, ::mirror]
    for axis, shift in ((1, y), (2, x)):
        size = shifted.shape[axis] - 2 * MARGIN
        neighbours = [
            np.take(shifted, np.arange(size) + MARGIN + int(position), axis)
            for position in {np.floor(shift), np.ceil(shift)}
        ]
        shifted = neighbours[0] if len(neighbours) == 1 else (neighbours[0] + neighbours[1]) / np.float32(2)
    return shifted


def _orders(known: np.ndarray) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Returns (an order of the bits, the hashes sorted by it, their rows) for each of the orders."""
    rng = np.random.default_rng(0)
    orders = [rng.permutation(64) for _ in range(ORDERS)]
    reordered = [_reordered(known, order) for order in orders]
    ranks = [np.argsort(hashes) for hashes in reordered]
    return [(order, hashes[rank], rank) for order, hashes, rank in zip(orders, reordered, ranks, strict=True)]


def _neighbours(hashes: np.ndarray, orders: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> np.ndarray:
    """Returns rows [2 p] (of `hashes`, of the searched ones) that are near each other in one of the orders."""
    offsets = np.arange(NEIGHBOURS) - NEIGHBOURS // 2
    pairs = []
    for order, ordered, rank in orders:
        queries = _reordered(hashes, order)
        places = np.clip(np.searchsorted(ordered, queries)[:, None] + offsets, 0, len(ordered) - 1)
        row, offset = np.nonzero(np.bitwise_count(ordered[places] ^ queries[:, None]) <= MOST_BITS)
        pairs.append(np.stack([row, rank[places[row, offset]]]))
    return np.concatenate(pairs, 1)


def _reordered(hashes: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Returns hashes whose bits are in another order."""
    bits = np.unpackbits(np.ascontiguousarray(hashes)[:, None].view(np.uint8), axis=1)[:, order]
    return np.ascontiguousarray(np.packbits(bits, axis=1)).view(">u8")[:, 0].astype(np.uint64)


def _distances(queries: np.ndarray, matches: np.ndarray, versions: np.ndarray) -> Float[np.ndarray, " p"]:
    """Returns 1 - the correlation of pairs of thumbnails, after the best brightness, contrast and small shift."""
    queries, matches = _fine(queries), _fine(matches)
    transformed = np.empty_like(_window(matches, *VERSIONS[0]))
    for version in np.unique(versions):
        transformed[versions == version] = _window(queries[versions == version], *VERSIONS[version])
    known = _window(matches, *VERSIONS[0])
    # A shift by less than a point changes the image by the gradient times the shift.
    regressors = np.stack([transformed, *np.gradient(transformed, axis=(1, 2))], 1).reshape(len(queries), 3, -1)
    regressors, known = (
        values - values.mean(-1, keepdims=True) for values in (regressors, known.reshape(len(queries), 1, -1))
    )
    gram, products = regressors @ regressors.mT + FLAT * np.eye(3, dtype=np.float32), regressors @ known.mT
    explained: np.ndarray = (products.mT @ np.linalg.solve(gram, products))[:, 0, 0]
    share: np.ndarray = np.clip(explained / np.maximum(np.square(known).sum((1, 2)), FLAT), 0, 1)
    correlation: np.ndarray = np.sqrt(share)
    return 1 - correlation


def _fine(grid: np.ndarray) -> Float[np.ndarray, "p y x c"]:
    """Returns the grid less the mean of the 3 x 3 points around each."""
    grid = grid.astype(np.float32)
    around = np.pad(grid, ((0, 0), (1, 1), (1, 1), (0, 0)), "edge")
    y, x = grid.shape[1:3]
    return grid - sum(around[:, i : i + y, j : j + x] for i in range(3) for j in range(3)) / 9
