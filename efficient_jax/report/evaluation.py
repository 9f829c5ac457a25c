"""`evaluation.html`: metrics, mistakes and pairwise comparison of members on one page."""

import dataclasses
import os
import pathlib
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from efficient_jax.metrics.classification import ClassFigures
from efficient_jax.report import glossary, plots, site, stage_section, tables
from efficient_jax.report.summary import CLEAR, accuracy_first
from efficient_jax.types import Column

TEMPERED_HEADERS = ["member", "temperature", "NLL", "ECE"]
PAIR_HEADERS = ["member", "compared with", "differ, %", "errors' correlation", "won", "lost", "p"]
SET_HEADERS = ["member", "promised, %", "covered, %", "[95% interval of coverage]", "classes in a set", "empty sets, %"]
CLASS_HEADERS = ["class", "recall, % [95% interval]", "precision, % [95% interval]", "F1, %", "images", "predicted"]
SHOWN_CHANGES = 16
WORDS = ["accuracy", "95% interval", "balanced accuracy", "calibration error, ECE", "confusion matrix", "differ"]
WORDS += [
    "ECE floor",
    "errors' correlation",
    "covered",
    "F1, macro F1, micro F1",
    "negative log-likelihood, NLL",
    "p",
    "precision",
]
WORDS += ["recall", "slice", "soup", "temperature", "vote", "won, lost"]
NOTHING: Mapping[str, str] = MappingProxyType({})


class SliceRow(NamedTuple):
    """A row of the table of accuracy by properties of the images."""

    measure: str
    parts: list[tuple[str, str, str]]  # values, accuracy and number of images of each part
    p: str
    sure: bool  # whether right and wrong predictions clearly differ in it


class Changed(NamedTuple):
    """An image whose prediction changed."""

    image: plots.EmbeddedImage
    true: str  # classes
    before: str
    after: str
    file: str


@dataclasses.dataclass(frozen=True)
class Changes:
    """Images whose prediction changed."""

    count: int
    shown: list[Changed]  # some of them


class Pair(NamedTuple):
    """Images that one of two members predicts correctly and the other does not."""

    first: str  # names of the members
    second: str
    won: Changes  # that only the second predicts correctly
    lost: Changes  # that only the first does


class MemberSection(NamedTuple):
    """The section of a member."""

    name: str
    about: str
    names: Sequence[str]  # of the classes
    shares: bool  # whether its probabilities are shares of votes
    classes: list[list[str]]  # cells under `CLASS_HEADERS`
    slices: list[SliceRow]
    confusion: stage_section.Confusion | None  # only where each image has exactly one class
    mistakes: list[stage_section.Mistake]
    worst: list[plots.Captioned]  # of class maps, in place of mistakes
    legend: list[tuple[str, str]]  # names and colors of their classes
    part_tables: list[tables.Titled]  # of class maps and boxes: figures by class and size


def results(about: Mapping[str, Any], columns: Sequence[Column]) -> list[tables.Titled]:
    """Returns the tables of an evaluation.

    Args:
        about: content of evaluation.json: "members" (name -> metrics), and where they apply "pairs" and "selection".
        columns: the metrics of the task.
    """
    folder, short = shortened(list(about["members"]))
    scores = {short[name]: metrics for name, metrics in about["members"].items()}
    headers = ["member", "step, views", *tables.headers(columns, next(iter(scores.values())))]
    rows = [[name, _step_and_views(metrics), *tables.cells(columns, metrics)] for name, metrics in scores.items()]
    sections: list[tables.Titled] = [
        (f"Test images, members in {folder}:" if folder else "Test images:", headers, rows)
    ]
    sections += [(f"{name}: {described(m, short)}", [], []) for name, m in scores.items() if "members" in m]
    if tempered := [_tempered(name, metrics) for name, metrics in scores.items() if "temperature" in metrics]:
        sections.append(
            (
                "Logits divided by the temperature fitted to validation images, which are never selected ones:",
                TEMPERED_HEADERS,
                tempered,
            )
        )
    if about.get("pairs"):
        sections.append(
            ("Pairs of members on the same images:", PAIR_HEADERS, [_pair(row, short) for row in about["pairs"]])
        )
    if about.get("selection"):
        steps = ", ".join(f"{short[row['member']]} {100 * row['accuracy']:.2f}%" for row in about["selection"])
        sections.append((f"Greedy soft vote, accuracy on validation images after adding each member: {steps}", [], []))
    if sized := {name: metrics["sets"] for name, metrics in scores.items() if "sets" in metrics}:
        sections.append(
            (
                "Prediction sets, calibrated with half of the test images and counted on the other half:",
                SET_HEADERS,
                [[name, *_sets(figures)] for name, figures in sized.items()],
            )
        )
    if turned := {name: metrics["turned"] for name, metrics in scores.items() if "turned" in metrics}:
        headers = ["member", *(f"{row['degrees']:g}°" for row in next(iter(turned.values())))]
        rows = [[name, *(tables.accuracy(counts) for counts in angles)] for name, angles in turned.items()]
        sections.append(("Accuracy on images turned both ways, % [95% interval]:", headers, rows))
    return sections


