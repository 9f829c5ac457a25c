"""Results in COCO's format, as pycocotools reads them."""

import json

import numpy as np
import pytest

from efficient_jax.detection import detection_files, run_lengths
from efficient_jax.errors import UserError

MASKS = np.zeros((2, 4, 6), bool)
MASKS[0, 1:3, 2:5] = True
MASKS[1] = np.eye(4, 6)
FOUND = {
    "boxes": np.array([[2, 1, 5, 3], [0, 0, 4, 4]], np.float32),
    "scores": np.array([0.5, 0.25], np.float32),
    "labels": np.array([1, 0], np.int32),
    "masks": MASKS,
}
NONE = {"boxes": np.zeros((0, 4)), "scores": np.zeros(0), "labels": np.zeros(0, np.int32)}


def test_predictions_are_written_by_the_ids_of_their_images_and_categories(tmp_path):
    """`counts` are those of pycocotools 2.0.11, with areas of 6 and 4 pixels."""
    file = tmp_path / "results.json"
    detection_files.write_predictions(file, [NONE, FOUND], [7, 9], [3, 8])
    assert json.loads(file.read_text()) == [
        {
            "image_id": 9,
            "category_id": 8,
            "bbox": [2, 1, 3, 2],
            "score": 0.5,
            "segmentation": {"size": [4, 6], "counts": "9220003"},
        },
        {
            "image_id": 9,
            "category_id": 3,
            "bbox": [0, 0, 4, 4],
            "score": 0.25,
            "segmentation": {"size": [4, 6], "counts": "014000004"},
        },
    ]


def test_predictions_return_through_our_reader(tmp_path):
    truth = {
        "images": [{"id": 9}, {"id": 7}],
        "categories": [{"id": 8, "name": "dog"}, {"id": 3, "name": "cat"}],
        "annotations": [],
    }
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    detection_files.write_predictions(tmp_path / "a.json", [NONE, FOUND], [7, 9], [3, 8])
    known = detection_files.read_truth(tmp_path / "truth.json", "truth")
    none, found = detection_files.read_results(tmp_path / "a.json", known, "results")
    assert none["boxes"].shape == (0, 4)
    np.testing.assert_array_equal(found["boxes"], FOUND["boxes"])
    np.testing.assert_array_equal(found["scores"], FOUND["scores"])
    np.testing.assert_array_equal(found["labels"], [8, 3])
    rows = json.loads((tmp_path / "a.json").read_text())
    for row, mask in zip(rows, MASKS, strict=True):
        np.testing.assert_array_equal(run_lengths.decode(row["segmentation"]["counts"], 4, 6), mask)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"labels": np.array([0, 2])}, "image_id 9: label 2 of 2 categories, from 0 on"),
        ({"scores": np.array([0.5, np.nan])}, "image_id 9: score 1 is nan; wanted: 0..1"),
        ({"boxes": np.array([[2, 1, 5, 3], [0, 0, -4, 4]])}, "image_id 9: box 1 is [0, 0, -4, 4]; right < left"),
        ({"masks": MASKS[:1]}, "image_id 9: masks bool [1, 4, 6] of 2 boxes; want bool [n h w]"),
        ({"masks": MASKS.astype(np.uint8)}, "image_id 9: masks uint8 [2, 4, 6] of 2 boxes; want bool [n h w]"),
    ],
)
def test_predictions_that_do_not_fit_are_said(tmp_path, changed, message):
    file = tmp_path / "results.json"
    with pytest.raises(UserError) as error:
        detection_files.write_predictions(file, [NONE, FOUND | changed], [7, 9], [3, 8])
    assert str(error.value).startswith(f"{file}, {message}")
    assert not file.exists()


def test_ids_of_other_images_are_said(tmp_path):
    for ids in ([7], [7, 7]):
        with pytest.raises(UserError, match="2 images for 1 ids; give one for each"):
            detection_files.write_predictions(tmp_path / "a.json", [NONE, FOUND], ids, [3, 8])
