"""Members on the images of one split: what each predicts, and what several make of it."""

import functools
import glob
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool
from rich.console import Console

from efficient_jax import files
from efficient_jax.augment import geometry, resample
from efficient_jax.data import dataset as sources
from efficient_jax.data.dataset import Source
from efficient_jax.experiment.predict import predict_rows
from efficient_jax.experiment.run import Run, at_size, reopened
from efficient_jax.inference import predictions, tta, voting
from efficient_jax.inference.predictions import Predictions
from efficient_jax.metrics import accuracy as metrics
from efficient_jax.metrics import agreement, calibration, classification
from efficient_jax.training import averaging, batches, checkpoint, parallel, step, trained
from efficient_jax.types import Tree, UserError

NOTHING: Mapping[str, Any] = MappingProxyType({})
WHERE = "--members"
SOUPS = ("uniform", "greedy")
BATCH = 256  # images whose statistics are taken together


class Member(NamedTuple):
    """What one member predicts."""

    name: str
    test: Predictions
    validation: Predictions | None  # None where its run has no such images, or a file has only others
    thresholds: tuple[float, ...]  # of several labels
    answers: np.ndarray  # int [n], the classes answered for the test images; or [n classes] of several labels; [n h w]
    about: Mapping[str, Any] = NOTHING  # what stored figures are of: stage and update, or members and weights; views


def named(text: str) -> list[str]:
    """The members that `text` names, separated by commas; `RUN/STAGE@*` are all the snapshots that the stage kept,
    other stars stand for any name."""
    found: list[str] = []
    for pattern in text.split(","):
        path, at, which = pattern.partition("@")
        paths = sorted(glob.glob(path)) if "*" in path else [path]
        if not paths:
            raise UserError(f"{WHERE}: there is no {path!r}")
        for name in paths:
            if at and which == "*":
                folder = trained.stage_folder(Path(name), WHERE)
                found += [f"{folder}@{number}" for number in checkpoint.steps(folder)]
            else:
                found.append(name + at + which)
    return list(dict.fromkeys(found))


def member(name: str, console: Console, views: str = "none") -> Member:
    """`name` is RUN, RUN/STAGE, RUN/STAGE@UPDATE, or a file of predictions. A stage that is finished has left what it
    predicted; else, and with `views` as for `tta.asked`, its model is run."""
    if Path(name).suffix in predictions.SUFFIXES:
        found = predictions.read(Path(name), WHERE)
        made = _member(name, found, None, (0.5,) * len(found.classes))
        return made._replace(about={"file": name, "update": None, "views": None})
    path, at, which = name.partition("@")
    folder = trained.stage_folder(Path(path), WHERE)
    if at or views != "none" or not (folder / predictions.FILES["test"]).is_file():
        made = by_model(name, *load(name), prepared(folder.parent, console), views)
    else:
        validation = folder / predictions.FILES["validation"]
        made = _member(
            name,
            predictions.read(folder / predictions.FILES["test"], WHERE),
            predictions.read(validation, WHERE) if validation.is_file() else None,
            files.read_json(folder / "result.json").get("thresholds", ()),
        )
    update = int(which) if at else checkpoint.chosen(folder)
    return made._replace(about={"stage": str(folder), "update": update, "views": views})


def _member(name: str, test: Predictions, validation: Predictions | None, thresholds: Sequence[float]) -> Member:
    if test.labels.ndim == 2:
        return Member(name, test, validation, tuple(thresholds), test.probabilities >= thresholds)
    return Member(name, test, validation, (), test.probabilities.argmax(-1))


def aligned(found: Sequence[Member], say: Callable[[str], None]) -> list[Member]:
    """Members whose test images have the indices, order and labels of one of them: the first of a run, else the first
    with labels.

    Images are found by content or name, see `predictions.rows_of`. A file without labels, as `predict` writes them, may
    be of more images than the run tests on: `say` shows how many are left out.

    Raises: UserError where no member has labels, or has them for some images only, and where images are others.
    """
    with_labels = [each for each in found if (each.test.labels >= 0).any()]
    known = next((each for each in with_labels if _run_of(each.name)), next(iter(with_labels), None))
    if known is None:
        raise UserError(
            f"{WHERE}: nobody says what the images show; add a member that does: a run, or a file with labels"
        )
    if missing := int((known.test.labels < 0).reshape(len(known.test.ids), -1).any(1).sum()):
        raise UserError(f"{WHERE}: {missing:,} images of {known.name!r} have no label; leave them out of the file")
    result = []
    for each in found:
        more = None if (each.test.labels >= 0).any() else say
        _, test = predictions.matched([known.test, each.test], [known.name, each.name], WHERE, more)
        result.append(_member(each.name, test, each.validation, each.thresholds)._replace(about=each.about))
    return result


def load(name: str) -> tuple[Tree, dict[str, Any]]:
    """(variables on the host, description) of RUN[/STAGE][@UPDATE]."""
    path, at, which = name.partition("@")
    if at and not which.isdigit():
        raise UserError(f"{WHERE}: {name!r} wants the number of an update behind the @, or * for all that were kept")
    folder = trained.stage_folder(Path(path), WHERE)
    return checkpoint.load(folder, WHERE, int(which) if at else None)


