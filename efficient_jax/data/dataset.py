"""A dataset: images with labels, names, groups and objects, and the hashes that identify it."""

import hashlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Shaped

from efficient_jax.data import class_names, identity
from efficient_jax.data.decode import Decoded
from efficient_jax.data.known import Column, chunks
from efficient_jax.data.stream import Streamed

NOTHING: Mapping[str, np.ndarray] = MappingProxyType({})
HELD_OUT = ("test", "validation")
FIXED = (*HELD_OUT, "selected")
"""Parts that a source can fix: held-out images, and labelled ones that were chosen and so are no random sample."""
SHOWN_DIGITS = 16  # of a content hash, 64 bits: 100 million images collide with a probability of 0.03%
HEX = np.array([f"{byte:02x}" for byte in range(256)], "S2")


class Source(NamedTuple):
    """Labelled and unlabelled images of one size."""

    images: np.ndarray | Streamed  # uint8 [n h w c]
    labels: np.ndarray  # int32 [n ...], see `task`; -1: unlabelled. Maps of classes: uint8 [n h w], 255: no class
    classes: tuple[str, ...]
    fixed: Mapping[str, np.ndarray] = NOTHING  # name of `FIXED` -> int indices of its images
    notes: tuple[str, ...] = ()  # what was done to the images, for the log
    names: Sequence[str] = ()  # file names, or none; of streamed images they are mapped
    soft_labels: np.ndarray | None = None  # float32 [n classes], training targets of labelled images in place of labels
    groups: np.ndarray | None = None  # int32 [n], the same for images that belong together: of a person, a scene
    objects: Mapping[str, np.ndarray] = NOTHING  # [n ...], boxes, mask, keypoints, ... as in `types.Example`
    sizes: np.ndarray | Column | None = None  # int32 [n 2], height and width before the resize, in pixels
    contents: np.ndarray | Column | None = None  # uint8 [n DIGEST], digests of the files; None: there are no files
    task: str = "classification"  # what a label is: a name of `tasks.TASKS`

    def name(self, number: int) -> str:
        """Returns the name of an image for messages.

        Args:
            number: its index, in 0..n-1.
        """
        return self.names[number] if self.names else f"image {number}"


class Labelling(NamedTuple):
    """What is known of images before they are decoded; each field as that of `Source`."""

    labels: np.ndarray
    classes: tuple[str, ...]
    fixed: Mapping[str, np.ndarray]
    groups: np.ndarray | None
    task: str
    soft_labels: np.ndarray | None = None


Labelled = Source | Labelling


def of_images(
    decoded: Decoded,
    labels: np.ndarray,
    classes: tuple[str, ...],
    fixed: Mapping[str, np.ndarray] = NOTHING,
    names: Sequence[str] = (),
    task: str = "classification",
) -> Source:
    """Returns the dataset of decoded images.

    Args:
        decoded: the images that could be read, with their indices.
        labels: int [n ...], of all images; maps of classes are uint8 [n h w] and stay so.
        classes: name of each class.
        fixed: parts that the source fixes: name of `FIXED` -> indices among all images.
        names: file name of each image; empty: they have none. Streamed images of own files have theirs.
        task: what a label is, a name of `tasks.TASKS`.
    """
    streamed = decoded.images if isinstance(decoded.images, Streamed) else None
    return Source(
        images=decoded.images,
        labels=labels[decoded.rows].astype(np.uint8 if labels.dtype == np.uint8 else np.int32),
        classes=classes,
        fixed={part: np.flatnonzero(np.isin(decoded.rows, ids)) for part, ids in fixed.items()},
        notes=(*decoded.notes, *class_names.alike(classes)),
        names=(streamed and streamed.known.names) or (tuple(names[row] for row in decoded.rows) if names else ()),
        sizes=decoded.sizes,
        contents=decoded.contents,
        task=task,
    )


def last_test(images: int, tests: int) -> dict[str, np.ndarray]:
    """Returns the parts of a dataset whose last images are those of the test.

    Args:
        images: number of all images.
        tests: number of test images; 0: the source fixes none.
    """
    return {"test": np.arange(images - tests, images)} if tests else {}


def digests(source: Source) -> np.ndarray | Column:
    """Returns a hash of the pixels of each image, uint8 [n DIGEST].

    Args:
        source: the dataset.
    """
    images = source.images
    return images.known.digests if isinstance(images, Streamed) else identity.digests(images)


def contents(source: Source, ids: np.ndarray | None = None) -> tuple[str, ...]:
    """Returns what identifies each image: `SHOWN_DIGITS` hex digits of a hash of its file, or of its pixels without a
    file.

    Args:
        source: the dataset.
        ids: int [m], indices of the images; None: all.
    """
    ids = np.arange(len(source.images)) if ids is None else ids
    return tuple(shown(identity.digests(source.images[ids]) if source.contents is None else source.contents[ids]))


def shown(hashes: np.ndarray) -> list[str]:
    """Returns content hashes as text of `SHOWN_DIGITS` hex digits.

    Args:
        hashes: uint8 [n DIGEST].
    """
    shown: list[str] = digits(hashes).astype(str).tolist()
    return shown


def digits(hashes: np.ndarray | Column) -> Shaped[np.ndarray, " n"]:
    """Returns content hashes as an array of bytes, `SHOWN_DIGITS` hex digits each.

    Args:
        hashes: uint8 [n DIGEST].
    """
    none = np.zeros((0, SHOWN_DIGITS // 2), HEX.dtype)
    pairs = [HEX[part[:, : SHOWN_DIGITS // 2]] for part in chunks(hashes)]
    return np.concatenate([none, *pairs]).view(f"S{SHOWN_DIGITS}")[:, 0]


def fingerprint(source: Source) -> str:
    """Returns a hash of a dataset, 16 hex digits: of pixels, labels, soft labels, fixed parts, groups and objects.

    A run stores it to know its data again. Streamed and in-memory images have equal ones.

    Args:
        source: the dataset.
    """
    digest = _pixels_and_labels(source.images.shape, digests(source), source.labels)
    if source.soft_labels is not None:
        digest.update(source.soft_labels.tobytes())
    for name, ids in sorted(source.fixed.items()):
        digest.update(name.encode() + ids.astype(np.int64).tobytes())
    if source.groups is not None:
        digest.update(b"groups" + source.groups.tobytes())
    for name, array in sorted(source.objects.items()):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(array).view(np.uint8).data)
    shown: str = digest.hexdigest()
    return shown[:16]


def images_fingerprint(images: np.ndarray, labels: np.ndarray) -> str:
    """Returns the `fingerprint` of images that have labels and nothing else.

    Args:
        images: uint8 [n h w c].
        labels: int32 [n ...].
    """
    digest: str = _pixels_and_labels(images.shape, identity.digests(images), labels).hexdigest()
    return digest[:16]


def _pixels_and_labels(shape: tuple[int, ...], digests: np.ndarray | Column, labels: np.ndarray) -> Any:
    digest = hashlib.sha256(repr(shape).encode())
    for array in (digests, labels):
        for part in chunks(array):
            digest.update(np.ascontiguousarray(part).data)
    return digest
