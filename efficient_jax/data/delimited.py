"""Reads delimited text files (CSV), as spreadsheets and other programs write them."""

import codecs
import csv
import io
import itertools
import re
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Num

from efficient_jax.data.class_names import is_no_label, normal
from efficient_jax.errors import UserError

if TYPE_CHECKING:
    from _csv import Reader

DELIMITERS = ",;\t|"
MARKS = {  # longer ones before their own prefixes
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
SAMPLE = 20  # lines from which the delimiter is guessed
CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f]")


class Table(NamedTuple):
    """A text file whose first row names the columns."""

    path: str
    where: str  # the setting or flag that names the file
    delimiter: str
    names: tuple[str, ...]  # column names, in Unicode's form NFC
    rows: list[list[str]]  # cells, as many as `names`, without outer spaces
    lines: list[int]  # line of the file where each row begins, from 1 on
    notes: tuple[str, ...]

    def column(self, name: str) -> list[str]:
        """Returns the cells of a column.

        Args:
            name: of the column.

        Raises: KeyError where there is none of this name.
        """
        if normal(name) not in self.names:
            raise KeyError(name)
        index = self.names.index(normal(name))
        return [row[index] for row in self.rows]

    def numbers(self, name: str, dtype: type[np.number], none: str = "") -> Num[np.ndarray, " rows"]:
        """Returns a column as numbers, [rows]; also with decimal commas, which tables with other delimiters have.

        Args:
            name: of the column.
            dtype: of the numbers.
            none: replaces cells that mean unlabelled (`class_names.NO_LABEL`); "": these are errors.

        Raises: UserError naming the line of a cell that is no number; KeyError where there is no such column.
        """
        written = self.column(name)
        cells = [none if is_no_label(cell) else cell for cell in written] if none else written
        if self.delimiter != ",":
            cells = [cell.replace(",", ".") for cell in cells]
        try:
            return np.array(cells, dtype)
        except (ValueError, OverflowError) as error:
            row = next(row for row, cell in enumerate(cells) if not _is_number(cell, dtype))
            kind = "an integer" if np.issubdtype(dtype, np.integer) else "a number"
            raise UserError(f"{self.at(row, name)} {written[row]!r} is not {kind}") from error

    def at(self, row: int, name: str = "") -> str:
        """Returns where a cell or row is, as the beginning of a message.

        Args:
            row: index of the row, from 0 on.
            name: of the column; "": the whole row.
        """
        column = f", column {name!r}" if name else ""
        return f"{self.where}: line {self.lines[row]} of {self.path!r}{column}:"


def read(path: str | Path, where: str, wanted: Collection[str] = ()) -> Table:
    """Returns a table that is read from a text file.

    It is UTF-8, UTF-16 or UTF-32 with a byte order mark, else UTF-8 or Windows-1252; separated by commas, semicolons,
    tabs or vertical bars. Spaces around cells and blank rows are left out.

    Args:
        path: the file.
        where: the setting or flag that names it, for messages.
        wanted: columns that it should have, which help to guess the delimiter.

    Raises: UserError for a file that cannot be read, is not text, or has rows of other lengths than the first.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{where}: cannot read {str(path)!r}: {error.strerror}") from error
    text, notes = _text(content, str(path), where)
    delimiter = max(DELIMITERS, key=lambda candidate: _score(text, candidate, wanted))
    reader = _reader(text, delimiter)
    rows, lines, before = [], [], 0
    try:
        for cells in reader:
            stripped = [cell.strip() for cell in cells]
            if any(stripped):
                rows.append(stripped)
                lines.append(before + 1)
            before = reader.line_num
    except csv.Error as error:
        raise UserError(f"{where}: line {reader.line_num} of {str(path)!r}: {error}") from error
    names = tuple(map(normal, rows[0])) if rows else ()
    table = Table(str(path), where, delimiter, names, rows[1:], lines[1:], notes)
    for row, cells in enumerate(table.rows):
        if len(cells) != len(names):
            raise UserError(f"{table.at(row)} {len(cells)} cells, but the first row names {len(names)} columns")
    return table


def _text(content: bytes, path: str, where: str) -> tuple[str, tuple[str, ...]]:
    """Returns (the text without a byte order mark, notes)."""
    mark = next((mark for mark in MARKS if content.startswith(mark)), b"")
    encoding = MARKS.get(mark, "utf-8")
    notes: tuple[str, ...] = ()
    try:
        text = content[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        if mark:
            raise UserError(f"{where}: {path!r} begins as {encoding.upper()}, but is not ({error.reason})") from error
        try:
            text = content.decode("cp1252")
        except UnicodeDecodeError:
            text = content.decode("latin-1")  # which has a character for every byte
        notes = (f"{path} is not UTF-8: its text was read as Windows-1252",)
    if CONTROL.search(text):
        raise UserError(
            f"{where}: {path!r} is not text; want a table in UTF-8, UTF-16 with a byte order mark, or Windows-1252"
        )
    return text, notes


def _reader(text: str, delimiter: str) -> "Reader":
    return csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)


def _score(text: str, delimiter: str, wanted: Collection[str]) -> tuple[int, bool, int]:
    """Returns a score, greater for a delimiter that finds the wanted columns, rows of one length, and more columns."""
    try:
        sample = [row for row in itertools.islice(_reader(text, delimiter), SAMPLE) if any(map(str.strip, row))]
    except csv.Error:
        return 0, False, 0
    names = [normal(cell) for cell in sample[0]] if sample else []
    return len({*map(normal, wanted)} & {*names}), len(names) > 1 and len({*map(len, sample)}) == 1, len(names)


def _is_number(cell: str, dtype: type[np.number]) -> bool:
    try:
        np.array(cell, dtype)
    except (ValueError, OverflowError):
        return False
    return True
