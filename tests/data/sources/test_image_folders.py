"""Folders of images: which are classes, which are test images, and what is said of any other layout."""

import io
import json
import os
import sys
import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from efficient_jax.data import decode
from efficient_jax.data.framing import Framing
from efficient_jax.data.image_files import suffixes
from efficient_jax.data.sources.coco_files import coco
from efficient_jax.data.sources.image_folders import folder
from efficient_jax.data.sources.image_tables import table
from efficient_jax.data.sources.parquet_files import parquet
from efficient_jax.data.split import split
from efficient_jax.errors import UserError
from efficient_jax.evaluation.folder_images import walked

DATA = Path(os.environ.get("EFFICIENT_JAX_DATA", "none"))


def fill(root, **values):
    """Images of one grey: `fill(root, **{"cat/a.png": 7})`."""
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
    (Path(pets) / "cat" / "notes.txt").write_text("no image")
    source = folder(path=pets, size=4)
    assert source.classes == ("cat", "dog")
    np.testing.assert_array_equal(source.images[:, 0, 0, 0], [3, 4, 5, 1, 2, 9])
    np.testing.assert_array_equal(source.labels, [0, 0, 0, 1, 1, -1])
    assert source.images.shape == (6, 4, 4, 3)
    assert (source.images.dtype, source.labels.dtype) == (np.uint8, np.int32)
    assert source.fixed == {}
    assert source.notes == (
        "1 of 6 images without a label: 'unlabelled' (1)",
        "files and folders that were passed over: 1 .txt, 1 beside the class folders, 1 folder '.hidden', 1 hidden",
    )


def test_settings_reach_the_images(pets):
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
    np.testing.assert_array_equal(source.images[source.fixed["test"]][:, 0, 0, 0], [102, 101, 100])
    np.testing.assert_array_equal(source.labels[source.fixed["test"]], [0, 0, 1])
    parts = split(source.labels, source.classes, labels_per_class=0, validation=0, test=0, seed=0, fixed=source.fixed)
    np.testing.assert_array_equal(parts["test"], source.fixed["test"])
    np.testing.assert_array_equal(source.images[parts["labelled"]][:, 0, 0, 0], [3, 4, 5, 1, 2])


def test_images_anywhere_below_a_folder_join_the_pool(pets, tmp_path):
    """Behind the labelled ones and before those of the test, under the names of their files."""
    more = fill(tmp_path / "more", **{"b.png": 8, "a/x/1.png": 7, ".hidden.png": 6})
    test = fill(tmp_path / "test", **{"dog/a.png": 100})
    source = folder(path=pets, test_path=test, unlabelled_path=more, size=4)
    np.testing.assert_array_equal(source.images[:, 0, 0, 0], [3, 4, 5, 1, 2, 7, 8, 100])
    np.testing.assert_array_equal(source.labels, [0, 0, 0, 1, 1, -1, -1, 1])
    np.testing.assert_array_equal(source.fixed["test"], [7])
    assert [source.name(i) for i in (0, 5, 7)] == [f"{pets}/cat/1.png", f"{more}/a/x/1.png", f"{test}/dog/a.png"]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nowhere", "'nowhere' is not there; want a folder"),
        ("file.png", "'file.png' is a file; want a folder"),
        ("empty", "no images in 'empty' or the folders below it"),
    ],
)
def test_no_unlabelled_images_are_said(pets, tmp_path, monkeypatch, path, message):
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
    np.testing.assert_array_equal(source.fixed["test"], [4, 5])
    assert source.names[1:3] == (f"{pets}/cat/2.tif", f"{pets}/dog/a/z.bmp")
    (note,) = source.notes
    assert note.startswith(f"left out 2 unreadable images: {pets}/cat/10.png (not an image), ")


def test_photographs_of_telephones_are_not_passed_over(pets, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)  # as if it were not installed
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
        (["1.png", "2.png"], ".", "path: '.' has no class folders, but 2 images; want a folder for each class"),
        (["cat/1.png", "unlabelled/2.png"], ".", "path: '.' has one class only, 'cat'; want two or more"),
        (["cat/1.png", "dog/1.txt"], ".", "path: class 'dog' has no images in 'dog'"),
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
        ({"loose.png": 0}, "no images in the folders of '{test}'"),
    ],
)
def test_test_images_of_other_classes_are_said(pets, tmp_path, files, message):
    test = fill(tmp_path / "test", **files)
    with pytest.raises(UserError) as error:
        folder(path=pets, test_path=test, size=4)
    assert str(error.value) == "config.data.source.test_path: " + message.format(pets=pets, test=test)


