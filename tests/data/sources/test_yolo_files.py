"""Boxes of YOLO's text files: where they are in the square, and files that do not fit are said."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from efficient_jax.data.sources.yolo_files import yolo
from efficient_jax.data.stream import Feed
from efficient_jax.errors import UserError


@pytest.fixture(autouse=True)
def files(tmp_path, monkeypatch):
    """Four images of 20 x 10 pixels: two objects, one, none, and no text file."""
    monkeypatch.chdir(tmp_path)
    for folder in ("set/images/train", "set/labels/train"):
        Path(folder).mkdir(parents=True)
    for number in (1, 2, 3, 4):
        Image.new("RGB", (20, 10), (number,) * 3).save(f"set/images/train/{number}.png")
    write(1, "1 0.5 0.5 0.2 0.4", "0 0.95 0.1 0.2 0.4")
    write(2, "0 0.25 0.5 0.5 1.0")
    write(3)
    Path("set/data.yaml").write_text("train: images/train\nnames: [cat, dog]\n")


def write(number, *lines):
    Path(f"set/labels/train/{number}.txt").write_text("\n".join(lines))


def read(**settings):
    return yolo(**{"path": "set/images/train", "size": 10} | settings)


def test_boxes_are_in_the_middle_of_the_square_and_clipped_to_their_image():
    """Half the size, 2.5 rows of gray above and below (the 5 rows of the image begin at row 2)."""
    source = read()
    assert (source.task, source.classes) == ("detection", ("cat", "dog"))
    np.testing.assert_allclose(source.objects["boxes"][0], [[4, 3.5, 6, 5.5], [8.5, 2, 10, 3.5]], rtol=1e-6)
    np.testing.assert_allclose(source.objects["boxes"][1], [[0, 2, 5, 7], [0, 0, 0, 0]])
    np.testing.assert_array_equal(source.objects["box_label"], [[1, 0], [0, -1], [-1, -1], [-1, -1]])
    np.testing.assert_allclose(source.objects["box_visible"], [[1, 1], [1, 0], [0, 0], [0, 0]], rtol=1e-6)
    assert {name: array.dtype for name, array in source.objects.items()} == {
        "boxes": np.float32,
        "box_visible": np.float32,
        "box_label": np.int32,
    }


def test_labels_are_the_classes_that_an_image_shows():
    np.testing.assert_array_equal(read().labels, [[1, 1], [1, 0], [0, 0], [-1, -1]])
    np.testing.assert_array_equal(read(unannotated="empty").labels[3], [0, 0])
    assert read().notes[-1] == "1 image without a text file: unlabelled"


def test_the_whole_set_and_a_test_folder_are_read():
    source = read(path="set", test_path="set/images/train")
    assert source.names[:2] == ("set/images/train/1.png", "set/images/train/2.png")
    np.testing.assert_array_equal(source.fixed["test"], [4, 5, 6, 7])


def test_the_largest_objects_are_kept_and_all_count_as_labels():
    source = read(most_objects=1)
    np.testing.assert_array_equal(source.objects["box_label"], [[1], [0], [-1], [-1]])
    np.testing.assert_array_equal(source.labels[0], [1, 1])


def test_streamed_images_have_the_same_boxes():
    streamed, loaded = yolo(Feed("stream"), path="set", size=10), read(path="set")
    np.testing.assert_array_equal(streamed.objects["boxes"], loaded.objects["boxes"])
    np.testing.assert_array_equal(streamed.images[np.arange(4)], loaded.images)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("names: {0: a, 1: b, 2: c}", ("a", "b", "c")),
        ("names:\n  - a b\n  - 'c'\n", ("a b", "c")),
        ("nc: 2\nnames: ['0', 1]", ("0", "1")),
    ],
)
def test_names_are_read_from_yaml(text, names):
    Path("set/data.yaml").write_text(text)
    assert read().classes == names


def test_names_are_given_or_lines_of_text():
    assert read(classes=("x", "y", "z")).classes == ("x", "y", "z")
    Path("set/labels/classes.txt").write_text("no names")
    Path("set/data.yaml").unlink()
    Path("classes.txt").write_text("a\nb\n")
    assert read().classes == ("a", "b")


def test_one_class_is_enough():
    write(1)
    np.testing.assert_array_equal(read(classes=("cat",)).labels, [[0], [1], [0], [-1]])


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("0 0.5 0.5 0.0 0.4", "it has no area"),
        ("0 0.5 0.5 0.1 -0.4", "it has no area"),
        ("0 1.5 0.5 0.4 0.4", "it is outside of the image"),
        ("0 nan 0.5 0.4 0.4", "its numbers are not finite"),
        ("0 inf 0.5 0.4 0.4", "its numbers are not finite"),
        ("2 0.5 0.5 0.4 0.4", "class 2 of 2 classes, from 0 on"),
        ("-1 0.5 0.5 0.4 0.4", "class -1 of 2 classes, from 0 on"),
        ("nan 0.5 0.5 0.4 0.4", "class nan of 2 classes, from 0 on"),
        ("cat 0.5 0.5 0.4 0.4", "'cat 0.5 0.5 0.4 0.4', want class cx cy w h"),
        ("0 0.5 0.5 0.4", "'0 0.5 0.5 0.4', want class cx cy w h"),
        ("0 0.1 0.1 0.2 0.1 0.2 0.2", "'0 0.1 0.1 0.2 0.1 0.2 0.2', want class cx cy w h"),
    ],
)
def test_a_box_that_cannot_be_used_is_an_error_or_left_out(line, reason):
    write(1, "1 0.5 0.5 0.2 0.4", line)
    about = f"1 box that cannot be used: {Path('set/labels/train/1.txt').absolute()} line 2 ({reason})"
    with pytest.raises(UserError) as error:
        read()
    assert str(error.value).startswith(f"config.data.source.path: {about}; mend or remove them, or leave out up to")
    source = read(bad_boxes=1)
    assert f"left out {about}" in source.notes
    np.testing.assert_array_equal(source.objects["box_label"][0], [1])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"path": "nowhere"}, "path: 'nowhere' is not there; want a folder"),
        ({"path": "set/labels"}, "path: 'set/labels' has no folder 'images', and none in its path; want images/ and"),
        ({"unannotated": "none"}, "unannotated: unknown name 'none'"),
        ({"classes": ("a", "a")}, "classes: 1 class names are there twice, such as 'a'"),
    ],
)
def test_settings_that_do_not_fit_are_said(settings, message):
    with pytest.raises(UserError) as error:
        read(**settings)
    assert str(error.value).startswith(f"config.data.source.{message}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("names: {0: a, 2: b}", "have the numbers [0, 2]; want each from 0 on"),
        ("nc: 3", "cannot read names of "),
        ("a: [", "cannot read names of "),
        ("names: cat", "are 'cat'; want a list of them"),
    ],
)
def test_names_that_are_no_list_are_said(text, message):
    Path("set/data.yaml").write_text(text)
    with pytest.raises(UserError, match=r"^config\.data\.source\.classes: ") as error:
        read()
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_text_files_and_names_are_said():
    Path("set/data.yaml").unlink()
    with pytest.raises(UserError, match=r"classes: not given, and no data\.yaml or classes\.txt is in or above"):
        read()
    Path("set/labels/train").rename("set/labels/test")
    with pytest.raises(UserError, match=r"path: '.*set/labels/train' is not there; want the folder of the text files"):
        read()
    with pytest.raises(UserError, match=r"path: no text file in '.*set/labels' is named as an image, such as '1\.txt'"):
        read(path="set")


def test_text_files_without_an_image_are_counted():
    write(9, "0 0.5 0.5 0.4 0.4")
    assert "1 text file without an image: 9.txt" in read().notes
