"""Images that are there twice, pixel for pixel."""

import hashlib

import numpy as np
from jaxtyping import Int, UInt8

DIGEST = 16  # bytes


def digest(content: bytes | np.ndarray) -> bytes:
    plain = content if isinstance(content, bytes) else np.ascontiguousarray(content).data
    return hashlib.blake2b(plain, digest_size=DIGEST).digest()


def digests(images: UInt8[np.ndarray, "n h w c"]) -> list[bytes]:
    """A hash of each image: 0.4 s for 60,000 of 32 x 32 x 3 on one core."""
    return [digest(image) for image in np.ascontiguousarray(images)]


def of_test(hashes: list[bytes], test: Int[np.ndarray, "t"]) -> dict[int, int]:
    """Every image that is not for the test and equals one that is -> that test image."""
    tested = {hashes[i]: int(i) for i in test}
    others = np.setdiff1d(np.arange(len(hashes)), test)
    return {int(i): tested[hashes[i]] for i in others if hashes[i] in tested}


def contradictions(
    hashes: list[bytes], labels: Int[np.ndarray, "n *classes"], ids: Int[np.ndarray, "m"]
) -> list[tuple[int, int]]:
    """Pairs of equal images with different labels: each of `ids` beside the first of them that equals it."""
    first: dict[bytes, int] = {}
    beside = [(first.setdefault(hashes[i], int(i)), int(i)) for i in ids]
    return [(one, other) for one, other in beside if np.any(labels[one] != labels[other])]
