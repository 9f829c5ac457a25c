"""Keeps answers on disk: a log that is only appended to, and the table of labels that follows from it."""

import contextlib
import datetime
import json
import os
import shutil
import threading
import uuid
from bisect import insort
from collections.abc import Collection, Iterator
from pathlib import Path

from efficient_jax import files
from efficient_jax.data.dataset import FIXED
from efficient_jax.errors import UserError
from efficient_jax.labelling import tables
from efficient_jax.labelling.answers import Answers, Event, event

try:
    import fcntl
except ImportError:  # Windows, where one process at a time can label
    fcntl = None  # type: ignore[assignment]

VERSION = 1
BINARY = getattr(os, "O_BINARY", 0)  # Windows
LOG = ".jsonl"  # suffix of the log, which lies beside the table


def now() -> str:
    """Returns the time in UTC, ISO 8601 with microseconds."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds")


class Store:
    """The answers to the images of one folder, on disk.

    Every event is a line of the log, written and synchronised before `add` returns; then the table is replaced as a
    whole. Threads and processes take turns, and each reads what the others have added.

    Args:
        table: the table of labels; its log has the suffix `LOG`.
        several: whether an image can have several labels; the log of an earlier run must agree.
        images: names of the images; answers to none of these are those of another folder. None: of any.
        where: the flag that names the table, for messages.

    Raises: UserError where either file cannot be written or holds something else.
    """

    def __init__(self, table: Path, several: bool, images: Collection[str] | None = None, where: str = "--out") -> None:
        self.table, self.log, self.several = table, table.with_suffix(LOG), several
        self.answers = Answers()
        self._rows: dict[str, str] = {}  # file -> its line of the table
        self._sorted: list[str] = []  # keys of `_rows`
        self._header: list[str] = []
        self._read, self._where, self._mutex = 0, where, threading.RLock()
        try:
            table.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(self.log, os.O_RDWR | os.O_CREAT | os.O_APPEND | BINARY, 0o644)
            with self._turn():
                self._begin()
                self._catch_up()
                if not self._read:
                    raise UserError(f"{where}: {str(self.log)!r} is no log of the labelling page; give another --out")
                self._append(b"")  # ends the line that a killed process has left
                self._catch_up()
                self._take_edits(images)
                self._write_table()
        except OSError as error:
            raise UserError(f"{where}: cannot write {error.filename or str(table)!r}: {error.strerror}") from error

    def add(self, *events: Event) -> None:
        """Adds events: on disk when this returns.

        Args:
            *events: in order; those whose id is in the log already are left out.

        Raises: OSError where they cannot be written; the log is then as it was.
        """
        with self._turn():
            self._catch_up()
            self._append(b"".join(_line(each) for each in events if each.id not in self.answers.seen))
            self._catch_up()
            self._write_table()

    def catch_up(self) -> None:
        """Reads what other processes have added."""
        if os.fstat(self._descriptor).st_size != self._read:
            with self._turn():
                self._catch_up()

    def close(self) -> None:
        """Closes the log."""
        os.close(self._descriptor)

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        with self._mutex:
            if fcntl:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            try:
                yield
            finally:
                if fcntl:
                    fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def _begin(self) -> None:
        """Writes the first line of the log, where it is not there or only in part."""
        line = files.json_text({"version": VERSION, "several": self.several}).encode() + b"\n"
        written = self._bytes(0, len(line))
        if written != line and line.startswith(written):
            os.ftruncate(self._descriptor, 0)
            self._append(line)
            _synchronise(self.table.parent)

    def _append(self, content: bytes) -> None:
        end = os.fstat(self._descriptor).st_size
        if end > self._read:  # a killed process has left a part of a line, which then stands alone
            content = b"\n" + content
        if not content:
            return
        try:
            written = 0
            while written < len(content):
                written += os.write(self._descriptor, content[written:])
            os.fsync(self._descriptor)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, end)
            raise

    def _catch_up(self) -> None:
        """Applies the complete lines of the log that are not yet read."""
        size = os.fstat(self._descriptor).st_size
        if size < self._read:
            raise UserError(f"{self._where}: {str(self.log)!r} became shorter while it was in use")
        for line in self._bytes(self._read, size).split(b"\n")[:-1]:
            where = f"{self._where}: byte {self._read} of {str(self.log)!r}"
            first = self._read == 0
            self._read += len(line) + 1
            try:
                record = json.loads(line)
            except ValueError as error:
                if first:
                    raise UserError(f"{where} is no log of the labelling page; give another --out") from error
                continue  # the part of a line that a killed process left
            if first:
                self._check(record)
            elif file := self.answers.apply(event(record, where)):
                self._changed(file)

    def _bytes(self, start: int, end: int) -> bytes:
        os.lseek(self._descriptor, start, os.SEEK_SET)  # where lines are added does not depend on it
        content = b""
        while part := os.read(self._descriptor, end - start - len(content)):
            content += part
        return content

    def _check(self, record: object) -> None:
        if not isinstance(record, dict) or record.get("version") != VERSION:
            raise UserError(
                f"{self._where}: {str(self.log)!r} is no log of this version of the labelling page; give another --out"
            )
        if record["several"] != self.several:
            one, many = "one label for each image", "several labels for an image"
            raise UserError(
                f"{self._where}: {str(self.log)!r} has {many if record['several'] else one}; "
                f"{'add' if record['several'] else 'leave out'} --several, or give another --out"
            )

    def _changed(self, file: str) -> None:
        line = tables.row(file, self.answers, self.several)
        if line and file not in self._rows:
            insort(self._sorted, file)
        elif not line and file in self._rows:
            self._sorted.remove(file)
            del self._rows[file]
        if line:
            self._rows[file] = line

    def _take_edits(self, images: Collection[str] | None) -> None:
        """Adds what somebody else has written into the table since it was written."""
        there = self.table.exists() and self.table.stat().st_size
        rows, columns = tables.read(str(self.table), self._where, self.several) if there else ([], [])
        known = {*self.answers.outcomes, *(row.file for row in rows)}
        if images is not None and known and known.isdisjoint(images):
            raise UserError(f"{self._where}: {str(self.table)!r} has the labels of other images; give another --out")
        if not there:
            return
        classes = tables.classes_of(columns) if self.several else []
        if columns != tables.header(classes, self.several):  # what else it has is lost when it is written
            shutil.copy2(self.table, self.table.with_suffix(f".before{self.table.suffix}"))
        events = [self._event("class", labels=(name,)) for name in classes if name not in self.answers.classes]
        for row in rows:
            if row.part in FIXED and row.file not in self.answers.parts:
                events.append(self._event("part", file=row.file, labels=(row.part,)))
            outcome = self.answers.outcomes.get(row.file)
            # Labels of a row have the order of the columns, those of an answer any order.
            if {*row.labels} == {*(outcome.labels if outcome else ())} and (
                not row.none or (outcome and outcome.kind == "none")
            ):
                continue
            if row.time in self.answers.times.get(row.file, ()) and (not outcome or row.time != outcome.time):
                continue  # of before the last answer or undo: the process was killed before it replaced the table
            if row.labels or row.none:
                who = row.who if not outcome and row.who else self.table.name
                events.append(self._event("label" if row.labels else "none", who, row.file, row.labels))
            else:  # the label was emptied
                events += [self._event("undo", of=each.id) for each in self.answers.of(row.file)]
        if events:
            self._append(b"".join(map(_line, events)))
            self._catch_up()

    def _event(self, kind: str, who: str = "", file: str = "", labels: tuple[str, ...] = (), of: str = "") -> Event:
        return Event(uuid.uuid4().hex, now(), who or self.table.name, "", kind, file, labels, of)

    def _write_table(self) -> None:
        header = tables.header(self.answers.classes, self.several)
        if self.several and header != self._header:  # every row has a column for each class
            for file in self._sorted:
                self._rows[file] = tables.row(file, self.answers, True)
        self._header = header
        lines = [files.csv_text(header, []), *map(self._rows.__getitem__, self._sorted)]
        files.write_text(self.table, "".join(lines))


def _line(event: Event) -> bytes:
    return files.json_text(event.record()).encode() + b"\n"


def _synchronise(folder: Path) -> None:
    """Makes sure that the name of a new file is on disk."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
