"""evaluate: trained members and files of predictions, alone and together, on the test images of their run."""

import functools
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from efficient_jax import files, settings
from efficient_jax.commands import evaluate_files
from efficient_jax.errors import UserError, counted
from efficient_jax.evaluation import slices
from efficient_jax.evaluation.members import WHERE, Member, aligned, answered_rightly, figures, member, named, run_of
from efficient_jax.evaluation.soup import SOUPS, soup_of
from efficient_jax.evaluation.turned import turned
from efficient_jax.evaluation.votes import comparison, selection, together
from efficient_jax.experiment.run import Run
from efficient_jax.experiment.workdir import writable
from efficient_jax.inference import predictions, voting
from efficient_jax.inference.tta import asked
from efficient_jax.metrics import classification
from efficient_jax.metrics.agreement import change
from efficient_jax.report import evaluation, page, tables
from efficient_jax.tasks import TASKS
from efficient_jax.training import checkpoint

LINES = 20  # of a table in the terminal


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
    out: str = "",
) -> None:
    """Compares networks and files of predictions on test images, alone and together.

    Args:
        members: RUN, RUN/STAGE, RUN/STAGE@STEP (@*: all checkpoints that were kept), or files of predictions (.npz,
            .csv), separated by commas; * stands for any name. Or detections (COCO results, .json), or folders of
            maps (.png of classes, .npz of classes or probabilities).
        vote: how members answer together: soft, the mean of their probabilities, or hard, the most frequent answer.
        weights: a number for each member in the vote, separated by commas; empty: all alike.
        soup: uniform or greedy: also evaluates the mean of the members' weights, with batch statistics of its own.
        tta: views of every image by whose mean a network answers: none, flips, d4, shifts, crops, ten_crops or scales;
            d4:hard counts the answers of the views.
        turn: degrees, such as 5,15,45: also evaluates on test images turned by these.
        truth: for detections and maps: the COCO file or folder that says what is right.
        fuse: how boxes of several detectors are combined: wbf, nmw, nms or soft_nms; behind a colon the confidence of
            wbf (wbf:box_and_model) or the decay of soft_nms (soft_nms:linear).
        iou: overlap from which on boxes are the same object, 0 to 1 (1 excluded); empty: the default of `fuse`.
        out: folder for evaluation.html, evaluation.json, predictions.npz (of the last row) and the soup; empty: none.
    """
    console = Console(markup=False, highlight=False)
    if not members:
        raise UserError("evaluate: --members=RUN[/STAGE],... is missing")
    settings.choose(vote, voting.VOTES, "--vote")
    names = named(members)
    asked(tta, "--tta")
    if soup:
        settings.choose(soup, dict.fromkeys(SOUPS), "--soup")
    degrees, shares = _numbers(turn, "--turn"), _numbers(weights, "--weights")
    if shares and len(shares) != len(names):
        raise UserError(f"--weights: {len(shares)} for {counted(len(names), 'member')}; want one for each")
    if truth or fuse or iou or evaluate_files.takes(names):
        if soup or degrees or tta != "none":
            raise UserError("--soup, --turn and --tta ask models; detections and maps are files")
        evaluate_files.evaluate(names, truth, vote, shares, fuse, iou, out)
        return
    folder = writable(Path(out), "--out") if out else None
    models = [name for name in names if Path(name).suffix not in predictions.SUFFIXES]
    if degrees and not models:
        raise UserError("--turn: turned images are for a model to see, and all members are files")
    say = functools.partial(console.print, soft_wrap=True)
    singles = aligned([member(name, console, tta) for name in names], say)
    found = list(singles)
    if soup:
        made, mixed, inside = soup_of(names, soup, console, tta)
        console.print(f"{made.name}: {', '.join(inside)}", soft_wrap=True)
        found.append(made)
        if folder:
            _clear(folder / "soup", names)
            with checkpoint.saving(folder / "soup", "--soup") as manager:
                checkpoint.save(manager, 0, {"ema": mixed.variables}, mixed.spec, None)
    if len(names) > 1:
        found.append(together(singles, vote, shares))
    task = TASKS[found[0].test.task]
    scores = {each.name: {**each.about} | _scores(each) for each in found}
    about: dict[str, Any] = {"members": scores}
    if task.one_class and len(names) > 1:
        about |= {"pairs": comparison(singles), "selection": selection(singles)}
    for name in models if degrees else ():
        scores[name]["turned"] = turned(name, degrees, console, tta)
    shown = evaluation.results(about)
    for said, headers, rows in shown:
        if said:
            console.print(said, soft_wrap=True)
        if rows:  # soup and vote are the last
            console.print(tables.rich_table(headers, rows if len(rows) <= LINES else [*rows[: LINES - 2], *rows[-2:]]))
        if len(rows) > LINES:
            console.print(f"and {len(rows) - LINES} more before the last two, which --out=DIR keeps", soft_wrap=True)
    if folder:
        predictions.write(folder / "predictions.npz", found[-1].test)
        files.write_json(folder / "evaluation.json", about)  # also where the run's images are gone
        run = run_of(names, console)
        if run and task.by_image:
            ids = np.sort(found[0].test.ids)
            like = slices.measures(run.source, run.split, ids)
            for each in found:
                right = answered_rightly(each)[np.argsort(each.test.ids)]
                scores[each.name]["slices"] = slices.slices(right, like)
            files.write_json(folder / "evaluation.json", about)
        sections = [_section(each, scores[each.name], run) for each in found]
        written = evaluation.write_page(folder, results=shown, changed=_changed(singles, run), members=sections)
        console.print(f"page: {written}", soft_wrap=True)


