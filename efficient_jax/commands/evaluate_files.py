"""evaluate on files of other programs: detections as COCO's JSON, maps of pixels as folders of .png or .npz."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console

from efficient_jax import settings
from efficient_jax.detection import boxes, detection_files, fusion
from efficient_jax.detection.detections import Found, combine
from efficient_jax.detection.mean_average_precision import mean_average_precision
from efficient_jax.errors import UserError, counted
from efficient_jax.experiment.workdir import writable
from efficient_jax.files import write_json
from efficient_jax.inference import map_files, voting
from efficient_jax.metrics import classification
from efficient_jax.metrics.classification import NOT_COUNTED
from efficient_jax.report import evaluation, tables
from efficient_jax.training import checkpoint

FUSIONS: dict[str, Callable] = {
    "nms": boxes.nms,
    "soft_nms": boxes.soft_nms,
    "nmw": fusion.non_maximum_weighted,
    "wbf": fusion.weighted_box_fusion,
}
MODES: dict[str, tuple[str, Sequence[str]]] = {
    "soft_nms": ("decay", ("gaussian", "linear")),
    "wbf": ("confidence", tuple(fusion.CONFIDENCES)),
}
"""The argument that stands behind a colon, and its values."""

HEADERS = ["detector", "AP, %", "AP50, %", "AP75, %", "boxes"]


def takes(names: Sequence[str]) -> bool:
    """Whether a member is a file of detections or a folder of maps."""
    return any(Path(name).suffix == ".json" or _maps(Path(name)) for name in names)


def _maps(folder: Path) -> bool:
    of_training = ("config.json", "result.json", checkpoint.FOLDER)
    trained = any((folder / name).exists() for name in of_training)
    return not trained and folder.is_dir() and any(path.suffix in map_files.SUFFIXES for path in folder.iterdir())


def evaluate(
    names: Sequence[str], truth: str, vote: str, weights: Sequence[float], fuse: str, iou: str, out: str
) -> None:
    """As `commands.evaluate.evaluate`, of members that are files of detections or folders of maps."""
    console = Console(markup=False, highlight=False)
    if not truth:
        raise UserError("--truth is missing: the COCO file or the folder of maps that says what is right")
    folder = writable(Path(out), "--out") if out else None
    if weights and len(weights) != len(names):
        raise UserError(f"--weights: {len(weights)} for {counted(len(names), 'member')}; want one for each")
    if Path(truth).suffix == ".json":
        about, shown = _detections(names, Path(truth), weights, fuse, iou, folder)
    else:
        if fuse or iou:
            raise UserError("--fuse and --iou are for boxes; maps are combined by --vote=soft or hard")
        about, shown = _pixels(names, Path(truth), vote, weights, folder, console)
    for said, headers, rows in shown[:1]:
        if said:
            console.print(said, soft_wrap=True)
        console.print(tables.rich_table(headers, rows))
    if folder:
        write_json(folder / "evaluation.json", about)
        written = evaluation.write_page(folder, results=shown, changed=[], members=[])
        console.print(f"page: {written}", soft_wrap=True)


def _detections(
    names: Sequence[str],
    path: Path,
    weights: Sequence[float],
    fuse: str,
    iou: str,
    folder: Path | None,
) -> tuple[dict[str, Any], list[evaluation.Result]]:
    """(what evaluation.json holds, the tables). Writes the fused detections to `folder`."""
    how = _fusion(fuse or "wbf", iou) if fuse or iou or len(names) > 1 else None
    truth = detection_files.read_truth(path, "--truth")
    found = {name: detection_files.read_results(Path(name), truth, "--members") for name in names}
    crowds = f"; crowds left out, which COCO's own figures excuse: {truth.crowds:,}" if truth.crowds else ""
    count = sum(len(each["labels"]) for each in truth.boxes)
    said = f"{counted(len(truth.images), 'image')}, {counted(count, 'box', 'boxes')} of "
    said += f"{counted(len(truth.categories), 'class', 'classes')}{crowds}"
    if how:
        joint = f"{fuse or 'wbf'} of {len(names)}"
        found[joint] = [combine(models, how, weights) for models in zip(*found.values(), strict=True)]
        if folder:
            detection_files.write_results(folder / "detections.json", found[joint], truth)
    scores = {name: _precision(each, truth) for name, each in found.items()}
    within, short = evaluation.shortened(names)
    said += f". Detections in {within}:" if within else ""
    called = [short.get(name, name) for name in scores]
    rows = [
        [name, *(tables.figure(of[key], ".2f", 100) for key in ("ap", "ap50", "ap75")), f"{of['boxes']:,}"]
        for name, of in zip(called, scores.values(), strict=True)
    ]
    of_classes = [
        [name, *(tables.figure(of["classes"][name], ".2f", 100) for of in scores.values())]
        for name in next(iter(scores.values()))["classes"]
    ]
    about = {"truth": str(path), "fuse": fuse, "iou": iou, "weights": list(weights), "members": scores}
    return about, [(said, HEADERS, rows), ("AP of each class, %:", ["class", *called], of_classes)]


def _fusion(fuse: str, iou: str) -> Callable:
    name, _, mode = fuse.partition(":")
    how = settings.choose(name, FUSIONS, "--fuse")
    if mode:
        if name not in MODES:
            raise UserError(f"--fuse: {name!r} has no modes; those with one are {', '.join(MODES)}")
        argument, modes = MODES[name]
        how = partial(how, **{argument: settings.choose(mode, dict(zip(modes, modes, strict=True)), f"--fuse={name}")})
    if not iou:
        return how
    if name == "soft_nms" and mode != "linear":
        raise UserError("--iou: the gaussian of soft_nms has no threshold; soft_nms:linear has one")
    try:
        threshold = float(iou)
    except ValueError:
        threshold = -1.0
    if not 0.0 <= threshold < 1.0:
        raise UserError(f"--iou: {iou!r}; want a number from 0 to below 1")
    return partial(how, iou=threshold)


def _precision(found: list[Found], truth: detection_files.Truth) -> dict[str, Any]:
    of = mean_average_precision(found, truth.boxes)
    each = zip(of["classes"].tolist(), of["each"].mean(1).tolist(), strict=True)
    classes = {truth.categories[label]: ap for label, ap in each}
    boxes_found = sum(len(each["labels"]) for each in found)
    return {name: of[name] for name in ("ap", "ap50", "ap75")} | {"boxes": boxes_found, "classes": classes}


def _pixels(
    names: Sequence[str], path: Path, vote: str, weights: Sequence[float], folder: Path | None, console: Console
) -> tuple[dict[str, Any], list[evaluation.Result]]:
    """(what evaluation.json holds, the tables). Writes the maps of the vote to `folder`/maps."""
    real = map_files.files(path, "--truth")
    members = {name: map_files.files(Path(name), "--members") for name in names}
    for name, files in members.items():
        if missing := sorted(real.keys() - files.keys()):
            raise UserError(
                f"--members: {name!r} has no map of {counted(len(missing), 'image')} of --truth, first {missing[0]!r}"
            )
    joint = f"{vote} vote of {len(names)}"
    shares = np.array(weights or [1.0] * len(names))
    answered = [*names, joint] if len(names) > 1 else list(names)
    confusion = dict.fromkeys(answered, np.zeros((NOT_COUNTED, NOT_COUNTED), np.int64))
    if folder and joint in answered:
        (folder / "maps").mkdir(exist_ok=True)
    for stem, file in real.items():
        labels = map_files.read(file, "--truth")
        if labels.ndim != 2:
            raise UserError(f"--truth: {str(file)!r} holds probabilities; want the class of each pixel")
        probabilities = _same([_member_map(files[stem], labels) for files in members.values()])
        answers = dict(zip(names, probabilities.argmax(-1), strict=True))
        if joint in answered:
            answers[joint] = voting.VOTES[vote](probabilities, shares)[1]
            if folder:
                Image.fromarray(answers[joint].astype(np.uint8)).save(folder / "maps" / f"{stem}.png")
        for name, answer in answers.items():
            confusion[name] = confusion[name] + classification.confusion(answer, labels, NOT_COUNTED)
    there = sum(each.sum(0) + each.sum(1) for each in confusion.values())
    classes = [str(number) for number in range(int(np.flatnonzero(there).max(initial=0)) + 1)]
    scores = {
        name: classification.of_confusion(each[: len(classes), : len(classes)], classes)
        for name, each in confusion.items()
    }
    extra = sum(len(files.keys() - real.keys()) for files in members.values())
    said = counted(len(real), "map") + (f"; {extra:,} of members have no truth and are left out" if extra else "")
    console.print(said, soft_wrap=True)
    about = {"truth": str(path), "vote": vote, "weights": list(weights), "members": scores}
    return about, evaluation.results(about)


def _member_map(file: Path, labels: np.ndarray) -> np.ndarray:
    """Probabilities [h w classes], 0 and 1 where the file has answers only."""
    values = map_files.read(file, "--members")
    if values.shape[:2] != labels.shape:
        size = " x ".join(map(str, values.shape[:2]))
        raise UserError(f"--members: {str(file)!r} is {size} pixels, its truth {' x '.join(map(str, labels.shape))}")
    if values.ndim == 3:
        return values
    if (values == NOT_COUNTED).any():
        raise UserError(f"--members: {str(file)!r} answers 255, which means no class; want 0..254 at every pixel")
    return (values[..., None] == np.arange(values.max(initial=0) + 1)).astype(np.float32)


def _same(maps: Sequence[np.ndarray]) -> np.ndarray:
    """[m h w classes], with as many classes as the map with most has."""
    most = max(each.shape[-1] for each in maps)
    return np.stack([np.pad(each, ((0, 0), (0, 0), (0, most - each.shape[-1]))) for each in maps])
