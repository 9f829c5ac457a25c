"""Tar files in the layout of webdataset: many images in few files, of which each image is read by itself."""

from collections import Counter
from collections.abc import Sequence
from itertools import chain, repeat
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from efficient_jax.data import class_names, storage, stream, tar_index
from efficient_jax.data.dataset import Source, last_test, of_images
from efficient_jax.data.decode import left_out
from efficient_jax.data.framing import Framing
from efficient_jax.data.image_files import note
from efficient_jax.data.names import Names
from efficient_jax.data.storage import Stored
from efficient_jax.data.tar_index import Shard
from efficient_jax.errors import UserError, counted, few, nearest

WHERE = "config.data.source"
CLASSES_FILE = "classes.txt"
NAMED = 5  # most examples that a message lists
WHY = {tar_index.NO_IMAGE: "no image among its members", tar_index.SEVERAL: "several images"}


def tar(
    feed: stream.Feed = stream.IN_MEMORY,
    *,
    path: str,
    size: int,
    test_path: str = "",
    unlabelled_path: str = "",
    image: str = "",
    label: str = "",
    classes: tuple[str, ...] = (),
    fit: str = "crop",
    crop: float = 1.0,
    interpolation: str = "bicubic",
    channels: int = 3,
    draft: bool = False,
    unreadable: int = 0,
) -> Source:
    """Returns the images and labels of tar shards, which are not compressed.

    Consecutive members whose names are equal up to the first dot are one example, such as a/17.jpg and a/17.cls. The
    headers are read once: the feed's folder keeps where each image is, shard by shard. An image is then one read.

    Args:
        feed: whether images are decoded once or on access, see `data.stream.Feed`; no config key of the source.
        path: the shards, such as train-*.tar or train-{000000..000146}.tar; also in a store, such as s3://bucket/a.tar.
        size: side of the square images, in pixels; 0: as they are stored, which must then be one size for all.
        test_path: shards of the test images, with the same classes; "": the test set is drawn.
        unlabelled_path: shards of more images, whose labels are not read; "": none.
        image: what follows the first dot in the names of images, such as "jpg" or "left.jpg"; "": whatever ends as an
            image does.
        label: what follows the first dot in the names of labels: "cls" (an integer from 0 on), "txt" (the name of the
            class) or "json.FIELD" (either); "": cls, else txt, else json.label.
        classes: names of the classes in order; (): the lines of `classes.txt` beside the shards, else those of the
            labels.
        fit: how an image becomes a square: "crop" (its middle), "squash" or "pad"; see `data.framing.place`.
        crop: with fit="crop", the share of the shorter side that is kept, in (0, 1].
        interpolation: antialiasing filter of the resize, "bilinear" or "bicubic".
        channels: 3 (color) or 1 (gray).
        draft: whether JPEGs of twice the size and more are decoded at a reduced scale: faster, slightly inexact.
        unreadable: up to so many examples without one image that can be read are left out and listed; more are an
            error.

    Returns: a dataset with the images of `path`, `unlabelled_path` and `test_path`, in this order.

    Raises: UserError for shards that are missing, compressed or damaged, labels of no class, and too many examples
    without one image that can be read.
    """
    if label:
        tar_index.parts_of(label)
    settings = {"path": path, "unlabelled_path": unlabelled_path, "test_path": test_path}
    parts = []
    for setting, pattern in settings.items():
        where, wanted = f"{WHERE}.{setting}", None if setting == "unlabelled_path" else label
        files = storage.find(pattern, where, "tar") if pattern else []
        parts.append(Part(where, pattern, files, tar_index.shards(files, image, wanted, feed.folder, where)))
        if pattern and not parts[-1].size:
            raise UserError(f"{where}: no examples in {pattern!r}")
    files, shards = [file for part in parts for file in part.files], [shard for part in parts for shard in part.shards]
    examples = Examples(files, shards)
    labels, classes, notes = _labels(parts, label, classes)
    fixed = last_test(len(labels), parts[-1].size)
    _check_images(examples, unreadable)
    feed.labelled(labels, classes, fixed)

    framing = Framing(size, fit, crop, interpolation, channels, draft)
    local, remote = storage.dependence(examples.files)
    about = f"{tar_index.LAYOUT} {image} {remote}"
    decoded = stream.load(examples.read, examples.name, len(labels), framing, feed, local, about)
    decoded = left_out(decoded, examples.name, unreadable, f"{WHERE}.path: {path!r}")
    source = of_images(decoded, labels, classes, fixed)
    names = Names(examples.name, decoded.rows)
    return source._replace(names=names, notes=(*source.notes, *notes, *_notes(examples)))


