"""Where the images and labels of tar shards are: the headers are read once, and what they say is kept."""

import dataclasses
import hashlib
import itertools
import json
import os
import re
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int, UInt8

from efficient_jax.data.class_names import writable
from efficient_jax.data.decode import CORES
from efficient_jax.data.image_files import suffixes
from efficient_jax.data.progress_bar import watched
from efficient_jax.data.storage import Stored
from efficient_jax.data.stored_image import reason
from efficient_jax.distributed import log
from efficient_jax.errors import UserError, counted, few
from efficient_jax.files import write_npz

LAYOUT = "1"
"""Changes with the code that decides what an example is: what was kept by another is not read."""

LABEL = re.compile(r"((?:.+\.)?(?:cls|txt))|((?:.+?\.)??json)\.(.+)")
INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
USUAL = ("cls", "txt", "json.label")
NO_IMAGE, SEVERAL = -1, -2
"""In place of the size of an image: its example has none, or has several."""

PACKED = {
    b"\x1f\x8b": ("gzip", "gunzip"),
    b"BZh": ("bzip2", "bunzip2"),
    b"\xfd7zXZ": ("xz", "unxz"),
    b"\x28\xb5\x2f\xfd": ("zstd", "unzstd"),
}
READERS = max(CORES, 8)  # shards that are listed at once: of a store, the time goes to waiting
KINDS = 8  # most kinds of members that are remembered for messages


class Shard(NamedTuple):
    """The n examples of a shard, in its order; about 20 bytes for each, and its key."""

    offsets: Int[np.ndarray, " n"]  # int64, where the image begins in the shard, in bytes
    sizes: Int[np.ndarray, " n"]  # int32, bytes of the image, or NO_IMAGE, SEVERAL
    labels: Int[np.ndarray, " n"]  # int32, indices of `texts`, -1: no label
    ends: Int[np.ndarray, " n"]  # int32, where the key ends in `keys`
    keys: UInt8[np.ndarray, " bytes"]  # the keys one after the other, as UTF-8
    texts: tuple[str, ...]  # the distinct labels
    origins: tuple[str, ...]  # where labels were: "numbers in cls", "names in txt", "names in json.label"
    kinds: tuple[str, ...]  # the first few kinds of members: jpg, cls, ...
    passed_over: dict[str, int]  # reason -> number of members that belong to no example

    def key(self, row: int) -> str:
        """Returns the key of an example: what the names of its members begin with.

        Args:
            row: its index in the shard.
        """
        start = self.ends[row - 1] if row else 0
        return self.keys[start : self.ends[row]].tobytes().decode()


def shards(files: Sequence[Stored], image: str, label: str | None, folder: Path | None, where: str) -> list[Shard]:
    """Returns what is in each of some shards.

    What was listed is kept in `folder`, one file for each shard, as soon as it is known.

    Args:
        files: the shards.
        image: kind of the members that hold images, such as "jpg"; "": every kind that is an image.
        label: kind of the members that hold labels: "cls", "txt" or "json.FIELD"; "": the first of `USUAL` that an
            example has; None: labels are not read.
        folder: where the index is kept; None: it is not.
        where: the setting that names the shards, for messages.

    Raises: UserError for shards that are damaged, and for labels that cannot be read.
    """

    def listed(file: Stored) -> Shard | str:
        table = folder / f"{_key(file, image, label)}.shard.npz" if folder else None
        if table and (kept := _kept(table, file)):
            return kept
        try:
            with file.open() as opened:
                shard = read(opened, file.size, image, label)
        except Exception as error:  # damaged headers make tarfile raise anything, and so may a store
            return reason(error) if not isinstance(error, ValueError) else str(error)
        if table:
            _keep(table, file, shard)
        return shard

    with ThreadPoolExecutor(READERS) as pool:
        listings = list(watched(pool.map(listed, files), "listing shards", 1, len(files)))
    failed = [f"{file.name!r} {why}" for file, why in zip(files, listings, strict=True) if isinstance(why, str)]
    if failed:
        raise UserError(f"{where}: {len(failed):,} of {counted(len(files), 'shard')} cannot be used: {few(failed)}")
    return [shard for shard in listings if isinstance(shard, Shard)]


