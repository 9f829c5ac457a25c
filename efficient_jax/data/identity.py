"""Identifies images by a hash of their content and by their name, never by an index."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int, UInt8

DIGEST = 16  # bytes of a content hash


def digest(content: bytes | np.ndarray) -> bytes:
    """Returns a hash of `DIGEST` bytes (BLAKE2b).

    Args:
        content: of a file, or an array, of which only the bytes count.
    """
    plain = content if isinstance(content, bytes) else np.ascontiguousarray(content).data
    return hashlib.blake2b(plain, digest_size=DIGEST).digest()


def digests(images: UInt8[np.ndarray, "n h w c"]) -> list[bytes]:
    """Returns a hash of each image: 0.4 s for 60,000 of 32 x 32 x 3 on one core.

    Args:
        images: uint8 [n h w c].
    """
    return [digest(image) for image in np.ascontiguousarray(images)]


def rows_of(
    names: Sequence[str], contents: Sequence[str], among_names: Sequence[str], among_contents: Sequence[str]
) -> Int[np.ndarray, " n"]:
    """Returns for each image the row of the image with equal content among others.

    Of several with equal content it is the one with the same name, else the first that no other image has. Where there
    are fewer of them than are looked for, they stand for the missing ones too: the pixels are the same.

    Args:
        names: file names of the n images that are looked for.
        contents: their content hashes.
        among_names: file names of the images to search.
        among_contents: their content hashes.

    Returns: int64 [n], -1 where no image has this content: it is gone, or its content has changed.
    """
    alike: dict[str, list[int]] = defaultdict(list)
    for row, content in enumerate(among_contents):
        alike[content].append(row)
    known = {key: row for row, key in reversed([*enumerate(zip(among_names, among_contents, strict=True))])}
    rows = [known.get(key, -1) for key in zip(names, contents, strict=True)]
    taken = set(rows)
    spare = {content: [row for row in alike[content] if row not in taken] for content in set(contents) & set(alike)}
    for i, content in enumerate(contents):
        if rows[i] < 0 and content in alike:
            rows[i] = spare[content].pop(0) if spare[content] else alike[content][0]
    return np.array(rows, np.int64).reshape(-1)


def rows_of_names(names: Sequence[str], among: Sequence[str]) -> Int[np.ndarray, " n"]:
    """Returns for each name its first row among others, int64 [n], -1 where there is none.

    Args:
        names: n file names that are looked for.
        among: file names to search.
    """
    first = {name: row for row, name in reversed([*enumerate(among)])}
    return np.array([first.get(name, -1) for name in names], np.int64).reshape(-1)
