"""The review of masks and boxes: what comes first, where it is drawn, and what answers are kept."""

import csv
import threading
import uuid

import numpy as np
import pytest

from efficient_jax.data.framing import Framing
from efficient_jax.detection.rows import packed
from efficient_jax.labelling.annotations import CLASSES, Annotated
from efficient_jax.labelling.images import Images
from efficient_jax.labelling.queue import Queue
from efficient_jax.labelling.session import Refused, Session, start
from efficient_jax.labelling.store import Store
from efficient_jax.tasks import DETECTION, SEGMENTATION

SIDE = 16
NAMES = ("a/0.png", "a/1.png", "b/2.png")


def masks() -> Annotated:
    """Three maps: a square of class 1 on the left; `told` predicts it in all, shifted by 0, 4 and 1 pixels."""
    labels = np.zeros((3, SIDE, SIDE), np.uint8)
    labels[:, 4:12, 2:10] = 1
    images = Images("/", NAMES)
    return Annotated(images, lambda rows: rows, labels, SEGMENTATION, ("background", "cell"), Framing(SIDE, "pad"))


def told(rows):
    """The network: `pixels` above gives it the indices of the images."""
    return np.stack([np.eye(2, dtype=np.float32)[np.roll(masks().labels[i], (0, 4, 1)[i], 1)] for i in rows])


@pytest.fixture
def predicted():
    annotated = masks()
    annotated.predict(told, threading.Event())
    return annotated


def test_annotations_that_differ_most_from_the_prediction_come_first(predicted):
    assert predicted.order(done=()) == [1, 2, 0]
    assert predicted.order(done={"a/1.png"}) == [2, 0]
    assert predicted.agreement(0) == "Agreement with the prediction: mean IoU 100%."
    overlap = (8 * 4 / (8 * 12) + (256 - 8 * 12) / (256 - 8 * 4)) / 2  # of a square that is shifted by half
    assert predicted.agreement(1).endswith(f"mean IoU {100 * overlap:.0f}%.")
    assert masks().agreement(0) == ""


def test_prediction_ends_when_the_page_does():
    stopped, annotated = threading.Event(), masks()
    stopped.set()
    annotated.predict(told, stopped)
    assert annotated.order(done=()) == []


def test_masks_are_drawn_in_the_pixels_of_the_image_without_the_gray_around_it(predicted):
    """An image of 32 x 16 pixels lies in the middle of the square: its rows 4 to 12."""
    assert predicted.entries(1, "image", 32, 16) == {}
    found = predicted.entries(1, "annotation", 32, 16)["mask"]
    assert found.shape == (16, 32)
    expected = np.ones((16, 32), np.uint8)
    expected[:, 4:20] = 2
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(predicted.entries(1, "prediction", 32, 16)["mask"], np.roll(expected, 8, 1))


def test_boxes_are_drawn_in_the_pixels_of_the_image():
    boxes = np.array([[[2.0, 6, 10, 10], [0, 0, 0, 0]]])
    labels = packed(boxes, np.array([[0, -1]]), np.array([[1.0, 0.0]]))
    answers = packed(boxes[:, :1] + 1, np.array([[1]]), np.array([[0.7]]))
    annotated = Annotated(
        Images("/", NAMES[:1]), lambda rows: rows, labels, DETECTION, ("cat", "dog"), Framing(SIDE, "pad")
    )
    annotated.predict(lambda _: answers, threading.Event())
    found = annotated.entries(0, "annotation", 32, 16)
    np.testing.assert_allclose(found["boxes"][0], [4, 4, 20, 12])
    assert (found["box_visible"] > 0).tolist() == [True, False]
    found = annotated.entries(0, "prediction", 32, 16)
    np.testing.assert_allclose(found["boxes"][0], [6, 6, 22, 14])
    assert found["box_label"][0] == 1


def session(folder, annotated) -> Session:
    store = Store(folder / "reviewed.csv", False)
    start(store, CLASSES, "anna")
    work = Session(annotated.images, store, Queue(range(3)), "anna", True, annotated)
    answered = {file for file, outcome in store.answers.outcomes.items() if outcome.kind != "skip"}
    work.review = annotated.order(answered)
    return work


def say(work, index, kind, *labels):
    answers = [{"id": uuid.uuid4().hex, "index": index, "kind": kind, "labels": [*labels]}]
    return work.call("answer", {"tab": "1", "held": [], "count": 3, "answers": answers})


def rows(folder):
    with (folder / "reviewed.csv").open(newline="") as file:
        return [(row["file"], row["label"], row["answer"], row["who"]) for row in csv.DictReader(file)]


def test_an_annotation_is_right_or_wrong_or_unsure(predicted, tmp_path):
    work = session(tmp_path, predicted)
    view = work.call("next", {"tab": "1", "held": [], "count": 3})
    assert [item["index"] for item in view["items"]] == [1, 2, 0]
    assert view["items"][0]["note"] == predicted.agreement(1)
    assert view["classes"] == ["right", "wrong"]
    assert [item["index"] for item in say(work, 1, "label", "wrong")["items"]] == [2, 0]
    assert say(work, 2, "unsure")["progress"]["review"] == 1
    say(work, 0, "label", "right")
    expected = [("a/0.png", "right", "label", "anna"), ("a/1.png", "wrong", "label", "anna")]
    assert rows(tmp_path) == [*expected, ("b/2.png", "", "unsure", "anna")]
    undone = work.call("undo", {"tab": "1", "held": [], "count": 1, "id": "u"})
    assert (undone["undone"], rows(tmp_path)) == (0, [expected[1], ("b/2.png", "", "unsure", "anna")])


def test_a_second_session_shows_what_has_no_answer(predicted, tmp_path):
    before = session(tmp_path, predicted)
    say(before, 1, "label", "wrong")
    say(before, 2, "skip")
    before.store.close()
    assert session(tmp_path, predicted).review == [2, 0]


def test_other_answers_are_refused(predicted, tmp_path):
    work = session(tmp_path, predicted)
    with pytest.raises(Refused, match="kind: want one of label, unsure, skip"):
        say(work, 0, "none")
    with pytest.raises(Refused, match="an annotation is right or wrong"):
        work.call("class", {"tab": "1", "held": [], "count": 1, "id": "x", "name": "maybe"})
    with pytest.raises(Refused, match="one class"):
        say(work, 0, "label", "right", "wrong")
    assert rows(tmp_path) == []
