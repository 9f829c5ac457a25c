"""What `explain` shows of networks that predict masks or boxes: where they see each class that they predict."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from efficient_jax.errors import class_name
from efficient_jax.explain.evidence import PARTS
from efficient_jax.explain.network import Network, Pointing, Seen, pointing_game
from efficient_jax.metrics.classification import NOT_COUNTED
from efficient_jax.report import explanation, overlays, plots
from efficient_jax.tasks import TASKS

MISTAKES, RIGHT = 24, 12  # images on the page, at most
CHUNK = 64  # images whose predictions are in memory at once: those of pixels are large
MOST = 3  # classes of an image that have a map
SIDE = 160  # pixels of an image on the page


class Shown(NamedTuple):
    """What the page shows of the images of a member."""

    sheets: list[tuple[str, list[explanation.Figure]]]  # with their headings
    classes: np.ndarray  # int [n], the class that the map of each image is for
    pointing: Pointing
    legend: Sequence[tuple[str, str]]  # class name and CSS color


class Predicted(NamedTuple):
    """What a network predicts of n images."""

    answers: np.ndarray  # labels of the task, as it predicts them
    severity: np.ndarray  # float [n], of its mistakes; NaN for an image without a label
    prominence: np.ndarray  # float [n k], see `evidence.Parts`
    focus: list[list[np.ndarray]]  # of each image and class the predictions that the map explains; [] for all


def described(network: Network, seen: Seen, mistakes: bool) -> Shown:
    """Returns what is shown of a network that predicts masks or boxes.

    Args:
        network: the network.
        seen: the images.
        mistakes: whether those with the largest and the smallest loss are shown; otherwise all.
    """
    predicted = _predicted(network, seen)
    order = np.argsort(-np.nan_to_num(predicted.severity), kind="stable")
    worst = min(MISTAKES, (len(order) + 1) // 2)
    groups = {"The images": np.arange(len(seen.images))}
    if mistakes:
        groups = {
            "Images with the largest loss": order[:worst],
            "Images with the smallest loss": order[worst:][::-1][:RIGHT],
        }
    task, classes = TASKS[network.spec.task], network.spec.classes
    main = predicted.prominence.argmax(1)
    return Shown(
        sheets=[(heading, _figures(network, seen, predicted, rows)) for heading, rows in groups.items()],
        classes=main,
        pointing=_pointing(network, seen, main, predicted.prominence.max(1) > 0),
        legend=overlays.legend(task.entries(predicted.answers[:1]), classes),
    )


def _predicted(network: Network, seen: Seen) -> Predicted:
    task, classes = TASKS[network.spec.task], network.spec.classes
    parts = PARTS[task.decoder]
    answers, severity, prominence, focus = [], [], [], []
    for start in range(0, len(seen.images), CHUNK):
        images, labels, inside = (values[start : start + CHUNK] for values in (seen.images, seen.labels, seen.inside))
        predictions = network.probabilities(network.variables, images)
        chunk_answers = task.answers(predictions, ())
        answers.append(np.where(inside, chunk_answers, NOT_COUNTED) if task.decoder == "masks" else chunk_answers)
        severity.append(np.where(task.known(labels), task.severity(predictions, labels), np.nan))
        prominence.append(parts.prominence(predictions, classes, inside))
        if parts.focus:
            focus += [[parts.focus(rows, k) for k in range(len(classes))] for rows in predictions]
    return Predicted(np.concatenate(answers), np.concatenate(severity), np.concatenate(prominence), focus)


def _figures(network: Network, seen: Seen, predicted: Predicted, rows: np.ndarray) -> list[explanation.Figure]:
    """Returns for each image its true and its predicted parts, and a map of each of its main classes."""
    if not len(rows):
        return []
    task, classes, images = TASKS[network.spec.task], network.spec.classes, seen.images[rows]
    known, parts = task.known(seen.labels[rows]), PARTS[task.decoder]
    prominence = predicted.prominence[rows]
    ranked = np.argsort(-prominence, axis=1, kind="stable")[:, :MOST]
    heats = [network.heat(network.variables, images, of_rank, seen.inside[rows]) for of_rank in ranked.T]

    def picture(image: np.ndarray, label: np.ndarray) -> plots.EmbeddedImage:
        return plots.strip(overlays.drawn(image[None], task.entries(label[None]), classes), SIDE)

    def mapped(i: int, label: int, heat: np.ndarray) -> plots.EmbeddedImage:
        mixed = explanation.blended(images[i], heat)
        return picture(mixed, predicted.focus[rows[i]][label]) if predicted.focus else plots.strip([mixed], SIDE)

    figures = []
    for i, row in enumerate(rows.tolist()):
        shown = [("true", picture(images[i], seen.labels[row]))] if known[i] else []
        shown.append(("predicted", picture(images[i], predicted.answers[row])))
        if "Grad-CAM" not in heats[0]:  # the same for every class
            shown += [
                (kind, plots.strip([explanation.blended(images[i], heat[i])], SIDE)) for kind, heat in heats[0].items()
            ]
        for label, of_rank in zip(ranked[i].tolist(), heats, strict=True):
            if "Grad-CAM" in of_rank and prominence[i, label] > 0:
                heat = of_rank["Grad-CAM"][i]
                what = f"{class_name(classes[label])}, {parts.shown.format(prominence[i, label])}"
                shown.append((what if heat.any() else f"{what}: no pixel supports it", mapped(i, label, heat)))
        figures.append(explanation.Figure(seen.names[row], shown))
    return figures


def _pointing(network: Network, seen: Seen, classes: np.ndarray, predicted: np.ndarray) -> Pointing:
    """Plays the pointing game with the parts of one class of each image, where that class is `predicted`."""
    entries = TASKS[network.spec.task].entries(seen.labels)
    if "mask" in entries:
        objects = {"mask": (entries["mask"] == classes[:, None, None] + 1).astype(np.int32)}
    else:
        of_class = entries["box_label"] == classes[:, None]
        objects = {"boxes": entries["boxes"], "box_visible": entries["box_visible"] * of_class}
    shown = seen._replace(objects=objects, size=network.spec.image_shape[:2])
    return pointing_game(network, shown, np.where(predicted, classes, -1))
