"""Images with boxes in the format of Pascal VOC: an XML file for each image, and lists of images."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from efficient_jax.data import annotated_boxes, class_names, decode, stored_image, stream
from efficient_jax.data.annotated_boxes import Annotated, clipped, fault
from efficient_jax.data.dataset import Source, last_test, of_images
from efficient_jax.data.framing import Framing
from efficient_jax.data.image_files import check_folder, walk
from efficient_jax.errors import UserError, counted, few, nearest

WHERE = "config.data.source"
IMAGES, ANNOTATIONS, SETS = "JPEGImages", "Annotations", "ImageSets/Main"


def voc(
    feed: stream.Feed = stream.IN_MEMORY,
    *,
    path: str,
    size: int,
    image_set: str = "",
    test_set: str = "",
    test_path: str = "",
    classes: tuple[str, ...] = (),
    difficult: bool = False,
    most_objects: int = 0,
    bad_boxes: int = 0,
    fit: str = "pad",
    crop: float = 1.0,
    interpolation: str = "bicubic",
    channels: int = 3,
    draft: bool = False,
    unreadable: int = 0,
) -> Source:
    """Returns images with boxes from XML files of Pascal VOC.

    `path` has the folders `JPEGImages` and `Annotations`, or images and XML files side by side. Pixels count from 1,
    and both corners belong to the box, as the devkit says: columns 1 to 10 reach from 0.0 to 10.0. Images without an
    XML file are unlabelled.

    Args:
        feed: whether images are decoded once or on access, see `data.stream.Feed`; no config key of the source.
        path: the folder.
        size: side of the square images, in pixels; 0: as they are stored, which must then be one size for all.
        image_set: name of a list of images, `ImageSets/Main/NAME.txt`; "": all images.
        test_set: name of a list of the test images; "": the test set is drawn, or `test_path`.
        test_path: folder of the test images, laid out as `path`; "": none.
        classes: names of the classes, in order; (): all names in the XML files, sorted.
        difficult: whether objects count that are marked as difficult; else they are left out.
        most_objects: number of objects of an image that are kept, the largest ones; 0: all.
        bad_boxes: up to so many objects whose box cannot be used (no four numbers, no such class, not finite, without
            an area, outside of the image) are left out and listed; more are an error.
        fit: how an image becomes a square: "pad" (all of it, on gray), "crop" (its middle) or "squash"; see
            `data.framing.place`.
        crop: with fit="crop", the share of the shorter side that is kept, in (0, 1].
        interpolation: antialiasing filter of the resize, "bilinear" or "bicubic".
        channels: 3 (color) or 1 (gray).
        draft: whether JPEGs of twice the size and more are decoded at a reduced scale: faster, slightly inexact.
        unreadable: up to so many images that cannot be read are left out and listed; more are an error.

    Returns: a dataset with the images of `path` and then the test images. Labels int32 [n classes] are 1 where the
    image shows the class; a row of -1 is unlabelled. Objects are `boxes`, clipped to the image, `box_visible` and
    `box_label`, -1 where there is none. They stay in memory, also where images are streamed.

    Raises: UserError for folders and files that do not fit each other, too many unreadable images, and too many boxes
    that cannot be used.
    """
    if test_set and test_path:
        raise UserError(f"{WHERE}.test_set: names the test images, and so does test_path; give one of both")
    files = _files(path, image_set, "path", "image_set")
    tests = _files(test_path or path, test_set, "test_path", "test_set") if test_set or test_path else []
    if test_set and not image_set:
        files = sorted(set(files).difference(tests))
    elif test_set and (twice := sorted(str(file) for file in set(files).intersection(tests))):
        raise UserError(f"{WHERE}.test_set: {few(twice, 3)} of {test_set!r} also in {image_set!r}")
    images = [*files, *tests]
    entries = [_entry(file) for file in images]
    names = _classes(classes, entries)
    faults: list[str] = []
    boxes = [None if entry is None else _boxes(entry, names, difficult, faults) for entry in entries]
    notes = annotated_boxes.left_out(faults, bad_boxes, f"{WHERE}.path")
    labels = annotated_boxes.presence(boxes, len(names))
    fixed = last_test(len(images), len(tests))
    feed.labelled(labels, names, fixed, task="detection")

    def read(row: int) -> bytes:
        content, entry = images[row].read_bytes(), entries[row]
        if entry and (size := stored_image.upright_size(content)) != entry.size:
            raise ValueError("{} x {} pixels, but its boxes are of {} x {}".format(*size, *entry.size))
        return content

    framing = Framing(size, fit, crop, interpolation, channels, draft)
    file_names = [class_names.writable(str(file)) for file in images]
    about = f"annotated as {[entry and entry.size for entry in entries]}"  # which `read` compares
    decoded = stream.load(read, file_names.__getitem__, len(images), framing, feed, images, about, each_own=True)
    decoded = decode.left_out(decoded, file_names.__getitem__, unreadable, f"{WHERE}.path")
    source = of_images(decoded, labels, names, fixed, file_names, "detection")
    objects = annotated_boxes.framed([boxes[row] for row in decoded.rows], decoded.sizes[:], framing, most_objects)
    if bare := sum(entry is None for entry in entries):
        notes += (f"{counted(bare, 'image')} without an XML file: unlabelled",)
    marked = sum(thing.difficult for entry in entries if entry for thing in entry.objects)
    if marked and not difficult:
        notes += (f"left out {counted(marked, 'object')} marked as difficult",)
    return source._replace(objects=objects, notes=(*source.notes, *notes))


class Object(NamedTuple):
    """An object of an XML file; its corners are text."""

    name: str
    corners: tuple[str, ...]
    difficult: bool


class Entry(NamedTuple):
    """The content of an XML file."""

    file: Path
    size: tuple[int, int]  # width and height of the image in pixels
    objects: list[Object]


def _files(path: str, image_set: str, path_setting: str, set_setting: str) -> list[Path]:
    where = f"{WHERE}.{path_setting}"
    check_folder(path, where)
    root = Path(path) / IMAGES if (Path(path) / IMAGES).is_dir() else Path(path)
    files = walk(root, where).files
    if not files:
        raise UserError(f"{where}: no images in {str(root)!r} or the folders below it")
    if twice := [stem for stem, count in Counter(file.with_suffix("") for file in files).items() if count > 1]:
        raise UserError(f"{where}: two images are named {str(twice[0])!r}, and one XML file is; rename one")
    if not image_set:
        return files
    sets = {file.stem: file for file in (Path(path) / SETS).glob("*.txt")}
    if image_set not in sets:
        raise UserError(
            f"{WHERE}.{set_setting}: no {image_set}.txt in {str(Path(path) / SETS)!r}{nearest(image_set, sets)}"
        )
    by_stem = {file.stem: file for file in files}
    stems = [line.split()[0] for line in sets[image_set].read_text("utf-8-sig").splitlines() if line.strip()]
    if missing := [stem for stem in stems if stem not in by_stem]:
        raise UserError(
            f"{WHERE}.{set_setting}: {counted(len(missing), 'image')} of {str(sets[image_set])!r} not in "
            f"{str(root)!r}: {few(missing, 3)}"
        )
    return [by_stem[stem] for stem in dict.fromkeys(stems)]


def _entry(image: Path) -> Entry | None:
    """Returns the content of the XML file of an image; None where there is none."""
    beside = image.with_suffix(".xml")
    folders = [parent for parent in image.parents if parent.name == IMAGES][:1]
    inside = [folder.parent / ANNOTATIONS / beside.relative_to(folder) for folder in folders]
    file = next(filter(Path.is_file, [*inside, beside]), None)
    if not file:
        return None
    try:
        root = ElementTree.parse(file).getroot()
        if root.tag != "annotation":
            raise ValueError(f"it holds {root.tag!r}, want 'annotation'")
        w, h = (int(float(root.findtext(f"size/{side}") or 0)) for side in ("width", "height"))
        size = (w, h) if w > 0 and h > 0 else stored_image.upright_size(image)  # some annotators write 0
        return Entry(file, size, [_object(element) for element in root.iter("object")])
    except Exception as error:  # XML and decoders raise anything
        raise UserError(f"{WHERE}.path: cannot read {str(file)!r}: {stored_image.reason(error)}") from error


def _object(element: ElementTree.Element) -> Object:
    corners = tuple(element.findtext(f"bndbox/{side}") or "" for side in ("xmin", "ymin", "xmax", "ymax"))
    name, flag = (element.findtext(tag) or "" for tag in ("name", "difficult"))
    return Object(class_names.normal(name), corners, flag.strip() == "1")


def _classes(classes: Sequence[str], entries: Sequence[Entry | None]) -> tuple[str, ...]:
    where = f"{WHERE}.classes"
    if not any(entries):
        raise UserError(f"{WHERE}.path: no image has an XML file, in {ANNOTATIONS} or beside it")
    names = tuple(map(class_names.normal, classes))
    names = names or class_names.in_order(thing.name for entry in entries if entry for thing in entry.objects)
    if not names:
        raise UserError(f"{where}: not given, and the XML files name no object")
    class_names.check_classes(names, where)
    return names


def _boxes(entry: Entry, classes: Sequence[str], difficult: bool, faults: list[str]) -> Annotated:
    """Returns the boxes of an XML file, and adds to `faults` what is wrong with others."""
    corners, labels = [], []
    for number, thing in enumerate(entry.objects, 1):
        if thing.difficult and not difficult:
            continue
        try:
            left, top, right, bottom = map(float, thing.corners)
            box = [left - 1, top - 1, right, bottom]
            wrong = fault(box, entry.size) or (
                "" if thing.name in classes else f"no class {thing.name!r}{nearest(thing.name, classes)}"
            )
        except ValueError:
            wrong = f"its corners are {', '.join(map(repr, thing.corners))}"
        if wrong:
            faults.append(f"{entry.file} object {number} ({wrong})")
        else:
            corners.append(box)
            labels.append(classes.index(thing.name))
    return clipped(corners, labels, entry.size)
