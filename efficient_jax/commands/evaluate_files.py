"""evaluate for files of other programs: detections as COCO JSON, segmentation maps as folders of .png or .npz."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from efficient_jax.detection import detection_files
from efficient_jax.detection.detections import Found, combine
from efficient_jax.detection.fusion import fusion_of
from efficient_jax.detection.mean_average_precision import coco_figures
from efficient_jax.distributed import console, log
from efficient_jax.errors import UserError, counted
from efficient_jax.experiment.workdir import writable
from efficient_jax.files import write_json
from efficient_jax.inference import map_files, voting
from efficient_jax.metrics import segmentation
from efficient_jax.metrics.classification import NOT_COUNTED
from efficient_jax.report import boxes, evaluation, layout, tables
from efficient_jax.tasks import SEGMENTATION
from efficient_jax.training import checkpoint

HEADERS = ["detector", "AP, %", "AP50, %", "AP75, %", "boxes"]


def takes(names: Sequence[str]) -> bool:
    """Returns whether any member is a file of detections or a folder of maps.

    Args:
        names: paths.
    """
    return any(Path(name).suffix == ".json" or _maps(Path(name)) for name in names)


def _maps(folder: Path) -> bool:
    of_training = ("config.json", "result.json", checkpoint.FOLDER)
    trained = any((folder / name).exists() for name in of_training)
    return not trained and folder.is_dir() and any(path.suffix in map_files.SUFFIXES for path in folder.iterdir())


def evaluate(
    names: Sequence[str], truth: str, vote: str, weights: Sequence[float], fuse: str, iou: str, out: str
) -> None:
    """Evaluates files of detections or folders of maps, alone and combined; prints a table and writes the page.

    Args:
        names: files of detections (.json), or folders of maps (.png, .npz).
        truth: COCO file of the true boxes, or folder of the true maps.
        vote: how maps are combined, a name of `voting.VOTES`.
        weights: weight of each member; empty: all alike.
        fuse: how boxes are combined, FUSION or FUSION:MODE; empty: wbf.
        iou: IoU from which on boxes are the same object, 0 to below 1; empty: the default of the fusion.
        out: folder for the results; empty: none.

    Raises:
        UserError: a flag is missing, wrong or does not apply, or a file does not fit the truth.
    """
    if not truth:
        raise UserError("--truth is missing: the COCO file or the folder of maps that says what is right")
    folder = writable(Path(out), "--out") if out else None
    if weights and len(weights) != len(names):
        raise UserError(f"--weights: {len(weights)} for {counted(len(names), 'member')}; want one for each")
    if Path(truth).suffix == ".json":
        about, results = _detections(names, Path(truth), weights, fuse, iou, folder)
    else:
        if fuse or iou:
            raise UserError("--fuse and --iou are for boxes; maps are combined by --vote=soft or hard")
        about, results = _pixels(names, Path(truth), vote, weights, folder)
    for caption, headers, rows in results[:1]:
        log(f"\n{caption or 'Results'}")
        console().print(layout.rich_table(headers, rows))
    if folder:
        write_json(folder / "evaluation.json", about)
        written = evaluation.write_page(folder, results=results, changed=[], members=[])
        log(f"page: {written}")


def _detections(
    names: Sequence[str],
    path: Path,
    weights: Sequence[float],
    fuse: str,
    iou: str,
    folder: Path | None,
) -> tuple[Mapping[str, object], list[tables.Titled]]:
    """Returns (content of evaluation.json, the tables); writes the fused detections to `folder`."""
    fuse_boxes = fusion_of(fuse or "wbf", iou, "--fuse") if fuse or iou or len(names) > 1 else None
    truth = detection_files.read_truth(path, "--truth")
    detections = {name: detection_files.read_results(Path(name), truth, "--members") for name in names}
    crowded = sum(int(image["crowds"].sum()) for image in truth.boxes)
    crowds = f"; boxes in {counted(crowded, 'crowd')} are neither right nor wrong" if crowded else ""
    count = sum(len(image["labels"]) for image in truth.boxes) - crowded
    caption = f"{counted(len(truth.images), 'image')}, {counted(count, 'box', 'boxes')} of "
    caption += f"{counted(len(truth.categories), 'class', 'classes')}{crowds}"
    if fuse_boxes:
        joint = f"{fuse or 'wbf'} of {len(names)}"
        detections[joint] = [combine(models, fuse_boxes, weights) for models in zip(*detections.values(), strict=True)]
        if folder:
            detection_files.write_results(folder / "detections.json", detections[joint], truth)
    scores = {name: _precision(found, truth) for name, found in detections.items()}
    within, short = evaluation.shortened(names)
    caption += f". Detections in {within}:" if within else ""
    shown_names = [short.get(name, name) for name in scores]
    rows = [
        [name, *(tables.figure(m, ".2f", 100) for m in (s["ap"], s["ap50"], s["ap75"])), f"{s['boxes']:,}"]
        for name, s in zip(shown_names, scores.values(), strict=True)
    ]
    class_rows = [
        [name, *(tables.figure(metrics["classes"][name], ".2f", 100) for metrics in scores.values())]
        for name in next(iter(scores.values()))["classes"]
    ]
    about = {"truth": str(path), "fuse": fuse, "iou": iou, "weights": list(weights), "members": scores}
    size_rows = [
        [name, *(tables.figure(figures[figure], ".2f", 100) for figure in boxes.FIGURES)]
        for name, figures in zip(shown_names, scores.values(), strict=True)
    ]
    return about, [
        (caption, HEADERS, rows),
        (
            "Average precision and recall (AR) by size and number of boxes:",
            [HEADERS[0], *boxes.headers()],
            size_rows,
        ),
        ("AP of each class, %:", ["class", *shown_names], class_rows),
    ]


def _precision(found: list[Found], truth: detection_files.Truth) -> dict[str, Any]:
    """Returns COCO's figures, the number of boxes, and `ap` of each class under "classes"."""
    figures = coco_figures(found, truth.boxes)
    precisions = zip(figures.pop("classes").tolist(), figures.pop("each").mean(1).tolist(), strict=True)
    classes = {truth.categories[label]: ap for label, ap in precisions}
    return figures | {"boxes": sum(len(image["labels"]) for image in found), "classes": classes}


