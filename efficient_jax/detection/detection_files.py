"""Reads and writes detections and their ground truth as COCO JSON files, and checks that they fit each other."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from efficient_jax import files
from efficient_jax.detection import run_lengths
from efficient_jax.detection.detections import Found, check
from efficient_jax.errors import UserError

DTYPES = {"boxes": np.float64, "scores": np.float64, "areas": np.float64, "labels": np.int32, "crowds": bool}
"""Dtype of each array of `Found`."""


class Truth(NamedTuple):
    """The ground truth of some images, sorted by image id."""

    images: Int[np.ndarray, " n"]  # ids of the images
    categories: dict[int, str]  # category id -> name
    boxes: list[Found]  # of each image, with areas and crowds and without scores; labels are category ids


def read_truth(path: Path, where: str) -> Truth:
    """Returns the ground truth of a COCO file with `images`, `annotations` and `categories`.

    Args:
        path: the JSON file.
        where: what an error message names, such as a flag.

    Returns:
        The ground truth. The area of an object is that of its annotation, which COCO counts in its mask, or that of its
        box.

    Raises:
        UserError: the file cannot be read, or an entry does not fit.
    """
    content = _read(path, where)
    names = ("images", "annotations", "categories")
    if not isinstance(content, dict) or any(not isinstance(content.get(name), list) for name in names):
        raise UserError(f"{where}: {str(path)!r} is no ground truth of COCO; want the lists {', '.join(names)}")
    try:
        images = np.unique([int(entry["id"]) for entry in content["images"]])
        categories = {int(entry["id"]): str(entry["name"]) for entry in content["categories"]}
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{where}: {str(path)!r}: an image or a category has no id or name ({error})") from error
    kept = ("boxes", "labels", "areas", "crowds")
    boxes = _by_image(content["annotations"], images, categories, f"{where}: {str(path)!r}", kept)
    return Truth(images, categories, boxes)


def read_results(path: Path, truth: Truth, where: str) -> list[Found]:
    """Returns the detections of a COCO results file, a list of {image_id, category_id, bbox, score}.

    Args:
        path: the JSON file.
        truth: the ground truth, which has the images and categories.
        where: what an error message names, such as a flag.

    Returns:
        The boxes of each image of `truth` with their areas, empty where the file has none.

    Raises:
        UserError: the file cannot be read, an image or category is not in `truth`, a box is not [x, y, width, height],
            or a score is outside of 0..1.
    """
    content = _read(path, where)
    if not isinstance(content, list):
        raise UserError(
            f"{where}: {str(path)!r} holds no detections; want a list of image_id, category_id, bbox, score"
        )
    names = ("boxes", "scores", "labels", "areas")
    return _by_image(content, truth.images, truth.categories, f"{where}: {str(path)!r}", names)


def write_results(path: Path, detections: list[Found], truth: Truth) -> None:
    """Writes detections as a COCO results file.

    Args:
        path: the JSON file.
        detections: the boxes of each image of `truth`, with scores.
        truth: the ground truth, which has the ids of the images.
    """
    files.write_json(
        path, _rows(detections, truth.images.tolist(), {category: category for category in truth.categories})
    )


def write_predictions(
    path: Path, detections: Sequence[Mapping[str, np.ndarray]], images: Sequence[int], categories: Sequence[int]
) -> None:
    """Writes the predictions of a network as a COCO results file: image_id, category_id, bbox, score, segmentation.

    Boxes and masks are in pixels of the original images: see `data.objects.inverse`.

    Args:
        path: the JSON file.
        detections: the boxes of each image with scores and labels, indices of classes; `masks` bool [n h w] of the
            objects, if there are any, are written as run lengths.
        images: id of each image; 1, 2, ... where no file gives them.
        categories: id of the category of each class. Those of a COCO file are in the order of their ids, as the classes
            of the source `coco`; without such a file 1, 2, ...

    Raises: UserError for boxes, scores, labels or masks that do not fit each other, the images or the categories.
    """
    if len(detections) != len(images) or len(set(images)) < len(images):
        raise UserError(f"{path}: {len(detections)} images for {len(set(images))} ids; give one for each")
    names = ("boxes", "scores", "labels")
    for image, of_image in zip(images, detections, strict=True):
        boxes = check(of_image, f"{path}, image_id {image}", names)
        if beyond := sorted(set(boxes["labels"].tolist()).difference(range(len(categories)))):
            raise UserError(f"{path}, image_id {image}: label {beyond[0]} of {len(categories)} categories, from 0 on")
        masks = of_image.get("masks")
        if masks is not None and (masks.ndim != 3 or len(masks) != len(boxes["labels"]) or masks.dtype != bool):
            raise UserError(
                f"{path}, image_id {image}: masks {masks.dtype} {list(masks.shape)} of {len(boxes['labels'])} boxes; "
                "want bool [n h w]"
            )
    files.write_json(path, _rows(detections, images, dict(enumerate(categories))))


def _rows(
    detections: Sequence[Mapping[str, np.ndarray]], images: Sequence[int], category_of: Mapping[int, int]
) -> list[dict[str, Any]]:
    rows = []
    for image, boxes in zip(images, detections, strict=True):
        for number, (box, score, label) in enumerate(
            zip(*(boxes[name].tolist() for name in ("boxes", "scores", "labels")), strict=True)
        ):
            bbox = [box[0], box[1], box[2] - box[0], box[3] - box[1]]
            row = {"image_id": image, "category_id": category_of[label], "bbox": bbox, "score": score}
            if "masks" in boxes:
                row["segmentation"] = _segmentation(boxes["masks"][number])
            rows.append(row)
    return rows


def _segmentation(mask: Bool[np.ndarray, "h w"]) -> dict[str, Any]:
    return {"size": list(mask.shape), "counts": run_lengths.text(run_lengths.encode(mask))}


def _read(path: Path, where: str) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"it is not JSON ({error})"
        raise UserError(f"{where}: cannot read {str(path)!r}: {reason}") from error


def _by_image(
    entries: list[Any], images: np.ndarray, categories: dict[int, str], where: str, names: tuple[str, ...]
) -> list[Found]:
    rows: list[list[dict[str, Any]]] = [[] for _ in images]
    index_of = {image: number for number, image in enumerate(images.tolist())}
    for number, entry in enumerate(entries):
        try:
            x, y, width, height = map(float, entry["bbox"])
            row: dict[str, Any] = {"boxes": (x, y, x + width, y + height), "labels": entry["category_id"]}
            if "scores" in names:
                row |= {"scores": float(entry["score"]), "areas": width * height}
            else:
                row |= {"areas": float(entry.get("area", width * height)), "crowds": bool(entry.get("iscrowd"))}
            image = entry["image_id"]
        except (KeyError, TypeError, ValueError) as error:
            problem = f"no {error.args[0]}" if isinstance(error, KeyError) else str(error)
            raise UserError(
                f"{where}: entry {number}: {problem}; want image_id, category_id, bbox [x y w h]"
            ) from error
        for key, value, known in (("image_id", image, index_of), ("category_id", row["labels"], categories)):
            if value not in known:
                raise UserError(f"{where}: entry {number}: {key} {value!r} is not in the ground truth")
        rows[index_of[image]].append(row)
    return [
        check(_arrays(of_image, names), f"{where}, image_id {image}", names)
        for image, of_image in zip(images.tolist(), rows, strict=True)
    ]


def _arrays(rows: list[dict[str, Any]], names: tuple[str, ...]) -> Found:
    return {name: np.array([row[name] for row in rows], DTYPES[name]) for name in names}
