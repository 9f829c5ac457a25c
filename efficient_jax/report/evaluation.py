"""`evaluation.html`: what members are worth, where they are wrong, and what one has over another, on one page."""

import os
import pathlib
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from efficient_jax.report import page, plots, tables, template

Scores = Mapping[str, Mapping[str, Any]]
Result = tuple[str, Sequence[str], Sequence[Sequence[str]]]
"""What is said, and headers and rows of a table below it."""

HEADERS = ["member", "test accuracy, % [95% interval]", "balanced, %", "macro F1, %", "NLL", "ECE", "its floor"]
SEVERAL_LABELS_HEADERS = ["member", "all labels right, % [95% interval]", *tables.SEVERAL_LABELS.values(), "NLL"]
TEMPERED_HEADERS = ["member", "temperature", "NLL", "ECE"]
PIXEL_HEADERS = ["member", "mean IoU, %", "pixels right, %"]
PAIR_HEADERS = ["first", "second", "differ, %", "errors' correlation", "won", "lost", "p"]
CLASS_HEADERS = ["class", "images", "answered", "recall, % [95% interval]", "precision, % [95% interval]", "F1, %"]
SHOWN_CHANGES = 10
NOTHING: Mapping[str, str] = MappingProxyType({})
CLEAR = 0.05


def results(about: Mapping[str, Any]) -> list[Result]:
    """The tables; `about` is what evaluation.json holds."""
    folder, short = shortened(list(about["members"]))
    scores = {short[name]: of for name, of in about["members"].items()}
    said, (first, *rest), rows = _scores(scores, f"Members in {folder}:" if folder else "")
    rows = [[row[0], _update_and_views(of), *row[1:]] for row, of in zip(rows, scores.values(), strict=True)]
    found: list[Result] = [(said, [first, "step, views", *rest], rows)]
    found += [(f"{name}: {described(of, short)}", [], []) for name, of in scores.items() if "members" in of]
    if tempered := [_tempered(name, of) for name, of in scores.items() if "temperature" in of]:
        found.append(("Divided by the temperature that fits their validation images:", TEMPERED_HEADERS, tempered))
    if about.get("pairs"):
        found.append(("", PAIR_HEADERS, [_pair(row, short) for row in about["pairs"]]))
    if about.get("selection"):
        steps = ", ".join(f"{short[row['member']]} {100 * row['accuracy']:.2f}%" for row in about["selection"])
        found.append((f"Who adds what to a soft vote, on validation images: {steps}", [], []))
    if turned := {name: of["turned"] for name, of in scores.items() if "turned" in of}:
        headers = ["member", *(f"{row['degrees']:g}°" for row in next(iter(turned.values())))]
        rows = [[name, *(tables.accuracy(row) for row in of)] for name, of in turned.items()]
        found.append(("Right when the images are turned both ways, % [95% interval]:", headers, rows))
    return found


def described(about: Mapping[str, Any], short: Mapping[str, str] = NOTHING) -> str:
    """What the figures of a member are of, in one sentence.

    Args:
        about: `members.Member.about`: "stage" or "file", or "members" and "weights", with "update" and "views".
        short: names of members -> how they are shown.
    """
    views = about.get("views")
    if "members" in about:
        parts = [
            f"{short.get(name, name)} (weight {weight:g})"
            for name, weight in zip(about["members"], about["weights"], strict=True)
        ]
        each = views if isinstance(views, list) else [views]
        listed = list(dict.fromkeys(view or "not known" for view in each))
        return f"{', '.join(parts)}; views: {', '.join(listed)}"
    if "stage" in about:
        return f"{about['stage']}, weights of step {_known(about['update'])}; views: {views}"
    return f"{about['file']}, a file; its step and views are not known" if "file" in about else ""


def _update_and_views(of: Mapping[str, Any]) -> str:
    views = of.get("views")
    return f"{_known(of.get('update'))}, {views if isinstance(views, str) else '–'}"


def _known(update: int | None) -> str:
    return "–" if update is None else str(update)


def shortened(names: Sequence[str]) -> tuple[str, dict[str, str]]:
    """(the folder that all members are in, or "", each name -> what is left of it)."""
    parents = [os.path.dirname(name) for name in names if not re.search(r"(vote|soup) of \d+$", name)]
    alike = len(parents) > 1 and all(parents) and len(set(map(os.path.isabs, parents))) == 1
    folder = os.path.commonpath(parents) if alike else ""
    return folder, {name: name.removeprefix(f"{folder}/") for name in names}


