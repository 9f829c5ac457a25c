"""Tables as text cells, and two renderers: rich for the terminal, markdown for files.

A trial record is one line of a sweep's JSONL: `{"group": str, "seed": int, "stages": {stage: {"correct": int,
"n": int}}}`, the stages in running order. Stages are compared within a seed: the same labelled split and the
same initialization differ far less than two seeds do.
"""

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from rich import box
from rich.table import Table
from rich.text import Text

from efficient_jax.errors import counted
from efficient_jax.metrics.accuracy import agreement, wilson
from efficient_jax.types import INTERVAL, Column

Record = dict[str, Any]
STAGE_HEADERS = [
    "stage",
    "parameters",
    "labels",
    "steps",
    "images seen",
]
PSEUDO_LABEL_HEADERS = ["pseudo-labels kept", "right, %"]
NOTHING: Mapping[str, Any] = MappingProxyType({})


def percent(part: int | None, whole: int, digits: int = 1) -> str:
    """Returns `part` of `whole` in percent without the sign, a dash where either is unknown or `whole` is 0.

    Args:
        part: count, 0 .. `whole`; None: unknown.
        whole: count.
        digits: decimals.
    """
    return f"{100 * part / whole:.{digits}f}" if whole and part is not None else "–"


def digits(value: float) -> str:
    """Returns a number with three significant digits, from 100 on as an integer with thousands separators.

    Args:
        value: 0 or more.
    """
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def figure(value: float | None, form: str, factor: float = 1.0) -> str:
    """Returns a formatted number, a dash where it is missing.

    Args:
        value: None (as in JSON) or NaN where it is missing.
        form: format specification, such as ".2f".
        factor: the value is multiplied by it, e.g. 100 for percent.
    """
    return "–" if value is None or np.isnan(value) else format(factor * value, form)


def accuracy(counts: Mapping[str, Any]) -> str:
    """Returns accuracy in percent with its 95% Wilson interval, a dash without images.

    Args:
        counts: "correct" and "n", number of correct predictions and of images.
    """
    if not counts["n"]:
        return "–"
    low, high = wilson(counts["correct"], counts["n"])
    return f"{percent(counts['correct'], counts['n'], 2)} [{100 * low:.2f}, {100 * high:.2f}]"


def headers(columns: Sequence[Column], figures: Mapping[str, Any] = NOTHING) -> list[str]:
    """Returns the headers of some figures of test images.

    Args:
        columns: what is shown.
        figures: of one model; from these are the names of the classes where a figure is given by class.
    """
    names = []
    for column in columns:
        if isinstance(by_class := figures.get(column.name), Mapping):
            names += [f"{name}, %" for name in by_class]
        else:
            names.append(f"test {column.header} [95% interval]" if column.form == INTERVAL else column.header)
    return names


def cells(columns: Sequence[Column], figures: Mapping[str, Any]) -> list[str]:
    """Returns the cells under `headers`, a dash for a figure that is missing.

    Args:
        columns: what is shown.
        figures: counts or metrics by name, with "correct" and "n".
    """
    texts = []
    for column in columns:
        value = figures.get(column.name)
        if column.form == INTERVAL:
            texts.append(accuracy(figures))
            continue
        if column.name == "correct":
            value = figures["correct"] / figures["n"] if figures["n"] else None
        values = value.values() if isinstance(value, Mapping) else [value]
        texts += [figure(number, column.form, column.factor) for number in values]
    return texts


def stage_headers(results: list[dict[str, Any]], columns: Sequence[Column]) -> list[str]:
    """Returns the headers above the cells of `stage_rows`.

    Args:
        results: as from `results.read_results`.
        columns: the figures of the task.
    """
    # A terminal of 80 columns has room for several figures, or for pseudo-labels where there are none.
    pseudo = PSEUDO_LABEL_HEADERS if len(columns) == 1 or _any_pseudo_labels(results) else []
    return [*STAGE_HEADERS, *pseudo, *headers(columns)]


def stage_rows(results: list[dict[str, Any]], columns: Sequence[Column]) -> list[list[str]]:
    """Returns the cells under `stage_headers`, a row per stage.

    Args:
        results: as from `results.read_results`.
        columns: the figures of the task.
    """
    rows = []
    names = stage_headers(results, columns)
    for result in results:
        if "test" not in result:
            rows.append([result["stage"], *["–"] * (len(names) - 2), "not finished"])
            continue
        counts = [f"{result[name]:,}" for name in ("parameters", "labels", "steps", "images_seen")]
        pseudo = _pseudo_labels(result["pseudo_labels"]) if PSEUDO_LABEL_HEADERS[0] in names else []
        rows.append([result["stage"], *counts, *pseudo, *cells(columns, result["test"])])
    return rows


def _any_pseudo_labels(results: list[dict[str, Any]]) -> bool:
    return any(result.get("pseudo_labels") for result in results)


def _pseudo_labels(counts: dict[str, int] | None) -> list[str]:
    """Returns the number kept, and the percentage right among those whose true label is known."""
    if not counts:
        return ["–", "–"]
    missing = counts["classes_without"]
    warning = f", {counted(missing, 'class', 'classes')} without" if missing else ""
    return [f"{counts['kept']:,}{warning}", percent(counts["right"], counts["known"])]


def stage_table(results: list[dict[str, Any]], columns: Sequence[Column]) -> Table:
    """Returns the stages of a run as a table for the terminal.

    Args:
        results: as from `results.read_results`.
        columns: the figures of the task.
    """
    return rich_table(stage_headers(results, columns), stage_rows(results, columns))


def agreement_line(results: Sequence[dict[str, Any]]) -> str:
    """Returns a sentence on how validation and test accuracy correlate over models; "" for fewer than 3 models.

    Args:
        results: results of stages; those with "validation" and "test" counts are compared.
    """
    pairs = [(result["validation"], result["test"]) for result in results if result.get("validation")]
    if not pairs:
        return ""
    validation, test = (
        np.array([counts["correct"] / counts["n"] for counts in side]) for side in zip(*pairs, strict=True)
    )
    n_validation, n_test = (counts["n"] for counts in pairs[0])
    if not (measured := agreement(validation, test, n_validation, n_test)):
        return ""
    enough = "." if measured.ceiling else ": they are too few to tell these apart."
    return (
        f"Validation and test accuracy of {measured.models}: correlation {measured.pearson:.2f} [{measured.low:.2f}, "
        f"{measured.high:.2f}], of ranks {measured.spearman:.2f}, slope {measured.slope:.2f}. "
        f"With {n_validation:,} validation and {counted(n_test, 'test image')} about {measured.ceiling:.2f} is the "
        f"most to expect{enough}"
    )


def rich_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Returns a table for the terminal whose first column is never cut.

    Args:
        headers: one per column; a long one wraps.
        rows: cells, as many as headers.
    """
    table = Table(box=box.SIMPLE, padding=0, show_edge=False)
    for i, (header, *cells) in enumerate(zip(headers, *rows, strict=True)):
        # A narrow terminal takes its width from the headers and the interval, never from a name or a count.
        header = textwrap.fill(header, max(map(len, cells), default=80), break_long_words=False)
        whole = max(len(word) for text in (header, *cells) for word in text.split())
        table.add_column(Text(header), justify="right" if i else "left", min_width=whole, no_wrap=i == 0)
    for row in rows:
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
