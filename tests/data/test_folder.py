"""Folders of pictures: which are classes, which are test images, and what is said of any other layout."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from efficient_jax.data import decode
from efficient_jax.data.folder import folder
from efficient_jax.data.splits import split
from efficient_jax.types import UserError

DATA = Path(os.environ.get("EFFICIENT_JAX_DATA", "none"))


def fill(root, **values):
    """Pictures of one grey: `fill(root, **{"cat/a.png": 7})`."""
    for name, value in values.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 6), (value,) * 3).save(root / name)
    return str(root)


@pytest.fixture
def pets(tmp_path):
    names = {"dog/b.PNG": 2, "dog/a/z.bmp": 1, "cat/1.png": 3, "cat/10.png": 4, "cat/2.tif": 5}
    return fill(tmp_path / "pets", **names)


def test_folders_are_classes_and_names_give_the_order(pets):
    fill(Path(pets), **{"unlabelled/x.png": 9, ".hidden/x.png": 8, "cat/._1.png": 8, "loose.png": 8})
    (Path(pets) / "cat" / "notes.txt").write_text("no picture")
    source = folder(path=pets, size=4)
    assert source.classes == ("cat", "dog")
    np.testing.assert_array_equal(source.images[:, 0, 0, 0], [3, 4, 5, 1, 2, 9])
    np.testing.assert_array_equal(source.labels, [0, 0, 0, 1, 1, -1])
    assert source.images.shape == (6, 4, 4, 3)
    assert (source.images.dtype, source.labels.dtype) == (np.uint8, np.int32)
    assert source.given == {}
    assert source.notes == ()


def test_settings_reach_the_pictures(pets):
    assert folder(path=pets, size=0).images.shape == (5, 6, 4, 3)
    assert folder(path=pets, size=8, channels=1).images.shape == (5, 8, 8, 1)
    assert (folder(path=pets, size=6, fit="pad").images[:, :, 0] == 128).all()
    with pytest.raises(UserError, match=r"source\.interpolation: unknown name 'x'"):
        folder(path=pets, size=6, interpolation="x")
    with pytest.raises(UserError, match=r"source\.crop: 2\.0 is not"):
        folder(path=pets, size=6, crop=2.0)


def test_a_second_folder_fixes_the_test_images(pets, tmp_path):
    test = fill(tmp_path / "test", **{"dog/a.png": 100, "cat/b.png": 101, "cat/a.png": 102})
    source = folder(path=pets, test_path=test, size=4)
    np.testing.assert_array_equal(source.images[source.given["test"]][:, 0, 0, 0], [102, 101, 100])
    np.testing.assert_array_equal(source.labels[source.given["test"]], [0, 0, 1])
    parts = split(source.labels, source.classes, labels_per_class=0, validation=0, test=0, seed=0, given=source.given)
    np.testing.assert_array_equal(parts["test"], source.given["test"])
    np.testing.assert_array_equal(source.images[parts["labelled"]][:, 0, 0, 0], [3, 4, 5, 1, 2])


def test_pictures_anywhere_below_a_folder_join_the_pool(pets, tmp_path):
    """Behind the labelled ones and before those of the test, under the names of their files."""
    more = fill(tmp_path / "more", **{"b.png": 8, "a/x/1.png": 7, ".hidden.png": 6})
    test = fill(tmp_path / "test", **{"dog/a.png": 100})
    source = folder(path=pets, test_path=test, unlabelled_path=more, size=4)
    np.testing.assert_array_equal(source.images[:, 0, 0, 0], [3, 4, 5, 1, 2, 7, 8, 100])
    np.testing.assert_array_equal(source.labels, [0, 0, 0, 1, 1, -1, -1, 1])
    np.testing.assert_array_equal(source.given["test"], [7])
    assert [source.name(i) for i in (0, 5, 7)] == [f"{pets}/cat/1.png", f"{more}/a/x/1.png", f"{test}/dog/a.png"]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nowhere", "'nowhere' is not there; want a folder"),
        ("file.png", "'file.png' is a file; want a folder"),
        ("empty", "no pictures in 'empty' or the folders below it"),
    ],
)
def test_no_unlabelled_pictures_are_said(pets, tmp_path, monkeypatch, path, message):
    monkeypatch.chdir(tmp_path)
    fill(Path("."), **{"file.png": 1})
    Path("empty/below").mkdir(parents=True)
    with pytest.raises(UserError) as error:
        folder(path=pets, unlabelled_path=path, size=4)
    assert str(error.value) == f"config.data.source.unlabelled_path: {message}"


def test_so_many_unreadable_files_are_left_out_and_listed(pets, tmp_path):
    test = fill(tmp_path / "test", **{"dog/a.png": 100, "dog/c.png": 102})
    for broken in ("pets/cat/10.png", "test/dog/b.png"):
        (tmp_path / broken).write_bytes(b"broken")
    with pytest.raises(UserError) as error:
        folder(path=pets, test_path=test, size=4, unreadable=1)
    assert str(error.value) == (
        f"config.data.source.path: 2 unreadable images: {pets}/cat/10.png (not an image), {test}/dog/b.png (not an "
        "image); mend or remove them, or leave out up to so many with config.data.source.unreadable"
    )
    source = folder(path=pets, test_path=test, size=4, unreadable=2)
    np.testing.assert_array_equal(source.images[:, 0, 0, 0], [3, 5, 1, 2, 100, 102])
    np.testing.assert_array_equal(source.labels, [0, 0, 1, 1, 1, 1])
    np.testing.assert_array_equal(source.given["test"], [4, 5])
    assert source.names[1:3] == (f"{pets}/cat/2.tif", f"{pets}/dog/a/z.bmp")
    (note,) = source.notes
    assert note.startswith(f"left out 2 unreadable images: {pets}/cat/10.png (not an image), ")


def test_photographs_of_telephones_are_not_passed_over(pets, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)  # as if it were not installed
    decode._learn_heic.cache_clear()
    (Path(pets) / "cat" / "IMG_1.HEIC").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    with pytest.raises(
        UserError, match=r"1 unreadable image: .*IMG_1\.HEIC \(HEIC, which wants pip install pillow-heif\)"
    ):
        folder(path=pets, size=4)


@pytest.mark.parametrize(
    ("files", "path", "message"),
    [
        (["cat/1.png"], "nowhere", "path: 'nowhere' is not there; want a folder"),
        (["cat/1.png"], "cat/1.png", "path: 'cat/1.png' is a file; want a folder"),
        (["1.png", "2.png"], ".", "path: '.' has no class folders, but 2 pictures; want a folder for each class"),
        (["cat/1.png", "unlabelled/2.png"], ".", "path: '.' has one class only, 'cat'; want two or more"),
        (["cat/1.png", "dog/1.txt"], ".", "path: class 'dog' has no pictures in 'dog'"),
        (
            ["Train/cat/1.png", "val/cat/1.png"],
            ".",
            "path: '.' has the folders Train, val, which are no classes; say config.data.source.path=./Train, and ",
        ),
    ],
)
def test_another_layout_is_said(tmp_path, monkeypatch, files, path, message):
    monkeypatch.chdir(tmp_path)
    fill(Path("."), **{name: 0 for name in files if name.endswith("png")})
    for name in files:
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).touch()
    with pytest.raises(UserError) as error:
        folder(path=path, size=4)
    assert str(error.value).startswith(f"config.data.source.{message}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"cats/1.png": 0}, "class 'cats' is not in '{pets}'; did you mean 'cat'?"),
        ({"cat/1.png": 0, "unlabelled/1.png": 0}, "class 'unlabelled' is not in '{pets}'; there is: cat, dog"),
        ({}, "'{test}' is not there; want a folder"),
        ({"loose.png": 0}, "no pictures in the folders of '{test}'"),
    ],
)
def test_test_images_of_other_classes_are_said(pets, tmp_path, files, message):
    test = fill(tmp_path / "test", **files)
    with pytest.raises(UserError) as error:
        folder(path=pets, test_path=test, size=4)
    assert str(error.value) == "config.data.source.test_path: " + message.format(pets=pets, test=test)


@pytest.mark.skipif(not (DATA / "clothing").is_dir(), reason="EFFICIENT_JAX_DATA names no folder with clothing/")
def test_the_clothing_photographs():
    source = folder(path=str(DATA / "clothing/train"), test_path=str(DATA / "clothing/validation"), size=16)
    assert " ".join(source.classes) == "dress hat longsleeve outwear pants shirt shoes shorts skirt t-shirt"
    np.testing.assert_array_equal(np.bincount(source.labels), [273, 137, 504, 208, 517, 319, 224, 227, 124, 876])
    assert len(source.given["test"]) == 341
