"""The images and annotations of a JSON file in COCO's format, checked."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from efficient_jax.data import stored_image
from efficient_jax.data.class_names import normal
from efficient_jax.errors import UserError, counted

WHERE = "config.data.source"


class CocoImage(NamedTuple):
    """An entry of `images` with its annotations; width and height are in pixels, 0 of an image that none names."""

    file: Path
    name: str
    width: int
    height: int
    annotations: list[dict[str, Any]]


class Part(NamedTuple):
    """The content of a JSON file: names of the categories by their id, and the images."""

    categories: dict[int, str]
    images: list[CocoImage]


def read(path: str, folder: str, setting: str, least: int) -> Part:
    """Returns the content of a JSON file.

    Args:
        path: the file.
        folder: folder of the image files; "": that of the JSON file.
        setting: the setting of the source that names the file, for messages.
        least: number of categories that there must be.

    Raises: UserError for a file that cannot be read, and for entries that do not fit each other.
    """
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
    root = root_of(path, folder)
    if not root.is_dir():
        raise UserError(f"{WHERE}.folder: {str(root)!r} is not there; want the folder of the images of {path!r}")
    entry: Any = None
    try:
        images = {}
        for entry in content["images"]:
            if entry["id"] in images:
                raise ValueError("this id is there twice")
            size = int(entry["width"]), int(entry["height"])
            if min(size) < 1:
                raise ValueError("width and height want 1 pixel or more")
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
    if not images or len(set(categories.values())) != len(content["categories"]) or len(categories) < least:
        wanted = {1: "a category"}.get(least, "two categories")
        raise UserError(
            f"{where}: {path!r} has {counted(len(images), 'image')} and the categories "
            f"{', '.join(categories.values())}; want some, and {wanted} or more, each id and name once"
        )
    return Part(categories, list(images.values()))


def root_of(path: str, folder: str) -> Path:
    """Returns the folder of the image files.

    Args:
        path: the JSON file.
        folder: as for `read`.
    """
    return Path(folder) if folder else Path(path).parent


def check_size(content: bytes, image: CocoImage) -> None:
    """Checks that an image, upright, has the size to which its annotations refer.

    Args:
        content: of its file.
        image: its entry.

    Raises: ValueError for another size.
    """
    w, h = stored_image.upright_size(content)
    if (w, h) != (image.width, image.height) and image.width:
        raise ValueError(f"{w} x {h} pixels, but its annotations are of {image.width} x {image.height}")
