"""What explore says of masks and boxes: facts for the terminal, and tables, charts and images for the page."""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float

from efficient_jax.commands import contact_sheets
from efficient_jax.data.dataset import Source
from efficient_jax.detection.mean_average_precision import LARGE, SIZES, SMALL
from efficient_jax.detection.overlap import COVERED, Objects
from efficient_jax.errors import counted, few
from efficient_jax.explore.annotations import Annotations, Parts
from efficient_jax.explore.survey import Survey
from efficient_jax.metrics.segmentation import background
from efficient_jax.report import charts, overlays, plots, survey_page, tables

NAMED, SHOWN = 6, 12  # classes that a fact names, and images of a gallery
SIDE = 160  # pixels of an image of a gallery
MERGED = 0.5  # IoU from which on non-maximum suppression may take two objects for one


def facts(measured: Survey, source: Source, most_objects: int) -> dict[str, str]:
    """Returns the facts on annotations that are not held out, by name; nothing without masks and boxes.

    Args:
        measured: the survey of the dataset.
        source: the dataset.
        most_objects: number of objects of an image that the source keeps; 0: all.
    """
    if measured.annotations is None:
        return {}
    annotations = measured.annotations.training()
    empty, held_out = int((annotations.counts == 0).sum()), int(measured.annotations.held_out.sum())
    about = {
        "annotated": f"{counted(len(annotations.images), 'training image')}, {empty:,} of them without "
        f"{annotations.unit}s; {counted(held_out, 'held-out image')}"
    }
    if missing := [source.classes[k] for k in np.flatnonzero(_images_of(annotations, len(source.classes)) == 0)]:
        about["never shown"] = f"{counted(len(missing), 'class', 'classes')}: {few(missing, NAMED)}"
    if annotations.pixels is not None and annotations.ignored is not None:
        about["pixels"] = _pixels(annotations, source.classes)
    if not len(annotations.parts.areas):
        return about
    return about | _sizes(annotations, most_objects) | (_hidden(measured.objects, source) if measured.objects else {})


def _images_of(annotations: Annotations, classes: int) -> np.ndarray:
    """Returns the number of images that show each class, int [k]."""
    if annotations.pixels is not None:
        showing: np.ndarray = (annotations.pixels > 0).sum(0)
        return showing
    pairs = np.unique(np.stack([annotations.parts.images, annotations.parts.labels]), axis=1)
    return np.bincount(pairs[1], minlength=classes)


def _pixels(annotations: Annotations, classes: Sequence[str]) -> str:
    assert annotations.pixels is not None
    assert annotations.ignored is not None
    totals, ignored = annotations.pixels.sum(0), annotations.ignored.sum()
    order = np.argsort(-totals, kind="stable")[:NAMED]
    shares = ", ".join(f"{tables.percent(totals[k], totals.sum())}% {classes[k]}" for k in order)
    more = f" and {len(classes) - NAMED} more classes" if len(classes) > NAMED else ""
    return f"{shares}{more}; {tables.percent(ignored, totals.sum() + ignored)}% of the images have no class"


def _sizes(annotations: Annotations, most_objects: int) -> dict[str, str]:
    parts, counts = annotations.parts, annotations.counts
    limit = ""
    if annotations.pixels is None and most_objects and (reached := int((counts >= most_objects).sum())):
        limit = f" (config.data.source.most_objects, reached by {counted(reached, 'image')})"
    how = "" if annotations.unit == "object" else ": connected pixels of one class, so objects that touch are one"
    shape = _quantiles(parts.sides[:, 0] / parts.sides[:, 1], ".2f")
    seen = f"in the network's input {_quantiles(np.sqrt(parts.areas), '.1f')} pixels a side"
    buckets = [f"{100 * share:.0f}% {name}" for name, share in zip(SIZES, _buckets(parts), strict=True)]
    stored = f"as stored {', '.join(buckets)} (COCO's: below {SMALL:.0f}², from {LARGE:.0f}² pixels); "
    return {
        f"{annotations.unit}s": f"{counts.sum():,}{how}; {counts.mean():.1f} per image, at most {counts.max()}{limit}",
        "size": f"{stored if np.isfinite(parts.stored).all() else ''}{seen}",
        "width / height": shape,
        "truncation": f"{100 * parts.at_border.mean():.0f}% of the {annotations.unit}s end at the border of the image",
    }


def _quantiles(values: Float[np.ndarray, " m"], form: str) -> str:
    low, middle, high = np.quantile(values, (0.05, 0.5, 0.95))
    return f"{middle:{form}} [{low:{form}}, {high:{form}}]"


def _buckets(parts: Parts) -> Float[np.ndarray, " 3"]:
    """Returns the shares of small, medium and large parts by COCO's areas."""
    limits = np.array([SMALL**2, LARGE**2])
    return np.bincount(np.digitize(parts.stored, limits), minlength=len(SIZES)) / max(len(parts.stored), 1)


def _hidden(objects: Objects, source: Source) -> dict[str, str]:
    """Describes which objects are not entirely visible."""
    by = "pixels of others in" if "box_mask" in source.objects else "the box of another over"
    return {
        "overlap": f"{100 * (objects.overlaps > 0).mean():.0f}% of the objects overlap another, "
        f"{tables.percent(int((objects.overlaps > MERGED).sum()), len(objects.overlaps))}% with an IoU above {MERGED}: "
        "non-maximum suppression may take them for one",
        "occlusion": f"{100 * (objects.covered >= COVERED).mean():.0f}% of the objects have {by} "
        f"{100 * COVERED:.0f}% of their box or more; which one is in front is not known",
        "truncation": f"{100 * objects.at_border.mean():.0f}% of the objects end at the border of the image, "
        f"{100 * objects.cropped.mean():.0f}% are cut by the crop to a square",
    }