def _scores(scores: Scores, said: str) -> Result:
    if any("mean_iou" in of for of in scores.values()):
        names = list(next(iter(scores.values()))["iou"])
        return said, [*PIXEL_HEADERS, *(f"{name}, %" for name in names)], [_pixels(*each) for each in scores.items()]
    several = any("mean_average_precision" in of for of in scores.values())
    rows = []
    for name, of in scores.items():
        row = [name, tables.accuracy(of)]
        if several:
            row += tables.several_labels(of)
        else:
            row += [f"{100 * of[key]:.2f}" for key in ("balanced_accuracy", "macro_f1")]
        row.append(tables.figure(of["negative_log_likelihood"], ".3f"))
        calibration = [] if several else [tables.figure(of[f"calibration_{key}"], ".3f") for key in ("error", "floor")]
        rows.append([*row, *calibration])
    return said, SEVERAL_LABELS_HEADERS if several else HEADERS, rows


def _pixels(name: str, of: Mapping[str, Any]) -> list[str]:
    shares = [of["mean_iou"], of["correct"] / max(of["n"], 1), *of["iou"].values()]
    return [name, *(tables.figure(share, ".2f", 100) for share in shares)]


def _tempered(name: str, of: Mapping[str, Any]) -> list[str]:
    keys = ("temperature", "tempered_negative_log_likelihood", "tempered_calibration_error")
    return [name, *(f"{of[key]:.3f}" for key in keys)]


def _pair(row: Mapping[str, Any], short: Mapping[str, str]) -> list[str]:
    numbers = [f"{100 * row['disagreement']:.1f}", tables.figure(row["error_correlation"], ".2f")]
    return [
        short[row["first"]],
        short[row["second"]],
        *numbers,
        str(row["won"]),
        str(row["lost"]),
        f"{row['p_value']:.3f}",
    ]


def class_rows(classes: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """The cells under `CLASS_HEADERS`; `classes` as from `classification.per_class`."""
    return [
        [
            row["class"],
            f"{row['true']:,}",
            f"{row['answered']:,}",
            tables.accuracy({"correct": row["right"], "n": row["true"]}),
            tables.accuracy({"correct": row["right"], "n": row["answered"]}),
            f"{100 * row['f1']:.1f}",
        ]
        for row in classes
    ]


def slice_rows(slices: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """As from `slices.slices`, for the template."""
    return [
        {
            "measure": row["measure"],
            "parts": [(_values(part["values"]), tables.accuracy(part), f"{part['n']:,}") for part in row["parts"]],
            "p": f"{row['p_value']:.3f}",
            "sure": row["p_value"] <= CLEAR,
        }
        for row in slices
    ]


def _values(of: bool | Sequence[float]) -> str:
    return ("yes" if of else "no") if isinstance(of, bool) else " to ".join(map(tables.digits, of))


def mistakes(
    images: Any, ids: np.ndarray, answers: np.ndarray, labels: np.ndarray, probabilities: np.ndarray, classes: list[str]
) -> list[dict[str, Any]]:
    """The most confident ones; `images` [ids] are those that the others are of, with one class each."""
    sure = probabilities[np.arange(len(ids)), answers]
    wrong = np.flatnonzero(answers != labels)
    order = wrong[np.argsort(-sure[wrong], kind="stable")][: page.SHOWN_MISTAKES]
    names = np.array(classes)
    arrays = {"true_names": names[labels[order]], "predicted_names": names[answers[order]]}
    return page.mistakes(arrays | {"images": images[ids[order]], "confidence": sure[order]})


def changes(images: Any, of: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """For each name how many images [ids] there are, and pictures of some."""
    found: dict[str, Any] = {}
    for name, ids in of.items():
        some = ids[np.linspace(0, len(ids) - 1, min(SHOWN_CHANGES, len(ids))).astype(int)]
        found |= {name: len(ids), f"{name}_images": plots.strip(images[some]) if len(some) else None}
    return found


def write_page(
    folder: pathlib.Path,
    *,
    results: Sequence[Result],
    changed: Sequence[Mapping[str, Any]],
    members: Sequence[Mapping[str, Any]],
) -> pathlib.Path:
    """Writes `folder/evaluation.html`, over one that is there. `changed` and `members`: see the template."""
    _, short = shortened([member["name"] for member in members])
    values = {
        "title": folder.resolve().name,
        "results": results,
        "changed": changed,
        "members": [{"anchor": f"member-{number}", **member} for number, member in enumerate(members)],
        "short": short,
        "class_headers": CLASS_HEADERS,
    }
    return template.write(folder / "evaluation.html", "evaluation.html", values)
