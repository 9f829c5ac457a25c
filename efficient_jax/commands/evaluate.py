"""evaluate: compares trained members and prediction files, alone and combined, on the test images of their run."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from efficient_jax import files, settings
from efficient_jax.commands import evaluate_files
from efficient_jax.data import decode
from efficient_jax.detection.fusion import fusion_of
from efficient_jax.distributed import console, log
from efficient_jax.errors import UserError, counted
from efficient_jax.evaluation import slices
from efficient_jax.evaluation.members import (
    WHERE,
    Member,
    aligned,
    answered_rightly,
    figures,
    first_data,
    member,
    named,
    run_opener,
)
from efficient_jax.evaluation.rotated import rotated
from efficient_jax.evaluation.soup import SOUPS, soup_of
from efficient_jax.evaluation.votes import comparison, fused, selection, together
from efficient_jax.experiment.dataset import Data
from efficient_jax.experiment.results import file_name
from efficient_jax.experiment.workdir import writable
from efficient_jax.files import Json
from efficient_jax.inference import matching, predictions, voting
from efficient_jax.inference.tta import parse_views
from efficient_jax.metrics import classification, conformal
from efficient_jax.metrics.agreement import change
from efficient_jax.report import evaluation, glossary, layout, plots, stage_section
from efficient_jax.tasks import DETECTION, TASKS
from efficient_jax.training import checkpoint

LINES = 20  # rows of a table in the terminal


def evaluate(
    members: str = "",
    vote: str = "soft",
    weights: str = "",
    soup: str = "",
    tta: str = "none",
    turn: str = "",
    truth: str = "",
    fuse: str = "",
    iou: str = "",
    coverage: float = 0.0,
    sets: str = "threshold",
    out: str = "",
) -> None:
    """Compares networks and files of predictions on test images, alone and together.

    Args:
        members: RUN, RUN/STAGE, RUN/STAGE@STEP (@*: all checkpoints that were kept), or files of predictions (.npz,
            .csv), separated by commas; * stands for any name. Or detections (COCO results, .json), or folders of
            maps (.png of classes, .npz of classes or probabilities).
        vote: how members are combined: soft, the mean of their probabilities, or hard, the most frequent class.
        weights: weight of each member in the vote, separated by commas; empty: all alike.
        soup: uniform or greedy: also evaluates the mean of the members' weights, with batch statistics of its own.
        tta: views of each image over which predictions are averaged: none, flips, d4, shifts, crops, ten_crops or
            scales; d4:hard counts the predicted classes instead. Boxes of the views are merged, as `fuse` says it:
            flips:wbf (the default), flips:nms, ...
        turn: degrees, such as 5,15,45: also evaluates on test images turned by these.
        truth: for detections and maps: the COCO file or the folder of the true ones.
        fuse: how boxes of several detectors are combined: wbf, nmw, nms or soft_nms; after a colon the confidence of
            wbf (wbf:box_and_model) or the decay of soft_nms (soft_nms:linear).
        iou: IoU from which on boxes are the same object, 0 to below 1; empty: the default of `fuse`.
        coverage: also measures prediction sets that contain the true class with this probability, such as 0.9.
        sets: score of these sets: threshold, aps or raps; with :by_class the promise holds for each class.
        out: folder for evaluation.html, evaluation.json, predictions.npz (of the last row) and the soup; empty: none.
            The index of a run links to the page in a folder inside it, such as RUN/evaluation.

    Raises:
        UserError: a flag is wrong, or a member does not exist or does not fit the others.
    """
    if not members:
        raise UserError("evaluate: --members=RUN[/STAGE],... is missing")
    settings.choose(vote, voting.VOTES, "--vote")
    names = named(members)
    parse_views(tta, "--tta")
    if soup:
        settings.choose(soup, dict.fromkeys(SOUPS), "--soup")
    degrees, shares = _numbers(turn, "--turn"), _numbers(weights, "--weights")
    if shares and len(shares) != len(names):
        raise UserError(f"--weights: {len(shares)} for {counted(len(names), 'member')}; want one for each")
    models = [name for name in names if Path(name).suffix not in predictions.SUFFIXES]
    if truth or evaluate_files.takes(names) or ((fuse or iou) and not models):
        if soup or degrees or tta != "none":
            raise UserError("--soup, --turn and --tta need trained members; detections and maps are files")
        evaluate_files.evaluate(names, truth, vote, shares, fuse, iou, out)
        return
    score, _, by_class = sets.partition(":")
    settings.choose(score, conformal.SCORES, "--sets")
    settings.choose(by_class, dict.fromkeys(("", "by_class")), "--sets")
    folder = writable(Path(out), "--out") if out else None
    if degrees and not models:
        raise UserError("--turn: prediction files cannot be evaluated on turned images; add a trained member")
    open_run = run_opener(log)
    singles = aligned([member(name, open_run, tta) for name in names], log)
    if degrees and not TASKS[singles[0].test.task].by_image:
        raise UserError("--turn: true maps of pixels are not turned with their images; evaluate without it")
    evaluated = list(singles)
    if soup:
        soup_member, mixed, inside = soup_of(names, soup, open_run, tta)
        log(f"{soup_member.name}: {', '.join(inside)}")
        evaluated.append(soup_member)
        if folder:
            _clear(folder / "soup", names)
            with checkpoint.saving(folder / "soup", "--soup") as manager:
                checkpoint.save(manager, 0, {"ema": mixed.variables}, mixed.spec, None)
    task = TASKS[evaluated[0].test.task]
    if (fuse or iou) and task is not DETECTION:
        raise UserError(f"--fuse and --iou are for boxes; an image has {task.labels}")
    if len(names) > 1 and task is DETECTION:
        evaluated.append(fused(singles, fuse or "wbf", fusion_of(fuse or "wbf", iou, "--fuse"), shares))
    elif len(names) > 1:
        evaluated.append(together(singles, vote, shares))
    scores = {one.name: {**one.origin} | _scores(one) for one in evaluated}
    for one in evaluated if coverage else ():
        scores[one.name]["sets"] = _sets(one, coverage, score, bool(by_class))
    about: dict[str, object] = {"members": scores}
    if task.one_class and len(names) > 1:
        about |= {"pairs": comparison(singles), "selection": selection(singles)}
    for name in models if degrees else ():
        scores[name]["turned"] = [counts._asdict() for counts in rotated(name, degrees, open_run, tta)]
    results = evaluation.results(about, task.metric_columns)
    for caption, headers, rows in results:
        if caption:
            log(f"\n{caption}" if rows else caption)
        if rows:  # soup and vote are the last two
            console().print(
                layout.rich_table(headers, rows if len(rows) <= LINES else [*rows[: LINES - 2], *rows[-2:]])
            )
            if legend := glossary.legend(headers):
                console().print(legend)
        if len(rows) > LINES:
            log(f"and {len(rows) - LINES} more rows before the last two; --out=DIR writes all of them")
    if folder:
        predictions.write(folder / "predictions.npz", evaluated[-1].test)
        files.write_json(folder / "evaluation.json", about)  # first, in case the images of the run are gone
        data = first_data(names, open_run)
        if data and task.by_image:
            ids = np.sort(evaluated[0].test.ids)
            measures = slices.measures(data.source, data.split, ids)
            for one in evaluated:
                correct = answered_rightly(one)[np.argsort(one.test.ids)]
                scores[one.name]["slices"] = slices.slices(correct, measures)
            files.write_json(folder / "evaluation.json", about)
        sections = [_section(one, scores[one.name], data) for one in evaluated]
        written = evaluation.write_page(folder, results=results, changed=_changed(singles, data), members=sections)
        log(f"page: {written}")


def _clear(soup: Path, names: Sequence[str]) -> None:
    """Removes an earlier soup, which orbax would otherwise keep."""
    trained = any((soup / name).exists() for name in ("result.json", "config.json"))
    if trained or any(Path(name.partition("@")[0]).resolve() == soup.resolve() for name in names):
        raise UserError(f"--out: {str(soup)!r} is a stage, a run or a member; choose another folder for the soup")
    shutil.rmtree(soup, ignore_errors=True)


def _numbers(text: str, flag: str) -> list[float]:
    try:
        return [float(word) for word in text.split(",") if text]
    except ValueError as error:
        raise UserError(f"{flag}: {text!r}; want numbers separated by commas") from error


def _scores(one: Member) -> Json:
    task, classes = TASKS[one.test.task], one.test.classes
    if not task.by_image:
        return figures(one)
    answered, true = (task.members(labels, len(classes)) for labels in (one.answers, one.test.labels))
    return figures(one) | {"classes": classification.per_class(answered, true, classes)}


def _sets(one: Member, coverage: float, score: str, by_class: bool) -> dict[str, float]:
    """Returns the figures of a member's prediction sets."""
    test, task = one.test, TASKS[one.test.task]
    if not task.one_class or test.shares:
        what = f"an image has {task.labels}" if not task.one_class else "shares of a hard vote are no probabilities"
        raise UserError(f"--coverage: sets are for images of one class; {what}")
    known = task.known(test.labels)
    try:
        figures = conformal.measured(test.probabilities[known], test.labels[known], coverage, score, by_class)
    except UserError as error:
        raise UserError(f"--coverage: half of the test images calibrate: {error}") from error
    return {"promised": coverage} | figures


