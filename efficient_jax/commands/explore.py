"""explore: look at data and augmentation before training, and at what augmentation does to trained members."""

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict
from rich.console import Console

from efficient_jax import files
from efficient_jax.commands.look import look
from efficient_jax.data import cache, decode, label_errors
from efficient_jax.data.dataset import Source, fingerprint
from efficient_jax.errors import UserError, counted
from efficient_jax.evaluation import out_of_fold
from efficient_jax.experiment.config import Plan, plan
from efficient_jax.experiment.dataset import load_data, load_run
from efficient_jax.experiment.stage_config import augment_blocks
from efficient_jax.experiment.workdir import writable
from efficient_jax.explore import class_bias, preview
from efficient_jax.report import bias, exploration
from efficient_jax.tasks import TASKS, targets
from efficient_jax.training.classifier import Classifier
from efficient_jax.training.trained import stage_folder
from efficient_jax.types import Augment

IMAGES, VERSIONS = 10, 4  # of a stage's contact sheet
EXAMPLES = 4  # of each operation; mixing pairs neighbours
MEASURED_IMAGES = 2000


class Member(NamedTuple):
    """A trained stage, and images on which its answers can be checked."""

    name: str
    classify: class_bias.Classify
    classes: tuple[str, ...]
    images: np.ndarray
    labels: np.ndarray
    about_images: str
    augment: dict[str, Any]  # the stage's block


def explore(
    config: ConfigDict = "configs/quickstart.py",
    workdir: str = "runs/explore",
    members: str = "",
    control: str = "",
    predictions: str = "",
) -> None:
    """Shows the data and what augmentation does, before training; writes WORKDIR/explore.html.

    The page has figures of the data with suggestions, the pipeline of each stage, and every operation from weak to
    strong.

    Args:
        config: FILE or FILE:tiny.
        workdir: folder for the page.
        members: RUN or RUN/STAGE, separated by commas: also measures what operations cost their accuracy by class.
        control: a stage trained with the same augmentation for all classes, to compare members with whose augmentation
            depends on the class.
        predictions: RUN or RUN/STAGE of each fold, separated by commas: also lists labels that may be wrong, by what
            these runs predict for the images that they held out.
    """
    console = Console(markup=False, highlight=False)
    settings = config.to_dict()
    checked = plan(settings)
    folder = writable(Path(workdir), "--workdir")
    if control and not members:
        raise UserError("explore: --control is for --members=RUN[/STAGE],..., which is missing")
    say = functools.partial(console.print, soft_wrap=True)
    judged = [_member(name, "--members", say) for name in members.split(",") if members]
    controlling = _member(control, "--control", say).classify if control else None
    for warning in checked.warnings:
        console.print(f"warning: {warning}", soft_wrap=True)
    key = jax.random.key(checked.seed)
    source, split = load_data(checked, folder.parent / cache.FOLDER)
    data, table = look(checked, settings, source, split, _suspects(predictions, source))
    console.print(table)
    page = exploration.write_page(
        folder,
        title=", ".join(settings["stages"]),
        about=f"{checked.source[0]}: {counted(len(source.images), 'image')} of "
        f"{counted(len(source.classes), 'class', 'classes')}, "
        + ", ".join(f"{len(ids):,} {name}" for name, ids in split.items()),
        warnings=checked.warnings,
        data=data,
        stages=_stages(checked, settings, source, split["labelled"], key),
        operations=preview.operations(_examples(source, split["labelled"], EXAMPLES), key),
        members=[_bias(member, controlling, key) for member in judged],
    )
    console.print(f"page: {page} ({page.stat().st_size / 1e6:.1f} MB)", soft_wrap=True)


def _suspects(stages: str, source: Source) -> list[tuple[int, int]]:
    """(image, class that it seems to be), the surest first."""
    if not stages:
        return []
    where = "--predictions"
    folders = [stage_folder(Path(name), where) for name in stages.split(",")]
    try:
        found = out_of_fold.gather(folders)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
    if not TASKS[found.task].one_class:
        raise UserError(f"{where}: {stages!r} predicts {TASKS[found.task].labels} for each image; want one class")
    if files.read_json(folders[0].parent / "run.json")["data"]["fingerprint"] != fingerprint(source):
        raise UserError(f"{where}: {stages!r} saw other images than the config names; give it that run's config.data")
    rows, seems = label_errors.suspects(found.labels, found.probabilities)
    return list(zip(found.ids[rows].tolist(), seems.tolist(), strict=True))


def _examples(source: Source, ids: np.ndarray, count: int) -> dict[str, np.ndarray]:
    """`count` images spread over `ids`, as a batch."""
    chosen = ids[np.linspace(0, len(ids) - 1, count).astype(int)]
    return {
        "image": source.images[chosen],
        "label": targets(source, chosen),
    } | {name: values[chosen] for name, values in source.objects.items()}