def _pixels(
    names: Sequence[str], path: Path, vote: str, weights: Sequence[float], folder: Path | None
) -> tuple[Mapping[str, object], list[tables.Titled]]:
    """Returns (content of evaluation.json, the tables); writes the maps of the vote to `folder`/maps."""
    truth = map_files.files(path, "--truth")
    members = {name: map_files.files(Path(name), "--members") for name in names}
    for name, files in members.items():
        if missing := sorted(truth.keys() - files.keys()):
            raise UserError(
                f"--members: {name!r} has no map of {counted(len(missing), 'image')} of --truth, first {missing[0]!r}"
            )
    joint = f"{vote} vote of {len(names)}"
    shares = np.array(weights or [1.0] * len(names))
    answered = [*names, joint] if len(names) > 1 else list(names)
    parts: dict[str, list[segmentation.Overlaps]] = {name: [] for name in answered}
    boundaries: dict[str, list[segmentation.Overlaps]] = {name: [] for name in answered}
    pixels = 0
    for stem, file in truth.items():
        labels = map_files.read(file, "--truth")
        if labels.ndim != 2:
            raise UserError(f"--truth: {str(file)!r} holds probabilities; want the class of each pixel")
        probabilities = _same([_member_map(files[stem], labels) for files in members.values()])
        answers = dict(zip(names, probabilities.argmax(-1), strict=True))
        if joint in answered:
            answers[joint] = voting.VOTES[vote](probabilities, shares)[1]
            if folder:
                map_files.write(folder / "maps" / f"{stem}.png", answers[joint])
        pixels += int((labels != NOT_COUNTED).sum())
        for name, answer in answers.items():
            parts[name].append(segmentation.overlaps(answer[None], labels[None], NOT_COUNTED))
            boundaries[name].append(segmentation.boundary_overlaps(answer[None], labels[None], NOT_COUNTED))
    occurring = sum(of_image.union.sum(0) for some in parts.values() for of_image in some)
    classes = [str(label) for label in range(int(np.flatnonzero(occurring).max(initial=0)) + 1)]
    scores = {}
    for name, some in parts.items():
        regions, edges = (
            segmentation.Overlaps(*(np.concatenate(part)[:, : len(classes)] for part in zip(*of_images, strict=True)))
            for of_images in (some, boundaries[name])
        )
        right = {"correct": int(regions.both.sum()), "n": pixels}
        boundary_figures = segmentation.of_overlaps(edges, classes, "boundary_")
        scores[name] = right | segmentation.of_overlaps(regions, classes) | boundary_figures
    extra = sum(len(files.keys() - truth.keys()) for files in members.values())
    left_out = f"; {extra:,} of members have no truth and are left out" if extra else ""
    log(f"{counted(len(truth), 'map')}{left_out}")
    about = {"truth": str(path), "vote": vote, "weights": list(weights), "members": scores}
    return about, evaluation.results(about, SEGMENTATION.metric_columns)


def _member_map(file: Path, labels: np.ndarray) -> np.ndarray:
    """Returns probabilities [h w classes]; one-hot if the file holds classes."""
    values = map_files.read(file, "--members")
    if values.shape[:2] != labels.shape:
        size = " x ".join(map(str, values.shape[:2]))
        raise UserError(f"--members: {str(file)!r} is {size} pixels, its truth {' x '.join(map(str, labels.shape))}")
    if values.ndim == 3:
        return values
    if (values == NOT_COUNTED).any():
        raise UserError(
            f"--members: {str(file)!r} has pixels of class 255, which means no class; want 0..254 at every pixel"
        )
    one_hot: np.ndarray = values[..., None] == np.arange(values.max(initial=0) + 1)
    return one_hot.astype(np.float32)


def _same(maps: Sequence[np.ndarray]) -> np.ndarray:
    """Stacks maps to [m h w classes]; classes that a map lacks get probability 0."""
    classes = max(probabilities.shape[-1] for probabilities in maps)
    return np.stack([np.pad(p, ((0, 0), (0, 0), (0, classes - p.shape[-1]))) for p in maps])