def _section(one: Member, scores: Json, data: Data | None) -> evaluation.MemberSection:
    """Returns the section of a member on the page."""
    test = one.test
    several = not TASKS[test.task].one_class
    drawing = stage_section.DRAWINGS.get(test.task)
    return evaluation.MemberSection(
        name=one.name,
        about=evaluation.described(one.origin),
        names=test.classes,
        shares=test.shares,
        classes=evaluation.class_rows(scores.get("classes", [])),
        slices=evaluation.slice_rows(scores.get("slices", [])),
        confusion=None if several else stage_section.confusion(test.labels, one.answers, test.classes),
        worst=[] if TASKS[test.task].by_image or not data else _worst(one, data),
        part_tables=drawing.part_tables(scores, test.classes) if drawing else [],
        legend=drawing.legend(test.classes) if drawing else [],
        mistakes=[]
        if several or not data
        else evaluation.mistakes(
            data.source.images,
            test.ids,
            one.answers,
            test.labels,
            test.probabilities,
            list(test.classes),
            [file_name(data.source, i) for i in test.ids],
        ),
    )


def _worst(one: Member, data: Data) -> list[plots.Captioned]:
    """Returns the test images with the largest loss, with their true and predicted maps."""
    test, task = one.test, TASKS[one.test.task]
    side = 0 if task is DETECTION else test.labels.shape[-1]
    loss = task.severity(test.probabilities, test.labels)
    rows = np.argsort(-loss, kind="stable")[: stage_section.SHOWN_MISTAKES]
    arrays = {
        "images": decode.resized(data.source.images[test.ids[rows]], side),
        "label": test.labels[rows],
        "predicted": one.answers[rows],
        "loss": loss[rows],
        "file_names": np.array([file_name(data.source, i) for i in test.ids[rows]], str),
    }
    return stage_section.DRAWINGS[test.task].worst(arrays, test.classes, len(rows))


def _changed(members: Sequence[Member], data: Data | None) -> list[evaluation.Pair]:
    """Returns for each member which images it predicts correctly or wrongly unlike the member before it."""
    if not TASKS[members[0].test.task].one_class or not data:
        return []
    tests = matching.matched([one.test for one in members], [one.name for one in members], WHERE)
    answers = [one.answers[np.argsort(one.test.ids)] for one in members]
    ids, labels = np.sort(tests[0].ids), tests[0].labels[np.argsort(tests[0].ids)]
    rows = []
    for i in range(1, len(members)):
        before, after = answers[i - 1], answers[i]
        won, lost, _ = change(before, after, labels)
        shown = (
            evaluation.changes(
                data.source.images,
                ids[which],
                labels[which],
                before[which],
                after[which],
                tests[0].classes,
                [file_name(data.source, i) for i in ids[which]],
            )
            for which in (won, lost)
        )
        rows.append(evaluation.Pair(members[i - 1].name, members[i].name, *shown))
    return rows