def read(file: Any, size: int, image: str, label: str | None) -> Shard:
    """Returns what is in a shard; of its content, only headers and labels are read.

    Consecutive members whose names are equal up to the first dot of the file name are one example. Hidden files, and
    members that are no files, belong to none.

    Args:
        file: the shard, open for reading in binary mode.
        size: of the shard, in bytes.
        image: as for `shards`.
        label: as for `shards`.

    Raises: ValueError for a shard that is compressed, damaged, cut, or has members of an example apart, and for labels
    that cannot be read.
    """
    head, image = file.read(6), image.lower().lstrip(".")
    for magic, (name, tool) in PACKED.items():
        if head.startswith(magic):
            raise ValueError(f"is compressed ({name}), but images are read from its middle: decompress it with {tool}")
    if not head:
        raise ValueError("is empty, 0 bytes: copy it again")
    file.seek(0)
    about = _About()
    offsets, sizes, labels, keys = [], [], [], dict[str, None]()
    apart, wrong, texts, origins = [], [], dict[str, int](), dict[str, None]()
    for key, members in itertools.groupby(_members(file, size, label, about), lambda member: member.key):
        example = list(members)
        images = [member for member in example if _is_image(member.kind, image)]
        offsets.append(images[0].offset if images else example[0].offset)
        sizes.append(images[0].size if len(images) == 1 else SEVERAL if images else NO_IMAGE)
        try:
            text, origin = _label({member.kind: member.content for member in example}, label)
        except ValueError as error:
            wrong.append(f"{key} ({error})")
        else:
            labels.append(-1 if text is None else texts.setdefault(text, len(texts)))
            origins |= {origin: None} if text else {}
        if key in keys:
            apart.append(key)
        keys[key] = None
    _check_end(file, about.end, size, about.count)
    if apart:
        raise ValueError(
            f"has members of {counted(len(apart), 'example')} apart from each other: {few(apart)}; pack those of an "
            "example side by side, such as with tar --sort=name"
        )
    if wrong:
        raise ValueError(f"has {counted(len(wrong), 'label')} that cannot be read: {few(wrong)}")
    encoded = [key.encode() for key in keys]
    return Shard(
        offsets=np.array(offsets, np.int64),
        sizes=np.array(sizes, np.int32),
        labels=np.array(labels, np.int32),
        ends=np.cumsum([*map(len, encoded)], dtype=np.int32),
        keys=np.frombuffer(b"".join(encoded), np.uint8),
        texts=tuple(texts),
        origins=tuple(origins),
        kinds=tuple(about.kinds)[:KINDS],
        passed_over=dict(about.passed_over),
    )


def parts_of(label: str) -> tuple[str, str]:
    """Returns where a label is: (the kind of the member; the field in its JSON, or "").

    Args:
        label: "cls", "txt" or "json.FIELD", each also with the rest of a longer ending before it: "left.cls".

    Raises: UserError for another one.
    """
    if not (match := LABEL.fullmatch(label)):
        raise UserError(f"config.data.source.label: {label!r}; want cls, txt or json.FIELD, such as json.label")
    return match[1] or match[2], match[3] or ""


class _Member(NamedTuple):
    key: str
    kind: str  # what follows the first dot of the file name, in lower case
    offset: int
    size: int
    content: bytes | None  # of what may hold a label


@dataclasses.dataclass
class _About:
    """What is known after the last member of a shard was read."""

    end: int = 0  # where the next header would be, in bytes
    count: int = 0  # of members
    passed_over: Counter[str] = dataclasses.field(default_factory=Counter)
    kinds: dict[str, None] = dataclasses.field(default_factory=dict)


