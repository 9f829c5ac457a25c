"""Soups: a member whose weights are the mean of those of several members of one architecture."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from efficient_jax.data import dataset
from efficient_jax.errors import UserError
from efficient_jax.evaluation.members import WHERE, Member, Open, answering, by_model, data_of, predictor
from efficient_jax.experiment.dataset import Data
from efficient_jax.models import heads
from efficient_jax.tasks import TASKS
from efficient_jax.training import averaging, checkpoint
from efficient_jax.training.trained import Trained
from efficient_jax.types import Tree

BATCH = 256  # images of a batch for batch statistics
SOUPS = ("uniform", "greedy")


def soup_of(names: Sequence[str], kind: str, open_run: Open, views: str = "none") -> tuple[Member, Trained, list[str]]:
    """Averages the weights of members of one architecture.

    Batch statistics are computed again on the labelled and unlabelled images of the first member's run, unaugmented.

    Args:
        names: members with weights, see `members.named`; two or more.
        kind: "uniform" takes all, "greedy" those that do not lower the accuracy on validation images.
        open_run: as from `members.run_opener`.
        views: test-time augmentation of the prediction, as for `tta.parse_views`.

    Returns: (its predictions, its weights, the names of the members in it).

    Raises: UserError for members with other parameters, images or classes than the first, and for "greedy" without
        the same validation images of one class each.
    """
    members = [Trained.open(name, WHERE) for name in names]
    first, spec = members[0], members[0].spec
    task = TASKS[spec.task]
    if spec.head["name"] not in heads.TRAINED:
        raise UserError(
            f"--soup: the head of {first.name!r} is {spec.head['name']!r}, which holds labelled images: they have no "
            "mean, but --vote takes any"
        )
    for trained in members:
        record, wanted = trained.spec.to_json(), spec.to_json()
        for key in ("model", "settings", "classes", "image_shape", "mean", "std", "head"):
            if record[key] != wanted[key]:
                raise UserError(
                    f"--soup: {key} of {trained.name!r} is {record[key]}, of {first.name!r} {wanted[key]}; weights of "
                    "different networks have no mean, but --vote takes any"
                )
        if differences := checkpoint.compare(trained.variables, first.variables):
            raise UserError(f"--soup: {trained.name!r} is of another architecture than {first.name!r}: {differences}")
    data = data_of(first, open_run)
    _, apply = spec.build()
    resized, validation = data.for_model(spec), data.split["validation"]
    ids = np.sort(np.concatenate([data.split["labelled"], data.split["unlabelled"]]))
    ids = np.random.default_rng(0).permutation(ids)  # in order they may be sorted by class
    if not len(ids):
        raise UserError(f"--soup: no training image of {names[0]!r} is left, and batch statistics are of these")

    def refreshed(tree: Tree) -> Tree:
        parts: Iterator[Any] = (resized.source.images[ids[i : i + BATCH]] for i in range(0, len(ids), BATCH))
        return averaging.batch_statistics(apply, tree, parts)

    predict = predictor(spec, data.devices)

    def validation_accuracy(tree: Tree) -> float:
        probabilities = predict(refreshed(tree), resized.images, validation)
        return float((probabilities.argmax(1) == data.source.labels[validation]).mean())

    trees = [trained.variables for trained in members]
    chosen = list(range(len(names)))
    if kind == "greedy":
        if not len(validation) or not task.one_class:
            raise UserError(
                "--soup: greedy chooses by accuracy on validation images of one class each; train with "
                "config.data.validation, or take uniform"
            )
        chosen_on = _validation_contents(data)
        for trained in members:  # a member that was trained on these images would be chosen
            if _validation_contents(data_of(trained, open_run)) != chosen_on:
                raise UserError(f"--soup: {trained.name!r} has other validation images than {names[0]!r}; take uniform")
        chosen, _ = averaging.greedy_soup(trees, validation_accuracy)
    inside = [names[i] for i in chosen]
    soup = Trained(f"{kind} soup of {len(inside)}", spec, refreshed(averaging.mean([trees[i] for i in chosen])))
    member = by_model(soup, data, views)
    if task.thresholds and member.validation:
        thresholds = tuple(task.thresholds(member.validation.probabilities, member.validation.labels).tolist())
        member = answering(soup.name, member.test, member.validation, thresholds)
        soup = dataclasses.replace(soup, spec=dataclasses.replace(spec, thresholds=thresholds))
    origin = {"soup": kind, "members": inside, "weights": [1.0] * len(inside), "step": None, "views": views}
    return member._replace(origin=origin), soup, inside


def _validation_contents(data: Data) -> list[str]:
    return sorted(dataset.contents(data.source, data.split["validation"]))
