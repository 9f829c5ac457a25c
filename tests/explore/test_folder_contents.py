"""What a folder of images holds: counted by class, sampled, and refused where nothing can be learned from it."""

import numpy as np
import pytest
from PIL import Image

from efficient_jax.errors import UserError
from efficient_jax.explore.folder_contents import read


def fill(folder, count, color=True):
    folder.mkdir(parents=True)
    for i in range(count):
        pixels = np.full((40, 50, 3), 7 * i, np.uint8)
        pixels[..., 0] += 100 * color
        Image.fromarray(pixels).save(folder / f"{i}.png")


def test_images_are_counted_by_class_and_part(tmp_path):
    for part, count in (("Train", 4), ("val", 3), ("unlabelled", 6)):
        for name in ("cat", "dog"):
            fill(tmp_path / part / name, count, color=part != "Train")
    fill(tmp_path / "Train" / "ape", 5)
    contents = read(str(tmp_path))
    assert contents.data._replace(pretrained=False) == (3, 13, 4, 12, 40, False, 6, False)
    assert (contents.most, contents.sides, contents.unreadable) == (5, (40, 40), [])
    parts = {"path": "Train", "unlabelled_path": "unlabelled", "test_path": "val"}
    assert contents.source == {key: str(tmp_path / part) for key, part in parts.items()}


def test_images_without_color_are_gray_and_some_may_be_unreadable(tmp_path):
    for name in ("cat", "dog"):
        fill(tmp_path / name, 3, color=False)
    (tmp_path / "cat" / "broken.jpg").write_bytes(b"no image")
    contents = read(str(tmp_path))
    assert contents.data.gray
    assert contents.unreadable == [str(tmp_path / "cat" / "broken.jpg")]


def test_photographs_of_telephones_are_opened(tmp_path):
    pillow_heif = pytest.importorskip("pillow_heif")
    for name in ("cat", "dog"):
        fill(tmp_path / name, 2)
        pillow_heif.from_pillow(Image.new("RGB", (64, 48), (200, 100, 50))).save(tmp_path / name / "IMG_1.HEIC")
    assert read(str(tmp_path)).unreadable == []


def bad(name, tmp_path):
    root = tmp_path / name
    root.mkdir()
    if name == "loose":
        fill(root / "x", 1)
        (root / "x" / "0.png").rename(root / "0.png")
        (root / "x").rmdir()
    for label, count in {"one": {"a": 3}, "single": {"a": 3, "b": 1}, "hollow": {"a": 3, "b": 0}}.get(name, {}).items():
        fill(root / label, count)
    if name == "corrupt":
        for label in "ab":
            (root / label).mkdir()
            for i in range(3):
                (root / label / f"{i}.png").write_bytes(b"no image")
    return root


SAID = {
    "empty": "has no images; want a folder for each class",
    "loose": "has 1 image, but no folder for each class",
    "one": "has one class only, 'a'; want two or more classes",
    "single": "b: one labelled image; want two or more of each class",
    "hollow": "class 'b' has no images",
    "corrupt": "none of the images can be read",
}


@pytest.mark.parametrize("name", SAID)
def test_folders_that_cannot_be_learned_from_are_refused_in_one_line(name, tmp_path):
    with pytest.raises(UserError, match=SAID[name]) as error:
        read(str(bad(name, tmp_path)))
    assert "\n" not in str(error.value)
