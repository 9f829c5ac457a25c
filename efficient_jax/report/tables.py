"""Tables as text cells; `layout` renders them.

Stages of a sweep are compared within a seed: the same labelled split and the same initialization differ far less than
two seeds do.
"""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NotRequired, Required, TypedDict

import numpy as np
from rich.console import Group

from efficient_jax.errors import counted
from efficient_jax.metrics.accuracy import agreement, wilson
from efficient_jax.metrics.agreement import Paired
from efficient_jax.report import layout
from efficient_jax.report.results import StageResult
from efficient_jax.types import INTERVAL, Column


class SweptStage(TypedDict, total=False):
    """A stage or a vote of a trial: what its result.json says, with the counts of the sweep's split beside."""

    correct: Required[int]
    n: Required[int]
    score: float  # in place of the share of correct images, where a task has another figure
    test: Mapping[str, Any]
    validation: Mapping[str, Any] | None
    negative_log_likelihood: float
    calibration_error: float
    members: int  # of a vote


class Record(TypedDict):
    """A trial that did not fail, a line of a sweep's JSONL."""

    id: NotRequired[str]
    group: str
    seed: int
    figure: NotRequired[str]  # header of the score
    fold: NotRequired[int]
    folds: NotRequired[int]
    stages: dict[str, SweptStage]  # in running order


Titled = tuple[str, Sequence[str], Sequence[Sequence[str]]]
"""(title, headers, rows) of a table; a title alone has no headers and no rows."""

STAGE_HEADERS = [
    "stage",
    "parameters",
    "labels",
    "steps",
    "images seen",
]
PSEUDO_LABEL_HEADERS = ["pseudo-labels kept", "right, %"]
NOTHING: Mapping[str, Any] = MappingProxyType({})
PAIRED_HEADERS = ["stage", "compared with", "points", "won", "lost", "p"]
ACCURACY = Column("correct", "accuracy, %", INTERVAL)
"""The figure of a run whose run.json names no other."""
BEST_LEGEND = "*: the best of these stages on the test images; chosen by them, it is a little too good."


def percent(part: float | None, whole: int, digits: int = 1) -> str:
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


def p_value(p: float) -> str:
    """Returns a p-value with three decimals, or that it is below.

    Args:
        p: 0..1.
    """
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def accuracy(counts: Mapping[str, Any]) -> str:
    """Returns accuracy in percent with its 95% Wilson interval, a dash without images.

    Args:
        counts: "correct" and "n", number of correct predictions and of images.
    """
    if not counts["n"]:
        return "–"
    low, high = wilson(counts["correct"], counts["n"])
    return f"{percent(counts['correct'], counts['n'], 2)} [{100 * low:.2f}, {100 * high:.2f}]"


def value(column: Column, figures: Mapping[str, Any]) -> Any:
    """Returns a figure: a number, None where it is missing, or class -> number.

    Args:
        column: which one; "correct" is the share of "n".
        figures: counts or metrics by name.
    """
    if column.name == "correct":
        return figures["correct"] / figures["n"] if figures["n"] else None
    return figures.get(column.name)


def with_interval(column: Column, figures: Mapping[str, Any]) -> str:
    """Returns a share in percent with its 95% interval: Wilson's of "correct", that in `figures` of any other.

    Args:
        column: which share.
        figures: counts or metrics by name; the interval of "x", if it is known, is "x_interval", [low, high] in 0..1.
    """
    if column.name == "correct":
        return accuracy(figures)
    limits = figures.get(f"{column.name}_interval")
    brackets = f" [{100 * limits[0]:.2f}, {100 * limits[1]:.2f}]" if limits else ""
    return figure(figures.get(column.name), ".2f", 100) + brackets


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
        if column.form == INTERVAL:
            texts.append(with_interval(column, figures))
            continue
        shown = value(column, figures)
        values = shown.values() if isinstance(shown, Mapping) else [shown]
        texts += [figure(number, column.form, column.factor) for number in values]
    return texts