def _sets(figures: Mapping[str, float]) -> list[str]:
    shares = [f"{100 * figures[name]:.1f}" for name in ("promised", "coverage", "low", "high", "empty")]
    return [shares[0], shares[1], f"[{shares[2]}, {shares[3]}]", f"{figures['size']:.2f}", shares[4]]


def described(about: Mapping[str, Any], short: Mapping[str, str] = NOTHING) -> str:
    """Returns in one sentence which weights and test-time views the metrics of a member come from.

    Args:
        about: `members.Member.origin`: "stage" or "file", or "members" and "weights", with "step" and "views".
        short: name of a member -> the name shown.
    """
    views = about.get("views")
    if "members" in about:
        parts = [
            f"{short.get(name, name)} (weight {weight:g})"
            for name, weight in zip(about["members"], about["weights"], strict=True)
        ]
        views_of_members = views if isinstance(views, list) else [views]
        listed = list(dict.fromkeys(view or "not known" for view in views_of_members))
        return f"{', '.join(parts)}; views: {', '.join(listed)}"
    if "stage" in about:
        return f"{about['stage']}, weights of step {_known(about['step'])}; views: {views}"
    return f"{about['file']}, a file; its step and views are not known" if "file" in about else ""


def _step_and_views(metrics: Mapping[str, Any]) -> str:
    views = metrics.get("views")
    return f"{_known(metrics.get('step'))}, {views if isinstance(views, str) else '–'}"


def _known(step: int | None) -> str:
    return "–" if step is None else str(step)


def shortened(names: Sequence[str]) -> tuple[str, dict[str, str]]:
    """Returns the folder that all members share, and the names without it.

    Args:
        names: names of members; paths, or "soft vote of 3" and "uniform soup of 3".

    Returns:
        (the folder, "" if there is none; name -> shortened name).
    """
    parents = [os.path.dirname(name) for name in names if not re.search(r"(vote|soup) of \d+$", name)]
    alike = len(parents) > 1 and all(parents) and len(set(map(os.path.isabs, parents))) == 1
    folder = os.path.commonpath(parents) if alike else ""
    return folder, {name: name.removeprefix(f"{folder}/") for name in names}


def _tempered(name: str, metrics: Mapping[str, Any]) -> list[str]:
    keys = ("temperature", "tempered_negative_log_likelihood", "tempered_calibration_error")
    return [name, *(f"{metrics[key]:.3f}" for key in keys)]


def _pair(row: Mapping[str, Any], short: Mapping[str, str]) -> list[str]:
    numbers = [f"{100 * row['disagreement']:.1f}", tables.figure(row["error_correlation"], ".2f")]
    return [
        short[row["second"]],
        short[row["first"]],
        *numbers,
        str(row["won"]),
        str(row["lost"]),
        tables.p_value(row["p_value"]),
    ]


def class_rows(classes: Sequence[ClassFigures]) -> list[list[str]]:
    """Returns the cells under `CLASS_HEADERS`.

    Args:
        classes: figures of each class.
    """
    return [
        [
            row["class"],
            tables.accuracy({"correct": row["right"], "n": row["true"]}),
            tables.accuracy({"correct": row["right"], "n": row["answered"]}),
            f"{100 * row['f1']:.1f}",
            f"{row['true']:,}",
            f"{row['answered']:,}",
        ]
        for row in classes
    ]


