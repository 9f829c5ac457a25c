"""The figure of a sweep: test accuracy of every stage, group by group, a small mark for each seed."""

import os
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from efficient_jax.report import sweep_tables
from efficient_jax.report.plots import COLORS
from efficient_jax.report.sweep_tables import by_seed
from efficient_jax.report.tables import Record

MARKS = "o^x"  # the next one where there are more stages than colors


def write_figure(path: Path, records: Sequence[Record]) -> None:
    """Writes an SVG: a column per group and in it a bar mark (the mean) per stage, the seeds as dots.

    The file is the same for the same records: it carries no date and no random identifiers.

    Args:
        path: file to write; an existing one is replaced.
        records: as `tables` describes them, one or more.
    """
    groups = list(dict.fromkeys(record["group"] for record in records))
    stages = list(dict.fromkeys(stage for record in records for stage in record["stages"]))
    with matplotlib.rc_context({"svg.hashsalt": "sweep", "font.size": 9, "svg.fonttype": "path"}):
        figure = Figure(figsize=(max(1.9 * len(groups) + 1.6, 1.1 * len(stages) + 0.8), 3.6), layout="constrained")
        axes = figure.add_subplot()
        for number, stage in enumerate(stages):
            color = COLORS[number % len(COLORS)]
            mark = MARKS[number // len(COLORS) % len(MARKS)]
            offset = (number - (len(stages) - 1) / 2) * 0.8 / len(stages)
            for column, group in enumerate(groups):
                accuracies = list(by_seed(records, group, stage).values())
                if accuracies:
                    x = np.full(len(accuracies), column + offset)
                    axes.plot(x, accuracies, mark, color=color, markersize=2.5, alpha=0.6)
                    axes.plot(x[:1], [np.mean(accuracies)], "_", color=color, markersize=13, markeredgewidth=2.2)
            axes.plot([], [], mark, color=color, label=stage, markersize=6)
        axes.set_xticks(range(len(groups)), [group.replace(", ", ",\n") for group in groups])
        axes.set_ylabel(sweep_tables.figure(records))
        axes.grid(axis="y", color="#dddddd", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, ncols=len(stages), loc="lower center", bbox_to_anchor=(0.5, 1.0), fontsize=8)
        part = path.with_name(path.name + ".part")
        FigureCanvasSVG(figure).print_figure(part, format="svg", metadata={"Date": None})
    os.replace(part, path)