@functools.lru_cache(maxsize=1)
def prepared(workdir: Path, console: Console) -> Run:
    """The data of a run as it had them, on the devices."""
    return reopened(workdir, WHERE, console)


def by_model(name: str, variables: Tree, description: dict[str, Any], run: Run, views: str = "none") -> Member:
    """What a model predicts for the test and validation images of `run`, or of `views` of them together."""
    _, apply = trained.build(description)
    seen_views, vote = tta.asked(views, "--tta")
    if views != "none":
        apply = trained.through_views(apply, seen_views, description["multi_label"], vote)
    predict = step.make_predict(apply, run.devices, description["multi_label"])
    seen = _seen(run, description)
    placed = parallel.replicate(variables, run.devices)
    found = {
        split: predictions.of(run.source, ids, predict_rows(predict, placed, ids, seen))._replace(shares=vote == "hard")
        for split in predictions.FILES
        if len(ids := run.split[split])
    }
    return _member(name, found["test"], found.get("validation"), description.get("thresholds", ()))


def _seen(run: Run, description: dict[str, Any]) -> Run:
    """`run` with images of the size that the model knows."""
    shape = tuple(description["image_shape"])
    return run if shape == run.source.images.shape[1:] else at_size(run, shape[0])


def run_of(names: Sequence[str], console: Console) -> Run | None:
    """The data of the first member that is of a run; None where all are files, or stages alone."""
    workdir = next(filter(None, map(_run_of, names)), None)
    return prepared(workdir, console) if workdir else None


def _run_of(name: str) -> Path | None:
    """The folder of the run that a member is of; None for a file, or a stage alone."""
    if Path(name).suffix in predictions.SUFFIXES:
        return None
    workdir = trained.stage_folder(Path(name.partition("@")[0]), WHERE).parent
    return workdir if (workdir / "config.json").is_file() else None


def turned(name: str, degrees: Sequence[float], console: Console, views: str = "none") -> list[dict[str, Any]]:
    """How many test images the model of `name` answers rightly, through `views`, when they are turned by 0 and by
    `degrees`, the mean of both ways; what is turned in from outside is black."""
    variables, description = load(name)
    run = prepared(trained.stage_folder(Path(name.partition("@")[0]), WHERE).parent, console)
    seen, ids = _seen(run, description), run.split["test"]
    none = np.arange(0)

    @jax.jit
    @functools.partial(jax.vmap, in_axes=(0, None))
    def turn(image: jax.Array, angle: float) -> jax.Array:
        return resample.warp(image, geometry.rotation(angle)[:2])

    def right(angle: float) -> int:
        parts = [seen.source.images[ids[i : i + BATCH]] for i in range(0, len(ids), BATCH)]
        images = np.concatenate([np.asarray(turn(part, angle)) for part in parts])
        source = Source(images, seen.source.labels[ids], seen.source.classes)
        split = {"test": np.arange(len(ids)), "validation": none}
        there = seen._replace(source=source, split=split, images=batches.place(images, run.devices))
        return int(answered_rightly(by_model(name, variables, description, there, views)).sum())

    ways = {angle: (angle, -angle) if angle else (0.0,) for angle in (0.0, *degrees)}
    return [  # the two ways are of the same images: no more of them than there are
        {"degrees": angle, "correct": sum(map(right, both)) / len(both), "n": len(ids)} for angle, both in ways.items()
    ]


def answered_rightly(found: Member) -> Bool[np.ndarray, "n"]:
    """Which test images; of several labels all are right."""
    return (found.answers == found.test.labels).reshape(len(found.answers), -1).all(1)


