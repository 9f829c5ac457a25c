"""COCO's JSON and masks as PNG: what becomes of labels and objects, and what is said of files that do not fit."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from efficient_jax.data import objects as geometry
from efficient_jax.data.framing import Framing
from efficient_jax.data.sources.coco_files import coco
from efficient_jax.errors import UserError
from tests.data.sources import nuclei
from tests.data.sources.coco_squares import ANNOTATIONS, CATEGORIES, IMAGES, SQUARES, square, write

pytestmark = pytest.mark.usefixtures("folder_of_squares")


def test_labels_are_the_categories_of_a_image():
    source = coco(path=write(), size=10)
    assert source.classes == ("cat", "dog")
    np.testing.assert_array_equal(source.labels, [[1, 1], [0, 0], [1, 0]])
    np.testing.assert_array_equal(source.images[:, 0, 0, 0], [1, 2, 3])
    assert source.names == ("1.png", "2.png", "3.png")
    single = coco(path=write(annotations=ANNOTATIONS[1:2]), size=10, task="classification")
    np.testing.assert_array_equal(single.labels, [-1, -1, 0])


def test_boxes_are_padded_and_cut_as_the_images():
    """Of 20 x 10 pixels the columns 5 to 15 are seen; the crowd and what has no area are no objects."""
    found = coco(path=write(), size=10).objects
    assert found.keys() == {"boxes", "box_visible", "box_label"}
    np.testing.assert_array_equal(found["boxes"][0], [[1, 2, 5, 6], [5, 2, 10, 8]])
    np.testing.assert_array_equal(found["boxes"][1:], [np.zeros((2, 4)), [[0, 0, 5, 10], [0, 0, 0, 0]]])
    np.testing.assert_allclose(found["box_visible"], [[1, 5 / 6], [0, 0], [0.5, 0]])
    np.testing.assert_array_equal(found["box_label"], [[1, 0], [-1, -1], [0, -1]])
    largest = coco(path=write(), size=10, most_objects=1).objects
    np.testing.assert_array_equal(largest["box_label"], [[0], [-1], [0]])


def test_masks_of_objects_are_those_of_their_boxes():
    found = coco(path=write(), size=10, objects=("boxes", "box_mask")).objects
    rows, columns = np.indices((10, 10))
    for box, mask in zip(found["boxes"].reshape(-1, 4), found["box_mask"].reshape(-1, 10, 10), strict=True):
        left, top, right, bottom = box
        np.testing.assert_array_equal(mask, (columns >= left) & (columns < right) & (rows >= top) & (rows < bottom))


@pytest.mark.parametrize("task", ["multi_label", "detection"])
def test_an_object_map_has_the_rows_of_the_boxes(task):
    """Where an object has no mask, the pixels of its box."""
    fitting = ANNOTATIONS[:4]
    masks = coco(path=write(annotations=fitting), size=10, task=task, objects=("box_mask",)).objects["box_mask"]
    bare = [annotation | {"segmentation": []} for annotation in fitting]
    for annotations in (fitting, bare):
        found = coco(path=write(annotations=annotations), size=10, task=task, objects=("object_map",)).objects
        assert found.keys() == {"boxes", "box_visible", "box_label", "object_map"}
        np.testing.assert_array_equal(found["object_map"], masks[:, 0] + 2 * masks[:, 1])


def test_keypoints_that_are_labelled_are_visible_whether_hidden_or_not():
    found = coco(path=write(), size=10, objects=("keypoints",)).objects
    assert found["keypoints"].shape == (3, 6, 2)  # three of each object
    np.testing.assert_array_equal(found["keypoints"][0, :2], [[2, 3], [3, 4]])
    np.testing.assert_array_equal(found["keypoint_visible"], np.arange(18).reshape(3, 6) < 2)


def test_masks_of_classes_come_from_a_folder():
    Path("masks").mkdir()
    for number in (1, 2, 3):
        Image.fromarray(np.arange(20, dtype=np.uint8)[None].repeat(10, 0)).save(f"masks/{number}.png")
    found = coco(path=write(), size=10, objects=(), masks_path="masks").objects
    assert found.keys() == {"mask"}
    np.testing.assert_array_equal(found["mask"], np.arange(5, 15)[None, None].repeat(3, 0).repeat(10, 1))
    assert found["mask"].dtype == np.uint8


def test_test_images_and_what_cannot_be_read():
    test = write("test.json", images=[{**IMAGES[2], "id": 1}], annotations=[square(1, 7, 8, 2, 4)])
    Path("2.png").write_bytes(b"broken")
    source = coco(path=write(images=IMAGES[:2], annotations=ANNOTATIONS[:1]), test_path=test, size=10, unreadable=1)
    np.testing.assert_array_equal(source.fixed["test"], [1])
    np.testing.assert_array_equal(source.labels, [[0, 1], [0, 1]])
    np.testing.assert_array_equal(source.objects["boxes"][:, 0], [[1, 2, 5, 6], [3, 2, 7, 6]])
    assert source.notes[-1] == "left out 1 unreadable image: 2.png (not an image)"


@pytest.mark.parametrize(
    ("content", "settings", "message"),
    [
        ({}, {"path": "no.json"}, "path: cannot read 'no.json': No such file or directory"),
        ({}, {"path": "1.png"}, "path: cannot read '1.png': it is not JSON ("),
        ({"images": None}, {}, "path: 'a.json' has not the lists images, annotations, categories of COCO; it has ann"),
        ({"images": [], "annotations": []}, {}, "path: 'a.json' has 0 images and the categories cat, dog; want some"),
        ({"images": [{**IMAGES[0], "width": 0}]}, {}, "path: 'a.json' has an entry {'id': 1, 'file_name': '1.png', 'w"),
        ({"images": IMAGES[:1] * 2}, {}, "path: 'a.json' has an entry {'id': 1, 'file_name': '1.png', 'width': 20, "),
        (
            {"categories": [*CATEGORIES, {"id": 9, "name": "cat"}]},
            {},
            "path: 'a.json' has 3 images and the categories cat, dog, cat; want some, and two categories or more, each",
        ),
        ({"categories": CATEGORIES[:1]}, {}, "path: 'a.json' has an entry {'image_id': 3, 'category_id': 3, "),
        ({"annotations": [{"image_id": 1, "category_id": 3}]}, {}, "path: 'a.json' has an entry {'image_id': 1, 'ca"),
        ({"images": [{**e, "file_name": "1.png"} for e in IMAGES]}, {}, "path: 1 file is named twice, such as '1.p"),
        ({}, {"objects": ("box",)}, "objects: unknown name 'box'; did you mean 'boxes'?"),
        ({}, {"task": "classification"}, "task: 1 image has several categories, such as '1.png'; say 'multi_label'"),
        ({}, {"folder": "nowhere"}, "folder: 'nowhere' is not there; want the folder of the images of 'a.json'"),
        ({}, {"masks_path": "nowhere"}, "masks_path: 'nowhere/1.png': not there"),
        ({}, {"masks_path": "."}, "masks_path: '1.png': it is RGB; want 8-bit class indices"),
        (
            {"images": [{**e, "width": 10, "height": 20} for e in IMAGES]},
            {},
            "path: 3 unreadable images: 1.png (20 x 10 pixels, but its annotations are of 10 x 20), 2.png",
        ),
        (
            {"annotations": [square(1, 3, 0, 0, 5, segmentation=[])]},
            {"objects": ("box_mask",)},
            "objects: an object of '1.png' has no segmentation of polygons or run lengths (there is none); leave out",
        ),
        (
            {"annotations": [square(1, 3, 0, 0, 5, segmentation={"size": [10, 20], "counts": [1]})]},
            {"objects": ("box_mask",)},
            "objects: an object of '1.png' has no segmentation of polygons or run lengths (run lengths of 1 pix",
        ),
    ],
)
def test_files_that_do_not_fit_are_said(content, settings, message):
    with pytest.raises(UserError) as error:
        coco(**{"path": write(**content), "size": 10} | settings)
    assert str(error.value).startswith(f"config.data.source.{message}")
    assert "\n" not in str(error.value)


def test_other_categories_of_the_test_are_said():
    test = write("test.json", categories=[{"id": 3, "name": "cat"}, {"id": 7, "name": "owl"}])
    with pytest.raises(UserError, match=r"test_path: the categories of 'test\.json' are not those of 'a\.json'"):
        coco(path=write(), test_path=test, size=10)


def test_detection_keeps_boxes_of_whole_images():
    """Of 20 x 10 pixels in a square of 20, five rows of gray are above and below; boxes end with their image."""
    source = coco(path=write(annotations=SQUARES), size=20, task="detection", objects=())
    assert (source.task, source.classes) == ("detection", ("cat", "dog"))
    np.testing.assert_array_equal(source.labels, [[1, 1], [0, 0], [1, 0]])
    np.testing.assert_array_equal(source.objects["boxes"][0], [[6, 7, 10, 11], [8, 7, 12, 11]])
    np.testing.assert_array_equal(source.objects["boxes"][2], [[16, 5, 20, 13], [0, 0, 0, 0]])
    np.testing.assert_array_equal(source.objects["box_visible"], [[1, 1], [0, 0], [1, 0]])
    np.testing.assert_array_equal(source.objects["box_label"], [[1, 0], [-1, -1], [0, -1]])


def test_a_crowd_is_a_label_and_no_object_of_detection():
    source = coco(path=write(annotations=[square(1, 3, 0, 0, 10, iscrowd=1)]), size=20, task="detection")
    np.testing.assert_array_equal(source.labels, [[1, 0], [0, 0], [0, 0]])
    assert source.objects["box_label"].shape == (3, 0)


@pytest.mark.parametrize("task", ["detection", "segmentation"])
def test_one_category_is_enough(task):
    only_dog = {"categories": CATEGORIES[:1], "annotations": SQUARES[:1]}
    assert coco(path=write(**only_dog), size=10, task=task).classes[-1] == "dog"
    with pytest.raises(UserError, match="and two categories or more"):
        coco(path=write(**only_dog), size=10)


@pytest.mark.parametrize(
    ("task", "empty", "unlabelled"), [("detection", 0, -1), ("multi_label", 0, -1), ("segmentation", 0, 255)]
)
def test_images_without_annotations_are_empty_or_unlabelled(task, empty, unlabelled):
    found = [
        coco(path=write(annotations=SQUARES), size=20, task=task, fit="squash", unannotated=unannotated)
        for unannotated in ("empty", "unlabelled")
    ]
    assert (found[0].labels[1] == empty).all()
    assert (found[1].labels[1] == unlabelled).all()
    np.testing.assert_array_equal(found[0].labels[[0, 2]], found[1].labels[[0, 2]])
    assert found[1].notes[-1] == "1 image of 'a.json' without annotations: unlabelled"


@pytest.mark.parametrize("task", ["detection", "segmentation", "classification"])
def test_other_images_of_the_folder_are_the_pool(task):
    Path("more").mkdir()
    Image.new("RGB", (7, 9)).save("more/4.png")
    Path("more/5.png").write_bytes(b"broken")
    test = write("test.json", images=[IMAGES[2]], annotations=SQUARES[2:])
    content = {"images": IMAGES[:1], "annotations": SQUARES[1:2]}
    source = coco(path=write(**content), test_path=test, size=20, task=task, rest=True)
    assert source.names == ("1.png", "2.png", "more/4.png", "3.png")
    np.testing.assert_array_equal(source.fixed["test"], [3])
    none = 255 if task == "segmentation" else -1
    np.testing.assert_array_equal((source.labels == none).reshape(4, -1).all(1), [False, True, True, False])
    assert source.notes[-1] == "3 images without a label: 'a.json' does not name them"


@pytest.mark.parametrize(
    ("bad", "reason"),
    [(square(1, 7, 5, 5, 0), "it has no area"), (square(1, 7, 20, 5, 3), "it is outside of the image")],
)
def test_boxes_that_cannot_be_used_are_an_error_of_detection_or_left_out(bad, reason):
    path = write(annotations=[*SQUARES, bad])
    about = f"1 box that cannot be used: {bad['bbox']} of 1.png ({reason})"
    with pytest.raises(UserError) as error:
        coco(path=path, size=20, task="detection")
    assert str(error.value).startswith(f"config.data.source.path: {about}; mend or remove them, or leave out up to")
    source = coco(path=path, size=20, task="detection", bad_boxes=1)
    assert source.notes == (f"left out {about}",)
    assert source.objects["boxes"].shape == (3, 2, 4)


@pytest.mark.parametrize("task", ["detection", "segmentation"])
def test_sizes_below_0_are_said(task):
    with pytest.raises(UserError, match=r"^config\.data\.source\.size: -1 is not a number of pixels"):
        coco(path=write(annotations=SQUARES), size=-1, task=task)


@nuclei.needed
def test_nuclei_are_counted_as_annotated():
    content = nuclei.annotations()
    source = coco(**nuclei.paths(), size=32, task="detection")
    of_image = Counter(annotation["image_id"] for annotation in content["annotations"])
    counts = [of_image[image["id"]] for image in content["images"]]
    np.testing.assert_array_equal((source.objects["box_label"] == 0).sum(1), counts)
    assert sum(counts) == 4104
    sizes = [(image["height"], image["width"]) for image in content["images"]]
    np.testing.assert_array_equal(source.sizes, sizes)


@nuclei.needed
def test_boxes_of_nuclei_return_to_their_pixels():
    content = nuclei.annotations()
    source = coco(**nuclei.paths(), size=128, task="detection")
    for row, image in enumerate(content["images"][:20]):
        w, h = image["width"], image["height"]
        back = geometry.inverse(geometry.window(w, h, Framing(128, "pad")), w, h)
        known = source.objects["box_label"][row] >= 0
        boxes, _ = geometry.boxes(source.objects["boxes"][row, known].astype(float), back)
        written = [each["bbox"] for each in content["annotations"] if each["image_id"] == image["id"]]
        np.testing.assert_allclose(boxes, [(x, y, x + w, y + h) for x, y, w, h in written], atol=1e-3)
