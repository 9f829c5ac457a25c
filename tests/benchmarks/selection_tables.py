"""Tables and the figure of what `selection.py` measured."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from efficient_jax.metrics.accuracy import paired_difference
from efficient_jax.report import plots

FIGURE = Path(__file__).with_name("selection.svg")
DATA = {"mnist5k": "digits", "clothing": "clothing"}
Records = Sequence[dict[str, Any]]
Key = tuple[str, str]  # (arm, how)
CONTROL: Key = ("uniform", "at once")


def accuracies(records: Records, labels: int) -> dict[Key, dict[int, float]]:
    """(arm, how) -> seed -> accuracy in % with so many labels. Of selections in rounds 40 may follow on 20, or be the
    first: those that began with `labels` of before are others, so records of one beginning are wanted."""
    found: dict[Key, dict[int, float]] = {}
    for record in records:
        if labels in record["labels"]:
            accuracy = record["accuracy"][record["labels"].index(labels)]
            found.setdefault((record["arm"], record["how"]), {})[record["seed"]] = accuracy
    return found


def gain(of_arm: dict[int, float], of_other: dict[int, float]) -> str:
    """The paired difference with its 95% interval; "" with fewer than two pairs."""
    seeds = sorted(of_arm.keys() & of_other.keys())
    if len(seeds) < 2:
        return ""
    mean, low, high = paired_difference(*(np.array([one[s] for s in seeds]) for one in (of_arm, of_other)))[:3]
    return f"{mean:+.1f} [{low:+.1f}, {high:+.1f}]"
