"""A set of images with its labels, names, groups and objects, and the hashes by which it is known again."""

import hashlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from efficient_jax.data import class_names, identity
from efficient_jax.data.decode import Decoded
from efficient_jax.data.stream import Streamed

NOTHING: Mapping[str, np.ndarray] = MappingProxyType({})
SHOWN_DIGITS = 16  # of a content hash, 64 bits: 100 million images have two alike with a probability of 0.03%


class Source(NamedTuple):
    """Labelled and unlabelled images of one size."""

    images: np.ndarray | Streamed  # uint8 [n h w c]
    labels: np.ndarray  # int32 [n ...] as `task` has them, -1 where nobody has labelled the image
    classes: tuple[str, ...]
    given: Mapping[str, np.ndarray] = NOTHING  # parts that the source itself fixes: "test" -> its images
    notes: tuple[str, ...] = ()  # what was done to the images, for people to read
    names: tuple[str, ...] = ()  # of the files, where each image has one
    soft_labels: np.ndarray | None = None  # float32 [n classes], what is learned of labelled images in place of labels
    groups: np.ndarray | None = None  # int32 [n], the same for images that belong together: of one person, one scene
    objects: Mapping[str, np.ndarray] = NOTHING  # [n ...], what `types.Example` calls boxes, mask, keypoints, ...
    sizes: np.ndarray | None = None  # int32 [n 2], height and width of the pictures before they were fitted
    contents: np.ndarray | None = None  # uint8 [n DIGEST], hashes of the files as they are; None: there are no files
    task: str = "classification"  # what a label is: a name of `tasks.TASKS`

    def name(self, number: int) -> str:
        return self.names[number] if self.names else f"image {number}"


def of_pictures(
    decoded: Decoded,
    labels: np.ndarray,
    classes: tuple[str, ...],
    tests: int,
    names: Sequence[str] = (),
    task: str = "classification",
) -> Source:
    """Returns the dataset of decoded pictures.

    Args:
        decoded: the pictures that could be read, by their row.
        labels: int [n ...], of each row.
        classes: name of each class.
        tests: so many of the last rows are the test images.
        names: file name of each row; none: the images have no names.
        task: what a label is, a name of `tasks.TASKS`.
    """
    first = int(np.searchsorted(decoded.rows, len(labels) - tests))
    return Source(
        images=decoded.images,
        labels=labels[decoded.rows].astype(np.int32),
        classes=classes,
        given={"test": np.arange(first, len(decoded.rows))} if tests else {},
        notes=(*decoded.notes, *class_names.alike(classes)),
        names=tuple(names[row] for row in decoded.rows) if names else (),
        sizes=decoded.sizes,
        contents=decoded.contents,
        task=task,
    )


def digests(source: Source) -> list[bytes]:
    """A hash of the pixels of each image."""
    images = source.images
    return images.digests() if isinstance(images, Streamed) else identity.digests(images)


def contents(source: Source, ids: np.ndarray | None = None) -> tuple[str, ...]:
    """What identifies each image (of `ids`): 16 hex digits of a hash of its file, or of its pixels without a file."""
    ids = np.arange(len(source.images)) if ids is None else ids
    if source.contents is None:
        return tuple(digest.hex()[:SHOWN_DIGITS] for digest in identity.digests(source.images[ids]))
    return tuple(shown(source.contents[ids]))


def shown(hashes: np.ndarray) -> list[str]:
    """Content hashes uint8 [n DIGEST] as text."""
    return [row.tobytes().hex()[:SHOWN_DIGITS] for row in hashes]


def fingerprint(source: Source) -> str:
    """A hash of images, labels, soft ones too, given parts, groups and objects: a run remembers which data it saw. It
    is the same wherever the images are."""
    digest = hashlib.sha256(repr(source.images.shape).encode() + b"".join(digests(source)))
    digest.update(np.ascontiguousarray(source.labels).view(np.uint8).data)
    if source.soft_labels is not None:
        digest.update(source.soft_labels.tobytes())
    for name, ids in sorted(source.given.items()):
        digest.update(name.encode() + ids.astype(np.int64).tobytes())
    if source.groups is not None:
        digest.update(b"groups" + source.groups.tobytes())
    for name, array in sorted(source.objects.items()):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(array).view(np.uint8).data)
    return digest.hexdigest()[:16]
