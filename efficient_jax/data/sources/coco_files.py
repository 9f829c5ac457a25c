"""Images with objects, annotated in COCO's JSON format, and PNG files of the class of each pixel."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from efficient_jax.data import decode, stream
from efficient_jax.data import objects as geometry
from efficient_jax.data.class_names import normal
from efficient_jax.data.dataset import Source, last_test, of_images
from efficient_jax.data.decode import ORIENTATION, free_memory, left_out
from efficient_jax.data.framing import Framing
from efficient_jax.errors import UserError, counted
from efficient_jax.settings import choose

WHERE = "config.data.source"
KINDS = ("boxes", "box_mask", "keypoints")
TASKS = ("multi_label", "classification")


def coco(
    feed: stream.Feed = stream.IN_MEMORY,
    *,
    path: str,
    size: int,
    folder: str = "",
    test_path: str = "",
    test_folder: str = "",
    masks_path: str = "",
    task: str = "multi_label",
    objects: tuple[str, ...] = ("boxes",),
    most_objects: int = 0,
    fit: str = "crop",
    crop: float = 1.0,
    interpolation: str = "bicubic",
    channels: int = 3,
    unreadable: int = 0,
) -> Source:
    """Returns the images, labels and objects of a JSON file in COCO's format (`images`, `annotations`, `categories`).

    Labels are the categories of an image's annotations, in the order of the category ids. Crowds count as labels only,
    not as objects. Objects and masks go through the crop and the resize of the images (`data.framing.place`).

    Args:
        feed: whether images are decoded once or on access, see `data.stream.Feed`; no config key of the source.
        path: the JSON file.
        size: side of the square images, in pixels; 0: as they are stored, which must then be one size for all.
        folder: folder of the image files; "": that of the JSON file.
        test_path: JSON file of the test images, with the same categories; "": the test set is drawn.
        test_folder: folder of the test images; "": `folder`, or that of `test_path`.
        masks_path: folder of PNG files named as the images, whose values are the classes of the pixels; "": none.
        task: "multi_label", or "classification" where an image has one category (-1 where it has none).
        objects: annotations to keep, of "boxes", "box_mask" (polygons or run lengths) and "keypoints" (visibility 1 or
            2); any of them brings the boxes; (): none.
        most_objects: number of objects of an image that are kept, the largest ones; 0: all.
        fit: how an image becomes a square: "crop" (its middle), "squash" or "pad"; see `data.framing.place`.
        crop: with fit="crop", the share of the shorter side that is kept, in (0, 1].
        interpolation: antialiasing filter of the resize, "bilinear" or "bicubic".
        channels: 3 (color) or 1 (gray).
        unreadable: up to so many images that cannot be read are left out and listed; more are an error.

    Returns: a dataset with the images of `path` and `test_path`, in this order. Its `objects` are named as in
    `types.Example`, with `box_label` int32 [n objects], the class or -1; there are as many rows as the image with the
    most objects needs.

    Raises: UserError for files that do not fit each other, and for too many unreadable images.
    """
    choose(task, dict.fromkeys(TASKS), f"{WHERE}.task")
    for kind in objects:
        choose(kind, dict.fromkeys(KINDS), f"{WHERE}.objects")
    parts = [_read(path, folder, "path")]
    if test_path:
        parts.append(_read(test_path, test_folder or folder, "test_path"))
        if parts[1].categories != parts[0].categories:
            raise UserError(f"{WHERE}.test_path: the categories of {test_path!r} are not those of {path!r}")
    class_indices = {category: index for index, category in enumerate(parts[0].categories)}
    classes = tuple(parts[0].categories.values())
    images = [image for part in parts for image in part.images]
    if len(repeated := [name for name, n in Counter(p.file for p in images).items() if n > 1]):
        count = counted(len(repeated), "file is", "files are")
        raise UserError(f"{WHERE}.path: {count} named twice, such as {str(repeated[0])!r}")
    labels = np.stack([_labels(image, class_indices) for image in images])
    if task == "classification":
        labels = _single(labels, images)

    fixed = last_test(len(labels), len(parts[1].images) if test_path else 0)
    feed.labelled(labels, classes, fixed, task=task)

    def read(row: int) -> bytes:
        content = images[row].file.read_bytes()
        _check_size(content, images[row])
        return content

    framing, files = Framing(size, fit, crop, interpolation, channels), [image.file for image in images]
    measured = f"annotated as {[(image.width, image.height) for image in images]}"  # which `read` compares
    file_names = [str(file) for file in files]
    decoded = stream.load(read, file_names.__getitem__, len(files), framing, feed, files, measured)
    decoded = left_out(decoded, file_names.__getitem__, unreadable, f"{WHERE}.path")
    seen = [images[row] for row in decoded.rows]
    source = of_images(decoded, labels, classes, fixed, file_names, task)
    arrays = _objects(seen, class_indices, objects, most_objects, framing) if objects else {}
    if masks_path:
        arrays["mask"] = np.stack([_mask(Path(masks_path), image, framing) for image in seen])
    return source._replace(objects=arrays)


class CocoImage(NamedTuple):
    """An entry of `images` with its annotations; width and height are in pixels."""

    file: Path
    name: str
    width: int
    height: int
    annotations: list[dict[str, Any]]


class Part(NamedTuple):
    """The content of a JSON file: names of the categories by their id, and the images."""

    categories: dict[int, str]
    images: list[CocoImage]


def _read(path: str, folder: str, setting: str) -> Part:
    where = f"{WHERE}.{setting}"
    try:
        content = json.loads(Path(path).read_bytes())
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"it is not JSON ({error})"
        raise UserError(f"{where}: cannot read {path!r}: {reason}") from error
    names = ("images", "annotations", "categories")
    if not isinstance(content, dict) or any(not isinstance(content.get(name), list) for name in names):
        has = ", ".join(content) if isinstance(content, dict) else "no names"
        raise UserError(f"{where}: {path!r} has not the lists {', '.join(names)} of COCO; it has {has}")
    root = Path(folder) if folder else Path(path).parent
    if not root.is_dir():
        raise UserError(f"{WHERE}.folder: {str(root)!r} is not there; want the folder of the images of {path!r}")
    entry: Any = None
    try:
        images = {}
        for entry in content["images"]:
            if entry["id"] in images:
                raise ValueError("this id is there twice")
            size = int(entry["width"]), int(entry["height"])
            images[entry["id"]] = CocoImage(root / entry["file_name"], entry["file_name"], *size, [])
        categories = {
            entry["id"]: normal(str(entry["name"])) for entry in sorted(content["categories"], key=lambda c: c["id"])
        }
        for entry in content["annotations"]:
            if len(entry.get("keypoints", ())) % 3:
                raise ValueError("its keypoints are no rows of x, y, visibility")
            if entry["category_id"] not in categories or entry["image_id"] not in images:
                raise ValueError("no such category or image")
            if len(entry["bbox"]) != 4 or not np.isfinite(np.array(entry["bbox"], float)).all():
                raise ValueError("bbox wants four numbers")
            images[entry["image_id"]].annotations.append(entry)
    except (KeyError, TypeError, ValueError) as error:
        about = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)
        raise UserError(f"{where}: {path!r} has an entry {str(entry)[:80]} ...: {about}") from error
    if not images or len(set(categories.values())) != len(content["categories"]) or len(categories) < 2:
        raise UserError(
            f"{where}: {path!r} has {counted(len(images), 'image')} and the categories "
            f"{', '.join(categories.values())}; want some, and two categories or more, each id and name once"
        )
    return Part(categories, list(images.values()))


def _labels(image: CocoImage, class_indices: dict[int, int]) -> np.ndarray:
    labels = np.zeros(len(class_indices), np.int32)
    labels[[class_indices[annotation["category_id"]] for annotation in image.annotations]] = 1
    return labels


def _single(labels: np.ndarray, images: Sequence[CocoImage]) -> np.ndarray:
    if (several := labels.sum(1) > 1).any():
        raise UserError(
            f"{WHERE}.task: {counted(several.sum(), 'image has', 'images have')} several categories, such "
            f"as {images[several.argmax()].name!r}; say 'multi_label'"
        )
    return np.where(labels.any(1), labels.argmax(1), -1)


def _check_size(content: bytes, image: CocoImage) -> None:
    """Checks that the image, upright, has the size to which its annotations refer."""
    opened = decode.opened(content)
    turned = 5 <= opened.getexif().get(ORIENTATION, 1) <= 8
    w, h = opened.size[::-1] if turned else opened.size
    if (w, h) != (image.width, image.height):
        raise ValueError(f"{w} x {h} pixels, but its annotations are of {image.width} x {image.height}")


def _objects(
    images: Sequence[CocoImage], class_indices: dict[int, int], kinds: tuple[str, ...], most: int, framing: Framing
) -> dict[str, np.ndarray]:
    """Returns `types.Example`'s boxes and what belongs to them, for all images."""
    annotations = [_largest(image.annotations, most) for image in images]
    rows = max(map(len, annotations))
    width, height = geometry.window(images[0].width, images[0].height, framing).size
    shape = len(annotations), rows
    if "box_mask" in kinds and len(annotations) * rows * width * height > free_memory():
        raise UserError(
            f"{WHERE}.objects: box_mask of {counted(len(annotations), 'image')} x {counted(rows, 'object')} x "
            f"{height} x {width} pixels are more "
            f"than the memory; ask for fewer with {WHERE}.most_objects, or for a smaller size"
        )
    points = max((len(annotation.get("keypoints", ())) // 3 for kept in annotations for annotation in kept), default=0)
    arrays: dict[str, np.ndarray] = {
        "boxes": np.zeros((*shape, 4), np.float32),
        "box_visible": np.zeros(shape, np.float32),
        "box_label": np.full(shape, -1, np.int32),
    }
    if "box_mask" in kinds:
        arrays["box_mask"] = np.zeros((*shape, height, width), bool)
    if "keypoints" in kinds:
        arrays["keypoints"] = np.zeros((*shape, points, 2), np.float32)
        arrays["keypoint_visible"] = np.zeros((*shape, points), bool)
    for i, (image, kept) in enumerate(zip(images, annotations, strict=True)):
        if not kept:
            continue
        through, n = geometry.window(image.width, image.height, framing), len(kept)
        measured = np.array([annotation["bbox"] for annotation in kept], float)
        corners = np.concatenate([measured[:, :2], measured[:, :2] + measured[:, 2:]], 1)
        arrays["boxes"][i, :n], arrays["box_visible"][i, :n] = geometry.boxes(corners, through)
        arrays["box_label"][i, :n] = [class_indices[annotation["category_id"]] for annotation in kept]
        for j, annotation in enumerate(kept):
            if "box_mask" in kinds:
                arrays["box_mask"][i, j] = _instance(annotation, image, through)
            if "keypoints" in kinds and annotation.get("keypoints"):
                x, y, flag = np.array(annotation["keypoints"], float).reshape(-1, 3).T
                moved = geometry.keypoints(np.stack([x, y], 1), flag, through)
                arrays["keypoints"][i, j, : len(x)], arrays["keypoint_visible"][i, j, : len(x)] = moved
    if "keypoints" in kinds:
        arrays["keypoints"] = arrays["keypoints"].reshape(len(annotations), -1, 2)
        arrays["keypoint_visible"] = arrays["keypoint_visible"].reshape(len(annotations), -1)
    return arrays


def _largest(annotations: Sequence[dict[str, Any]], most: int) -> list[dict[str, Any]]:
    """Returns the objects of some area that are no crowds, the `most` largest (0: all), in their order."""
    area = [
        annotation["bbox"][2] * annotation["bbox"][3] * (min(annotation["bbox"][2:]) > 0) for annotation in annotations
    ]
    single = [i for i, annotation in enumerate(annotations) if area[i] > 0 and not annotation.get("iscrowd")]
    kept = sorted(single, key=lambda i: -area[i])[:most] if most else single
    return [annotations[i] for i in sorted(kept)]


def _instance(annotation: dict[str, Any], image: CocoImage, through: geometry.Window) -> np.ndarray:
    """Returns the mask of an object after the crop and the resize."""
    segmentation = annotation.get("segmentation")
    try:
        if isinstance(segmentation, dict):
            if list(segmentation["size"]) != [image.height, image.width]:
                raise ValueError(f"size {segmentation['size']}")
            return geometry.mask(geometry.runs(segmentation["counts"], image.height, image.width), through)
        outlines = [np.array(outline, float).reshape(-1, 2) for outline in segmentation or ()]
        if not outlines:
            raise ValueError("there is none")
        return geometry.polygons(outlines, through)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{WHERE}.objects: an object of {image.name!r} has no segmentation of polygons or run lengths ({error}); "
            "leave out 'box_mask'"
        ) from error


def _mask(folder: Path, image: CocoImage, framing: Framing) -> np.ndarray:
    file = (folder / image.name).with_suffix(".png")
    try:
        with Image.open(file) as opened:
            if opened.mode not in ("L", "P", "1"):
                raise ValueError(f"it is {opened.mode}; want 8-bit class indices")
            if opened.size != (image.width, image.height):
                raise ValueError(f"{opened.size} pixels, the image has {image.width} x {image.height}")
            pixels = np.asarray(opened).astype(np.uint8)
    except (OSError, ValueError) as error:
        reason = "not there" if isinstance(error, FileNotFoundError) else str(error)
        raise UserError(f"{WHERE}.masks_path: {str(file)!r}: {reason}") from error
    return geometry.mask(pixels, geometry.window(image.width, image.height, framing))
