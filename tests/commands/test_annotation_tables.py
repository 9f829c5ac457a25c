"""What explore says of drawn rectangles, whose number, size and class are known."""

import numpy as np
import pytest

from efficient_jax.commands import annotation_tables
from efficient_jax.explore.survey import survey
from efficient_jax.tasks import DETECTION
from tests import drawn_parts

PARTS = {
    "labelled": np.arange(12, 48),
    "unlabelled": np.arange(48, 72),
    "validation": np.arange(0),
    "test": np.arange(12),
}


@pytest.fixture(scope="module")
def masks():
    """Rectangles of two classes, of which one image has none; a third class that no image shows."""
    source = drawn_parts.masks()
    source.labels[20] = 0
    source.labels[21, :4] = 255
    source = source._replace(classes=(*source.classes, "black"))
    return source, survey(source, PARTS)


@pytest.fixture(scope="module")
def boxes():
    source = drawn_parts.boxes()
    source = source._replace(labels=DETECTION.of_source(source.labels, source.objects))
    return source, survey(source, PARTS)


def test_masks_are_described_without_held_out_and_unlabelled_images(masks):
    source, measured = masks
    found = annotation_tables.facts(measured, source, 0)
    assert found["annotated"] == "36 training images, 1 of them without regions; 12 held-out images"
    assert found["never shown"] == "1 class: black"
    counts = np.bincount(source.labels[PARTS["labelled"]].ravel(), minlength=256)
    shares = 100 * counts[:3] / counts[:3].sum()
    wanted = f"{shares[0]:.1f}% background, {shares[2]:.1f}% white, {shares[1]:.1f}% gray, 0.0% black; "
    assert found["pixels"].startswith(wanted)
    assert f"{100 * counts[255] / counts.sum():.1f}% of the images have no class" in found["pixels"]


def test_boxes_are_described_without_images_that_nobody_has_annotated(boxes):
    source, measured = boxes
    found = annotation_tables.facts(measured, source, 2)
    assert found["annotated"] == "36 training images, 12 of them without objects; 12 held-out images"
    limit = "(config.data.source.most_objects, reached by 24 images)"
    assert found["objects"] == f"48; 1.3 per image, at most 2 {limit}"
    boxes_of_images = source.objects["boxes"][PARTS["labelled"]]
    shown = boxes_of_images[source.objects["box_visible"][PARTS["labelled"]] > 0]
    sides = np.diff(shown.reshape(-1, 2, 2), axis=1)[:, 0]
    median = np.median(sides[:, 0] / sides[:, 1])
    assert found["width / height"].startswith(f"{median:.2f} [")
    assert found["size"].startswith("as stored 100% small, 0% medium, 0% large")
    assert "never shown" not in found


def test_the_page_has_a_row_for_each_class_and_images_with_their_masks(masks):
    source, measured = masks
    found = annotation_tables.section(measured, source, str)
    assert [row[0] for row in found.classes] == ["background", "gray", "white", "black"]
    assert all(len(row) == len(found.headers) for row in found.classes)
    regions = found.classes[2][found.headers.index("regions")]
    assert regions == "35"  # of class white, which no other covers
    assert found.classes[3][1:4] == ["0", "0.00", "0"]
    assert {each.title: each.count for each in found.galleries} == {"Annotated images": 35, "Images without regions": 1}
    assert [name for name, _ in found.legend] == list(source.classes)
    titles = [measure.plot.x_title for measure in found.measures]
    assert titles[0] == "regions in an image"
    assert "pixels of the image without a class, %" in titles
    assert all(measure.plot.y_title in ("images, %", "regions, %") for measure in found.measures)


def test_overlap_is_a_chart_of_boxes(boxes, masks):
    names = [[measure.name for measure in annotation_tables.section(m, s, str).measures] for s, m in (boxes, masks)]
    assert "overlap" in names[0]
    assert "overlap" not in names[1]


def test_a_dataset_of_one_class_has_no_annotations():
    source = drawn_parts.masks(unlabelled=0)
    source = source._replace(labels=np.arange(72, dtype=np.int32) % 3, task="classification")
    measured = survey(source, PARTS)
    assert annotation_tables.facts(measured, source, 0) == {}
    assert annotation_tables.section(measured, source, str) is None
