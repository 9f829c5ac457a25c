"""The objects in the images below a folder, predicted in chunks and written in COCO's format."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from rich.progress import track

from efficient_jax import files as writers
from efficient_jax.data import decode, objects
from efficient_jax.data.class_names import writable
from efficient_jax.data.framing import Framing
from efficient_jax.detection.detections import Found, combine
from efficient_jax.detection.rows import boxes_of
from efficient_jax.distributed import console
from efficient_jax.errors import UserError
from efficient_jax.training.classifier import Network

CHUNK = 64  # images that are decoded and predicted together


def write(
    files: Sequence[Path], images: Path, members: Sequence[Network], fuse: Callable[..., Any], out: Path
) -> tuple[int, dict[str, str]]:
    """Writes the objects of all images as a JSON file in COCO's format, whose annotations have a `score`.

    Boxes are in pixels of the original images; `file_name` is relative to the folder of the images.

    Args:
        files: of the images.
        images: the folder that they are in.
        members: networks with the same classes.
        fuse: a function of `detection.boxes` or `detection.fusion`, which merges the boxes of several members.
        out: the file.

    Returns: (the number of images, unreadable file -> reason).

    Raises: UserError where no image can be read.
    """
    framings = [member.spec.image_framing() for member in members]
    boxes: dict[Path, tuple[tuple[int, int], Found]] = {}
    unreadable: dict[str, str] = {}
    chunks = [files[i : i + CHUNK] for i in range(0, len(files), CHUNK)]
    for chunk in track(chunks, "predicting objects", console=console(), transient=True):
        decoded = {one: decode.decode_all(chunk.__getitem__, len(chunk), one) for one in dict.fromkeys(framings)}
        for of_framing in decoded.values():
            unreadable |= {writable(str(chunk[row])): why for row, why in of_framing.unreadable.items()}
        first = decoded[framings[0]]
        predicted = [member.predict(decoded[one].images)[0] for member, one in zip(members, framings, strict=True)]
        for i, row in enumerate(first.rows):
            height, width = first.sizes[i].tolist()
            of_members = [
                original(rows[i], height, width, framing) for rows, framing in zip(predicted, framings, strict=True)
            ]
            boxes[chunk[row]] = (height, width), of_members[0] if len(members) == 1 else combine(of_members, fuse)
    if not boxes:
        raise UserError(f"--images: none of its images can be read: {decode.listed(unreadable)}")
    out.parent.mkdir(parents=True, exist_ok=True)
    writers.write_json(out, _coco(boxes, images, members[0].spec.classes))
    return len(boxes), unreadable


def original(rows: Float[np.ndarray, "n 6"], height: int, width: int, framing: Framing) -> Found:
    """Returns the boxes of a prediction in pixels of the original image, without those outside of it.

    Args:
        rows: predictions of one image, see `detection.rows`.
        height: of the original image in pixels.
        width: of the original image in pixels.
        framing: how the image became the square.
    """
    of_square = boxes_of(rows)
    back = objects.inverse(objects.window(width, height, framing), width, height)
    corners, visible = objects.boxes(of_square["boxes"], back)
    kept = {"boxes": corners, "labels": of_square["labels"], "scores": of_square["scores"]}
    return {name: values[visible > 0] for name, values in kept.items()}


def _coco(boxes: dict[Path, tuple[tuple[int, int], Found]], folder: Path, classes: Sequence[str]) -> dict[str, Any]:
    number = functools.partial(dict.__getitem__, {file: i for i, file in enumerate(boxes, 1)})
    annotations = [
        {
            "image_id": number(file),
            "category_id": int(label) + 1,
            "bbox": [left, top, right - left, bottom - top],
            "area": (right - left) * (bottom - top),
            "iscrowd": 0,
            "score": score,
        }
        for file, (_, of_image) in boxes.items()
        for (left, top, right, bottom), label, score in zip(
            *(of_image[name].tolist() for name in ("boxes", "labels", "scores")), strict=True
        )
    ]
    return {
        "images": [
            {"id": number(file), "file_name": str(file.relative_to(folder)), "width": width, "height": height}
            for file, ((height, width), _) in boxes.items()
        ],
        "categories": [{"id": i, "name": name} for i, name in enumerate(classes, 1)],
        "annotations": [{"id": i, **annotation} for i, annotation in enumerate(annotations, 1)],
    }
