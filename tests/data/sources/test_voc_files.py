"""Boxes of Pascal VOC's XML files: where they are in the square, and files that do not fit are said."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from efficient_jax.data.sources.voc_files import voc
from efficient_jax.errors import UserError


def thing(name, *corners, difficult=0):
    box = "".join(f"<{k}>{v}</{k}>" for k, v in zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True))
    return f"<object><name>{name}</name><difficult>{difficult}</difficult><bndbox>{box}</bndbox></object>"


def write(number, *things, size=(20, 10), folder="set/Annotations"):
    w, h = size
    size = f"<size><width>{w}</width><height>{h}</height><depth>3</depth></size>"
    Path(folder, f"{number}.xml").write_text(f"<annotation>{size}{''.join(things)}</annotation>")


@pytest.fixture(autouse=True)
def files(tmp_path, monkeypatch):
    """Four images of 20 x 10 pixels: two objects, a difficult one, none, and no XML file."""
    monkeypatch.chdir(tmp_path)
    for folder in ("set/JPEGImages", "set/Annotations", "set/ImageSets/Main"):
        Path(folder).mkdir(parents=True)
    for number in (1, 2, 3, 4):
        Image.new("RGB", (20, 10), (number,) * 3).save(f"set/JPEGImages/{number}.png")
    write(1, thing("dog", 5, 3, 8, 6), thing("cat", 11, 1, 24, 10))
    write(2, thing("cat", 1, 1, 20, 10, difficult=1))
    write(3)
    for name, numbers in {"train": "1\n2\n", "val": "3\n", "cat_train": "1 1\n2 -1\n"}.items():
        Path(f"set/ImageSets/Main/{name}.txt").write_text(numbers)


def read(**settings):
    return voc(**{"path": "set", "size": 20} | settings)


def test_pixels_count_from_1_and_boxes_are_clipped_to_their_image():
    """Five rows of gray above and below."""
    source = read()
    assert (source.task, source.classes) == ("detection", ("cat", "dog"))
    np.testing.assert_array_equal(source.objects["boxes"][0], [[4, 7, 8, 11], [10, 5, 20, 15]])
    np.testing.assert_array_equal(source.objects["box_label"], [[1, 0], [-1, -1], [-1, -1], [-1, -1]])
    np.testing.assert_array_equal(source.objects["box_visible"], [[1, 1], [0, 0], [0, 0], [0, 0]])


def test_labels_are_the_classes_that_an_image_shows():
    source = read()
    np.testing.assert_array_equal(source.labels, [[1, 1], [0, 0], [0, 0], [-1, -1]])
    notes = "1 image without an XML file: unlabelled", "left out 1 object marked as difficult"
    assert source.notes[-2:] == notes


def test_difficult_objects_count_where_asked():
    source = read(difficult=True)
    np.testing.assert_array_equal(source.labels[1], [1, 0])
    np.testing.assert_array_equal(source.objects["boxes"][1, 0], [0, 5, 20, 15])
    assert "left out 1 object marked as difficult" not in source.notes


def test_lists_name_the_images():
    source = read(image_set="train", test_set="val")
    assert [Path(name).stem for name in source.names] == ["1", "2", "3"]
    np.testing.assert_array_equal(source.fixed["test"], [2])
    assert [Path(name).stem for name in read(image_set="cat_train").names] == ["1", "2"]
    assert [Path(name).stem for name in read(test_set="train").names] == ["3", "4", "1", "2"]


def test_files_can_be_side_by_side():
    Path("flat").mkdir()
    Image.new("RGB", (20, 10)).save("flat/1.png")
    write(1, thing("dog", 5, 3, 8, 6), folder="flat")
    source = read(test_path="flat")
    np.testing.assert_array_equal(source.fixed["test"], [4])
    np.testing.assert_array_equal(source.objects["boxes"][4, 0], [4, 7, 8, 11])


def test_a_size_of_0_is_that_of_the_image():
    write(1, thing("dog", 5, 3, 28, 6), thing("cat", 1, 1, 2, 2), size=(0, 0))
    np.testing.assert_array_equal(read().objects["boxes"][0, 0], [4, 7, 20, 11])


def test_an_image_of_another_size_is_unreadable():
    write(1, thing("dog", 5, 3, 8, 6), thing("cat", 1, 1, 2, 2), size=(10, 20))
    with pytest.raises(UserError, match=r"1\.png \(20 x 10 pixels, but its boxes are of 10 x 20\); mend or remove"):
        read()
    assert len(read(unreadable=1).labels) == 3


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (thing("dog", 5, 3, 4, 6), "it has no area"),
        (thing("dog", 21, 3, 24, 6), "it is outside of the image"),
        (thing("dog", "nan", 3, 24, 6), "its numbers are not finite"),
        (thing("dog", "", 3, 24, 6), "its corners are '', '3', '24', '6'"),
        (thing("dgo", 5, 3, 8, 6), "no class 'dgo'; did you mean 'dog'?"),
    ],
)
def test_a_box_that_cannot_be_used_is_an_error_or_left_out(made, reason):
    write(1, thing("dog", 5, 3, 8, 6), made)
    about = f"1 box that cannot be used: set/Annotations/1.xml object 2 ({reason})"
    with pytest.raises(UserError) as error:
        read(classes=("cat", "dog"))
    assert str(error.value).startswith(f"config.data.source.path: {about}; mend or remove them, or leave out up to")
    source = read(bad_boxes=1, classes=("cat", "dog"))
    assert f"left out {about}" in source.notes
    np.testing.assert_array_equal(source.labels[0], [0, 1])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"path": "nowhere"}, "path: 'nowhere' is not there; want a folder"),
        ({"path": "set/Annotations"}, "path: no images in 'set/Annotations' or the folders below it"),
        ({"image_set": "trian"}, "image_set: no trian.txt in 'set/ImageSets/Main'; did you mean 'train'?"),
        ({"image_set": "train", "test_set": "cat_train"}, "test_set: set/JPEGImages/1.png, set/JPEGImages/2.png of"),
        ({"test_set": "val", "test_path": "set"}, "test_set: names the test images, and so does test_path; give one"),
    ],
)
def test_settings_that_do_not_fit_are_said(settings, message):
    with pytest.raises(UserError) as error:
        read(**settings)
    assert str(error.value).startswith(f"config.data.source.{message}")


def test_images_of_a_list_that_are_not_there_are_said():
    Path("set/ImageSets/Main/train.txt").write_text("1\n7\n")
    with pytest.raises(UserError, match=r"image_set: 1 image of '.*train\.txt' not in 'set/JPEGImages': 7"):
        read(image_set="train")


@pytest.mark.parametrize("text", ["<annotation>", "<html/>", ""])
def test_files_that_are_no_annotation_are_said(text):
    Path("set/Annotations/1.xml").write_text(text)
    with pytest.raises(UserError, match=r"path: cannot read 'set/Annotations/1\.xml': \S+") as error:
        read()
    assert "\n" not in str(error.value)


def test_a_folder_without_annotations_is_said():
    for file in Path("set/Annotations").iterdir():
        file.unlink()
    with pytest.raises(UserError, match=r"path: no image has an XML file, in Annotations or beside it"):
        read()