def section(measured: Survey, source: Source, caption: Callable[[int], str]) -> survey_page.Annotations | None:
    """Returns what the page shows of masks and boxes; None without any.

    Args:
        measured: the survey of the dataset.
        source: the dataset.
        caption: describes the image of an index.
    """
    if measured.annotations is None or not len(measured.annotations.images):
        return None
    annotations, unit = measured.annotations.training(), measured.annotations.unit
    what = (
        f"A {unit} is connected pixels of one class other than the background: objects that touch are one. "
        if unit == "region"
        else ""
    )
    return survey_page.Annotations(
        about=f"Of {counted(len(annotations.images), 'training image')} with known annotations; training does not see "
        f"those of the unlabelled. {what}Side: the square root of the area in pixels of the network's input, median "
        f"[5%, 95%]. Small, medium, large: below {SMALL:.0f}², between, and from {LARGE:.0f}² pixels of the image as "
        "stored, as COCO counts.",
        legend=overlays.legend(contact_sheets.entries(source, annotations.images[:1]), source.classes),
        headers=_headers(annotations),
        classes=_rows(annotations, source.classes),
        measures=_measures(measured),
        galleries=[each for each in _galleries(annotations, source, caption) if each.count],
    )


def _headers(annotations: Annotations) -> list[str]:
    pixels = ["pixels, %"] if annotations.pixels is not None else []
    return [
        "class",
        "images",
        *pixels,
        f"{annotations.unit}s",
        "per image that shows it",
        "side",
        *(f"{s}, %" for s in SIZES),
    ]


def _rows(annotations: Annotations, classes: Sequence[str]) -> list[list[str]]:
    images, bare, rows = _images_of(annotations, len(classes)), background(classes), []
    for k, name in enumerate(classes):
        parts = Parts(*(values[annotations.parts.labels == k] for values in annotations.parts))
        pixels = (
            []
            if annotations.pixels is None
            else [tables.percent(int(annotations.pixels[:, k].sum()), int(annotations.pixels.sum()), 2)]
        )
        if not len(parts.areas):
            nothing = "–" if annotations.pixels is not None and bare[k] else "0"
            rows.append([name, f"{images[k]:,}", *pixels, nothing, *["–"] * 5])
            continue
        sizes = [f"{100 * share:.0f}" for share in _buckets(parts)] if np.isfinite(parts.stored).all() else ["–"] * 3
        count, side = len(parts.areas), _quantiles(np.sqrt(parts.areas), ".1f")
        rows.append([name, f"{images[k]:,}", *pixels, f"{count:,}", f"{count / images[k]:.1f}", side, *sizes])
    return rows


def _measures(measured: Survey) -> list[survey_page.Measure]:
    annotations = measured.annotations
    assert annotations is not None
    held_out, unit = annotations.held_out[annotations.parts.images], f"{annotations.unit}s"

    def of_images(name: str, values: np.ndarray, title: str) -> survey_page.Measure:
        return survey_page.Measure(
            name, charts.histogram(values[~annotations.held_out], values[annotations.held_out], title), []
        )

    def of_parts(name: str, values: np.ndarray, title: str) -> survey_page.Measure:
        return survey_page.Measure(name, charts.histogram(values[~held_out], values[held_out], title, unit), [])

    panels = [of_images(f"{unit} per image", annotations.counts, f"{unit} in an image")]
    if annotations.pixels is not None and annotations.ignored is not None and annotations.ignored.any():
        share = 100 * annotations.ignored / (annotations.pixels.sum(1) + annotations.ignored)
        panels.append(of_images("pixels without a class", share, "pixels of the image without a class, %"))
    if not len(annotations.parts.areas[~held_out]):
        return panels
    sides = annotations.parts.sides
    if np.isfinite(annotations.parts.stored).all():
        panels.append(
            of_parts("size as stored", np.sqrt(annotations.parts.stored), "square root of the area, pixels as stored")
        )
    panels += [
        of_parts("size", np.sqrt(annotations.parts.areas), "square root of the area, pixels of the network's input"),
        of_parts("shape", np.log2(sides[:, 0] / sides[:, 1]), "log2 of width / height; 0 is square"),
    ]
    if measured.objects is not None and len(measured.objects.overlaps):
        overlaps = charts.histogram(measured.objects.overlaps, np.zeros(0), "largest IoU with another box", unit)
        panels.append(survey_page.Measure("overlap", overlaps, []))
    return panels


def _galleries(annotations: Annotations, source: Source, caption: Callable[[int], str]) -> list[survey_page.Gallery]:
    unit, counts = annotations.unit, annotations.counts

    def gallery(title: str, about: str, rows: np.ndarray, chosen: np.ndarray) -> survey_page.Gallery:
        ids = annotations.images[chosen]
        shown = contact_sheets.drawn(source, ids) if len(ids) else source.images[ids]
        lines = [[caption(int(i)), counted(int(n), unit)] for i, n in zip(ids, counts[chosen], strict=True)]
        images = [plots.Captioned(plots.strip([x], SIDE), text) for x, text in zip(shown, lines, strict=True)]
        return survey_page.Gallery(title, about, len(rows), images)

    annotated, empty = np.flatnonzero(counts), np.flatnonzero(counts == 0)
    spread = annotated[np.linspace(0, len(annotated) - 1, min(SHOWN, len(annotated))).astype(int)]
    spread = spread[np.argsort(-counts[spread], kind="stable")]
    return [
        gallery("Annotated images", f"From most {unit}s to fewest.", annotated, spread),
        gallery(f"Images without {unit}s", "They teach what is background.", empty, empty[:SHOWN]),
    ]
