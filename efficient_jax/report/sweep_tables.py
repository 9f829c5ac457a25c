"""The tables of a sweep: mean accuracies of each stage, paired differences, and folds."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from efficient_jax.errors import UserError
from efficient_jax.metrics.accuracy import paired_difference
from efficient_jax.report.tables import Record

ACCURACY = "accuracy, %"
SWEEP_HEADERS = ["group", "stage", "seeds", ACCURACY, "compared with", "points [95% interval]", "pairs"]


class Difference(NamedTuple):
    """Accuracy of one stage minus another's in percentage points, over the seeds that have both.

    `mean` is NaN without a pair; `low` and `high` (95% t interval) are NaN below two pairs.
    """

    mean: float
    low: float
    high: float
    pairs: list[int]  # seeds
    unpaired: list[Any]  # seeds, or (seed, fold)


def figure(records: Sequence[Record]) -> str:
    """Returns the header of the figure of a sweep.

    Args:
        records: trial records, see the module.
    """
    return records[0].get("figure", ACCURACY) if records else ACCURACY


def headers(records: Sequence[Record]) -> list[str]:
    """Returns the headers above the cells of `sweep_rows`.

    Args:
        records: trial records, see the module.
    """
    return [figure(records) if header == ACCURACY else header for header in SWEEP_HEADERS]


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
        accuracies[run] = 100 * counts["score"] if "score" in counts else 100 * counts["correct"] / counts["n"]
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
