"""Tables as text cells, and two renderers: rich for the terminal, markdown for files.

A trial record is one line of a sweep's JSONL: `{"group": str, "seed": int, "stages": {stage: {"correct": int,
"n": int}}}`, the stages in running order. Stages are compared within a seed: the same labelled split and the
same initialization differ far less than two seeds do.
"""

import difflib
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from rich import box
from rich.table import Table
from rich.text import Text

from efficient_jax.errors import UserError, counted
from efficient_jax.metrics.accuracy import agreement, paired_difference, wilson

Record = dict[str, Any]

STAGE_HEADERS = [
    "stage",
    "parameters",
    "labels",
    "steps",
    "images seen",
    "pseudo-labels kept",
    "right, %",
    "test accuracy, % [95% interval]",
]
SEVERAL_LABELS = {"mean_average_precision": "mAP, %", "micro_f1": "micro F1, %", "macro_f1": "macro F1, %"}
SWEEP_HEADERS = ["group", "stage", "seeds", "accuracy, %", "compared with", "points [95% interval]", "pairs"]


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


def has_several_labels(result: dict[str, Any]) -> bool:
    """Returns whether each image has any number of labels; "correct" then counts images with all labels right.

    Args:
        result: result.json of a stage.
    """
    return "mean_average_precision" in result.get("test", {})


def stage_headers(results: list[dict[str, Any]]) -> list[str]:
    """Returns the headers above the cells of `stage_rows`.

    Args:
        results: as from `results.read_results`.
    """
    if not any(map(has_several_labels, results)):
        return STAGE_HEADERS
    # A terminal of 80 columns has room for pseudo-labels only where there are any.
    pseudo = STAGE_HEADERS[5:7] if _any_pseudo_labels(results) else []
    return [*STAGE_HEADERS[:5], *pseudo, "all labels right, % [95% interval]", *SEVERAL_LABELS.values()]


def several_labels(counts: Mapping[str, Any]) -> list[str]:
    """Returns the cells under `SEVERAL_LABELS`.

    Args:
        counts: metrics of one split, 0..1, by the names in `SEVERAL_LABELS`.
    """
    return [f"{100 * counts[name]:.2f}" for name in SEVERAL_LABELS]


def stage_rows(results: list[dict[str, Any]]) -> list[list[str]]:
    """Returns the cells under `stage_headers`, a row per stage.

    Args:
        results: as from `results.read_results`.
    """
    rows = []
    width = len(stage_headers(results))
    for result in results:
        if "test" not in result:
            rows.append([result["stage"], *["–"] * (width - 2), "not finished"])
            continue
        counts = [f"{result[name]:,}" for name in ("parameters", "labels", "updates", "images_seen")]
        pseudo = _pseudo_labels(result["pseudo_labels"])
        several = []
        if has_several_labels(result):
            pseudo = pseudo if _any_pseudo_labels(results) else []
            several = several_labels(result["test"])
        rows.append([result["stage"], *counts, *pseudo, accuracy(result["test"]), *several])
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


def stage_table(results: list[dict[str, Any]]) -> Table:
    """Returns the stages of a run as a table for the terminal.

    Args:
        results: as from `results.read_results`.
    """
    return rich_table(stage_headers(results), stage_rows(results))


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


class Difference(NamedTuple):
    """Accuracy of one stage minus another's in percentage points, over the seeds that have both.

    `mean` is NaN without a pair; `low` and `high` (95% t interval) are NaN below two pairs.
    """

    mean: float
    low: float
    high: float
    pairs: list[int]  # seeds
    unpaired: list[Any]  # seeds, or (seed, fold)


def by_seed(records: Iterable[Record], group: str, stage: str) -> dict[int | tuple[int, int], float]:
    """Returns the accuracy of a stage for each seed of a group.

    Args:
        records: trial records, see the module.
        group: name of the group.
        stage: name of the stage.

    Returns:
        seed, or (seed, fold) in a sweep over folds -> accuracy in percent.

    Raises:
        UserError: two records have the same seed and fold.
    """
    accuracies: dict[int | tuple[int, int], float] = {}
    for record in records:
        counts = record["stages"].get(stage)
        if record["group"] != group or counts is None:
            continue
        run = (record["seed"], record["fold"]) if "fold" in record else record["seed"]
        if run in accuracies:
            raise UserError(f"seed {record['seed']} of {group!r} is recorded twice: delete one of the two lines")
        accuracies[run] = 100 * counts["correct"] / counts["n"]
    return accuracies


