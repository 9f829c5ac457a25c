"""Tables of text cells, laid out for the terminal and as markdown."""

import shutil
import textwrap
from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text


def rich_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> Group:
    """Returns a table for the terminal in which nothing is cut: what is too wide wraps, or follows in a second table.

    Args:
        headers: one per column; a long one wraps.
        rows: cells, as many as headers.
    """
    columns = list(zip(headers, *rows, strict=True))
    least = [_least(column, i == 0) for i, column in enumerate(columns)]
    width, parts = shutil.get_terminal_size().columns, [[0]]
    for i in range(1, len(columns)):
        if len(parts[-1]) > 1 and sum(least[k] + 1 for k in parts[-1]) + least[i] > width:
            parts.append([0])
        parts[-1].append(i)
    return Group(*(_fitting_table([columns[i] for i in part], [least[i] for i in part], width) for part in parts))


def _least(column: Sequence[str], is_name: bool) -> int:
    """Returns the least width of a column: names stay whole, other cells wrap between words, headers at hyphens too."""
    header, *cells = column
    words = [*header.replace("-", "- ").split(), *(cells if is_name else (word for c in cells for word in c.split()))]
    return max(map(len, words), default=1)


def _fitting_table(columns: Sequence[Sequence[str]], widths: list[int], width: int) -> Table:
    """Returns a table of columns with at least these widths; what is left of `width` keeps intervals whole first."""
    spare = width - sum(widths) - len(widths) + 1
    order = sorted(range(len(columns)), key=lambda i: not any("[" in cell for cell in columns[i][1:]))
    for i in order:
        wanted = max(map(len, columns[i][1:]), default=len(columns[i][0])) - widths[i]
        given = min(max(wanted, 0), max(spare, 0))
        widths[i], spare = widths[i] + given, spare - given
    table = Table(box=box.SIMPLE, padding=0, show_edge=False)
    for i, (header, *_) in enumerate(columns):
        wrapped = textwrap.fill(header, widths[i], break_long_words=False)
        table.add_column(Text(wrapped), justify="right" if i else "left", width=widths[i], no_wrap=i == 0)
    for row in zip(*(cells for _, *cells in columns), strict=True):
        table.add_row(*map(Text, row))  # Text: a stage called [red] is not markup
    return table


def pairs(rows: Iterable[tuple[str, str]]) -> Table:
    """Returns a table of names and descriptions for the terminal; descriptions wrap.

    Args:
        rows: (name, description).
    """
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, value in rows:
        table.add_row(Text(name), Text(value))
    return table


def markdown(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns a markdown table that ends in a newline; bars are escaped, newlines become spaces.

    Args:
        headers: one per column.
        rows: cells, as many as headers.
    """

    def line(cells: Iterable[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

    return "\n".join([line(headers), line("---" for _ in headers), *map(line, rows)]) + "\n"