class Part(NamedTuple):
    """The shards that a setting names."""

    where: str
    pattern: str
    files: list[Stored]
    shards: list[Shard]

    @property
    def size(self) -> int:
        """Number of examples."""
        return sum(len(shard.sizes) for shard in self.shards)


class Examples:
    """The n examples of shards, by an index in 0..n-1."""

    def __init__(self, files: Sequence[Stored], shards: Sequence[Shard]) -> None:
        self.files, self.shards = files, shards
        self.starts = np.cumsum([0, *(len(shard.sizes) for shard in shards)])
        self._parts = storage.Parts(files)

    def place(self, row: int) -> tuple[int, int]:
        """Returns (index of the shard, index of the example in it).

        Args:
            row: index of the example.
        """
        shard = int(np.searchsorted(self.starts, row, "right")) - 1
        return shard, row - int(self.starts[shard])

    def name(self, row: int) -> str:
        """Returns the name of an example, SHARD/KEY.

        Args:
            row: its index.
        """
        shard, place = self.place(row)
        return _name(self.files[shard], self.shards[shard], place)

    def read(self, row: int) -> bytes:
        """Returns an encoded image.

        Args:
            row: index of its example.

        Raises: ValueError for an example without one image, OSError where it cannot be read.
        """
        shard, place = self.place(row)
        size = int(self.shards[shard].sizes[place])
        if size in WHY:
            raise ValueError(WHY[size])
        return self._parts.read(shard, int(self.shards[shard].offsets[place]), size)


def _name(file: Stored, shard: Shard, place: int) -> str:
    return f"{class_names.writable(file.name)}/{shard.key(place)}"


def _labels(
    parts: Sequence[Part], label: str, classes: Sequence[str]
) -> tuple[Int[np.ndarray, " n"], tuple[str, ...], tuple[str, ...]]:
    """Returns (class indices of all examples, -1: unlabelled; names of the classes; notes)."""
    shards = [shard for part in parts for shard in part.shards]
    origins = list(dict.fromkeys(origin for shard in shards for origin in shard.origins))
    if len(origins) > 1:
        raise UserError(f"{WHERE}.label: labels are {', '.join(origins)}; want one of these, {WHERE}.label says which")
    known = tuple(map(class_names.normal, classes or _classes_file(parts[0].files[0])))
    class_names.check_classes(known, f"{WHERE}.classes")
    if not origins and not known:
        wanted = label or ", ".join(tar_index.USUAL)
        raise UserError(f"{WHERE}.label: no example of {parts[0].pattern!r} has {wanted}; it has {_kinds(shards)}")
    texts: dict[str, int] = {}  # of all shards
    codes = [_codes(shard, texts) for shard in shards]
    counts = np.bincount(np.concatenate(codes) + 1, minlength=len(texts) + 1)[1:]
    if origins and origins[0].startswith("numbers"):
        values, names = np.array([int(text) for text in texts], np.int64), known
        from_1 = min(filter(lambda value: value >= 0, values), default=0) == 1 and max(values) == len(known)
        if known and not from_1:  # that is said by `of_array`
            _check(parts, {text for text in texts if not -1 <= int(text) < len(known)}, known)
        words: list[str] = []
    else:
        values = np.array(list(texts), object)
        used = dict.fromkeys(class_names.normal(text) for shard in parts[0].shards for text in shard.texts)
        names = known or class_names.in_order(name for name in used if not class_names.is_no_label(name))
        others = [text for text in texts if class_names.normal(text) not in names]
        words = [text for text in others if class_names.is_no_label(text)]
        _check(parts, {*others} - {*words}, names)
    about = f"labels of {parts[0].pattern!r}"
    indices, names, _ = class_names.of_array(values, names, f"{WHERE}.path", about)
    of_examples: np.ndarray = np.append(indices, np.int32(-1))[np.concatenate(codes)]
    unlabelled = chain.from_iterable(repeat(word, int(counts[texts[word]])) for word in words)
    return of_examples, names, class_names.note(unlabelled, len(of_examples))