def differences(records: Sequence[Record], a: tuple[str, str], b: tuple[str, str]) -> Difference:
    """Returns accuracy of `a` minus accuracy of `b`, paired by seed.

    Folds of one seed share most of their training images, so their mean counts as one value.

    Args:
        records: trial records, see the module.
        a: (group, stage).
        b: (group, stage), possibly of another group.

    Raises:
        UserError: no record has `a` or `b`, or two records have the same seed and fold.
    """
    for chosen in (a, b):
        known = {(record["group"], stage) for record in records for stage in record["stages"]}
        if chosen not in known:
            near = difflib.get_close_matches(" / ".join(chosen), [" / ".join(pair) for pair in known], 1, 0.0)
            raise UserError(f"no record of {' / '.join(chosen)}; the nearest is {' '.join(near) or 'none'}")
    first, second = by_seed(records, *a), by_seed(records, *b)
    both, unpaired = first.keys() & second.keys(), sorted(first.keys() ^ second.keys())
    one, other = (_mean_over_folds({run: runs[run] for run in both}) for runs in (first, second))
    pairs = sorted(one)
    if len(pairs) < 2:
        mean = one[pairs[0]] - other[pairs[0]] if pairs else float("nan")
        return Difference(mean, float("nan"), float("nan"), pairs, unpaired)
    first_paired, second_paired = (np.array([seeds[seed] for seed in pairs]) for seeds in (one, other))
    mean, low, high = paired_difference(first_paired, second_paired)
    return Difference(mean, low, high, pairs, unpaired)


def _mean_over_folds(accuracies: Mapping[Any, float]) -> dict[int, float]:
    folds: dict[int, list[float]] = {}
    for run, accuracy in accuracies.items():
        folds.setdefault(run[0] if isinstance(run, tuple) else run, []).append(accuracy)
    return {seed: sum(values) / len(values) for seed, values in folds.items()}


def difference_cells(difference: Difference) -> list[str]:
    """Returns two cells: points with 95% interval, and the number of pairs with the seeds that were left out.

    Args:
        difference: as from `differences`.
    """
    count = len(difference.pairs)
    interval = f"[{difference.low:+.2f}, {difference.high:+.2f}]" if count > 1 else "[no interval]"
    points = f"{difference.mean:+.2f} {interval}" if count else "–"
    left_out = f" (unpaired, left out: seeds {', '.join(map(str, difference.unpaired))})"
    return [points, f"{count}{left_out if difference.unpaired else ''}"]


def sweep_rows(records: Sequence[Record], baseline: str | None = None) -> list[list[str]]:
    """Returns the cells under `SWEEP_HEADERS`, groups and stages in order of first appearance.

    Args:
        records: trial records, see the module.
        baseline: name of the stage of the same group with which each stage is compared; None: the stage before it.

    Raises:
        UserError: two records of a group have the same seed and fold, or a group lacks the baseline.
    """
    rows = []
    for group in dict.fromkeys(record["group"] for record in records):
        stages = list(dict.fromkeys(s for record in records if record["group"] == group for s in record["stages"]))
        for previous, stage in zip([None, *stages], stages, strict=False):
            accuracies = by_seed(records, group, stage).values()
            mean = sum(accuracies) / len(accuracies)
            other = baseline or previous
            compared = ["–"] * 3
            if other is not None and other != stage:
                compared = [other, *difference_cells(differences(records, (group, stage), (group, other)))]
            rows.append([group, stage, str(len(accuracies)), f"{mean:.2f}", *compared])
    return rows


FOLD_HEADERS = ["group", "stage", "seed", "accuracy of each fold, %", "mean, %", "standard deviation"]


def fold_rows(records: Sequence[Record]) -> list[list[str]]:
    """Returns the cells under `FOLD_HEADERS`, none for a sweep without folds; the mean is over the folds that ran.

    Args:
        records: trial records, see the module.
    """
    runs = dict.fromkeys((r["group"], stage, r["seed"]) for r in records if "fold" in r for stage in r["stages"])
    rows = []
    for group, stage, seed in runs:
        of_seed = [record for record in records if record["seed"] == seed]
        accuracies = [value for _, value in sorted(by_seed(of_seed, group, stage).items())]
        spread = f"{np.std(accuracies, ddof=1):.2f}" if len(accuracies) > 1 else "–"
        rows.append(
            [group, stage, str(seed), " ".join(f"{v:.1f}" for v in accuracies), f"{np.mean(accuracies):.2f}", spread]
        )
    return rows


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
