"""Images that several tests of sources read."""

import pytest
from PIL import Image


@pytest.fixture
def folder_of_squares(tmp_path, monkeypatch):
    """The images of `coco_squares`, in the folder in which the test then is."""
    monkeypatch.chdir(tmp_path)
    for number in (1, 2, 3):
        Image.new("RGB", (20, 10), (number,) * 3).save(f"{number}.png")
