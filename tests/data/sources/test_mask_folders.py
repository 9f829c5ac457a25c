"""Masks as PNG files: the class of each pixel goes where its image goes, and files that do not fit are said."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from efficient_jax.data import objects
from efficient_jax.data.framing import Framing
from efficient_jax.data.sources.coco_files import coco
from efficient_jax.data.sources.mask_folders import masks
from efficient_jax.data.stream import Feed
from efficient_jax.errors import UserError
from tests.data.sources import nuclei

CLASSES = ("sky", "road")
HALVES = np.repeat(np.array([[0, 0, 0, 0, 1, 1, 1, 255]], np.uint8), 4, 0)  # of an image of 8 x 4 pixels


@pytest.fixture(autouse=True)
def files(tmp_path, monkeypatch):
    """Three images of 8 x 4 pixels, of which 1 and 2 have a mask."""
    monkeypatch.chdir(tmp_path)
    for folder in ("images/a", "masks/a"):
        Path(folder).mkdir(parents=True)
    for name in ("1", "a/2", "a/3"):
        Image.new("RGB", (8, 4), (90,) * 3).save(f"images/{name}.jpg")
    for name in ("1", "a/2"):
        Image.fromarray(HALVES).save(f"masks/{name}.png")


def read(**settings):
    return masks(**{"path": "images", "masks": "masks", "size": 8, "classes": CLASSES} | settings)


def test_labels_are_the_masks_in_the_middle_of_the_square():
    source = read()
    assert (source.task, source.classes, source.labels.dtype) == ("segmentation", CLASSES, np.uint8)
    assert source.names == ("images/1.jpg", "images/a/2.jpg", "images/a/3.jpg")
    around = np.full((2, 8), 255)
    np.testing.assert_array_equal(source.labels[0], np.concatenate([around, HALVES, around]))
    np.testing.assert_array_equal(source.images[0, :, 0, 0] == 128, np.arange(8) % 6 < 2)
    np.testing.assert_array_equal(source.sizes, [[4, 8]] * 3)
    assert source.objects == {}


def test_images_without_a_mask_are_unlabelled():
    source = read()
    assert (source.labels[2] == 255).all()
    assert source.notes == ("1 of 3 images of 'images' without a mask: unlabelled",)


def test_test_images_have_their_own_folders():
    source = read(path="images/a", masks="masks/a", test_path="images", test_masks="masks")
    np.testing.assert_array_equal(source.fixed["test"], [2, 3, 4])
    np.testing.assert_array_equal((source.labels[:, 4] == 1).sum(1), [3, 0, 3, 3, 0])


def test_streamed_images_have_the_same_labels():
    streamed, loaded = masks(Feed("stream"), path="images", masks="masks", size=8, classes=CLASSES), read()
    np.testing.assert_array_equal(streamed.labels, loaded.labels)
    np.testing.assert_array_equal(streamed.images[np.arange(3)], loaded.images)


@pytest.mark.parametrize("mode", ["palette", "1", "I;16", "L"])
def test_every_mode_holds_the_same_classes(mode):
    values = np.minimum(HALVES, 1)
    image = Image.fromarray({"1": values > 0, "I;16": values.astype(np.uint16)}.get(mode, values))
    if mode == "palette":
        image = Image.fromarray(values)
        image.putpalette([255, 0, 0, 0, 0, 255])
    image.save("masks/1.png")
    np.testing.assert_array_equal(read().labels[0, 2:6], values)


def test_numbers_of_objects_are_one_class():
    Image.fromarray(np.array([[0, 1, 2, 255, 256, 65535, 0, 0]] * 4, np.uint16)).save("masks/1.png")
    source = read(instances=True, classes=())
    assert source.classes == ("background", "object")
    np.testing.assert_array_equal(source.labels[0, 2:6], [[0, 1, 1, 1, 1, 1, 0, 0]] * 4)
    object_map = source.objects["object_map"]
    np.testing.assert_array_equal(object_map[0, 2:6], [[0, 1, 2, 3, 4, 5, 0, 0]] * 4)
    assert object_map.shape == source.labels.shape
    assert not object_map[0, [0, 1, 6, 7]].any()  # of gray around the image
    assert not object_map[2].any()  # of an image without a mask


def test_classes_are_the_lines_of_a_file():
    Path("classes.txt").write_text("sky\nroad\n\n")
    assert read(classes=()).classes == CLASSES
    Path("masks/classes.txt").write_text("ground\nwater\ntree\n")
    assert read(classes=()).classes == ("ground", "water", "tree")


def test_masks_in_a_folder_of_the_images_are_no_images():
    Path("masks").rename("images/masks")
    assert read(masks="images/masks").labels.shape == (3, 8, 8)


def test_images_as_they_are_stored_have_masks_of_their_size():
    np.testing.assert_array_equal(read(size=0).labels[0], HALVES)


def test_an_image_of_another_size_than_its_mask_is_unreadable():
    Image.fromarray(HALVES[:2]).save("masks/1.png")
    message = "config.data.source.path: 1 unreadable image: images/1.jpg (8 x 4 pixels, but its mask has 8 x 2); mend"
    with pytest.raises(UserError) as error:
        read()
    assert str(error.value).startswith(message)
    assert len(read(unreadable=1).labels) == 2


@pytest.mark.parametrize(
    ("mask", "reason"),
    [
        (HALVES + np.uint8(6), "class 5, 6, 7 of 2 classes, from 0 on; are they objects? say instances=True"),
        (HALVES * np.uint8(7), "class 7, 249 of 2 classes, from 0 on; are they objects? say instances=True"),
        (np.maximum(HALVES, 254) - np.uint8(247), "class 7, 8 of 2 classes, from 0 on"),
        (np.zeros((4, 8, 3), np.uint8), "it is RGB; want one channel with the class of each pixel"),
        (b"broken", "not an image"),
    ],
    ids=["beyond", "scaled", "7 of 2", "colors", "broken"],
)
def test_a_mask_that_cannot_be_used_counts_as_unreadable(mask, reason):
    Path("masks/1.png").write_bytes(mask) if isinstance(mask, bytes) else Image.fromarray(mask).save("masks/1.png")
    with pytest.raises(UserError) as error:
        read()
    assert str(error.value).startswith(
        f"config.data.source.masks: 1 unreadable image: images/1.jpg (its mask: {reason}"
    )
    assert "\n" not in str(error.value)
    source = read(unreadable=1)
    assert source.names == ("images/a/2.jpg", "images/a/3.jpg")
    assert any(f"images/1.jpg (its mask: {reason[:40]}" in note for note in source.notes)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"path": "nowhere"}, "path: 'nowhere' is not there; want a folder"),
        ({"masks": "mask"}, "masks: 'mask' is not there; want a folder"),
        (
            {"path": "images/a", "masks": "masks"},
            "masks: no mask is named as an image; images are 2.jpg ..., masks 1.png",
        ),
        ({"classes": ()}, "classes: not given, and 'masks/classes.txt' is not there; want the name of each value from"),
        ({"classes": ("a",)}, "classes: 1 class; want 2 to 255"),
        ({"classes": tuple(map(str, range(256)))}, "classes: 256 classes; want 2 to 255"),
        ({"classes": ("a", "a")}, "classes: 1 class names are there twice, such as 'a'"),
        ({"classes": ("a", "b", "c"), "instances": True}, "classes: 3 classes; with instances=True there are two"),
        ({"size": -1}, "size: -1 is not a number of pixels"),
        ({"fit": "padded"}, "fit: unknown name 'padded'; did you mean 'pad'?"),
    ],
)
def test_settings_that_do_not_fit_are_said(settings, message):
    with pytest.raises(UserError) as error:
        read(**settings)
    assert str(error.value).startswith(f"config.data.source.{message}")


def test_two_images_of_one_mask_are_said():
    Image.new("RGB", (8, 4)).save("images/1.png")
    with pytest.raises(UserError, match=r"path: two images are named '1', and one mask is; rename one"):
        read()


def test_masks_of_0_and_255_only_want_a_word():
    for name in ("1", "a/2"):
        Image.fromarray(np.where(HALVES > 0, 255, 0).astype(np.uint8)).save(f"masks/{name}.png")
    with pytest.raises(UserError, match=r"are 0 and 255, and 255 is no class; say .*instances=True if it is 'road'"):
        read()
    np.testing.assert_array_equal(read(instances=True).labels[0, 2:6], HALVES > 0)


@nuclei.needed
def test_nuclei_are_the_union_of_their_run_lengths():
    folder = nuclei.FOLDER / "validation"
    found = masks(path=str(folder / "images"), masks=str(folder / "masks"), size=64, instances=True)
    expected = coco(**nuclei.paths(), size=64, task="segmentation")
    np.testing.assert_array_equal(found.labels, expected.labels)
    np.testing.assert_array_equal(found.images, expected.images)
    for row in (0, 57):
        name, (h, w) = Path(found.names[row]).stem, found.sizes[row].tolist()
        stored = np.asarray(Image.open(folder / f"masks/{name}.png"))
        through = objects.window(w, h, Framing(64, "pad"))
        np.testing.assert_array_equal(found.labels[row] == 1, objects.mask(stored, through) > 0)
