"""Soups: the mean of the weights of several members of one architecture, as a member of its own."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from efficient_jax.data import dataset
from efficient_jax.errors import UserError
from efficient_jax.evaluation.members import WHERE, Member, answering, at_model_size, by_model, load, prepared
from efficient_jax.experiment.run import Run
from efficient_jax.tasks import TASKS
from efficient_jax.training import averaging, checkpoint, trained
from efficient_jax.types import Tree

BATCH = 256  # images whose statistics are taken together


SOUPS = ("uniform", "greedy")


def soup_of(
    names: Sequence[str], kind: str, console: Console, views: str = "none"
) -> tuple[Member, Tree, dict[str, Any], list[str]]:
    """(what the mean of the members' weights predicts, its variables, its description, the members in it).

    All must be of one architecture. "uniform" takes all, "greedy" those that do not lower the accuracy on validation
    images. Batch statistics are those of the labelled and unlabelled images of the first member's run, as they are.

    Raises: UserError for members that have not the same parameters, images or classes.
    """
    folders = [trained.stage_folder(Path(name.partition("@")[0]), WHERE) for name in names]
    trees, descriptions = zip(*(load(name) for name in names), strict=True)
    first = descriptions[0]
    task = TASKS[first["task"]]
    for name, tree, description in zip(names, trees, descriptions, strict=True):
        for key in ("model", "settings", "classes", "image_shape", "mean", "std"):
            if description[key] != first[key]:
                raise UserError(
                    f"--soup: {key} of {name!r} is {description[key]}, of {names[0]!r} {first[key]}; weights of "
                    "different networks have no mean, but --vote takes any"
                )
        if differences := checkpoint.compare(tree, trees[0]):
            raise UserError(f"--soup: {name!r} is of another architecture than {names[0]!r}: {differences}")
    run = prepared(folders[0].parent, console)
    _, apply = trained.build(first, norm_axis=None)
    seen = at_model_size(run, first)
    ids = np.sort(np.concatenate([run.split["labelled"], run.split["unlabelled"]]))
    ids = np.random.default_rng(0).permutation(ids)  # sorted by class, batches would be less like the whole
    if not len(ids):
        raise UserError(f"--soup: no training image of {names[0]!r} is left, and batch statistics are of these")

    def refreshed(tree: Tree) -> Tree:
        parts: Iterator[Any] = (seen.source.images[ids[i : i + BATCH]] for i in range(0, len(ids), BATCH))
        return averaging.batch_statistics(apply, tree, parts)

    def validation_accuracy(tree: Tree) -> float:
        found = by_model("", refreshed(tree), first, run).validation
        assert found
        return float((found.probabilities.argmax(1) == found.labels).mean())

    chosen = list(range(len(names)))
    if kind == "greedy":
        if not len(run.split["validation"]) or not task.one_class:
            raise UserError(
                "--soup: greedy chooses by accuracy on validation images of one class each; train with "
                "config.data.validation, or take uniform"
            )
        ours = _validation_contents(run)
        for name, folder in zip(names, folders, strict=True):  # on images that one was trained on it would be chosen
            if _validation_contents(prepared(folder.parent, console)) != ours:
                raise UserError(f"--soup: {name!r} has other validation images than {names[0]!r}; take uniform")
        chosen, _ = averaging.greedy_soup(trees, validation_accuracy)
    variables = refreshed(averaging.mean([trees[i] for i in chosen]))
    inside = [names[i] for i in chosen]
    made = by_model(f"{kind} soup of {len(inside)}", variables, first, run, views)
    if task.thresholds and made.validation:
        thresholds = task.thresholds(made.validation.probabilities, made.validation.labels).tolist()
        made, first = answering(made.name, made.test, made.validation, thresholds), first | {"thresholds": thresholds}
    about = {"soup": kind, "members": inside, "weights": [1.0] * len(inside), "update": None, "views": views}
    return made._replace(about=about), variables, first, inside


def _validation_contents(run: Run) -> list[str]:
    return sorted(dataset.contents(run.source, run.split["validation"]))
