"""COCO's run lengths of masks: decoded and encoded, as numbers or as text."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool


def decode(counts: Sequence[int] | str, h: int, w: int) -> Bool[np.ndarray, "h w"]:
    """Returns the mask bool [h w] of COCO's run lengths.

    Args:
        counts: lengths of the runs of 0, of 1, of 0, ... down the columns; or COCO's text of them (see `text`).
        h: height in pixels.
        w: width in pixels.

    Raises: ValueError where the lengths do not sum up to h x w pixels.
    """
    lengths = _checked(counts, h, w)
    return np.repeat(np.arange(len(lengths)) % 2 == 1, lengths).reshape(w, h).T


def spans(counts: Sequence[int] | str, h: int, w: int) -> list[tuple[int, int]]:
    """Returns the first pixel of each run of 1, and the one after its last, counted down the columns.

    Args:
        counts: as for `decode`.
        h: height in pixels.
        w: width in pixels.

    Raises: as `decode`.
    """
    ends = np.cumsum(_checked(counts, h, w)).tolist()
    return list(zip(ends[::2], ends[1::2], strict=False))  # a last run of 0 has none after it


def _checked(counts: Sequence[int] | str, h: int, w: int) -> list[int]:
    lengths = _unpacked(counts) if isinstance(counts, str) else list(counts)
    if any(length < 0 for length in lengths) or sum(lengths) != h * w:
        raise ValueError(f"run lengths of {sum(lengths):,} pixels for {w} x {h}")
    return lengths


def encode(mask: Bool[np.ndarray, "h w"]) -> list[int]:
    """Returns the lengths of the runs of 0, of 1, of 0, ... down the columns of a mask.

    Args:
        mask: bool [h w].
    """
    pixels = mask.T.ravel()
    starts = np.flatnonzero(np.diff(pixels, prepend=False))  # the first run is of 0, and may be empty
    lengths: list[int] = np.diff([0, *starts.tolist(), len(pixels)]).tolist()
    return lengths


def text(lengths: Sequence[int]) -> str:
    """Returns COCO's text of run lengths.

    Five bits a character, the lowest first; bit 5: more follow; bit 4 of the last: the sign. From the fourth length on,
    it is the difference to the one before the last.

    Args:
        lengths: as from `encode`.
    """
    characters = []
    for number, length in enumerate(lengths):
        value = length - (lengths[number - 2] if number > 2 else 0)
        while True:
            bits, value = value & 31, value >> 5
            last = value == (-1 if bits & 16 else 0)
            characters.append(chr(48 + (bits if last else bits | 32)))
            if last:
                break
    return "".join(characters)


def _unpacked(text: str) -> list[int]:
    lengths: list[int] = []
    value, shift = 0, 0
    for character in text:
        bits = ord(character) - 48
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        value -= (bits & 16) and 1 << shift
        lengths.append(value + (lengths[-2] if len(lengths) > 2 else 0))
        value, shift = 0, 0
    return lengths