def slice_rows(slices: Sequence[Mapping[str, Any]]) -> list[SliceRow]:
    """Returns the slices as the template takes them, with numbers as text.

    Args:
        slices: one mapping per measure, as `evaluation.slices.slices` returns them.
    """
    return [
        SliceRow(
            measure=row["measure"],
            parts=[(_values(part["values"]), tables.accuracy(part), f"{part['n']:,}") for part in row["parts"]],
            p=tables.p_value(row["p_value"]),
            sure=row["p_value"] <= CLEAR,
        )
        for row in slices
    ]


def _values(values: bool | Sequence[float]) -> str:
    return ("yes" if values else "no") if isinstance(values, bool) else " to ".join(map(tables.digits, values))


def mistakes(
    images: Any,
    ids: np.ndarray,
    answers: np.ndarray,
    labels: np.ndarray,
    probabilities: np.ndarray,
    classes: list[str],
    file_names: Sequence[str],
) -> list[stage_section.Mistake]:
    """Returns the most confident mistakes as the template takes them, at most `stage_section.SHOWN_MISTAKES`.

    Args:
        images: all images of the dataset, indexed by arrays of indices: uint8 [h w c] each.
        ids: int [n], the index of each test image in `images`.
        answers: int [n], predicted classes.
        labels: int [n], true classes.
        probabilities: float [n classes].
        classes: class names.
        file_names: of the n images, as they are shown.
    """
    confidence = probabilities[np.arange(len(ids)), answers]
    wrong = np.flatnonzero(answers != labels)
    order = wrong[np.argsort(-confidence[wrong], kind="stable")][: stage_section.SHOWN_MISTAKES]
    names = np.array(classes)
    arrays = {"true_names": names[labels[order]], "predicted_names": names[answers[order]]}
    arrays["file_names"] = np.array(file_names)[order]
    return stage_section.mistakes(arrays | {"images": images[ids[order]], "confidence": confidence[order]})


def changes(
    images: Any,
    ids: np.ndarray,
    labels: np.ndarray,
    before: np.ndarray,
    after: np.ndarray,
    classes: Sequence[str],
    file_names: Sequence[str],
) -> Changes:
    """Counts some images whose prediction changed, and shows at most `SHOWN_CHANGES` of them.

    Args:
        images: all images of the dataset, indexed by arrays of indices: uint8 [h w c] each.
        ids: int [n], the indices of those that changed.
        labels: int [n], true classes.
        before: int [n], predicted classes of the first member.
        after: int [n], predicted classes of the second member.
        classes: class names.
        file_names: of the n images, as they are shown.
    """
    some = np.linspace(0, len(ids) - 1, min(SHOWN_CHANGES, len(ids))).astype(int)
    shown = map(plots.single, images[ids[some]]) if len(some) else ()
    names = np.array(classes)
    columns = (names[classes_of[some]] for classes_of in (labels, before, after))
    rows = zip(shown, *columns, np.array(file_names, str)[some], strict=False)
    return Changes(len(ids), [Changed(image, *map(str, about)) for image, *about in rows])


def write_page(
    folder: pathlib.Path,
    *,
    results: Sequence[tables.Titled],
    changed: Sequence[Pair],
    members: Sequence[MemberSection],
) -> pathlib.Path:
    """Writes `folder/evaluation.html`; an existing file is replaced.

    Args:
        folder: where to write.
        results: tables, as `results` returns them.
        changed: pairs of members, and the images that only one of them predicts correctly.
        members: section of each member.

    Returns:
        The path of the page.
    """
    _, short = shortened([member.name for member in members])
    shown = [*results, *(table for member in members for table in member.part_tables)]
    headers = [header for _, of_table, _ in shown for header in of_table]
    values = {
        "title": folder.resolve().name,
        "results": [
            (caption, accuracy_first(headers, headers), [accuracy_first(row, headers) for row in rows])
            if rows
            else (caption, headers, rows)
            for caption, headers, rows in results
        ],
        "changed": changed,
        "members": members,
        "short": short,
        "class_headers": CLASS_HEADERS,
        "words": list(dict.fromkeys([*WORDS, *glossary.terms(headers)])),
    }
    return site.write(folder / "evaluation.html", "evaluation.html", values)
