"""Rules that turn a survey of a dataset into suggestions for training, each with the number behind it."""

import itertools
from typing import NamedTuple

import numpy as np

from efficient_jax.detection.overlap import HIDING, Objects
from efficient_jax.errors import class_name, counted
from efficient_jax.explore.survey import Survey
from efficient_jax.metrics.learning_curve import Forecast
from efficient_jax.metrics.segmentation import background

IMBALANCED = 3.0  # labels of the largest class for each of the smallest
FEW = 50  # labels of a class
LOOKS_THE_SAME, LOOKS_DIFFERENT = 0.75, 0.5  # `Move.kept`: nearest-neighbor agreement that remains after a move
VARIES = 0.05  # coefficient of variation from which on color_jitter is suggested
BLURRED, SHARP = 1.5, 1.15  # width of edges, pixels
STRONGEST = 0.4  # of color_jitter
HIDDEN = 0.5  # fraction of an object that cutout may hide
SMALLEST = 2  # side of cutout, pixels
WORTH = 0.005  # lower end of the accuracy that twice the labels gain, from which on they are suggested


class Suggestion(NamedTuple):
    """A setting to use or to leave out, and the measurement behind it."""

    take: bool  # use it; False: leave it out
    what: str  # as in a config
    why: str
    ops: tuple[str, ...] = ()  # names of the augmentation operations it concerns


def suggestions(
    measured: Survey,
    classes: tuple[str, ...],
    sizes: np.ndarray | None,
    size: int,
    fit: str,
    forecast: Forecast | None = None,
) -> list[Suggestion]:
    """Returns the suggestions for a dataset.

    Args:
        measured: the survey of the dataset.
        classes: class names.
        sizes: int [n 2], height and width of the images as stored, of those that are not held out; None: not known.
        size: side of the squares that images become, pixels; 0: they keep their size.
        fit: how they become squares, see `data.framing`.
        forecast: the learning curve; None: there is none.
    """
    return [
        *(of_labels(forecast) if forecast else ()),
        *_of_classes(measured, classes),
        *_of_moves(measured),
        *_of_light(measured),
        *_of_edges(measured),
        *(_of_sizes(sizes, size, fit) if sizes is not None and size else ()),
        *_of_objects(measured, size),
    ]


def expected(forecast: Forecast) -> str:
    """Returns what more labels are expected to bring, as a sentence.

    Args:
        forecast: the learning curve.
    """
    twice, *rest = (
        f"{100 * gain.points:+.1f} points [{100 * max(0.0, gain.low):.1f}, {100 * gain.high:.1f}]"
        for gain in forecast.gains
    )
    first = forecast.gains[0]
    sentence = f"doubling {first.labels:,} labels to {first.more:,} is expected to give {twice}"
    further = [f"doubling again to {g.more:,} another {t}" for g, t in zip(forecast.gains[1:], rest, strict=True)]
    return ", ".join([sentence, *further])


def of_labels(forecast: Forecast) -> list[Suggestion]:
    """Suggests to double the labels as long as each doubling clearly pays, at most to four times as many.

    Args:
        forecast: the learning curve.

    Returns:
        One suggestion.
    """
    worth = list(itertools.takewhile(lambda gain: gain.low >= WORTH, forecast.gains))
    if not worth:
        return [Suggestion(False, "more labels", expected(forecast))]
    more = worth[-1].more - forecast.gains[0].labels
    return [Suggestion(True, f"label {more:,} more images; select chooses which", expected(forecast))]


def _of_classes(measured: Survey, classes: tuple[str, ...]) -> list[Suggestion]:
    labelled, advice = measured.counts["labelled"], []
    masks = measured.annotations is not None and measured.annotations.pixels is not None
    things = np.flatnonzero(~np.array(background(classes))) if masks else np.arange(len(classes))
    most, least = int(labelled.argmax()), int(things[labelled[things].argmin()])
    if measured.imbalance >= IMBALANCED:
        largest, smallest = (f"{labelled[label]:,} labelled {class_name(classes[label])}" for label in (most, least))
        why = f"{largest}, {smallest}: {measured.imbalance:.1f} to 1"
        advice.append(Suggestion(True, "batch.balanced = True, or method.class_balance = 0.999", why))
    if labelled[least] < FEW:
        unlabelled = measured.images["unlabelled"]
        beside = f", and {counted(unlabelled, 'unlabelled image')}: use a semi-supervised method" if unlabelled else ""
        why = f"{counted(labelled[least], 'label')} of {class_name(classes[least])}{beside}"
        advice.append(Suggestion(True, "strong augmentation: randaugment, cutout", why, ("randaugment", "cutout")))
    return advice


def _of_moves(measured: Survey) -> list[Suggestion]:
    clear = {name: move for name, move in measured.moves.items() if move.before - move.chance > 3 * move.error}
    advice = []
    for take in (True, False):
        some = {n: m for n, m in clear.items() if (m.kept >= LOOKS_THE_SAME if take else m.kept <= LOOKS_DIFFERENT)}
        if some:
            first = next(iter(some.values()))
            after = ", ".join(f"{100 * move.after:.0f}%" for move in some.values())
            why = (
                f"nearest neighbors have the same class for {after} of the images after it, "
                f"{100 * first.before:.0f}% before, {100 * first.chance:.0f}% by chance"
            )
            advice.append(Suggestion(take, ", ".join(some), why, tuple(some)))
    return advice


