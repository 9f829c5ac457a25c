"""Where the images of nuclei are; tests that read them are skipped without."""

import json
from pathlib import Path

import pytest

FOLDERS = [Path(__file__).parents[levels] / "shared/data/nuclei" for levels in (4, 5)]
"""Beside the checkout, or beside the folder that holds it."""
FOLDER = next(filter(Path.is_dir, FOLDERS), FOLDERS[0])

needed = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"the images of nuclei are not in {FOLDER}")


def annotations() -> dict:
    return json.loads((FOLDER / "validation/annotations.json").read_text())


def paths(part: str = "validation") -> dict[str, str]:
    """The settings of the source `coco`."""
    return {"path": str(FOLDER / part / "annotations.json"), "folder": str(FOLDER / part / "images")}