SHAPE = (12, 16, 3)


def writable():
    """suffix -> content, for all that Pillow can write here."""
    found = {}
    for suffix in sorted(suffixes() & Image.registered_extensions().keys()):
        for mode in ("RGB", "P", "1"):
            image = Image.fromarray(np.arange(np.prod(SHAPE), dtype=np.uint8).reshape(SHAPE)).convert(mode)
            try:
                image.save(content := io.BytesIO(), Image.EXTENSION[suffix])
            except (KeyError, OSError, ValueError):  # no writer, or not of this mode
                continue
            found[suffix] = content.getvalue()
            break
    return found


def test_every_suffix_that_pillow_opens_is_read_by_every_source(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    warnings.filterwarnings("ignore", "IM image format is deprecated", DeprecationWarning)
    written = writable()
    asked = {".jfif", ".avif", ".jpe", ".ppm", ".pgm", ".jp2", ".tga", ".tif", ".webp", ".qoi", ".ico", ".sgi"}
    assert asked <= written.keys()
    files = [f"pets/{name}/{i}{suffix.upper()}" for name in ("a", "b") for i, suffix in enumerate(written)]
    for file, content in zip(files, [*written.values()] * 2, strict=True):
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        Path(file).write_bytes(content)
    labels = [file.split("/")[1] for file in files]
    source = folder(path="pets", size=8)
    assert sorted(source.names) == sorted(files)
    assert not [note for note in source.notes if "left out" in note or "passed over" in note]
    assert sorted(map(str, walked("pets", "predict").files)) == sorted(files)
    Path("a.csv").write_text("file,label\n" + "".join(map("{},{}\n".format, files, labels)))
    assert table(path="a.csv", size=8).names == tuple(files)
    pq.write_table(pa.table({"image": [Path(file).read_bytes() for file in files], "label": labels}), "a.parquet")
    np.testing.assert_array_equal(parquet(path="a.parquet", size=8).images, table(path="a.csv", size=8).images)
    sizes = [Image.open(io.BytesIO(Path(file).read_bytes())).size for file in files]
    images = [
        {"id": i, "file_name": f, "width": w, "height": h}
        for i, (f, (w, h)) in enumerate(zip(files, sizes, strict=True))
    ]
    categories = [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]
    Path("a.json").write_text(json.dumps({"images": images, "annotations": [], "categories": categories}))
    assert coco(path="a.json", size=8, objects=()).names == tuple(files)


def test_a_pgm_of_16_bits_is_as_a_png_of_16_bits(tmp_path):
    pixels = np.linspace(0, 65535, 24).astype(np.uint16).reshape(4, 6)
    (tmp_path / "a.pgm").write_bytes(b"P5 6 4 65535\n" + pixels.astype(">u2").tobytes())
    Image.fromarray(pixels).save(tmp_path / "a.png")
    framing = Framing(0, channels=1)
    pgm, png = (decode.decode_all([tmp_path / f"a.{kind}"].__getitem__, 1, framing) for kind in ("pgm", "png"))
    np.testing.assert_array_equal(pgm.images, png.images)
    np.testing.assert_array_equal(pgm.images[0, ..., 0], pixels.astype(np.uint32) * 255 // 65535)


@pytest.mark.parametrize("name", ["Unlabelled", "UNLABELED", "None", "nan", "-1", "NA"])
def test_a_folder_of_no_label_in_any_case(pets, name):
    fill(Path(pets), **{f"{name}/x.png": 9, "unlabelled/y.png": 10})
    source = folder(path=pets, size=4)
    assert source.classes == ("cat", "dog")
    np.testing.assert_array_equal(source.labels, [0, 0, 0, 1, 1, -1, -1])
    listed = ", ".join(f"{each!r} (1)" for each in sorted((name, "unlabelled")))
    assert source.notes[0] == f"2 of 7 images without a label: {listed}"


def test_class_names_are_equal_in_all_forms_of_unicode(tmp_path):
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    path = fill(tmp_path / "train", **{f"{composed}/a.png": 1, f"{decomposed}/b.png": 2, "tea/c.png": 3})
    test = fill(tmp_path / "test", **{f"{decomposed}/d.png": 4})
    source = folder(path=path, test_path=test, size=4)
    assert source.classes == (composed, "tea")
    np.testing.assert_array_equal(source.labels, [0, 0, 1, 0])
    assert sorted(source.images[:, 0, 0, 0]) == [1, 2, 3, 4]


def test_names_that_are_not_utf_8_can_be_written(tmp_path):
    path = fill(tmp_path / "pets", **{"cat/a.png": 1, "dog/b.png": 2})
    os.rename(f"{path}/dog/b.png", f"{path}/dog/".encode() + b"b\xe9.png")
    os.rename(f"{path}/dog", f"{path}/".encode() + b"do\xe9g")
    source = folder(path=path, size=4)
    assert source.classes == ("cat", "do?g")
    assert source.names == (f"{path}/cat/a.png", f"{path}/do?g/b?.png")


def test_what_systems_leave_behind_is_no_image(pets):
    more = {
        "@eaDir/1.png": 8,
        "cat/@eaDir/1.png/SYNOPHOTO_THUMB_M.jpg": 8,
        "dog/a/__MACOSX/z.png": 8,
        "#recycle/old.png": 8,
        "dog/.thumbnails/b.png": 8,
        "cat/._2.png": 8,
    }
    fill(Path(pets), **more)
    for name in ("Thumbs.db", "cat/Thumbs.db", "cat/desktop.ini", "cat/README", "cat/.DS_Store"):
        (Path(pets) / name).touch()
    source = folder(path=pets, size=4)
    assert source.classes == ("cat", "dog")
    np.testing.assert_array_equal(source.images[:, 0, 0, 0], [3, 4, 5, 1, 2])
    assert source.notes == (
        "files and folders that were passed over: 2 .db, 2 folder '@eaDir', 2 hidden, 1 .ini, 1 folder '#recycle', "
        "1 folder '.thumbnails', 1 folder '__MACOSX', 1 without a suffix",
    )


def test_links_to_folders_are_followed(pets, tmp_path):
    far = fill(tmp_path / "far", **{"deep/1.png": 7, "2.png": 8})
    (Path(pets) / "owl").symlink_to(far)
    (Path(pets) / "dog" / "more").symlink_to(f"{far}/deep")
    source = folder(path=pets, size=4)
    assert source.classes == ("cat", "dog", "owl")
    np.testing.assert_array_equal(source.images[:, 0, 0, 0], [3, 4, 5, 1, 2, 7, 8, 7])
    assert source.names[5] == f"{pets}/dog/more/1.png"


@pytest.mark.parametrize(
    "links",
    [
        {"cat/all": "cat"},
        {"cat/all": "."},
        {"cat/all": ".."},
        {"cat/other": "dog/a", "dog/a/back": "cat"},
        {"all": "."},
        {"cat/self": "cat/self"},
    ],
)
def test_links_in_a_circle_are_said(pets, links):
    for link, target in links.items():
        (Path(pets) / link).symlink_to(Path(pets) / target)
    with pytest.raises(
        UserError, match=r"^config\.data\.source\.path: (the link '.*' leads back to|cannot read '.*self')"
    ):
        folder(path=pets, size=4)


@pytest.mark.skipif(not (DATA / "clothing").is_dir(), reason="EFFICIENT_JAX_DATA names no folder with clothing/")
def test_the_clothing_photographs():
    source = folder(path=str(DATA / "clothing/train"), test_path=str(DATA / "clothing/validation"), size=16)
    assert " ".join(source.classes) == "dress hat longsleeve outwear pants shirt shoes shorts skirt t-shirt"
    np.testing.assert_array_equal(np.bincount(source.labels), [273, 137, 504, 208, 517, 319, 224, 227, 124, 876])
    assert len(source.fixed["test"]) == 341


def test_named_classes_may_have_no_labelled_image(tmp_path):
    for name in ("a.png", "b/c.png", "b/d/e.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    found = folder(path=str(tmp_path), size=8, classes=("dog", "cat"))
    assert (found.classes, found.labels.tolist()) == (("dog", "cat"), [-1] * 3)
    with pytest.raises(UserError, match=r"^config\.data\.source\.classes: \['cat'\] is one class only"):
        folder(path=str(tmp_path), size=8, classes=("cat",))
    with pytest.raises(UserError, match=r"^config\.data\.source\.classes: .* has a folder 'b', whose images have that"):
        folder(path=str(tmp_path), size=8, classes=("a", "b"))
