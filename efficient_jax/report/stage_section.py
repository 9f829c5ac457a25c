"""The section of a stage on the page of a run: its figures, training images, pseudo-labels, labels and mistakes."""

import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from efficient_jax.errors import class_name
from efficient_jax.files import Json
from efficient_jax.metrics.classification import per_class
from efficient_jax.report import boxes, maps, plots, tables
from efficient_jax.report.results import StageResult, read_arrays, read_json
from efficient_jax.settings import Settings
from efficient_jax.types import INTERVAL, Column

Sheet = tuple[str, list[plots.EmbeddedImage], list[str], bool]
"""("labelled" or "unlabelled", columns of a contact sheet, caption of each, whether augmentation changes them)."""

PRINTED_CLASSES = 20  # a confusion matrix of more classes is drawn without numbers
SHOWN_MISTAKES = 24
LABEL_HEADERS = [
    "label",
    "F1, %",
    "average precision, %",
    "images",
    "threshold",
    "recall, % [95% interval]",
    "precision, % [95% interval]",
]


class Share(NamedTuple):
    """Share of a class in percent, among the labelled images, as predicted in the pool, and in what is trained on."""

    name: str
    labelled: float
    pool: float
    copies: float


class PseudoLabels(NamedTuple):
    """The pseudo-labels of a stage."""

    about: Json  # content of pseudo_labels.json
    unit: str  # what is counted: "image", "pixel" or "box"
    settings: list[tuple[str, Any]]
    copied: bool  # whether some are trained on several times
    shares: list[Share]
    longest: float  # of the shares


class Confusion(NamedTuple):
    """A confusion matrix: the numbers, or above `PRINTED_CLASSES` classes a heat map."""

    counts: list[list[int]]
    shade: list[list[float]]
    image: plots.EmbeddedImage | None = None
    pairs: list[tuple[int, int, int]] | None = None  # of a heat map: the most frequent mistakes


class Mistake(NamedTuple):
    """An image that is predicted wrongly."""

    image: plots.EmbeddedImage
    true: str  # classes
    predicted: str
    how: str  # how wrong
    file: str


class PartsDrawing(NamedTuple):
    """How labels of pixels or objects are shown."""

    worst: Callable[[Mapping[str, np.ndarray], Sequence[str], int], list[plots.Captioned]]
    """(arrays of the worst images, class names, images at most) -> true labels beside predicted ones."""
    part_tables: Callable[[Mapping[str, Any], Sequence[str]], list[tables.Titled]]
    """(figures of test images, class names) -> figures by class and size."""
    legend: Callable[[Sequence[str]], list[tuple[str, str]]]
    """(class names) -> (class name, CSS color) of each."""


DRAWINGS = {
    "segmentation": PartsDrawing(maps.mistakes, maps.part_tables, maps.legend),
    "detection": PartsDrawing(boxes.mistakes, boxes.part_tables, boxes.legend),
}
"""Task -> how its labels are shown; other tasks show mistakes."""


class StageSection(NamedTuple):
    """The section of a stage."""

    name: str
    facts: dict[str, str]
    classes: list[str]  # their names
    sheets: list[Sheet]
    pseudo_labels: PseudoLabels | None
    labels: list[list[str]]  # cells under `LABEL_HEADERS`
    confusion: Confusion | None
    mistakes: list[Mistake]
    worst: list[plots.Captioned]  # of class maps and boxes, in place of mistakes
    legend: list[tuple[str, str]]
    part_tables: list[tables.Titled]  # of class maps and boxes: figures by class and size


def flatten(config: Settings, prefix: str = "") -> list[tuple[str, Any]]:
    """Returns (dotted key, value) of every value of a config, named as in `--config.block.key=value`.

    Args:
        config: nested dictionaries.
        prefix: stands before each key; "" or a dotted path that ends in a dot.
    """
    items: list[tuple[str, Any]] = []
    for key, value in config.items():
        items += flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else [(prefix + key, value)]
    return items


