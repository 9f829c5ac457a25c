"""Tables and the figure of what `selection.py` measured."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from efficient_jax.metrics.accuracy import paired_difference
from efficient_jax.report.plots import COLORS

FIGURE = Path(__file__).parents[2] / "configs/sweeps/results/selection.svg"
DATA = {"mnist5k": "digits", "clothing": "clothing"}
ROUNDS = (40, 60, 80)
Records = Sequence[dict[str, Any]]
FEWEST = 3  # pools of an experiment that is shown
Arm = tuple[str, str]  # (selection, "at once" or "in rounds")
CONTROL: Arm = ("uniform", "at once")
ONCE: Arm = ("coverage", "at once")
ROUND: Arm = ("uncertainty_coverage", "in rounds")


class Experiment(NamedTuple):
    """The records of a table: of a dataset and what is trained, with a selection in rounds that began alike."""

    data: str
    learner: str
    labels: tuple[int, ...]  # columns; selections in rounds began with the first

    @property
    def title(self) -> str:
        return f"{DATA[self.data]}, {self.learner}"


EXPERIMENTS = (
    *(Experiment(data, "head", (10, 20, 40, 100)) for data in DATA),
    *(Experiment(data, "head", ROUNDS) for data in DATA),
    Experiment("clothing", "finetuned", (10, 20, 40)),
    Experiment("clothing", "finetuned", ROUNDS),
    Experiment("clothing", "student", (20, 40)),
)


def accuracies(records: Records, experiment: Experiment, labels: int) -> dict[Arm, dict[int, float]]:
    """(selection, how) -> seed -> accuracy in % with so many labels."""
    found: dict[Arm, dict[int, float]] = {}
    for record in records:
        begins = record["how"] == "at once" or record["labels"][0] == experiment.labels[0]
        of_experiment = (record["data"], record["learner"]) == experiment[:2]
        if of_experiment and begins and labels in record["labels"]:
            accuracy = record["accuracy"][record["labels"].index(labels)]
            found.setdefault((record["arm"], record["how"]), {})[record["seed"]] = accuracy
    return found


def gain(of_arm: dict[int, float], other: dict[int, float]) -> str:
    """The mean paired difference with its 95% interval, "" with fewer than two pairs."""
    pairs = [(of_arm[seed], other[seed]) for seed in of_arm if seed in other]
    if len(pairs) < 2:
        return ""
    mean, low, high = paired_difference(*np.array(pairs).T)
    return f"{mean:+.1f} [{low:+.1f}, {high:+.1f}]"


def cell(of_arm: dict[int, float], control: dict[int, float]) -> str:
    """The mean accuracy, and in brackets the gain over a control."""
    difference = gain(of_arm, control) if of_arm is not control else ""
    return f"{np.mean([*of_arm.values()]):.1f}" + (f" ({difference})" if difference else "")


def tables(records: Records) -> str:
    """In markdown: accuracy of each selection, and what it gains over random labels of as many."""
    lines = []
    for experiment in EXPERIMENTS:
        columns = [accuracies(records, experiment, labels) for labels in experiment.labels]
        if max(len(column.get(CONTROL, ())) for column in columns) < FEWEST:
            continue
        arms = columns[-1] if experiment.labels == ROUNDS else {arm: {} for column in columns for arm in column}
        pools = max(len(seeds) for column in columns for seeds in column.values())
        heading = " | ".join(f"{labels} labels" for labels in experiment.labels)
        lines += [f"| {experiment.title}, {pools} pools | | {heading} |", "| --- " * (len(columns) + 2) + "|"]
        for arm, how in arms:
            cells = [
                cell(column[arm, how], column.get(CONTROL, {})) if (arm, how) in column else "" for column in columns
            ]
            lines.append(f"| `{arm}` | {how} | {' | '.join(cells)} |")
        both = [(column.get(ROUND, {}), column.get(ONCE, {})) for column in columns]
        if experiment.labels == ROUNDS and any(gain(*pair) for pair in both):
            lines.append(f"| in rounds minus `coverage` at once | | {' | '.join(gain(*pair) for pair in both)} |")
        lines.append("")
    return "\n".join(lines)


def draw(records: Records) -> None:
    """Draws accuracy against labels of the experiments with 40, 60 and 80: at random, at once, in rounds."""
    controls = {each: accuracies(records, each, ROUNDS[-1]).get(CONTROL, {}) for each in EXPERIMENTS}
    shown = [each for each, seeds in controls.items() if each.labels == ROUNDS and len(seeds) >= FEWEST]
    lines = {CONTROL: "at random", ONCE: "chosen at once", ROUND: "chosen in rounds, by the model"}
    with matplotlib.rc_context({"svg.hashsalt": "selection", "font.size": 9, "svg.fonttype": "path"}):
        figure = Figure(figsize=(2.5 * len(shown) + 0.8, 2.9), layout="constrained")
        for axes, experiment in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
            of_labels = {labels: accuracies(records, experiment, labels) for labels in ROUNDS}
            for (arm, name), color in zip(lines.items(), COLORS, strict=False):
                points = [(x, [*seeds[arm].values()]) for x, seeds in of_labels.items() if arm in seeds]
                means = [np.mean(values) for _, values in points]
                axes.plot([x for x, _ in points], means, "o-", color=color, label=name, markersize=4)
            axes.set(title=experiment.title, xlabel="labels", xticks=ROUNDS)
            axes.spines[["top", "right"]].set_visible(False)
        figure.axes[0].set_ylabel("test accuracy, %")
        figure.legend(*figure.axes[0].get_legend_handles_labels(), frameon=False, ncols=3, loc="outside upper center")
        FigureCanvasSVG(figure).print_svg(FIGURE, metadata={"Date": None})