def _of_light(measured: Survey) -> list[Suggestion]:
    """Suggests color operations.

    Illumination changes the mean and the brightest pixels alike; where only the mean varies, the content does.
    """
    advice = []
    brightness = min(measured.within["brightness"], measured.within["highlights"])
    strengths = {"brightness": brightness, "contrast": min(measured.within["contrast"], measured.within["highlights"])}
    variation = " and ".join(f"{name} varies by {100 * value:.0f}%" for name, value in strengths.items())
    if brightness >= VARIES:  # a factor uniform in 1 +- s varies by s / sqrt(3)
        block = ", ".join(f"{name} = {min(STRONGEST, np.sqrt(3) * value):.1f}" for name, value in strengths.items())
        advice.append(Suggestion(True, f"color_jitter: {block}", f"within a class {variation}", ("color_jitter",)))
    elif not np.isnan(brightness):
        advice.append(Suggestion(False, "color_jitter", f"within a class {variation} only", ("color_jitter",)))
    if measured.colorless > 0.99 and len(measured.mean) == 3:
        why = f"the channels are equal in {100 * measured.colorless:.1f}% of the images"
        advice.append(
            Suggestion(False, "saturation, hue; config.data.source.channels = 1 suffices", why, ("saturation", "hue"))
        )
    return advice


def _of_edges(measured: Survey) -> list[Suggestion]:
    widths = measured.quality.edge_width[~measured.held_out]
    if np.isnan(widths).all():
        return []
    median, wide = np.nanquantile(widths, (0.5, 0.95))
    op = ("gaussian_blur",)
    if median >= BLURRED:
        why = f"images are already blurred: edges are {median:.1f} pixels wide"
        return [Suggestion(False, "gaussian_blur", why, op)]
    if wide < SHARP:
        return [
            Suggestion(
                False,
                "gaussian_blur",
                f"95% of the images have edges narrower than {wide:.1f} pixels: they are not blurred",
                op,
            )
        ]
    sigma = np.sqrt(wide**2 - median**2)
    why = f"edges are {median:.1f} pixels wide, in 5% of the images {wide:.1f} or more"
    return [Suggestion(True, f"gaussian_blur: sigma_max = {sigma:.1f}", why, op)]


def _of_sizes(sizes: np.ndarray, size: int, fit: str) -> list[Suggestion]:
    advice = []
    shape = sizes[:, 1] / sizes[:, 0]
    stretched = float(np.quantile(np.maximum(shape, 1 / shape), 0.95))
    lost = float((1 - np.minimum(shape, 1 / shape)).mean())
    small = float((sizes.min(1) < size).mean())
    if fit == "squash" and stretched > 1.1:
        why = f"images are squashed to squares, 5% of them by {stretched:.2f} or more"
        advice.append(Suggestion(True, f"random_resized_crop: ratio = {stretched:.2f}", why, ("random_resized_crop",)))
    if fit == "crop" and lost > 0.2:
        why = f"the crop to a square loses {100 * lost:.0f}% of an image on average"
        advice.append(Suggestion(True, 'config.data.source.fit = "pad" or "squash"', why))
    if small > 0.1:
        why = f"{100 * small:.0f}% of the images are smaller than the {size} pixels of config.data.source.size"
        advice.append(Suggestion(True, f"config.data.source.size = {int(np.median(sizes.min(1)))} or less", why))
    return advice


def _of_objects(measured: Survey, size: int) -> list[Suggestion]:
    if measured.objects is None or not len(measured.objects.overlaps):
        return []
    return [*_copy_paste(measured.objects), *(_cutout(measured.objects, size) if size else ())]


def _cutout(objects: Objects, size: int) -> list[Suggestion]:
    """Suggests a square that hides at most half of the median object, and at most half of a side (arXiv 1708.04552)."""
    median, op = float(np.median(objects.areas)), ("cutout",)
    side = min(int(size * np.sqrt(HIDDEN * median)), size // 2)
    hidden = float((objects.longer <= 0.5).mean())
    why = f"the median object takes {100 * median:.1f}% of the image"
    if side < SMALLEST:
        return [Suggestion(False, "cutout", f"{why}: a square that leaves half of it is {side} pixels wide", op)]
    why += f", of which this hides at most {100 * min(HIDDEN, side**2 / size**2 / median):.0f}%"
    return [
        Suggestion(
            True, f"cutout: size = {side}", f"{why}; half of a side hides {100 * hidden:.0f}% of the objects", op
        )
    ]


def _copy_paste(objects: Objects) -> list[Suggestion]:
    hidden = float((objects.overlaps >= HIDING).mean())
    why = f"{100 * hidden:.0f}% of the objects overlap another (IoU {HIDING} or more)"
    op = ("copy_paste",)
    return [
        Suggestion(True, "copy_paste", why, op) if hidden >= 0.1 else Suggestion(False, "copy_paste", f"only {why}", op)
    ]