def facts(result: StageResult, metrics: dict[str, np.ndarray], columns: Sequence[Column]) -> dict[str, str]:
    """Returns the numbers of a stage by name: figures of its task, likelihood, calibration error, step, speed.

    Args:
        result: result.json of the stage, as `results.read_results` returns it.
        metrics: columns of its metrics.jsonl, {} if it has not started.
        columns: the figures of the task.
    """
    if "test" not in result:
        last = f"last logged at step {metrics['step'][-1]:,.0f}" if metrics else "not started"
        return {"not finished": last}
    numbers = {}
    for part, counts in (("test", result["test"]), ("validation", result.get("validation"))):
        if counts:
            for column, cell in zip(columns, tables.cells(columns, counts), strict=True):
                of_all = f" of {counts['n']:,}" if column.form == INTERVAL and column.name == "correct" else ""
                numbers[f"{part} {column.header}"] = f"{cell}{of_all}"
    if "negative_log_likelihood" in result:
        numbers["negative log-likelihood"] = tables.figure(result["negative_log_likelihood"], ".4f")
    if "calibration_error" in result:
        numbers["calibration error"] = tables.figure(result["calibration_error"], ".4f")
    if (step := result.get("step")) is not None:
        numbers["weights of step"] = f"{step:,}"
    numbers["seconds"] = f"{result['seconds']:,.0f}"
    if "images_per_second" in metrics:
        numbers["images per second (median)"] = f"{np.nanmedian(metrics['images_per_second']):,.0f}"
    return numbers


def sheets(samples: dict[str, np.ndarray], classes: Sequence[str]) -> list[Sheet]:
    """Returns a contact sheet for each kind of training image that a stage has.

    Args:
        samples: arrays of samples.npz: uint8 images "raw" [n h w c] and "augmented" [n versions h w c], their "targets"
            [n k] and "names" [n], where pixels have classes "raw_map" and "augmented_map", where there are objects
            "raw_boxes" and "augmented_boxes", and the same of unlabelled images with "unlabelled_" before each; {} for
            none.
        classes: class names.

    Returns:
        ("labelled" or "unlabelled", columns of the sheet, caption of each, whether augmentation changes the images).
    """
    sections = []
    for kind, prefix in (("labelled", ""), ("unlabelled", "unlabelled_")):
        raw, views = samples.get(f"{prefix}raw"), samples.get(f"{prefix}augmented")
        if raw is None or views is None or not len(raw):
            continue
        if f"{prefix}raw_map" in samples:
            raw, views = (
                maps.tinted(images, samples[f"{prefix}{name}_map"], classes)
                for name, images in (("raw", raw), ("augmented", views))
            )
        if f"{prefix}raw_boxes" in samples:
            raw, views = (
                boxes.drawn(images, samples[f"{prefix}{name}_boxes"])
                for name, images in (("raw", raw), ("augmented", views))
            )
        columns, changed = plots.contact_sheet(raw, views)
        targets = samples.get(f"{prefix}targets", np.zeros((len(raw), 0)))
        names = samples.get(f"{prefix}names", np.full(len(raw), ""))
        described = [(caption(target, classes), str(name)) for target, name in zip(targets, names, strict=True)]
        captions = [" · ".join(filter(None, parts)) for parts in described[: len(columns)]]
        sections.append((kind, columns, captions if any(captions) else [], changed))
    return sections


def caption(target: Float[np.ndarray, " k"], classes: Sequence[str]) -> str:
    """Returns the classes that an image is trained to have, "" for none; uncertain ones with their probability.

    Args:
        target: probability of each class, as the loss takes it.
        classes: class names.
    """
    certain = np.flatnonzero(target >= 0.5)
    likely = certain if len(certain) else target.argsort()[::-1][: int(target.any())]
    percents = [f" {100 * target[k]:.0f}%" if target[k] < 0.995 else "" for k in likely]
    return ", ".join(f"{class_name(classes[k])}{percent}" for k, percent in zip(likely, percents, strict=True))


def label_rows(arrays: dict[str, np.ndarray], thresholds: Sequence[float], classes: Sequence[str]) -> list[list[str]]:
    """Returns the cells under `LABEL_HEADERS` where each image has any number of labels.

    Args:
        arrays: arrays of predictions.npz: "label" [n k], 0 or 1, and "probabilities" [n k]; others give no rows.
        thresholds: probability of each label from which on it is predicted; none: 0.5.
        classes: name of each label.
    """
    if not arrays or arrays["label"].ndim != 2:
        return []
    from sklearn.metrics import average_precision_score  # takes 0.5 s, so only where it is needed

    true, probabilities = arrays["label"] == 1, arrays["probabilities"]
    levels = list(thresholds) or [0.5] * true.shape[1]
    counts = per_class(probabilities >= np.array(levels), true, classes[: true.shape[1]])
    rows = []
    for k, row in enumerate(counts):
        precision = average_precision_score(true[:, k], probabilities[:, k]) if row["true"] else np.nan
        right = [tables.accuracy({"correct": row["right"], "n": row[whole]}) for whole in ("true", "answered")]
        f1, mean = tables.figure(row["f1"], ".1f", 100), tables.figure(precision, ".1f", 100)
        rows.append([row["class"], f1, mean, f"{row['true']:,}", f"{levels[k]:.2f}", *right])
    return rows