def _members(file: Any, size: int, label: str | None, about: _About) -> Iterator[_Member]:
    """Yields the members that belong to examples."""
    wanted = {parts_of(each)[0] for each in _places(label)}
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            while member := archive.next():
                archive.members.clear()  # type: ignore[attr-defined]  # else all stay in memory
                about.count += 1
                if not 0 <= member.size <= size - member.offset_data:
                    raise ValueError(f"is cut within member {about.count:,}, {member.name!r}: copy it again")
                folder, slash, base = member.name.rpartition("/")
                stem, _, kind = base.partition(".")
                kind = kind.lower()
                if not member.isreg() or member.issparse():
                    about.passed_over["no plain files"] += not member.isdir()
                elif not stem:
                    about.passed_over["hidden"] += 1
                else:
                    about.kinds[kind] = None
                    content = None
                    if kind in wanted:
                        file.seek(member.offset_data)
                        content = file.read(member.size)
                    yield _Member(writable(folder + slash + stem), kind, member.offset_data, member.size, content)
            about.end = archive.offset
    except tarfile.TarError as error:
        after = counted(about.count, "member")
        raise ValueError(f"is no tar file, or is damaged or cut after {after} ({error})") from error


def _is_image(kind: str, image: str) -> bool:
    return kind == image if image else f".{kind.rpartition('.')[2]}" in suffixes()


def _places(label: str | None) -> tuple[str, ...]:
    """Returns where a label may be, in order."""
    return () if label is None else (label,) if label else USUAL


def _label(contents: dict[str, bytes | None], label: str | None) -> tuple[str | None, str]:
    """Returns (the label of an example as text, None: it has none; what that was read from)."""
    for each in _places(label):
        kind, field = parts_of(each)
        if (content := contents.get(kind)) is None:
            continue
        try:
            text = content.decode("utf-8-sig").strip()
            value = json.loads(text).get(field) if field else text
        except (ValueError, AttributeError, RecursionError) as error:
            raise ValueError(f"{kind}: {'no JSON object' if field else 'no UTF-8'}") from error
        if value is None or value == "":
            continue
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if not isinstance(value, str | int):
            raise ValueError(f"{each}: {json.dumps(value)[:40]}, no number and no name")
        if kind.endswith("cls") and not INTEGER.fullmatch(text):
            raise ValueError(f"{kind}: {text[:40]!r}, no integer; names belong into txt")
        number = kind.endswith("cls") or type(value) is int
        return str(value), f"{'numbers' if number else 'names'} in {each}"
    return None, ""


def _check_end(file: Any, end: int, size: int, count: int) -> None:
    """Checks that a shard ends where its members do: tarfile stops at a damaged header as if it were the end."""
    if end >= size:
        raise ValueError(
            f"has no end mark after {counted(count, 'member')}, as if cut there: copy it again, or if it is complete "
            "add 1,024 zero bytes"
        )
    if size - end < tarfile.BLOCKSIZE:
        raise ValueError(f"is cut in the header after {counted(count, 'member')}: copy it again")
    file.seek(end)
    position = end
    while block := file.read(2**16):
        if any(block):
            what = (
                "is damaged at" if position == end and any(block[: tarfile.BLOCKSIZE]) else "goes on after its end at"
            )
            raise ValueError(f"{what} byte {position:,}, after {counted(count, 'member')}: pack it again")
        position += len(block)


def _key(file: Stored, image: str, label: str | None) -> str:
    name = os.path.abspath(file.name) if file.store is None else file.name
    return hashlib.sha256(f"{LAYOUT} {image} {label} {name}".encode()).hexdigest()[:16]


def _keep(table: Path, file: Stored, shard: Shard) -> None:
    arrays = {name: value for name, value in shard._asdict().items() if isinstance(value, np.ndarray)}
    about = {name: value for name, value in shard._asdict().items() if name not in arrays}
    try:
        table.parent.mkdir(parents=True, exist_ok=True)
        write_npz(table, arrays | {"about": np.array(json.dumps([file.size, file.state, about]))})
    except OSError as error:
        log(f"the index of {file.name} is not kept in {table.parent}: {error.strerror}")


def _kept(table: Path, file: Stored) -> Shard | None:
    if not table.is_file():
        return None
    try:
        with table.open("rb") as opened, np.load(opened) as arrays:
            size, state, about = json.loads(str(arrays["about"]))
            if (size, state) != (file.size, file.state):
                log(f"{file.name} has changed since it was listed: it is listed again")
                return None
            known = {name: tuple(value) if isinstance(value, list) else value for name, value in about.items()}
            return Shard._make(known[name] if name in known else arrays[name] for name in Shard._fields)
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error):
        return None
