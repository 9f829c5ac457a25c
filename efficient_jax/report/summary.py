"""What a run shows first: its best and its last stage, and each stage beside the one that it was made from."""

from collections.abc import Sequence

from efficient_jax.files import Json
from efficient_jax.report import tables
from efficient_jax.report.results import StageResult
from efficient_jax.settings import Settings
from efficient_jax.types import Column

CLEAR = 0.05
"""p-value up to which a difference is called clear."""
COMPARISON_HEADERS = ["stage", "change, points", "in words", "images won", "images lost", "p"]


def first_figure(about: Json) -> Column:
    """Returns the figure by which the stages of a run are judged.

    Args:
        about: content of run.json, whose "data" names it as "figure".
    """
    return Column(*about.get("data", {}).get("figure", tables.ACCURACY))


def figure_name(column: Column) -> str:
    """Returns what a figure is called in a sentence: its header without the unit.

    Args:
        column: the figure.
    """
    return column.header.removesuffix(", %")


def headline(finished: Sequence[StageResult], column: Column) -> list[dict[str, str]]:
    """Returns the best and the last stage, once if they are the same.

    Args:
        finished: result.json of every finished stage, in running order.
        column: the figure by which they are judged.

    Returns:
        For each "what" ("best stage" or "last stage"), "stage", the "name" of the figure, its "number" in percent and
        its "interval".
    """
    if not finished:
        return []
    best, last = tables.best(finished, column), len(finished) - 1
    if best is None:
        chosen = {"stage": last}
    elif best == last:
        chosen = {"best and last stage": last}
    else:
        chosen = {"best stage": best, "last stage": last}
    cells = {what: tables.with_interval(column, finished[i]["test"]).partition(" ") for what, i in chosen.items()}
    name = figure_name(column)
    return [
        {"what": what, "stage": finished[chosen[what]]["stage"], "name": name, "number": number, "interval": interval}
        for what, (number, _, interval) in cells.items()
    ]


def comparison_rows(config: Settings, results: Sequence[StageResult]) -> list[list[str]]:
    """Returns the cells under `COMPARISON_HEADERS`: every stage beside its teachers and the stage that it starts from.

    Args:
        config: content of config.json, which says what an earlier stage is to a later one.
        results: as from `results.read_results`; the entry "compared" is what is shown.
    """
    rows = []
    for result in results:
        for pair in result.get("compared", ()):
            role = "start" if config[result["stage"]].get("init") == pair["stage"] else "teacher"
            points, *counts = tables.pair_cells(pair)
            better = "better than" if pair["won"] > pair["lost"] else "worse than"
            verdict = better if pair["p"] <= CLEAR else "not told apart from"
            rows.append([result["stage"], points, f"{verdict} {pair['stage']}, its {role}", *counts])
    return rows


def accuracy_first(cells: Sequence[str], headers: Sequence[str]) -> list[str]:
    """Returns the cells of a row with the accuracy and what follows it right after the name: a phone shows these.

    Args:
        cells: one per header.
        headers: the first that names a 95% interval is that of the accuracy; without one nothing moves.
    """
    at = next((i for i, header in enumerate(headers) if "95% interval" in header), 1)
    return [cells[0], *cells[at:], *cells[1:at]]