def _stages(
    checked: Plan, settings: dict[str, Any], source: Source, ids: np.ndarray, key: jax.Array
) -> list[dict[str, Any]]:
    """Contact sheets, one for all stages with the same augmentation."""
    alike: dict[str, list[tuple[str, str, Augment]]] = {}
    blocks: dict[str, Mapping[str, Any]] = {}
    for stage in checked.stages:
        for key_of, block in augment_blocks(settings[stage.name]).items():
            content = json.dumps(block, sort_keys=True)
            alike.setdefault(content, []).append((stage.name, key_of, getattr(stage, key_of)))
            blocks[content] = block
    examples = _examples(source, ids, IMAGES)
    found = []
    for content, users in alike.items():
        names = [name if key_of == "augment" else f"{name}, strong view" for name, key_of, _ in users]
        ops, (_, _, augment) = blocks[content].get("ops", ()), users[0]
        views = preview.draws(augment, examples, key, VERSIONS) if ops else None
        found.append(exploration.stage(names, ops, examples["image"], views))
    return found


def _member(name: str, where: str, say: Callable[[str], None]) -> Member:
    folder = stage_folder(Path(name), where)
    settings, source, split = load_run(folder.parent, where, say)
    if not TASKS[source.task].one_class:
        raise UserError(
            f"{where}: {name!r} predicts {TASKS[source.task].labels} for each image; the effect on one class is "
            "measured"
        )
    ids, about = held_out(split)
    return Member(
        name=name,
        classify=Classifier.open(str(folder)),
        classes=source.classes,
        images=decode.resized(source.images[ids], settings[folder.name].get("size", 0)),
        labels=source.labels[ids],
        about_images=about,
        augment=settings[folder.name]["augment"],
    )


def held_out(split: dict[str, np.ndarray]) -> tuple[np.ndarray, str]:
    """(images of a run that its stages were not trained on, at most `MEASURED_IMAGES`, and which they are)."""
    kind = "validation" if len(split["validation"]) else "test"
    ids = np.sort(np.random.default_rng(0).permutation(split[kind])[:MEASURED_IMAGES])
    about = f"On {len(ids):,} of the {counted(len(split[kind]), f'{kind} image')} of its run."
    if kind == "validation":
        return ids, about
    return (
        ids,
        f"{about} It has no validation images: choose nothing by these, set some aside (config.data.validation).",
    )


def _bias(member: Member, control: class_bias.Classify | None, key: jax.Array) -> dict[str, Any]:
    measured = class_bias.of_operations(member.classify, member.images, member.labels, key)
    counted = {name: found.counts() for name, found in measured.items()}
    unchanged = [name for name, found in measured.items() if (found.right == found.right[0]).all()]
    tests = sum((len(found.steps) - 1) * len(np.unique(found.labels)) for found in measured.values())
    probes = class_bias.shortcuts(
        member.classify, member.images, member.labels, member.augment, member.name, key, control=control
    )
    return {
        "name": member.name,
        "images": member.about_images,
        "warnings": [
            *sentences(class_bias.losses(measured), member.classes),
            *(_shortcut_said(*probe, member.classes) for probe in probes if probe[2].excess and probe[2].excess[1] > 0),
        ],
        "tests": f"Warnings come from {tests} tests: of each class against the others, among the images that are right "
        "without the operation, how many are wrong with it (Fisher's exact test, with Holm's correction: 5% for any "
        "false alarm).",
        "unchanged": unchanged,
        "operations": [
            {
                "name": name,
                "plot": bias.plot(found.steps, *counted[name], member.classes),
                "headers": bias.headers(found.steps),
                "rows": bias.rows(*counted[name], found.slopes(), member.classes),
            }
            for name, found in measured.items()
            if name not in unchanged
        ],
        "probe_headers": bias.PROBE_HEADERS,
        "probes": [
            bias.probe_row(applied, _names(classes, member.classes), found[:4], found.excess)
            for applied, classes, found in probes
        ],
        "control": "Excess is their rise less that of the control; above zero with its interval it is a shortcut."
        if control
        else "The operation itself may cause a rise: --control=RUN/STAGE, trained with it on all classes, says which.",
    }


def sentences(losses: Sequence[class_bias.Loss], classes: Sequence[str]) -> list[str]:
    """A line for each operation and strength."""
    found: dict[str, list[str]] = {}
    for loss in losses:
        lost, others = 100 * loss.lost / loss.n, 100 * loss.others_lost / loss.others_n
        found.setdefault(f"{loss.operation}, {loss.step}", []).append(
            f"{classes[loss.label]} ({lost:.0f}% of {loss.n}; the other classes {others:.0f}%)"
        )
    return [
        f"{what}: right answers are lost clearly more often in {', '.join(those)}." for what, those in found.items()
    ]


def _shortcut_said(applied: str, label: list[int], found: class_bias.Shortcut, classes: Sequence[str]) -> str:
    assert found.excess
    return (
        f"Shortcut: images of other classes after {applied} are taken for {_names(label, classes)} more often, by "
        f"{100 * found.excess[0]:.1f} points more than the control takes them."
    )


def _names(labels: list[int], classes: Sequence[str]) -> str:
    return ", ".join(classes[label] for label in labels)
