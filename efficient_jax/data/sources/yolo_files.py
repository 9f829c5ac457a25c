"""Images with boxes in YOLO's format: a text file for each image, and the names of the classes in data.yaml."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import yaml  # which flax and ml-collections require

from efficient_jax.data import annotated_boxes, class_names, stream
from efficient_jax.data.annotated_boxes import Annotated, clipped, fault
from efficient_jax.data.dataset import Source, last_test, of_images
from efficient_jax.data.decode import left_out
from efficient_jax.data.framing import Framing
from efficient_jax.data.image_files import check_folder, note, walk
from efficient_jax.errors import UserError, counted, few
from efficient_jax.settings import choose

WHERE = "config.data.source"
IMAGES, LABELS = "images", "labels"
NAMES_FILES = ("data.yaml", "data.yml", "dataset.yaml", "classes.txt")
NOT_LABELS = ("classes.txt", "README.txt", "README.dataset.txt", "README.roboflow.txt")
UNANNOTATED = ("unlabelled", "empty")
ABOVE = 3  # folders, from that of the images up, where names of the classes are looked for


def yolo(
    feed: stream.Feed = stream.IN_MEMORY,
    *,
    path: str,
    size: int,
    test_path: str = "",
    classes: tuple[str, ...] = (),
    unannotated: str = "unlabelled",
    most_objects: int = 0,
    bad_boxes: int = 0,
    fit: str = "pad",
    crop: float = 1.0,
    interpolation: str = "bicubic",
    channels: int = 3,
    draft: bool = False,
    unreadable: int = 0,
) -> Source:
    """Returns images with boxes from text files, whose lines are `class cx cy w h`.

    Classes count from 0; centers and sizes are shares of the image's width and height. The boxes of
    `any/images/train/1.jpg` are in `any/labels/train/1.txt`. An empty file says that the image shows no object.

    Args:
        feed: whether images are decoded once or on access, see `data.stream.Feed`; no config key of the source.
        path: the folder that has the folders `images` and `labels`; or a folder of images whose path has `images` in
            it, beside the same path with `labels`.
        size: side of the square images, in pixels; 0: as they are stored, which must then be one size for all.
        test_path: the same for the test images; "": the test set is drawn.
        classes: names of the classes, in the order of their numbers; (): `names` of `data.yaml`, or the lines of
            `classes.txt`, in the folder of the images or up to three folders above.
        unannotated: what images without a text file are: "unlabelled", or "empty", they show no object.
        most_objects: number of objects of an image that are kept, the largest ones; 0: all.
        bad_boxes: up to so many lines without a box that can be used (not five numbers, no such class, not finite,
            without an area, outside of the image) are left out and listed; more are an error.
        fit: how an image becomes a square: "pad" (all of it, on gray), "crop" (its middle) or "squash"; see
            `data.framing.place`.
        crop: with fit="crop", the share of the shorter side that is kept, in (0, 1].
        interpolation: antialiasing filter of the resize, "bilinear" or "bicubic".
        channels: 3 (color) or 1 (gray).
        draft: whether JPEGs of twice the size and more are decoded at a reduced scale: faster, slightly inexact.
        unreadable: up to so many images that cannot be read are left out and listed; more are an error.

    Returns: a dataset with the images of `path` and `test_path`, in this order. Labels int32 [n classes] are 1 where
    the image shows the class; a row of -1 is unlabelled. Objects are `boxes`, clipped to the image, `box_visible` and
    `box_label`, -1 where there is none. They stay in memory, also where images are streamed.

    Raises: UserError for folders and files that do not fit each other, too many unreadable images, and too many boxes
    that cannot be used.
    """
    choose(unannotated, dict.fromkeys(UNANNOTATED), f"{WHERE}.unannotated")
    parts = [_part(path, "path")] + ([_part(test_path, "test_path")] if test_path else [])
    names = _classes(classes, parts[0].root)
    files = [file for part in parts for file in part.files]
    tables = [table for part in parts for table in part.tables]
    faults: list[str] = []
    empty = None if unannotated == "unlabelled" else annotated_boxes.NO_BOXES
    boxes = [_boxes(table, len(names), faults) if table else empty for table in tables]
    notes = annotated_boxes.left_out(faults, bad_boxes, f"{WHERE}.path")
    labels = annotated_boxes.presence(boxes, len(names))
    fixed = last_test(len(files), len(parts[1].files) if test_path else 0)
    feed.labelled(labels, names, fixed, task="detection")
    framing = Framing(size, fit, crop, interpolation, channels, draft)
    file_names = [class_names.writable(str(file)) for file in files]
    decoded = stream.load(
        files.__getitem__, file_names.__getitem__, len(files), framing, feed, files, "", each_own=True
    )
    decoded = left_out(decoded, file_names.__getitem__, unreadable, f"{WHERE}.path")
    source = of_images(decoded, labels, names, fixed, file_names, "detection")
    objects = annotated_boxes.framed([boxes[row] for row in decoded.rows], decoded.sizes[:], framing, most_objects)
    bare = sum(table is None for table in tables)
    notes += (f"{counted(bare, 'image')} without a text file: {unannotated}",) if bare else ()
    notes += tuple(line for part in parts for line in part.notes)
    return source._replace(objects=objects, notes=(*source.notes, *notes))


class Part(NamedTuple):
    """The images of a folder and the files of their boxes."""

    root: Path  # the folder of the images
    files: list[Path]
    tables: list[Path | None]  # None: the image has none
    notes: tuple[str, ...]


def _part(path: str, setting: str) -> Part:
    where = f"{WHERE}.{setting}"
    check_folder(path, where)
    root = Path(path) / IMAGES if (Path(path) / IMAGES).is_dir() else Path(path)
    steps = root.absolute().parts
    if IMAGES not in steps:
        raise UserError(f"{where}: {path!r} has no folder {IMAGES!r}, and none in its path; want images/ and labels/")
    last = len(steps) - 1 - steps[::-1].index(IMAGES)
    labels = Path(*steps[:last], LABELS, *steps[last + 1 :])
    if not labels.is_dir():
        raise UserError(f"{where}: {str(labels)!r} is not there; want the folder of the text files of {str(root)!r}")
    walked = walk(root, where)
    files = walked.files
    if not files:
        raise UserError(f"{where}: no images in {str(root)!r} or the folders below it")
    expected = [(labels / file.relative_to(root)).with_suffix(".txt") for file in files]
    there = {file for file in labels.rglob("*.txt") if file.name not in NOT_LABELS}
    if twice := [file for file, count in Counter(expected).items() if count > 1 and file in there]:
        raise UserError(f"{where}: two images are named {twice[0].stem!r}, and one text file is; rename one")
    if not there.intersection(expected):
        raise UserError(f"{where}: no text file in {str(labels)!r} is named as an image, such as {expected[0].name!r}")
    alone = sorted(str(file.relative_to(labels)) for file in there.difference(expected))
    notes = note(walked.passed_over)
    notes += (f"{counted(len(alone), 'text file')} without an image: {few(alone, 5)}",) if alone else ()
    return Part(root, files, [file if file in there else None for file in expected], notes)


def _boxes(table: Path, classes: int, faults: list[str]) -> Annotated:
    """Returns the boxes of a text file in shares of the image, and adds to `faults` what is wrong with others."""
    try:
        lines = table.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{WHERE}.path: cannot read {str(table)!r}: {error}") from error
    corners, labels = [], []
    for number, line in enumerate(lines, 1):
        if not (cells := line.split()):
            continue
        try:
            label, (x, y, w, h) = _class(cells[0], classes), map(float, cells[1:])
            box = [x - w / 2, y - h / 2, x + w / 2, y + h / 2]
            wrong = fault(box, (1.0, 1.0))
        except ValueError as error:
            unpacked = "unpack" in str(error) or "convert" in str(error)
            wrong = f"{line[:60]!r}, want class cx cy w h" if unpacked else str(error)
        if wrong:
            faults.append(f"{table} line {number} ({wrong})")
        else:
            corners.append(box)
            labels.append(label)
    return clipped(corners, labels, (1.0, 1.0))


def _class(cell: str, classes: int) -> int:
    number = float(cell)
    if not (0 <= number < classes and number == int(number)):
        raise ValueError(f"class {cell} of {classes} classes, from 0 on")
    return int(number)


def _classes(classes: tuple[str, ...], root: Path) -> tuple[str, ...]:
    where = f"{WHERE}.classes"
    names = classes
    if not names:
        folders = [root, *root.absolute().parents][: 1 + ABOVE]
        files = [folder / name for folder in folders for name in NAMES_FILES]
        if not (file := next(filter(Path.is_file, files), None)):
            raise UserError(f"{where}: not given, and no data.yaml or classes.txt is in or above {str(root)!r}")
        names = _names(file)
    names = tuple(map(class_names.normal, names))
    class_names.check_classes(names, where)
    return names


def _names(file: Path) -> tuple[str, ...]:
    """Returns the names of the classes in a file: `names` of YAML, a list or number -> name; or lines of text."""
    where = f"{WHERE}.classes"
    try:
        content = file.read_text("utf-8-sig")
        if file.suffix == ".txt":
            return tuple(line for line in content.splitlines() if line.strip())
        names = yaml.safe_load(content)["names"]
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{where}: cannot read names of {str(file)!r} ({reason}); want a list of them") from error
    if isinstance(names, Mapping):
        if sorted(names) != list(range(len(names))):
            raise UserError(f"{where}: names of {str(file)!r} have the numbers {list(names)}; want each from 0 on")
        names = [names[number] for number in range(len(names))]
    if not isinstance(names, list) or not names:
        raise UserError(f"{where}: names of {str(file)!r} are {names!r}; want a list of them")
    return tuple(map(str, names))
