"""The classes of the pixels of the images below a folder, predicted and written in chunks."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.progress import track

from efficient_jax.data import decode
from efficient_jax.data.class_names import writable
from efficient_jax.data.image_files import comparable
from efficient_jax.distributed import console
from efficient_jax.errors import UserError
from efficient_jax.files import write_text
from efficient_jax.inference import class_maps, map_files, predictions
from efficient_jax.training.classifier import Network

CHUNK = 16  # images that are decoded and predicted together: maps of 21 classes of 512 x 512 pixels are 350 MB
CLASSES = "classes.txt"


def free_folder(out: str, images: str) -> Path:
    """Returns the folder of the maps, which is new or empty: maps replace no other file.

    Args:
        out: the value of `--out`.
        images: folder of the images.

    Raises: UserError for a file, for a folder with content, and for one among the images.
    """
    folder = Path(out)
    if folder.suffix in predictions.SUFFIXES or folder.is_file():
        raise UserError(
            f"--out: {out!r} is a file; a class for each pixel makes one .png for each image: name a folder"
        )
    if folder.is_dir() and any(folder.iterdir()):
        raise UserError(f"--out: the folder {out!r} is not empty; name a new one for the maps")
    if folder.resolve().is_relative_to(Path(images).resolve()):
        raise UserError(f"--out: {out!r} is in --images, where the maps would be images; name a folder outside of it")
    return folder


def write(files: Sequence[Path], images: Path, members: Sequence[Network], out: Path) -> tuple[int, dict[str, str]]:
    """Writes the map of `images`/a/1.jpg to `out`/a/1.png, in the pixels of the image, and `classes.txt`.

    Args:
        files: of the images.
        images: the folder that they are in.
        members: networks with the same classes; the mean of their probabilities counts.
        out: folder of the maps.

    Returns: (the number of maps, unreadable file -> reason).

    Raises: UserError for members of other images than the first, two images with one map, and where no image can be
        read; OSError where a map cannot be written.
    """
    first = members[0].spec
    for member in members:
        if (member.spec.image_shape, member.spec.framing) != (first.image_shape, first.framing):
            raise UserError(
                "--members: maps of {} x {} and {} x {} pixels, or of other crops, have no mean; predict them one by "
                "one".format(*first.image_shape[:2], *member.spec.image_shape[:2])
            )
    targets = {file: file.relative_to(images).with_suffix(".png") for file in files}
    of_target: dict[str, Path] = {}
    for file, target in targets.items():
        if (other := of_target.setdefault(comparable(target), file)) != file:
            raise UserError(f"--images: {str(other)!r} and {str(file)!r} would have one map; rename one of them")
    framing, written = first.image_framing(), 0
    unreadable: dict[str, str] = {}
    chunks = [files[i : i + CHUNK] for i in range(0, len(files), CHUNK)]
    for chunk in track(chunks, "predicting pixels", console=console(), transient=True):
        decoded = decode.decode_all(chunk.__getitem__, len(chunk), framing)
        unreadable |= {writable(str(chunk[row])): why for row, why in decoded.unreadable.items()}
        classes = np.mean([member.predict(decoded.images)[0] for member in members], 0).argmax(-1)
        for row, of_square, (height, width) in zip(decoded.rows, classes, decoded.sizes.tolist(), strict=True):
            map_files.write(out / targets[chunk[row]], class_maps.original(of_square, height, width, framing))
        written += len(classes)
    if not written:
        raise UserError(f"--images: none of its images can be read: {decode.listed(unreadable)}")
    write_text(out / CLASSES, "".join(f"{name}\n" for name in first.classes))
    return written, unreadable
