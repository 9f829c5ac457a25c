"""explore: shows data and augmentation before training, and the class bias of augmentation in trained members."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from efficient_jax import files
from efficient_jax.commands import contact_sheets
from efficient_jax.commands.look import look
from efficient_jax.data import cache, decode, label_errors, progress_bar
from efficient_jax.data.dataset import Source, fingerprint
from efficient_jax.data.framing import Framing
from efficient_jax.distributed import console, log
from efficient_jax.errors import UserError, class_name, counted
from efficient_jax.evaluation import out_of_fold
from efficient_jax.experiment.config import plan
from efficient_jax.experiment.dataset import Data, load_data
from efficient_jax.experiment.workdir import read_config, writable
from efficient_jax.explore import class_bias, preview
from efficient_jax.report import bias, exploration, layout, maps, overlays, sheets
from efficient_jax.report import catalogue as report_catalogue
from efficient_jax.settings import Settings
from efficient_jax.tasks import TASKS
from efficient_jax.training.classifier import Classifier
from efficient_jax.training.trained import stage_folder

EXAMPLES = 4  # of each operation; an even number, because mixing pairs neighbors
SUMMARY_HEADERS = ["operation", "weakest, %", "strongest, %", "points", "loses most"]


class Member(NamedTuple):
    """A trained stage, and held-out images with labels."""

    name: str
    classify: class_bias.Classify
    classes: tuple[str, ...]
    images: np.ndarray  # uint8 [n h w c]
    labels: np.ndarray  # int [n]
    about_images: str  # sentence on which images these are
    augment: Settings  # the augmentation block of the stage


def explore(
    config: ConfigDict = "configs/quickstart.py",
    workdir: str = "runs/explore",
    members: str = "",
    control: str = "",
    predictions: str = "",
    catalogue: str = "",
) -> None:
    """Shows the data and what augmentation does, before training; writes WORKDIR/explore.html.

    The page has statistics of the data with suggestions, the pipeline of each stage, and every operation from weak to
    strong. Of masks and boxes it has their number, size, shape, overlap and truncation, and draws them on the images.

    Args:
        config: FILE or FILE:tiny.
        workdir: folder for the page; that of a run, whose index then links to it, or another.
        members: RUN or RUN/STAGE, separated by commas: also measures how operations change their accuracy, by class.
        control: a stage trained with the same augmentation for all classes, for comparison with members whose
            augmentation depends on the class.
        predictions: RUN or RUN/STAGE of each fold, separated by commas: also lists labels that may be wrong,
            according to their predictions for the images that they held out.
        catalogue: files of photographs, separated by commas: only writes WORKDIR/operations.webp, every operation at
            its default and its strongest, on the first photograph; mixes take the second as partner.

    Raises:
        UserError: the config is wrong, a member does not exist, or predictions are of other data.
    """
    if catalogue:
        _catalogue(catalogue.split(","), writable(Path(workdir), "--workdir"))
        return
    settings = config.to_dict()
    checked = plan(settings)
    folder = writable(Path(workdir), "--workdir")
    if control and not members:
        raise UserError("explore: --control is for --members=RUN[/STAGE],..., which is missing")
    measured = [_member(name, "--members") for name in members.split(",") if members]
    controlling = _member(control, "--control").classify if control else None
    for warning in checked.warnings:
        log(f"warning: {warning}")
    key = jax.random.key(checked.seed)
    source, split = load_data(checked, folder.parent / cache.FOLDER)
    suspects = _suspects(predictions, source)
    with progress_bar.waiting("drawing the augmentation of every stage"):
        stages = contact_sheets.stages(checked, settings, source, split["labelled"], key)
    examples = contact_sheets.examples(source, split["labelled"], EXAMPLES)
    with preview.drawing(contact_sheets.numbered(examples, source), key) as operations:
        with progress_bar.waiting("measuring the images, drawing every operation from weak to strong"):
            data, table = look(checked, settings, source, split, suspects)
        console().print("\nThe data, and what it suggests", style="bold")
        console().print(table)
        about_members = []
        for member in measured:
            with progress_bar.waiting(f"{member.name}: predicting images under every operation"):
                about_members.append(_bias(member, controlling, key))
            _show_bias(about_members[-1])
        with progress_bar.waiting("drawing every operation from weak to strong"):
            drawn = operations()
    page = exploration.write_page(
        folder,
        title=", ".join(settings["stages"]),
        about=f"{checked.source[0]}: {counted(len(source.images), 'image')} of "
        f"{counted(len(source.classes), 'class', 'classes')}, "
        + ", ".join(f"{len(ids):,} {name}" for name, ids in split.items()),
        warnings=checked.warnings,
        data=data,
        stages=stages,
        operations=drawn,
        members=about_members,
        legend=overlays.legend(contact_sheets.entries(source, split["labelled"][:1]), source.classes),
        colors=maps.palette(source.classes) if TASKS[source.task].decoder == "masks" else sheets.PALETTE,
    )
    log(f"page: {page} ({page.stat().st_size / 1e6:.1f} MB)")


def _catalogue(photographs: list[str], folder: Path) -> None:
    """Writes a picture of every operation on photographs."""
    framing = Framing(report_catalogue.SIDE)
    decoded = decode.decode_all(lambda i: Path(photographs[i]), len(photographs), framing)
    if decoded.unreadable:
        raise UserError(f"--catalogue: {decode.listed({photographs[i]: w for i, w in decoded.unreadable.items()})}")
    rows = np.arange(4 * EXAMPLES) % 2 % len(photographs)  # the first as often as the second: mixes pair neighbors
    data = {"image": decoded.images[rows], "label": np.eye(2, dtype=np.float32)[rows]}
    with (
        progress_bar.waiting("drawing every operation"),
        preview.drawing(data, jax.random.key(0), preview.ends, data["image"][:2]) as operations,
    ):
        picture = report_catalogue.write(folder, operations())
    log(f"picture: {picture} ({picture.stat().st_size / 1e3:.0f} kB)")


def _suspects(stages: str, source: Source) -> list[tuple[int, int]]:
    """Returns (index of an image, class that it seems to have) of suspected label errors, the most certain first."""
    if not stages:
        return []
    where = "--predictions"
    folders = [stage_folder(Path(name), where) for name in stages.split(",")]
    try:
        predicted = out_of_fold.gather(folders)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
    if not TASKS[predicted.task].one_class:
        raise UserError(f"{where}: {stages!r} predicts {TASKS[predicted.task].labels} for each image; want one class")
    if files.read_json(folders[0].parent / "run.json")["data"]["fingerprint"] != fingerprint(source):
        raise UserError(
            f"{where}: {stages!r} was trained on other images than the config names; give the config.data of that run"
        )
    rows, seems = label_errors.suspects(predicted.labels, predicted.probabilities)
    return list(zip(predicted.ids[rows].tolist(), seems.tolist(), strict=True))


def _member(name: str, where: str) -> Member:
    folder = stage_folder(Path(name), where)
    data = Data.reopen(folder.parent, where, log)
    if not data.task.one_class:
        raise UserError(
            f"{where}: {name!r} predicts {data.task.labels} for each image; class bias is measured for one class per "
            "image"
        )
    classify = Classifier.open(str(folder))
    ids, about = data.held_out()
    return Member(
        name=name,
        classify=classify,
        classes=data.source.classes,
        images=data.pixels(ids, classify.network.spec),
        labels=data.source.labels[ids],
        about_images=about,
        augment=read_config(folder.parent, where)[folder.name]["augment"],
    )


def _bias(member: Member, control: class_bias.Classify | None, key: jax.Array) -> bias.MemberSection:
    measured = class_bias.of_operations(member.classify, member.images, member.labels, key)
    counts = {name: results.counts() for name, results in measured.items()}
    unchanged = [name for name, results in measured.items() if (results.right == results.right[0]).all()]
    tests = sum((len(results.steps) - 1) * len(np.unique(results.labels)) for results in measured.values())
    probes = class_bias.shortcuts(
        member.classify, member.images, member.labels, member.augment, member.name, key, control=control
    )
    return bias.MemberSection(
        name=member.name,
        images=member.about_images,
        warnings=[
            *sentences(class_bias.losses(measured), member.classes),
            *(
                _shortcut_warning(*probe, member.classes)
                for probe in probes
                if probe[2].excess and probe[2].excess[1] > 0
            ),
        ],
        summary=[summary(name, results, member.classes) for name, results in measured.items()],
        tests=f"Warnings come from {tests} tests of a class against the others: among images that are predicted "
        "correctly without the operation, how many are wrong with it (Fisher's exact test with Holm's correction; 5% "
        "probability of any false alarm).",
        unchanged=unchanged,
        operations=[
            bias.Operation(
                name=name,
                plot=bias.plot(results.steps, *counts[name], member.classes),
                headers=bias.headers(results.steps),
                rows=bias.rows(*counts[name], results.slopes(), member.classes),
            )
            for name, results in measured.items()
            if name not in unchanged
        ],
        probe_headers=bias.PROBE_HEADERS,
        probes=[
            bias.probe_row(applied, _names(classes, member.classes), probe[:4], probe.excess)
            for applied, classes, probe in probes
        ],
        control="Excess is the rise minus that of the control; a shortcut if its whole interval is above zero."
        if control
        else "The operation itself may cause a rise: compare with --control=RUN/STAGE, trained with it on all classes.",
    )


def summary(name: str, results: class_bias.Accuracies, classes: Sequence[str]) -> list[str]:
    """Returns the cells under `SUMMARY_HEADERS`.

    Args:
        name: of the operation.
        results: what its strengths do to a member.
        classes: class names.
    """
    accuracy = 100 * results.right.mean(1)
    losses = 100 * (results.per_class()[0] - results.per_class()[-1])
    worst = int(np.nanargmax(losses))
    loses = f"{classes[worst]}, {losses[worst]:.1f}" if losses[worst] > 0 else "none"
    return [name, f"{accuracy[1]:.1f}", f"{accuracy[-1]:.1f}", f"{accuracy[-1] - accuracy[0]:+.1f}", loses]


def _show_bias(about: bias.MemberSection) -> None:
    """Prints what the page says of a member: accuracy under each operation, warnings, and shortcuts."""
    console().print(f"\n{about.name} under augmentation of the images", style="bold")
    console().print(about.images)
    console().print(layout.rich_table(SUMMARY_HEADERS, about.summary))
    console().print(
        "points: change by the strongest form; loses most: the class whose accuracy falls by the most points."
    )
    for warning in about.warnings:
        console().print(f"warning: {warning}")
    if about.probes:
        console().print(f"\n{about.name}: shortcuts", style="bold")
        console().print(layout.rich_table(about.probe_headers, about.probes))
        console().print(about.control)


def sentences(losses: Sequence[class_bias.Loss], classes: Sequence[str]) -> list[str]:
    """Returns a sentence for each operation and strength.

    Args:
        losses: as from `class_bias.losses`.
        classes: class names.
    """
    class_losses: dict[str, list[str]] = {}
    for loss in losses:
        lost, others = 100 * loss.lost / loss.n, 100 * loss.others_lost / loss.others_n
        class_losses.setdefault(f"{loss.operation}, {loss.step}", []).append(
            f"{class_name(classes[loss.label])} ({lost:.0f}% of {loss.n}; the other classes {others:.0f}%)"
        )
    return [
        f"{what}: significantly more predictions become wrong in {', '.join(parts)}."
        for what, parts in class_losses.items()
    ]


def _shortcut_warning(applied: str, labels: list[int], probe: class_bias.Shortcut, classes: Sequence[str]) -> str:
    assert probe.excess
    return (
        f"Shortcut: after {applied}, images of other classes are predicted as {_names(labels, classes)} more often, by "
        f"{100 * probe.excess[0]:.1f} points more than by the control."
    )


def _names(labels: list[int], classes: Sequence[str]) -> str:
    return ", ".join(class_name(classes[label]) for label in labels)
