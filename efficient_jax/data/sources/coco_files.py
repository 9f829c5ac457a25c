"""Images with objects, annotated in COCO's JSON format, and PNG files of the class of each pixel."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from efficient_jax.data import annotated_boxes, stream
from efficient_jax.data.class_names import NO_CLASS, writable
from efficient_jax.data.dataset import Source, last_test, of_images
from efficient_jax.data.decode import left_out
from efficient_jax.data.framing import Framing, check
from efficient_jax.data.image_files import comparable, walk
from efficient_jax.data.sources.coco_json import WHERE, CocoImage, Part, check_size, read, root_of
from efficient_jax.data.sources.coco_objects import (
    KINDS,
    IndexOf,
    category_map,
    object_maps,
    png_mask,
    shown,
    single,
)
from efficient_jax.data.sources.coco_objects import objects as framed_objects
from efficient_jax.errors import UserError, counted
from efficient_jax.settings import choose

TASKS = ("multi_label", "classification", "detection", "segmentation")
WITH_PLACES = ("detection", "segmentation")
"""Tasks in which one category is enough, and images are not cropped by default."""
UNANNOTATED = ("empty", "unlabelled")
BACKGROUND = "background"


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
    unannotated: str = "empty",
    rest: bool = False,
    bad_boxes: int = 0,
    fit: str = "",
    crop: float = 1.0,
    interpolation: str = "bicubic",
    channels: int = 3,
    draft: bool = False,
    unreadable: int = 0,
) -> Source:
    """Returns the images, labels and objects of a JSON file in COCO's format (`images`, `annotations`, `categories`).

    Labels are the categories of an image's annotations, in the order of the category ids. Crowds count as labels only,
    not as objects. Objects and masks go through the crop and the resize of the images (`data.framing.place`), and boxes
    are clipped to their image. Labels and objects stay in memory, also where images are streamed.

    With task="segmentation" the label is a map, uint8 [h w]: class 0 is "background", then come the categories; later
    annotations lie above earlier ones; crowds, and what lies outside the original image, are 255, no class.

    Args:
        feed: whether images are decoded once or on access, see `data.stream.Feed`; no config key of the source.
        path: the JSON file.
        size: side of the square images, in pixels; 0: as they are stored, which must then be one size for all.
        folder: folder of the image files; "": that of the JSON file.
        test_path: JSON file of the test images, with the same categories; "": the test set is drawn.
        test_folder: folder of the test images; "": `folder`, or that of `test_path`.
        masks_path: folder of PNG files named as the images, whose values are the classes of the pixels; "": none. They
            are objects of the images. Where they are the labels, take the source `masks`.
        task: "multi_label"; "classification" where an image has one category (-1 where it has none); "detection",
            where labels are those of "multi_label" and boxes are learned; or "segmentation".
        objects: annotations to keep, of "boxes", "box_mask" (polygons or run lengths), "object_map" (the same in less
            memory, for objects that do not overlap; or the boxes) and "keypoints" (visibility 1 or 2); any of them
            brings the boxes; (): none. Detection keeps boxes in any case, segmentation an "object_map" alone.
        most_objects: number of objects of an image that are kept, the largest ones; 0: all.
        unannotated: what images of `path` without annotations are: "empty", they show no category, or "unlabelled".
        rest: whether images below the folder of `path` that no JSON file names are unlabelled ones of the dataset. Of
            these, those that cannot be read are left out and listed, however many.
        bad_boxes: in detection, up to so many boxes without an area, or outside of their image, are left out and
            listed; more are an error. In other tasks they are always left out.
        fit: how an image becomes a square: "crop" (its middle), "squash" or "pad"; see `data.framing.place`. "": "pad"
            in detection and segmentation, else "crop".
        crop: with fit="crop", the share of the shorter side that is kept, in (0, 1].
        interpolation: antialiasing filter of the resize, "bilinear" or "bicubic".
        channels: 3 (color) or 1 (gray).
        draft: whether JPEGs of twice the size and more are decoded at a reduced scale: faster, slightly inexact.
        unreadable: up to so many images that cannot be read are left out and listed; more are an error.

    Returns: a dataset with the images of `path`, those of `rest`, and the images of `test_path`, in this order. Its
    `objects` are named as in `types.Example`, with `box_label` int32 [n objects], the class or -1; there are as many
    rows as the image with the most objects needs.

    Raises: UserError for files that do not fit each other, and for too many unreadable images or boxes.
    """
    choose(task, dict.fromkeys(TASKS), f"{WHERE}.task")
    choose(unannotated, dict.fromkeys(UNANNOTATED), f"{WHERE}.unannotated")
    for kind in objects:
        choose(kind, dict.fromkeys(KINDS), f"{WHERE}.objects")
    if masks_path and task == "segmentation":
        raise UserError(f"{WHERE}.masks_path: the annotations are the labels; take the source 'masks' for PNG files")
    least = 1 if task in WITH_PLACES else 2
    parts = [read(path, folder, "path", least)]
    if test_path:
        parts.append(read(test_path, test_folder or folder, "test_path", least))
        if parts[1].categories != parts[0].categories:
            raise UserError(f"{WHERE}.test_path: the categories of {test_path!r} are not those of {path!r}")
    classes, index_of = _classes(parts[0], task)
    others = _others(parts, root_of(path, folder)) if rest else []
    tests = parts[1].images if test_path else []
    images = [*parts[0].images, *others, *tests]
    if len(repeated := [name for name, n in Counter(p.file for p in images).items() if n > 1]):
        count = counted(len(repeated), "file is", "files are")
        raise UserError(f"{WHERE}.path: {count} named twice, such as {str(repeated[0])!r}")
    faults = [wrong for image in images for wrong in single(image)[1]] if task == "detection" else []
    notes = annotated_boxes.left_out(faults, bad_boxes, f"{WHERE}.path")
    bare = [unannotated == "unlabelled" and not image.annotations for image in parts[0].images]
    unlabelled = np.array([*bare, *(True for _ in others), *(False for _ in tests)])
    framing = Framing(size, fit_of(fit, task), crop, interpolation, channels, draft)
    check(framing)
    labels = _labels(images, unlabelled, task, len(classes), index_of, framing)
    fixed = last_test(len(labels), len(tests))
    feed.labelled(labels, classes, fixed, task=task)

    def content_of(row: int) -> bytes:
        content = images[row].file.read_bytes()
        check_size(content, images[row])
        return content

    files = [image.file for image in images]
    measured = f"annotated as {[(image.width, image.height) for image in images]}"  # which `content_of` compares
    file_names = [writable(str(file)) for file in files]
    decoded = stream.load(content_of, file_names.__getitem__, len(files), framing, feed, files, measured, each_own=True)
    is_other = range(len(parts[0].images), len(images) - len(tests))
    most = unreadable + sum(row in is_other for row in decoded.unreadable)
    decoded = left_out(decoded, file_names.__getitem__, most, f"{WHERE}.path")
    seen = [images[row] for row in decoded.rows]
    source = of_images(decoded, labels, classes, fixed, file_names, task)
    arrays: dict[str, np.ndarray] = {}
    if task == "detection" or (objects and task != "segmentation"):
        arrays = framed_objects(seen, index_of, objects, most_objects, framing)
    if task == "segmentation" and "object_map" in objects:
        no_crowds = [[each for each in image.annotations if not each.get("iscrowd")] for image in seen]
        arrays["object_map"] = object_maps(seen, no_crowds, source.labels.shape[1:], framing)
    if masks_path:
        arrays["mask"] = np.stack([png_mask(Path(masks_path), image, framing) for image in seen])
    if len(others):
        notes += (f"{counted(len(others), 'image')} without a label: {path!r} does not name them",)
    if any(bare):
        notes += (f"{counted(sum(bare), 'image')} of {path!r} without annotations: unlabelled",)
    return source._replace(objects=arrays, notes=(*source.notes, *notes))


def fit_of(fit: str, task: str) -> str:
    """Returns how an image becomes a square, a name of `data.framing.FITS`.

    Args:
        fit: the setting; "": not given.
        task: the setting.
    """
    return fit or ("pad" if task in WITH_PLACES else "crop")


def _classes(part: Part, task: str) -> tuple[tuple[str, ...], IndexOf]:
    """Returns (names of the classes, the class of an annotation)."""
    names = tuple(part.categories.values())
    if task == "segmentation":  # a category may be called so
        names = tuple(dict.fromkeys((BACKGROUND, *names)))
        if len(names) > NO_CLASS:
            raise UserError(
                f"{WHERE}.path: {len(names)} classes with the background; segmentation has {NO_CLASS} at most"
            )
    class_indices = {category: names.index(name) for category, name in part.categories.items()}
    return names, lambda annotation: class_indices[annotation["category_id"]]


def _others(parts: Sequence[Part], root: Path) -> list[CocoImage]:
    named = {comparable(image.file.absolute()) for part in parts for image in part.images}
    files = walk(root, f"{WHERE}.folder").files
    rest = [file for file in files if comparable(file.absolute()) not in named]
    return [CocoImage(file, str(file.relative_to(root)), 0, 0, []) for file in rest]


def _labels(
    images: Sequence[CocoImage], unlabelled: np.ndarray, task: str, classes: int, index_of: IndexOf, framing: Framing
) -> np.ndarray:
    if task == "segmentation":
        w, h = next(((image.width, image.height) for image in images if image.width), (1, 1))
        shape = (framing.size, framing.size) if framing.size else (h, w)
        labels = np.full((len(images), *shape), NO_CLASS, np.uint8)
        for row in np.flatnonzero(~unlabelled).tolist():
            pixels = category_map(images[row], index_of, framing)
            if pixels.shape == shape:  # others are found when the image is read
                labels[row] = pixels
        return labels
    if task == "detection":
        return annotated_boxes.presence(
            [None if bare else shown(image, index_of) for image, bare in zip(images, unlabelled, strict=True)], classes
        )
    labels = np.zeros((len(images), classes), np.int32)
    for tags, image in zip(labels, images, strict=True):
        tags[[index_of(annotation) for annotation in image.annotations]] = 1
    if task == "classification":
        return np.where(unlabelled, -1, _single(labels, images))
    labels[unlabelled] = -1
    return labels


def _single(labels: np.ndarray, images: Sequence[CocoImage]) -> np.ndarray:
    if (several := labels.sum(1) > 1).any():
        raise UserError(
            f"{WHERE}.task: {counted(several.sum(), 'image has', 'images have')} several categories, such "
            f"as {images[several.argmax()].name!r}; say 'multi_label'"
        )
    return np.where(labels.any(1), labels.argmax(1), -1)