def stage_headers(results: Sequence[StageResult], columns: Sequence[Column]) -> list[str]:
    """Returns the headers above the cells of `stage_rows`.

    Args:
        results: as from `results.read_results`.
        columns: the figures of the task.
    """
    # A terminal of 80 columns has room for several figures, or for pseudo-labels where there are none.
    pseudo = PSEUDO_LABEL_HEADERS if len(columns) == 1 or _any_pseudo_labels(results) else []
    return [*STAGE_HEADERS, *pseudo, *headers(columns)]


def stage_rows(results: Sequence[StageResult], columns: Sequence[Column]) -> list[list[str]]:
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
        numbers = (result["parameters"], result["labels"], result["steps"], result["images_seen"])
        counts = [f"{number:,}" for number in numbers]
        pseudo = _pseudo_labels(result["pseudo_labels"]) if PSEUDO_LABEL_HEADERS[0] in names else []
        rows.append([result["stage"], *counts, *pseudo, *cells(columns, result["test"])])
    return rows


def _any_pseudo_labels(results: Sequence[StageResult]) -> bool:
    return any(result.get("pseudo_labels") for result in results)


def _pseudo_labels(counts: dict[str, int] | None) -> list[str]:
    """Returns the number kept, and the percentage right among those whose true label is known."""
    if not counts:
        return ["–", "–"]
    missing = counts["classes_without"]
    warning = f", {counted(missing, 'class', 'classes')} without" if missing else ""
    return [f"{counts['kept']:,}{warning}", percent(counts["right"], counts["known"])]


def stage_table(results: Sequence[StageResult], columns: Sequence[Column]) -> Group:
    """Returns the stages of a run as a table for the terminal, without columns in which there is nothing.

    The best of several stages has an asterisk, see `BEST_LEGEND`.

    Args:
        results: as from `results.read_results`.
        columns: the figures of the task.
    """
    rows = [
        [f"{row[0]} *" if i == best(results, columns[0]) else row[0], *row[1:]]
        for i, row in enumerate(stage_rows(results, columns))
    ]
    return layout.rich_table(*filled(stage_headers(results, columns), rows))


def filled(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> tuple[list[str], list[list[str]]]:
    """Returns a table without the columns in which there is nothing but dashes.

    Args:
        headers: one per column.
        rows: cells, as many as headers.
    """
    kept = [i for i in range(len(headers)) if not rows or any(row[i] != "–" for row in rows)]
    return [headers[i] for i in kept], [[row[i] for i in kept] for row in rows]


def best(results: Sequence[StageResult], column: Column) -> int | None:
    """Returns the index of the stage with the highest figure of the test images; None if one is alone.

    Args:
        results: as from `results.read_results`; of equal stages the first is the best.
        column: the figure.
    """
    tested = {i: value(column, result["test"]) for i, result in enumerate(results) if "test" in result}
    known = {i: number for i, number in tested.items() if number is not None}
    return max(known, key=lambda i: known[i]) if len(known) > 1 else None


def pair_cells(pair: Paired) -> tuple[str, str, str, str]:
    """Returns the cells of a paired comparison: the difference in points, images won, images lost, and p.

    Args:
        pair: the comparison.
    """
    points = 100 * pair.get("difference", (pair["won"] - pair["lost"]) / pair["n"])
    return f"{points:+.2f}", f"{pair['won']:,}", f"{pair['lost']:,}", p_value(pair["p"])


def paired_rows(results: Iterable[StageResult]) -> list[list[str]]:
    """Returns the cells under `PAIRED_HEADERS`, a row for each stage and each of its teachers and starts.

    Args:
        results: as from `results.read_results`; the entry "compared" is what is shown.
    """
    return [
        [result["stage"], pair["stage"], *pair_cells(pair)] for result in results for pair in result.get("compared", ())
    ]


def agreement_line(results: Sequence[StageResult | SweptStage]) -> str:
    """Returns a sentence on how validation and test accuracy correlate over models; "" for fewer than 3 models.

    There is none for classes of pixels and for boxes, which are not counted in images.

    Args:
        results: results of stages; those with "validation" and "test" counts are compared.
    """
    pairs = [(chosen_by, result["test"]) for result in results if (chosen_by := result.get("validation"))]
    if not pairs or "correct" not in pairs[0][1] or "mean_iou" in pairs[0][1]:
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