def _clear(soup: Path, names: Sequence[str]) -> None:
    """Removes an earlier soup: with one there, orbax would keep that."""
    trained = any((soup / name).exists() for name in ("result.json", "config.json"))
    if trained or any(Path(name.partition("@")[0]).resolve() == soup.resolve() for name in names):
        raise UserError(f"--out: {str(soup)!r} is a stage, a run or a member; choose another folder for the soup")
    shutil.rmtree(soup, ignore_errors=True)


def _numbers(text: str, flag: str) -> list[float]:
    try:
        return [float(word) for word in text.split(",") if text]
    except ValueError as error:
        raise UserError(f"{flag}: {text!r}; want numbers separated by commas") from error


def _scores(found: Member) -> dict[str, Any]:
    task, classes = TASKS[found.test.task], found.test.classes
    if not task.by_image:
        return figures(found)
    answered, true = (task.members(labels, len(classes)) for labels in (found.answers, found.test.labels))
    return figures(found) | {"classes": classification.per_class(answered, true, classes)}


def _section(found: Member, scores: dict[str, Any], run: Run | None) -> dict[str, Any]:
    """What the page shows of a member."""
    test = found.test
    several = not TASKS[test.task].one_class
    return {
        "name": found.name,
        "about": evaluation.described(found.about),
        "names": test.classes,
        "shares": test.shares,
        "classes": evaluation.class_rows(scores.get("classes", [])),
        "slices": evaluation.slice_rows(scores.get("slices", [])),
        "confusion": None if several else page.confusion(test.labels, found.answers, test.classes),
        "mistakes": []
        if several or not run
        else evaluation.mistakes(
            run.source.images, test.ids, found.answers, test.labels, test.probabilities, list(test.classes)
        ),
    }


def _changed(found: Sequence[Member], run: Run | None) -> list[dict[str, Any]]:
    """What each member won and lost against the one before it."""
    if not TASKS[found[0].test.task].one_class or not run:
        return []
    tests = predictions.matched([each.test for each in found], [each.name for each in found], WHERE)
    answers = [each.answers[np.argsort(each.test.ids)] for each in found]
    ids, labels = np.sort(tests[0].ids), tests[0].labels[np.argsort(tests[0].ids)]
    rows = []
    for i in range(1, len(found)):
        won, lost, _ = change(answers[i - 1], answers[i], labels)
        both = {"won": ids[won], "lost": ids[lost]}
        rows.append({"first": found[i - 1].name, "second": found[i].name} | evaluation.changes(run.source.images, both))
    return rows
