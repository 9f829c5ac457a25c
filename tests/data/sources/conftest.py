"""Images that several tests of sources read."""

import pytest
from PIL import Image

from efficient_jax.data import stream


@pytest.fixture
def folder_of_squares(tmp_path, monkeypatch):
    """The images of `coco_squares`, in the folder in which the test then is."""
    monkeypatch.chdir(tmp_path)
    for number in (1, 2, 3):
        Image.new("RGB", (20, 10), (number,) * 3).save(f"{number}.png")


@pytest.fixture(params=[stream.IN_MEMORY, stream.Feed("stream")], ids=["memory", "stream"])
def feed(request):
    return request.param
