"""The images below a folder as networks see them, read in chunks: predictions, features, content hashes, thumbnails."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.progress import track

from efficient_jax.data import dataset, decode, image_files
from efficient_jax.data.class_names import writable
from efficient_jax.data.framing import squash
from efficient_jax.distributed import console
from efficient_jax.errors import UserError
from efficient_jax.inference.tta import IDENTITY, View
from efficient_jax.training.classifier import Network, network
from efficient_jax.training.trained import Trained, check_ensemble

CHUNK = 256  # images that are decoded and predicted together


class Seen(NamedTuple):
    """The n images of a folder that could be read."""

    files: list[Path]
    probabilities: np.ndarray  # float32 [members n classes]; [0 n 0] without members
    features: np.ndarray  # float32 [n d], from the first member; [n 0] without members
    thumbnails: np.ndarray  # uint8 [n side side c], made of the images that the first member sees
    sizes: np.ndarray  # int32 [n 2], height and width of the images in their files, in pixels
    contents: tuple[str, ...]  # hashes of the files
    unreadable: dict[str, str]  # file -> reason


def networks(members: Sequence[Trained], views: Sequence[View] = (IDENTITY,), vote: str = "soft") -> list[Network]:
    """Returns members of an ensemble as functions of images.

    Args:
        members: trained networks.
        views: transformations of each image over which probabilities are averaged.
        vote: how the views are combined, as for `through_views`.

    Raises: UserError for members of another task or other classes than the first.
    """
    check_ensemble(members)
    return [network(member, CHUNK, views, vote) for member in members]


def walked(images: str, command: str) -> image_files.Walked:
    """Returns the image files below a folder.

    Args:
        images: the value of `--images`.
        command: name of the command, for messages.

    Raises: UserError where there is no such folder, or no image in it.
    """
    if not images:
        raise UserError(f"{command}: --images=FOLDER is missing")
    image_files.check_folder(images, "--images")
    walked = image_files.walk(Path(images), "--images")
    if not walked.names:
        raise UserError(f"--images: no images in {images!r} or the folders below it")
    return walked


def read(files: Sequence[Path], members: Sequence[Network], side: int = 0) -> Seen:
    """Decodes files and runs networks on them.

    Args:
        files: of the images.
        members: of one task, with the same classes; none: only thumbnails are made.
        side: of the square thumbnails, in pixels; 0: none are kept.

    Raises: UserError where none can be read.
    """
    framings = [member.spec.image_framing() for member in members] or [squash(side, 3)]
    kept: list[Path] = []
    probabilities, features, thumbnails, sizes, contents = [], [], [], [], []
    unreadable: dict[str, str] = {}
    for chunk in track(_chunks(files), "reading images", -(-len(files) // CHUNK), console=console(), transient=True):
        decoded = {  # once for all members with the same framing
            one: decode.decode_all(chunk.__getitem__, len(chunk), one) for one in dict.fromkeys(framings)
        }
        for of_framing in decoded.values():
            unreadable |= {writable(str(chunk[row])): why for row, why in of_framing.unreadable.items()}
        first = decoded[framings[0]]
        predicted = [member.predict(decoded[one].images) for member, one in zip(members, framings, strict=False)]
        kept += [chunk[row] for row in first.rows]
        contents += dataset.shown(first.contents)
        sizes.append(first.sizes)
        if side and len(first.rows):
            thumbnails.append(decode.resized(first.images, side))
        probabilities.append(np.stack([p for p, _ in predicted]) if members else np.zeros((0, len(first.rows), 0)))
        features.append(predicted[0][1] if members else np.zeros((len(first.rows), 0)))
    if not kept:
        raise UserError(f"--images: none of its images can be read: {decode.listed(unreadable)}")
    return Seen(
        files=kept,
        probabilities=np.concatenate(probabilities, 1),
        features=np.concatenate(features),
        thumbnails=np.concatenate(thumbnails) if side else np.zeros((len(kept), 0, 0, 3), np.uint8),
        sizes=np.concatenate(sizes),
        contents=tuple(contents),
        unreadable=unreadable,
    )


def _chunks(files: Sequence[Path]) -> Iterator[Sequence[Path]]:
    return (files[i : i + CHUNK] for i in range(0, len(files), CHUNK))
