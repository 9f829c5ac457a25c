"""A folder of images beside a folder of PNG masks: the class of each pixel."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Shaped, UInt8, UInt16
from PIL import Image

from efficient_jax.data import class_names, decode, objects, stored_image, stream
from efficient_jax.data.class_names import NO_CLASS
from efficient_jax.data.dataset import Source, last_test, of_images
from efficient_jax.data.framing import Framing, check
from efficient_jax.data.image_files import check_folder, comparable, note, walk
from efficient_jax.errors import UserError, counted, few

WHERE = "config.data.source"
MODES = ("1", "L", "P", "I;16", "I;16B", "I")
CLASSES_FILE = "classes.txt"
NAMED = 5  # most files that a message lists


def masks(
    feed: stream.Feed = stream.IN_MEMORY,
    *,
    path: str,
    masks: str,
    size: int,
    test_path: str = "",
    test_masks: str = "",
    classes: tuple[str, ...] = (),
    instances: bool = False,
    fit: str = "pad",
    crop: float = 1.0,
    interpolation: str = "bicubic",
    channels: int = 3,
    draft: bool = False,
    unreadable: int = 0,
) -> Source:
    """Returns images with the class of each pixel, from PNG masks named as the images.

    The mask of `path/a/1.jpg` is `masks/a/1.png`: a palette, 8-bit gray, 16-bit gray or 1-bit image, whose values are
    indices of classes; 255 is no class. Images without a mask are unlabelled. Masks go through the crop and the resize
    of their images, to the nearest pixel; what lies outside the original image has no class. They stay in memory, also
    where images are streamed.

    Args:
        feed: whether images are decoded once or on access, see `data.stream.Feed`; no config key of the source.
        path: the folder of the images, at any depth.
        masks: the folder of their masks.
        size: side of the square images, in pixels; 0: as they are stored, which must then be one size for all.
        test_path: folder of the test images; "": the test set is drawn.
        test_masks: folder of the masks of the test images; "": `masks`.
        classes: names of the classes, in the order of their values; (): the lines of `classes.txt` in the folder of the
            masks, or of the images, or above one of them; else, with `instances`, "background" and "object".
        instances: whether values above 0 are numbers of objects: they all become class 1, also 255. The operation
            `copy_paste` pastes these objects, and without `instances` all pixels of a class.
        fit: how an image becomes a square: "pad" (all of it, on gray), "crop" (its middle) or "squash"; see
            `data.framing.place`.
        crop: with fit="crop", the share of the shorter side that is kept, in (0, 1].
        interpolation: antialiasing filter of the resize, "bilinear" or "bicubic".
        channels: 3 (color) or 1 (gray).
        draft: whether JPEGs of twice the size and more are decoded at a reduced scale: faster, slightly inexact.
        unreadable: up to so many images that cannot be read, or whose mask cannot, are left out and listed; more are an
            error.

    Returns: a dataset with the images of `path` and `test_path`, in this order. Labels are uint8 [n h w], the class of
    each pixel, 255 where it has none; all are 255 in an image without a mask. With `instances`, its `objects` are the
    `object_map` of each image, uint16 [n h w], whose numbers begin at 1.

    Raises: UserError for folders and masks that do not fit each other or the classes, and for too many unreadable
    images.
    """
    parts = [_paired(path, masks, "path", "masks")]
    if test_path:
        parts.append(_paired(test_path, test_masks or masks, "test_path", "test_masks" if test_masks else "masks"))
    names = _classes(classes, instances, [masks, path])
    files = [file for part in parts for file in part.files]
    mask_files = [mask for part in parts for mask in part.masks]
    framing = Framing(size, fit, crop, interpolation, channels, draft)
    check(framing)
    read_masks = [_read(mask, len(names), instances, framing) if mask else NO_MASK for mask in mask_files]
    _check_faults(files, read_masks, unreadable)
    _check_values(read_masks, instances, names, masks)
    sizes = [mask.size for mask in read_masks]
    labels = np.full((len(files), *_shape(size, read_masks)), NO_CLASS, np.uint8)
    numbers = np.zeros(labels.shape if instances else 0, np.uint16)
    for i, mask in enumerate(read_masks):
        if mask.pixels is not None and mask.pixels.shape == labels.shape[1:]:  # others are found when the image is read
            labels[i] = mask.pixels
            if mask.numbers is not None:
                numbers[i] = mask.numbers
    fixed = last_test(len(files), len(parts[1].files) if test_path else 0)
    feed.labelled(labels, names, fixed, task="segmentation")

    def read(row: int) -> bytes:
        if read_masks[row].fault:
            raise ValueError(read_masks[row].fault)
        content = files[row].read_bytes()
        if (wanted := sizes[row]) and (found := stored_image.upright_size(content)) != wanted:
            raise ValueError("{} x {} pixels, but its mask has {} x {}".format(*found, *wanted))
        return content

    file_names = [class_names.writable(str(file)) for file in files]
    about = f"masks of {sizes} {[mask.fault for mask in read_masks]}"  # which `read` compares
    decoded = stream.load(read, file_names.__getitem__, len(files), framing, feed, files, about, each_own=True)
    decoded = decode.left_out(decoded, file_names.__getitem__, unreadable, f"{WHERE}.path")
    source = of_images(decoded, labels, names, fixed, file_names, "segmentation")
    notes = *source.notes, *(line for part in parts for line in part.notes)
    return source._replace(notes=notes, objects={"object_map": numbers[decoded.rows]} if instances else {})


class Paired(NamedTuple):
    """The images of a part and their masks."""

    files: list[Path]
    masks: list[Path | None]  # None: the image has none
    notes: tuple[str, ...]


class Mask(NamedTuple):
    """A mask that was read, or why it could not be."""

    size: tuple[int, int] | None  # width and height of the file in pixels; None where there is none
    pixels: UInt8[np.ndarray, "h w"] | None  # framed
    numbers: UInt16[np.ndarray, "h w"] | None  # of objects, framed; None without `instances`
    values: frozenset[int]  # of the file
    fault: str  # "" where there is none


NO_MASK = Mask(None, None, None, frozenset(), "")


def _paired(path: str, masks: str, images_setting: str, masks_setting: str) -> Paired:
    for folder, setting in ((path, images_setting), (masks, masks_setting)):
        check_folder(folder, f"{WHERE}.{setting}")
    walked = walk(Path(path), f"{WHERE}.{images_setting}")
    every_mask = walk(Path(masks), f"{WHERE}.{masks_setting}").files
    known = {_key(file, masks): file for file in every_mask if file.suffix.lower() == ".png"}
    are_masks = {comparable(file.absolute()) for file in known.values()}  # which can be below the folder of the images
    files = [file for file in walked.files if comparable(file.absolute()) not in are_masks]
    if not files:
        raise UserError(f"{WHERE}.{images_setting}: no images in {path!r} or the folders below it")
    keys = [_key(file, path) for file in files]
    if twice := [key for key, count in Counter(keys).items() if count > 1 and key in known]:
        raise UserError(f"{WHERE}.{images_setting}: two images are named {twice[0]!r}, and one mask is; rename one")
    masks_of_files = [known.get(key) for key in keys]
    if not any(masks_of_files):
        first = every_mask[0].relative_to(masks) if every_mask else "none"
        raise UserError(
            f"{WHERE}.{masks_setting}: no mask is named as an image; images are {files[0].relative_to(path)} ..., "
            f"masks {first} ...; want the mask of a/1.jpg in a/1.png"
        )
    notes = note(walked.passed_over)
    if alone := sorted(known.keys() - set(keys)):
        notes += (f"{counted(len(alone), 'mask')} of {masks!r} without an image: {few(alone, NAMED)}",)
    if bare := len(masks_of_files) - sum(map(bool, masks_of_files)):
        notes += (f"{bare:,} of {counted(len(masks_of_files), 'image')} of {path!r} without a mask: unlabelled",)
    return Paired(files, masks_of_files, notes)


def _key(file: Path, folder: str) -> str:
    return comparable(file.relative_to(folder).with_suffix(""))


def _classes(classes: Sequence[str], instances: bool, folders: Sequence[str]) -> tuple[str, ...]:
    where = f"{WHERE}.classes"
    tables = [place / CLASSES_FILE for folder in folders for place in (Path(folder), Path(folder).parent)]
    names = tuple(map(class_names.normal, classes))
    if not names and (table := next(filter(Path.is_file, tables), None)):
        try:
            names = tuple(filter(None, map(class_names.normal, table.read_text("utf-8-sig").splitlines())))
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{where}: cannot read {str(table)!r}: {error}") from error
    if not names and instances:
        names = "background", "object"
    if not names:
        raise UserError(
            f"{where}: not given, and {str(tables[0])!r} is not there; want the name of each value from 0 on"
        )
    class_names.check_classes(names, where)
    if instances and len(names) != 2:
        raise UserError(f"{where}: {counted(len(names), 'class', 'classes')}; with instances=True there are two")
    if not 2 <= len(names) <= NO_CLASS:
        raise UserError(f"{where}: {counted(len(names), 'class', 'classes')}; want 2 to {NO_CLASS}")
    return names


def _read(file: Path, classes: int, instances: bool, framing: Framing) -> Mask:
    try:
        size, values = opened(file)
        through, numbers = objects.window(*size, framing), None
        present = frozenset(np.unique(values).tolist())
        if instances:
            ranks = np.searchsorted(np.unique(values[values > 0]), values)
            numbers = objects.mask(np.where(values > 0, ranks + 1, 0).astype(np.uint16), through)
            values = values > 0
        elif beyond := sorted(value for value in present if value >= classes and value != NO_CLASS):
            hint = "; are they objects? say instances=True" if len(beyond) > 1 else ""
            raise ValueError(f"class {few(list(map(str, beyond)), 3)} of {classes} classes, from 0 on{hint}")
        pixels = objects.mask(values.astype(np.uint8), through, NO_CLASS)
    except Exception as error:  # a damaged file makes decoders raise anything
        return Mask(None, None, None, frozenset(), f"its mask: {stored_image.reason(error)}")
    return Mask(size, pixels, numbers, present, "")


def opened(file: Path) -> tuple[tuple[int, int], Shaped[np.ndarray, "h w"]]:
    """Returns the size (width, height) of a mask in pixels, and its values as integers or bool.

    Args:
        file: a PNG file of one channel.

    Raises: ValueError for a file of colors, OSError for no image.
    """
    with Image.open(file) as image:
        if image.mode not in MODES:
            raise ValueError(f"it is {image.mode}; want one channel with the class of each pixel")
        if image.width * image.height > stored_image.MOST_PIXELS:
            raise ValueError(f"{image.width:,} x {image.height:,} pixels, more than {stored_image.MOST_PIXELS:,}")
        return image.size, np.asarray(image)


def _shape(size: int, read_masks: Sequence[Mask]) -> tuple[int, int]:
    """Returns the height and width of all labels; with size 0 those of the first mask."""
    first = next((mask.size for mask in read_masks if mask.size), (1, 1))
    return (size, size) if size else (first[1], first[0])


def _check_faults(files: Sequence[Path], read_masks: Sequence[Mask], most: int) -> None:
    """Checks before images are decoded that few masks are unreadable."""
    faults = {str(file): mask.fault for file, mask in zip(files, read_masks, strict=True) if mask.fault}
    if len(faults) > most:
        raise UserError(
            f"{WHERE}.masks: {decode.listed(faults)}; mend or remove them, or leave out up to so many with "
            f"{WHERE}.unreadable"
        )


def _check_values(read_masks: Sequence[Mask], instances: bool, classes: Sequence[str], folder: str) -> None:
    if not instances and frozenset().union(*(mask.values for mask in read_masks)) == {0, NO_CLASS}:
        raise UserError(
            f"{WHERE}.masks: all values in {folder!r} are 0 and 255, and 255 is no class; say "
            f"{WHERE}.instances=True if it is {classes[1]!r}"
        )
