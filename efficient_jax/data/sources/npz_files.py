"""Datasets in an .npz file: images with labels, soft labels or both."""

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from efficient_jax.data import class_names
from efficient_jax.data.dataset import NOTHING, Source
from efficient_jax.errors import UserError, counted


def npz(*, path: str) -> Source:
    """Returns the images and labels of an .npz file.

    Its arrays: `images` uint8 [n h w] or [n h w c]; `labels` [n], integers from 0 on (-1: unlabelled) or class names,
    or [n classes] of 0 and 1 where an image can have several labels (a row of -1: unlabelled). Optional are `classes`,
    the class names in order; `test`, the indices of the test images; and `soft_labels`, floats [n classes] whose rows
    are 0 or more and sum to 1.

    Soft labels are the training targets of labelled images, in place of their labels. Without `labels` the label is the
    most probable class, and rows of -1 are unlabelled.

    Args:
        path: the .npz file; its arrays are `images`, `labels` and, optionally, `classes`, `test` and `soft_labels`.

    Returns: a dataset; its task is "multi_label" for labels [n classes], else "classification".

    Raises: UserError for a file that is no .npz, and for arrays that are missing or do not fit each other.
    """
    file = Path(path)
    if not file.is_file():
        raise UserError(f"config.data.source.path: no file {path!r}")
    try:
        with file.open("rb") as stream, np.load(stream) as arrays:
            content = dict(arrays)
    except (ValueError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:  # TypeError: an .npy
        raise UserError(f"config.data.source.path: {path!r} is not an .npz of plain arrays ({error})") from error
    soft = _soft(content, path)
    if missing := {"images", "labels"} - set(content):
        raise UserError(
            f"config.data.source.path: {path!r} has no array {sorted(missing)[0]!r}; it has {sorted(content)}"
        )
    images, labels = content["images"], content["labels"]
    test_part = _test(content, len(images), path)
    images = images[..., None] if images.ndim == 3 else images
    channels_first = (  # no image has more than 4 channels
        images.ndim == 4 and images.shape[1] in (1, 3, 4) and images.shape[3] > 4
    )
    if images.dtype != np.uint8 or images.ndim != 4 or channels_first:
        transpose = ", and their channels seem to be first: say images.transpose(0, 2, 3, 1)" if channels_first else ""
        raise UserError(
            f"config.data.source.path: images of {path!r} are {images.dtype} {list(images.shape)}{_of_floats(images)}; "
            f"want uint8 [n h w c], 0 to 255{transpose}"
        )
    if soft is not None and len(soft) != len(images):
        raise UserError(
            f"config.data.source.path: soft_labels of {path!r} are {list(soft.shape)}; want a row for each of the "
            f"{counted(len(images), 'image')}"
        )
    if labels.ndim == 2 and len(labels) == len(images) and labels.dtype.kind in "iub":
        labels = _several(labels.astype(np.int32), path)
        if soft is not None:
            raise UserError(f"config.data.source.path: {path!r} has soft_labels, which are for one class an image")
        classes = tuple(map(class_names.normal, _class_names(content, labels.shape[1])))
        class_names.check_classes(classes, f"config.data.source.path: {path!r}")
        if len(classes) != labels.shape[1]:
            raise UserError(
                f"config.data.source.path: labels of {path!r} are {list(labels.shape)}, but there are {len(classes)} "
                "classes; want a column of labels for each"
            )
        return Source(images, labels, classes, test_part, task="multi_label")
    if labels.shape != images.shape[:1]:
        raise UserError(
            f"config.data.source.path: labels of {path!r} are {labels.dtype} {list(labels.shape)}; "
            f"want one integer or name for each of the {len(images)} images, or for each a row of 0 and 1"
        )
    names, description = _class_names(content, 0 if soft is None else soft.shape[1]), f"labels of {path!r}"
    if soft is not None and soft.shape[1] != len(names):
        raise UserError(
            f"config.data.source.path: soft_labels of {path!r} are {list(soft.shape)}, but there are {len(names)} "
            "classes; want a column for each"
        )
    labels, classes, notes = class_names.of_array(labels, names, "config.data.source.path", description)
    if soft is not None:
        _check_sums(soft, np.flatnonzero(labels >= 0), path)
    return Source(images, labels, classes, test_part, notes, soft_labels=soft)


def _class_names(content: Mapping[str, np.ndarray], count: int) -> tuple[str, ...]:
    """Returns the array `classes`, or "0" to `count - 1` where there is none."""
    names = content.get("classes", np.arange(count)).ravel()
    return tuple(np.char.decode(names).tolist() if names.dtype.kind == "S" else map(str, names.tolist()))


def _test(content: Mapping[str, np.ndarray], count: int, path: str) -> Mapping[str, np.ndarray]:
    if "test" not in content:
        return NOTHING
    test = content["test"]
    if test.ndim != 1 or test.dtype.kind not in "iu" or test.min(initial=0) < 0 or test.max(initial=0) >= count:
        raise UserError(
            f"config.data.source.path: test of {path!r} is {test.dtype} {list(test.shape)}; want indices of images, "
            f"from 0 to {count - 1}"
        )
    return {"test": np.unique(test).astype(np.int32)}


def _of_floats(images: np.ndarray) -> str:
    """Returns the value range and the non-finite images of float images, which a conversion to uint8 needs to know."""
    if images.dtype.kind != "f" or not images.size:
        return ""
    bad = int((~np.isfinite(images)).reshape(len(images), -1).any(1).sum())
    finite = images[np.isfinite(images)]
    value_range = f" from {finite.min():.4g} to {finite.max():.4g}" if finite.size else ""
    return value_range + (f", {bad:,} of them with NaN or infinite pixels" if bad else "")


def _soft(content: dict[str, np.ndarray], path: str) -> np.ndarray | None:
    """Returns the `soft_labels` of an .npz; adds `labels` to `content` where there are none."""
    if "soft_labels" not in content:
        return None
    soft = content["soft_labels"]
    if soft.ndim != 2 or soft.dtype.kind != "f" or soft.shape[1] < 2:
        raise UserError(
            f"config.data.source.path: soft_labels of {path!r} are {soft.dtype} {list(soft.shape)}; want floats "
            "[n classes]"
        )
    content.setdefault("labels", np.where((soft == -1).all(1), -1, soft.argmax(1)))
    return soft.astype(np.float32)


def _check_sums(soft: np.ndarray, labelled: np.ndarray, path: str) -> None:
    sums = soft[labelled].sum(1, dtype=np.float64)
    wrong = labelled[~((np.abs(sums - 1.0) <= 1e-3) & (soft[labelled] >= 0.0).all(1))]  # in this form nan is wrong too
    if len(wrong):
        raise UserError(
            f"config.data.source.path: soft_labels of {path!r} want rows of numbers from 0 on whose sum is 1; those of "
            f"{counted(len(wrong), 'image is', 'images are')} not, first image {wrong[0]}: "
            f"{soft[wrong[0]].astype(float).round(4).tolist()}"
        )


def _several(labels: np.ndarray, path: str) -> np.ndarray:
    """Returns labels [n classes], which are checked."""
    if labels.shape[1] < 2:
        raise UserError(
            f"config.data.source.path: labels of {path!r} are {list(labels.shape)}; want two or more columns, or [n]"
        )
    valid = np.isin(labels, (0, 1)).all(1) | (labels == -1).all(1)
    if not valid.all():
        row = int(np.flatnonzero(~valid)[0])
        raise UserError(
            f"config.data.source.path: labels of {path!r} are {labels[row].tolist()} for image {row}; want 0 and 1, or "
            "-1 in the whole row where the image is unlabelled"
        )
    return labels