def _codes(shard: Shard, texts: dict[str, int]) -> Int[np.ndarray, " n"]:
    """Returns the index of each label of a shard in `texts`, which is extended; -1: no label."""
    own = np.array([*(texts.setdefault(text, len(texts)) for text in shard.texts), -1], np.int32)
    codes: np.ndarray = own[shard.labels]
    return codes


def _check(parts: Sequence[Part], wrong: set[str], classes: Sequence[str]) -> None:
    """Checks that no example has a label of `wrong`."""
    for part in parts:
        wrong_examples = []
        for file, shard in zip(part.files, part.shards, strict=True):
            wrong_texts = [i for i, text in enumerate(shard.texts) if text in wrong]
            wrong_examples += [
                (file, shard, row) for row in np.flatnonzero(np.isin(shard.labels, wrong_texts)).tolist()
            ]
        if wrong_examples:
            file, shard, row = wrong_examples[0]
            text, have = shard.texts[shard.labels[row]], counted(len(wrong_examples), "example has", "examples have")
            numbers = f"; there are {len(classes):,} classes, counted from 0"
            raise UserError(
                f"{part.where}: {have} a label that is no class, first {_name(file, shard, row)} ({text!r})"
                f"{numbers if tar_index.INTEGER.fullmatch(text) else nearest(text, classes)}"
            )


def _classes_file(shard: Stored) -> list[str]:
    """Returns the lines of a file of class names beside a shard; none where there is no such file."""
    where = f"{WHERE}.classes"
    try:
        content = storage.beside(shard, CLASSES_FILE).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{where}: {CLASSES_FILE} beside {shard.name!r} is not UTF-8") from error
    return [line for line in content.splitlines() if line.strip()]


def _kinds(shards: Sequence[Shard]) -> str:
    kinds = dict.fromkeys(kind for shard in shards for kind in shard.kinds)
    return few(list(kinds), tar_index.KINDS) or "no members"


def _check_images(examples: Examples, most: int) -> None:
    """Checks, before images are decoded, that no more than `most` examples have no image, or several."""
    rows = np.flatnonzero(np.concatenate([shard.sizes for shard in examples.shards]) < 0)
    if len(rows) > most:
        sizes = [int(examples.shards[shard].sizes[place]) for shard, place in map(examples.place, rows.tolist())]
        named = [f"{examples.name(row)} ({WHY[size]})" for row, size in zip(rows.tolist(), sizes, strict=True)]
        raise UserError(
            f"{WHERE}: {counted(len(rows), 'example')} without one image: {few(named, NAMED)}; members are "
            f"{_kinds(examples.shards)}: choose one with {WHERE}.image, or leave out up to so many examples with "
            f"{WHERE}.unreadable"
        )


def _notes(examples: Examples) -> tuple[str, ...]:
    passed_over = sum((Counter(shard.passed_over) for shard in examples.shards), Counter())
    empty = [file.name for file, shard in zip(examples.files, examples.shards, strict=True) if not len(shard.sizes)]
    said = (f"{counted(len(empty), 'shard')} without an example: {few(empty, NAMED)}",) if empty else ()
    return *said, *note(passed_over)