def soup(
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
    seen = _seen(run, first)
    ids = np.sort(np.concatenate([run.split["labelled"], run.split["unlabelled"]]))
    ids = np.random.default_rng(0).permutation(ids)  # sorted by class, batches would be less like the whole
    if not len(ids):
        raise UserError(f"--soup: no training image of {names[0]!r} is left, and batch statistics are of these")

    def refreshed(tree: Tree) -> Tree:
        parts: Iterator[Any] = (seen.source.images[ids[i : i + BATCH]] for i in range(0, len(ids), BATCH))
        return averaging.batch_statistics(apply, tree, parts)

    def accuracy(tree: Tree) -> float:
        found = by_model("", refreshed(tree), first, run).validation
        assert found
        return float((found.probabilities.argmax(1) == found.labels).mean())

    chosen = list(range(len(names)))
    if kind == "greedy":
        if not len(run.split["validation"]) or first["multi_label"]:
            raise UserError(
                "--soup: greedy chooses by accuracy on validation images of one class each; train with "
                "config.data.validation, or take uniform"
            )
        ours = _validation_contents(run)
        for name, folder in zip(names, folders, strict=True):  # on images that one was trained on it would be chosen
            if _validation_contents(prepared(folder.parent, console)) != ours:
                raise UserError(f"--soup: {name!r} has other validation images than {names[0]!r}; take uniform")
        chosen, _ = averaging.greedy_soup(trees, accuracy)
    variables = refreshed(averaging.mean([trees[i] for i in chosen]))
    inside = [names[i] for i in chosen]
    made = by_model(f"{kind} soup of {len(inside)}", variables, first, run, views)
    if first["multi_label"] and made.validation:
        thresholds = metrics.thresholds(made.validation.probabilities, made.validation.labels).tolist()
        made, first = _member(made.name, made.test, made.validation, thresholds), first | {"thresholds": thresholds}
    about = {"soup": kind, "members": inside, "weights": [1.0] * len(inside), "update": None, "views": views}
    return made._replace(about=about), variables, first, inside


def _validation_contents(run: Run) -> list[str]:
    return sorted(sources.contents(run.source, run.split["validation"]))


def together(found: Sequence[Member], vote: str, weights: Sequence[float]) -> Member:
    """Their vote. Thresholds of several labels are the weighted means of the members'."""
    if vote == "hard" and found[0].thresholds:
        raise UserError(
            "--vote: hard counts one answer for each image; where an image can have several labels take soft"
        )
    shares = np.asarray(weights or np.ones(len(found)))
    parts: dict[str, Predictions] = {}
    answers: dict[str, np.ndarray] = {}
    for split in predictions.FILES:
        several = [of for each in found if (of := getattr(each, split))]
        if len(several) < len(found) or (split == "validation" and not predictions.same_images(several)):
            continue  # folds and seeds have validation images of their own
        several = predictions.matched(several, [each.name for each in found], WHERE)
        probabilities, answers[split] = voting.VOTES[vote](np.stack([of.probabilities for of in several]), shares)
        voted = vote == "hard" or any(of.shares for of in several)
        parts[split] = several[0]._replace(probabilities=probabilities, shares=voted)
    thresholds = np.average([each.thresholds for each in found], 0, shares).tolist()
    joint = _member(f"{vote} vote of {len(found)}", parts["test"], parts.get("validation"), thresholds)
    views = [each.about.get("views") for each in found]
    about = {"vote": vote, "members": [each.name for each in found], "weights": shares.tolist(), "update": None}
    joint = joint._replace(about=about | {"views": views[0] if len(set(views)) == 1 else views})
    return joint if found[0].thresholds else joint._replace(answers=answers["test"])


def figures(found: Member) -> dict[str, Any]:
    """As `classification.figures`, of pixels `of_pixels`, or `metrics.several_labels` with the log-likelihood. Where
    there are validation images also the temperature fitted to them, and what it makes of likelihood and calibration on
    the test images."""
    probabilities, labels = found.test.probabilities, found.test.labels
    if labels.ndim == 3:
        return classification.of_pixels(found.answers, labels, found.test.classes)
    if labels.ndim == 2:
        scores = metrics.several_labels(probabilities, labels, np.asarray(found.thresholds))
        return scores | {"negative_log_likelihood": float(metrics.label_losses(probabilities, labels).mean())}
    scores = classification.figures(probabilities, labels, found.answers, found.test.shares)
    if found.validation and not found.test.shares:
        temperature = calibration.temperature(found.validation.probabilities, found.validation.labels)
        tempered = calibration.tempered(probabilities, temperature)
        scores |= {
            "temperature": temperature,
            "tempered_negative_log_likelihood": metrics.negative_log_likelihood(tempered, labels),
            "tempered_calibration_error": calibration.expected_calibration_error(tempered, labels),
        }
    return scores


def comparison(found: Sequence[Member]) -> list[dict[str, Any]]:
    """For each pair of members of one class an image: how alike they err, and what the second won and lost."""
    tests = predictions.matched([each.test for each in found], [each.name for each in found], WHERE)
    answers = [test.probabilities.argmax(1) for test in tests]
    rows = []
    for i in range(len(found)):
        for j in range(i + 1, len(found)):
            changed = agreement.change(answers[i], answers[j], tests[0].labels)
            row = {"first": found[i].name, "second": found[j].name}
            row |= agreement.agreement(answers[i], answers[j], tests[0].labels)._asdict()
            won, lost = int(changed.won.sum()), int(changed.lost.sum())
            rows.append(row | {"won": won, "lost": lost, "p_value": changed.p_value})
    return rows


def selection(found: Sequence[Member]) -> list[dict[str, Any]]:
    """Who adds what: members in the order in which a greedy choice takes them, each once, and the accuracy of the soft
    vote after each on validation images; none where these are not the same for all."""
    several = [each.validation for each in found if each.validation]
    if len(several) < len(found) or not predictions.same_images(several):
        return []
    several = predictions.matched(several, [each.name for each in found], WHERE)
    chosen, scores = voting.greedy(np.stack([of.probabilities for of in several]), several[0].labels)
    return [{"member": found[i].name, "accuracy": score} for i, score in zip(chosen, scores, strict=True)]
