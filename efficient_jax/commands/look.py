"""The dataset section of explore's page, and the same as a table for the terminal."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from rich.table import Table

from efficient_jax.augment import operations
from efficient_jax.commands import annotation_tables
from efficient_jax.data.dataset import Source
from efficient_jax.data.framing import Framing
from efficient_jax.errors import UserError, counted
from efficient_jax.experiment.config import Plan
from efficient_jax.experiment.results import captions
from efficient_jax.experiment.stage_config import augment_blocks
from efficient_jax.explore import features, label_value, suggestions
from efficient_jax.explore.survey import Survey, survey
from efficient_jax.metrics.learning_curve import Forecast
from efficient_jax.models import pretrained
from efficient_jax.report import charts, layout, plots, survey_page, tables
from efficient_jax.tasks import TASKS

EXAMPLES, CLASSES = 9, 40  # images of a class, and classes with images: these limits keep the page small
EXTREMES, GALLERY = 6, 24  # images at each end of a measure, and in a gallery
SMALL, MIDDLE = 56, 48  # pixels of an image beside its class, and at an end of a measure
MEASURES = {
    "brightness": ("brightness", "mean gray level, 0 to 1", ("darkest", "brightest")),
    "contrast": ("contrast", "standard deviation of gray levels, 0 to 0.5", ("flattest", "strongest")),
    "noise": ("noise", "levels of 255 (Immerkaer); texture counts too", ("least", "most")),
    "sharpness": ("sharpness", "variance of the Laplacian", ("least", "most")),
    "edge_width": ("edge width", "blur of edges, pixels", ("sharpest", "most blurred")),
}

Caption = Callable[[Sequence[int]], list[str]]
"""Indices of images that are shown as one -> the lines below them."""


def look(
    plan: Plan,
    settings: Mapping[str, Any],
    source: Source,
    split: Mapping[str, np.ndarray],
    suspects: Sequence[tuple[int, int]] = (),
) -> tuple[survey_page.Section, Table]:
    """Surveys a dataset and describes it.

    Args:
        plan: the checked config.
        settings: the config as a dictionary.
        source: the dataset.
        split: part -> indices of its images.
        suspects: (index of an image, class that it seems to have) of suspected label errors, the most certain first.

    Returns:
        (section of the page, table of facts and suggestions for the terminal).
    """
    network = features.lite0 if _begins_with_lite0(plan, source) else None
    framing = plan.source[1]
    size, fit = _square(framing)
    measured = survey(source, split, network, Framing(size, fit, framing.get("crop", 1.0)))
    more_labels, curve = _more_labels(measured, source)
    advice = suggestions.suggestions(measured, source.classes, _sizes(measured, source), size, fit, curve)
    stages_of = _users(settings)
    facts = _facts(measured, source, split, len(suspects), framing.get("most_objects", 0))
    suggested = [
        survey_page.Suggestion(
            verdict="take" if suggestion.take else "leave",
            what=suggestion.what,
            why=suggestion.why,
            stages=", ".join(dict.fromkeys(stage for op in suggestion.ops for stage in stages_of.get(op, ()))),
        )
        for suggestion in advice
    ]
    section = survey_page.Section(
        notes=source.notes,
        facts=facts,
        suggestions=suggested,
        measured=counted(len(measured.ids), "image"),
        features=measured.features,
        more_labels=more_labels,
        parts=[part for part, ids in split.items() if len(ids)],
        classes=_classes(measured, source, split),
        shown=CLASSES,
        annotations=annotation_tables.section(measured, source, captions(source, split)),
        measures=_measures(measured, source),
        galleries=[gallery for gallery in _galleries(measured, source, split, suspects) if gallery.count],
    )
    refused = {"more labels": more_labels.sentence} if more_labels and not curve else {}
    rows = [*facts.items(), *refused.items(), *((f"{s.verdict} {s.what}", s.why) for s in suggested)]
    return section, layout.pairs(rows)


def _more_labels(measured: Survey, source: Source) -> tuple[survey_page.MoreLabels | None, Forecast | None]:
    """Returns what the page says of the value of more labels, None where an image has several, and the curve."""
    if not TASKS[source.task].one_class:
        return None, None
    try:
        curve = label_value.forecast(measured.labelled_features, source.labels[measured.labelled])
    except UserError as error:
        return survey_page.MoreLabels(str(error), None), None
    return survey_page.MoreLabels(suggestions.expected(curve), charts.accuracy_by_labels(curve)), curve


def _begins_with_lite0(plan: Plan, source: Source) -> bool:
    try:
        installed = pretrained.packaged(features.WEIGHTS)
    except UserError:
        return False
    asked = any(stage.init == features.WEIGHTS for stage in plan.stages)
    return bool(installed) and asked and source.images.shape[-1] in (1, 3)


def _sizes(measured: Survey, source: Source) -> np.ndarray | None:
    return None if source.sizes is None else source.sizes[measured.ids[~measured.held_out]]


def _square(framing: Mapping[str, Any]) -> tuple[int, str]:
    return framing.get("size", 0), framing.get("fit", "crop")


def _users(settings: Mapping[str, Any]) -> dict[str, list[str]]:
    """Returns operation -> names of the stages that use it."""
    users: dict[str, list[str]] = {}
    for name in settings["stages"]:
        for block in augment_blocks(settings[name]).values():
            for op in operations(block):
                users.setdefault(op, []).append(name)
    return users


def _facts(
    measured: Survey, source: Source, split: Mapping[str, np.ndarray], suspects: int, most_objects: int
) -> dict[str, str]:
    quantiles = {
        name: np.nanquantile(values[~measured.held_out], (0.05, 0.5, 0.95))
        for name, values in _finite(measured).items()
    }
    balance = f"; the largest has {measured.imbalance:.1f} times the labels of the smallest, entropy "
    balance += f"{measured.entropy:.2f} of 1"
    facts = {
        "images": ", ".join(f"{len(ids):,} {part}" for part, ids in split.items() if len(ids)),
        "classes": f"{len(source.classes)}{balance if len(source.classes) > 1 else ''}",
        "mean, std": ", ".join(
            f"({', '.join(f'{x:.4f}' for x in values)})" for values in (measured.mean, measured.std)
        ),
    }
    for name, (low, middle, high) in quantiles.items():
        facts[MEASURES[name][0]] = f"{tables.digits(middle)} [{tables.digits(low)}, {tables.digits(high)}]"
    sizes = _sizes(measured, source)
    if sizes is not None and len(sizes):
        sides, (low, middle, high) = sizes.min(1), np.quantile(sizes[:, 1] / sizes[:, 0], (0.05, 0.5, 0.95))
        facts["images as stored"] = (
            f"shorter side {np.median(sides):,.0f} pixels, {sides.min():,} to {sides.max():,}; width / height "
            f"{middle:.2f} [{low:.2f}, {high:.2f}]"
        )
    facts |= annotation_tables.facts(measured, source, most_objects)
    anomalies = {
        "equal to another": sum(map(len, measured.equal)),
        "nearly equal pairs": len(measured.near.pairs),
        "of one color": len(measured.constant),
        "outliers": len(measured.outliers),
        "suspected label errors": suspects,
    }
    facts["anomalies"] = ", ".join(f"{count:,} {what}" for what, count in anomalies.items() if count) or "none"
    return facts


def _finite(measured: Survey) -> dict[str, np.ndarray]:
    """Returns the measures for which the images are large enough."""
    return {n: values for n in MEASURES if not np.isnan(values := getattr(measured.quality, n)).all()}


def _classes(measured: Survey, source: Source, split: Mapping[str, np.ndarray]) -> list[survey_page.ClassRow]:
    labelled = measured.counts["labelled"]
    rows = []
    for label, name in enumerate(source.classes):
        ids = split["labelled"][measured.members[split["labelled"], label]]
        chosen = ids[np.linspace(0, len(ids) - 1, min(EXAMPLES, len(ids))).astype(int)]
        rows.append(
            survey_page.ClassRow(
                name=name,
                counts=[f"{measured.counts[part][label]:,}" for part, indices in split.items() if len(indices)],
                share=100 * labelled[label] / max(labelled.max(), 1),
                spread=tables.figure(measured.spread[label], ".2f"),
                strip=plots.strip(source.images[chosen], SMALL) if label < CLASSES and len(chosen) else None,
            )
        )
    if any(measured.unknown.values()):
        counts = [f"{measured.unknown[part]:,}" for part, ids in split.items() if len(ids)]
        rows.append(survey_page.ClassRow("unknown", counts, 0.0, "–", None))
    return rows


def _measures(measured: Survey, source: Source) -> list[survey_page.Measure]:
    panels = [(*MEASURES[name], values) for name, values in _finite(measured).items()]
    if source.sizes is not None:
        h, w = source.sizes[measured.ids].T
        panels.append(("size", "shorter side of the image, pixels", ("smallest", "largest"), np.minimum(h, w)))
        panels.append(("aspect ratio", "width / height of the image", ("tallest", "widest"), w / h))
    panels.append(
        (
            "distance",
            f"distance of {measured.features} from the mean",
            ("most typical", "least typical"),
            measured.distance,
        )
    )
    rows = []
    for name, about, ends, values in panels:
        known = np.isfinite(values)
        order = np.argsort(np.where(known, values, np.inf), kind="stable")[: known.sum()]
        used, held = values[known & ~measured.held_out], values[known & measured.held_out]
        strips = zip(ends, (order[:EXTREMES], order[-EXTREMES:]), strict=True)
        rows.append(
            survey_page.Measure(
                name=name,
                plot=charts.histogram(used, held, about),
                strips=[(end, plots.strip(source.images[measured.ids[rows_]], MIDDLE)) for end, rows_ in strips],
            )
        )
    return rows


def _galleries(
    measured: Survey, source: Source, split: Mapping[str, np.ndarray], suspects: Sequence[tuple[int, int]]
) -> list[survey_page.Gallery]:
    about = captions(source, split)
    distances = dict(zip(measured.ids.tolist(), measured.distance.tolist(), strict=True))

    def gallery(title: str, text: str, groups: Sequence[Sequence[int]], caption: Caption) -> survey_page.Gallery:
        shown = [
            plots.Captioned(plots.strip(source.images[list(group)[:4]]), caption(group)) for group in groups[:GALLERY]
        ]
        return survey_page.Gallery(title, text, len(groups), shown)

    seems = dict(suspects)
    apart = {
        tuple(pair): distance
        for pair, distance in zip(measured.near.pairs.tolist(), measured.near.distances, strict=True)
    }
    return [
        gallery(
            "Suspected label errors",
            "Out-of-fold predictions favor another class, with more confidence than its own images get on average.",
            [[index] for index, _ in suspects],
            lambda group: [about(group[0]), f"suggested label: {source.classes[seems[group[0]]]}"],
        ),
        gallery(
            "Equal images", "Pixel for pixel.", measured.equal, lambda group: [about(index) for index in group[:4]]
        ),
        gallery(
            "Nearly equal images",
            "Mirrored, recompressed, brighter or shifted slightly, among "
            f"{counted(measured.compared, 'image')}; the nearest first. "
            "Simple drawings such as digits are alike without being copies.",
            measured.near.pairs.tolist(),
            lambda group: [*map(about, group), f"distance {apart[tuple(group)]:.3f}"],
        ),
        gallery("Images of one color", "", [[n] for n in measured.constant.tolist()], lambda group: [about(group[0])]),
        gallery(
            "Outliers",
            f"By the Mahalanobis distance of {measured.features} from the mean, beyond Tukey's fence; typical is 1.",
            [[n] for n in measured.outliers.tolist()],
            lambda group: [about(group[0]), f"distance {distances[group[0]]:.2f}"],
        ),
    ]