def pseudo_labels(about: Json) -> PseudoLabels | None:
    """Returns the pseudo-label section of a stage, None if it has none.

    Args:
        about: content of pseudo_labels.json; {} if there is no such file.
    """
    if not about:
        return None
    rows, unit = about["classes"], about.get("unit", "image")
    if unit != "image":  # pixels and boxes have no copies
        return PseudoLabels(about, unit, flatten(about["settings"]), False, [], 0.0)
    totals = {part: max(sum(row[part] for row in rows), 1) for part in ("labelled", "pool", "copies")}
    shares = [Share(row["name"], *(100 * row[part] / total for part, total in totals.items())) for row in rows]
    return PseudoLabels(
        about=about,
        unit=unit,
        settings=flatten(about["settings"]),
        copied=totals["copies"] > sum(row["kept"] for row in rows),
        shares=shares,
        longest=max(max(share[1:]) for share in shares),
    )


def confusion(labels: Int[np.ndarray, " n"], answers: Int[np.ndarray, " n"], classes: Sequence[str]) -> Confusion:
    """Returns a confusion matrix.

    Args:
        labels: true classes.
        answers: predicted classes.
        classes: class names.
    """
    counts = plots.confusion(labels, answers, len(classes))
    if len(classes) > PRINTED_CLASSES:
        return Confusion([], [], plots.heat_map(counts), plots.most_confused(counts))
    return Confusion(counts.tolist(), plots.shade(counts).tolist())


def mistakes(arrays: dict[str, np.ndarray]) -> list[Mistake]:
    """Returns mistakes, at most `SHOWN_MISTAKES`.

    Args:
        arrays: "images", "true_names", "predicted_names", "file_names", and "loss" or "confidence", all in the order to
            show; {} for none.
    """
    if not arrays:
        return []
    how = "loss" if "loss" in arrays else "confidence"
    names = ("images", "true_names", "predicted_names", how, "file_names")
    columns = [arrays[name][:SHOWN_MISTAKES] for name in names]
    return [
        Mistake(
            image=plots.single(image),
            true=str(true),
            predicted=str(predicted),
            how=f"loss {value:.3f}" if how == "loss" else f"probability {100 * value:.1f}%",
            file=str(file),
        )
        for image, true, predicted, value, file in zip(*columns, strict=True)
    ]


def class_names(run: Json, count: int) -> list[str]:
    """Returns the class names of a run; a class without a name is called by its index.

    Args:
        run: content of run.json; {} if there is no such file.
        count: number of classes at least.
    """
    names = [str(name) for name in run.get("data", {}).get("classes", [])]
    return names + [str(i) for i in range(len(names), count)]


def stage_section(
    folder: pathlib.Path,
    result: StageResult,
    metrics: dict[str, np.ndarray],
    run: Json,
    columns: Sequence[Column],
    confusions: bool,
) -> StageSection:
    """Returns the section of a stage.

    Args:
        folder: folder of the stage.
        result: its result.json, as `results.read_results` returns it.
        metrics: columns of its metrics.jsonl.
        run: content of run.json.
        columns: the figures of the task.
        confusions: whether to show a confusion matrix; only where each image has exactly one class.
    """
    mistaken = read_arrays(folder / "mistakes.npz")
    drawing = DRAWINGS.get(str(mistaken.get("task", "")))
    kinds = ("samples",) if drawing else ("samples", "predictions")  # those of pixels are many, and none is shown
    arrays = {kind: read_arrays(folder / f"{kind}.npz") for kind in kinds}
    widths = [
        content[name].shape[-1]
        for content in arrays.values()
        for name in ("probabilities", "targets")
        if name in content
    ]
    classes = class_names(run, max(widths, default=0))
    predictions = arrays.get("predictions", {})
    return StageSection(
        name=result["stage"],
        facts=facts(result, metrics, columns),
        classes=classes,
        sheets=sheets(arrays["samples"], classes),
        pseudo_labels=pseudo_labels(read_json(folder / "pseudo_labels.json")),
        labels=label_rows(predictions, result.get("thresholds") or (), classes),
        confusion=confusion(predictions["label"], predictions["probabilities"].argmax(1), classes)
        if predictions and confusions
        else None,
        mistakes=[] if drawing else mistakes(mistaken),
        worst=drawing.worst(mistaken, classes, SHOWN_MISTAKES) if drawing else [],
        legend=drawing.legend(classes) if drawing else [],
        part_tables=drawing.part_tables(result.get("test", {}), classes) if drawing else [],
    )
