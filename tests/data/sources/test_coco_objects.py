"""Maps of classes and of objects in COCO's JSON: polygons and run lengths, what is said of those that do not fit."""

import numpy as np
import pytest

from efficient_jax.data.sources.coco_files import coco
from efficient_jax.errors import UserError
from tests.data.sources.coco_squares import IMAGES, SQUARES, square, write

pytestmark = pytest.mark.usefixtures("folder_of_squares")


def test_segmentation_has_the_map_of_the_categories():
    """The later cat lies above the dog, the crowd is no class, and neither is the gray."""
    crowd = square(2, 7, 0, 0, 5, iscrowd=1, segmentation={"size": [10, 20], "counts": [0, 20, 180]})
    source = coco(path=write(annotations=[*SQUARES, crowd]), size=20, task="segmentation")
    assert (source.task, source.classes) == ("segmentation", ("background", "cat", "dog"))
    assert (source.labels.dtype, source.objects) == (np.uint8, {})
    expected = np.full((3, 20, 20), 255)
    expected[:, 5:15] = 0
    expected[0, 7:11, 6:10] = 2
    expected[0, 7:11, 8:12] = 1
    expected[1, 5:15, :2] = 255
    expected[2, 5:13, 16:] = 1
    np.testing.assert_array_equal(source.labels, expected)


def test_an_object_map_of_segmentation_numbers_the_objects_of_an_image():
    crowd = square(1, 7, 0, 0, 5, iscrowd=1)
    source = coco(path=write(annotations=[*SQUARES, crowd]), size=20, task="segmentation", objects=("object_map",))
    assert source.objects.keys() == {"object_map"}
    expected = np.zeros((3, 20, 20))
    expected[0, 7:11, 6:10] = 1
    expected[0, 7:11, 8:12] = 2
    expected[2, 5:13, 16:] = 1
    np.testing.assert_array_equal(source.objects["object_map"], expected)


def test_polygons_and_run_lengths_lie_in_their_order():
    columns = [{"size": [10, 20], "counts": [start, 40, 160 - start]} for start in (40, 60)]
    made = [
        square(1, 3, 0, 0, 10, segmentation=columns[0]),
        square(1, 7, 3, 0, 10),
        square(1, 3, 0, 0, 10, segmentation=columns[1]),
        square(1, 7, 7, 0, 10, segmentation=columns[1], iscrowd=1),
        square(1, 3, 7, 0, 10, segmentation=columns[0]),
    ]
    rows = [
        coco(path=write(annotations=made[:count]), size=20, task="segmentation").labels[0, 5].tolist()[:14]
        for count in (1, 2, 3, 4, 5)
    ]
    assert rows == [
        [0] * 4 + [1] * 4 + [0] * 6,
        [0] * 3 + [2] * 10 + [0],
        [0] * 3 + [2] * 3 + [1] * 4 + [2] * 3 + [0],
        [0] * 3 + [2] * 3 + [255] * 4 + [2] * 3 + [0],
        [0] * 3 + [2] * 1 + [1] * 4 + [255] * 2 + [2] * 3 + [0],
    ]


def test_a_category_may_be_the_background():
    categories = [{"id": 7, "name": "background"}, {"id": 3, "name": "cat"}]
    source = coco(path=write(annotations=SQUARES, categories=categories), size=20, task="segmentation")
    assert source.classes == ("background", "cat")
    assert (source.labels[0, 7:11, 6:12] == [0, 0, 1, 1, 1, 1]).all()


@pytest.mark.parametrize(
    ("segmentation", "reason"),
    [
        ([[1, 2, 3, 4]], "a polygon of the numbers [1.0, 2.0, 3.0, 4.0]; want x, y of three points or more"),
        ([[1, 2, 3, 4, 5, 6, 7]], "a polygon of the numbers [1.0"),
        ([[1, 2, 3, 4, 5, float("nan")]], "a polygon of the numbers [1.0"),
        ({"size": [10, 20], "counts": [100, 99]}, "run lengths of 199 pixels for 20 x 10"),
        ({"size": [20, 10], "counts": [200]}, "size [20, 10]"),
        (None, "there is none"),
    ],
)
def test_objects_without_a_mask_are_said_in_segmentation(segmentation, reason):
    with pytest.raises(UserError) as error:
        coco(path=write(annotations=[square(1, 3, 0, 0, 5, segmentation=segmentation)]), size=10, task="segmentation")
    about = "config.data.source.path: an object of '1.png' has no segmentation of polygons or run lengths"
    assert str(error.value).startswith(f"{about} ({reason}")


def test_images_of_another_size_than_annotated_are_unreadable_in_segmentation():
    images = [{**IMAGES[0], "width": 10, "height": 20}, *IMAGES[1:]]
    for size in (0, 10):
        with pytest.raises(UserError, match=r"1\.png \(20 x 10 pixels, but its annotations are of 10 x 20\)"):
            coco(path=write(images=images, annotations=SQUARES[2:]), size=size, task="segmentation")


def test_masks_as_files_are_another_source():
    with pytest.raises(UserError, match=r"masks_path: the annotations are the labels; take the source 'masks' for PNG"):
        coco(path=write(), size=10, task="segmentation", masks_path=".")
