"""explain: a page of heat maps of a tiny run."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from efficient_jax.commands.explain import explain, true_classes
from efficient_jax.commands.explain_parts import MISTAKES, RIGHT
from efficient_jax.errors import UserError
from efficient_jax.explain.network import Network, Seen, pointing_game
from efficient_jax.tasks import MULTI_LABEL
from tests.report.stored_run import Page


def shown(folder):
    text = (folder / "explain.html").read_text()
    return text, re.findall(r'class="pixels"[^>]* alt="([^"]+)"', text)


def test_mistakes_and_right_answers_are_on_the_page(teacher, tmp_path):
    explain(f"{teacher},{teacher.parent}", layer="stage1", workdir=str(tmp_path))
    assert sorted(each.name for each in tmp_path.iterdir()) == ["explain.html", "explain.json"]
    text, captions = shown(tmp_path)
    assert "Mistakes with the largest confidence" in text
    assert "30 of the 30 test images" in text
    right = json.loads((teacher / "result.json").read_text())["test"]["correct"]
    count = 2 * min(right, RIGHT) + 3 * min(30 - right, MISTAKES)
    assert len(captions) == 2 * count  # two members
    found = json.loads((tmp_path / "explain.json").read_text())[str(teacher)]
    correlations = [of["Grad-CAM"] for of in found["rank_correlation_with_random_weights"].values()]
    assert all(-1 <= each < 0.99 for each in correlations)
    assert Page(text).cells[-5:-2] == ["all layers", "Grad-CAM", "30"]


def test_chosen_images_and_folders(teacher, tmp_path):
    explain(str(teacher), images="7,3", layer="stage1", workdir=str(tmp_path))
    text, captions = shown(tmp_path)
    assert re.findall(r"<figcaption>(.*)</figcaption>", text) == ["image 7", "image 3"]
    assert captions[0] == "as stored"

    (tmp_path / "new").mkdir()
    Image.fromarray(np.full((20, 30), 200, np.uint8)).save(tmp_path / "new" / "<b>.png")
    explain(str(teacher), images=str(tmp_path / "new"), layer="stage1", workdir=str(tmp_path))
    text, captions = shown(tmp_path)
    assert "&lt;b&gt;.png" in text
    assert len(captions) == 2
    assert captions[1].startswith("predicted class 2, ")  # the brightest of three classes


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"members": ""}, "--members=RUN.* is missing"),
        ({"members": "nowhere"}, "neither a run nor a stage"),
        ({"images": "mistake"}, "neither 'mistakes', nor indices, nor a folder of images"),
        ({"images": "3,999"}, "there is no image 999; the run has 240"),
        ({"layer": "stage7"}, "layer: unknown name 'stage7'; did you mean"),
        ({"workdir": "/proc/here"}, "cannot write to '/proc/here'"),
    ],
)
def test_bad_input_is_said(arguments, said, teacher, tmp_path):
    with pytest.raises(UserError, match=said):
        explain(**{"members": str(teacher), "workdir": str(tmp_path)} | arguments)


def test_the_pointing_game_is_played_on_images_with_objects():
    """Maps that are bright where images are: objects there are hit, objects elsewhere missed, the middle by one."""
    images = np.zeros((3, 4, 4, 1), np.uint8)
    images[:, 3, 0] = 1
    network = Network({}, {}, None, lambda _, seen, *__: {"Grad-CAM": seen[..., 0]})
    boxes = np.array([[[0, 3, 1, 4]], [[2, 2, 4, 4]], [[0, 0, 1, 1]]], np.float32)
    objects = {"boxes": boxes, "box_visible": np.array([[1.0], [1.0], [0.0]])}
    seen = Seen(images, ["a", "b", "c"], np.zeros(3, int), objects, (4, 4), np.ones((3, 4, 4), bool), "")
    found = pointing_game(network, seen, seen.labels)
    assert found == {"images": 2, "hits": {"Grad-CAM": 1, "the middle of the image": 1}, "chance": 5 / 32}
    assert pointing_game(network, seen._replace(objects={}), seen.labels) == {}


def test_where_an_image_has_several_labels_the_truth_is_the_one_least_seen():
    labels, probabilities = np.array([[1, 1, 0], [0, 0, 0], [-1, -1, -1]]), np.array([[0.9, 0.2, 0.1]] * 3)
    assert true_classes(MULTI_LABEL, labels, probabilities).tolist() == [1, -1, -1]
