"""Stages that learn features without labels: their head is fitted, and others start from them."""

import json

import numpy as np
import pytest

from efficient_jax import files
from efficient_jax.training.trained import Trained
from tests.tiny_run import run, stage

STRONG = {"strong_augment": {"ops": ("cutout",), "cutout": {"size": 2}}}
BATCH = {"labelled": 0, "unlabelled": 16}


@pytest.fixture(scope="module")
def results(images, tmp_path_factory):
    """A stage of LeJEPA, one that starts from it, and the same with random weights: (folder, results)."""
    folder = tmp_path_factory.mktemp("pretraining")
    method = {"method": {"name": "lejepa", "local_views": 1, "directions": 64, "dim": 8, "hidden": 16}}
    blocks = {
        "features": stage("lejepa", steps=20, batch=BATCH, save_every=10, **STRONG) | method,
        "tuned": stage("supervised", init="features", steps=10),
    }
    return folder, run(images, folder, blocks)


def test_the_nearest_neighbours_answer_with_the_features(results):
    folder, (features, _) = results
    assert features["test"]["correct"] > 20  # of 30; 10 by chance
    assert Trained.open(str(folder / "features"), "test").spec.head["name"] == "knn"
    logged = [
        line["knn_score"] for line in files.read_lines(folder / "features" / "metrics.jsonl") if "knn_score" in line
    ]
    assert len(logged) == 2  # after 10 and 20 steps
    assert all(0.0 <= score <= 1.0 for score in logged)


def test_a_stage_starts_from_the_features_with_a_new_head(results):
    folder, (_, tuned) = results
    assert tuned["test"]["correct"] > 20
    params = Trained.open(str(folder / "tuned"), "test").variables["params"]
    assert set(params["head"]) == {"kernel", "bias"}
    assert "projector" not in params


def test_a_stage_that_was_stopped_before_its_result_is_finished(images, results):
    """The fitted head is fitted again, and is the same."""
    folder, (before, _) = results
    weights = Trained.open(str(folder / "features"), "test").variables
    (folder / "features" / "result.json").unlink()
    method = {"method": {"name": "lejepa", "local_views": 1, "directions": 64, "dim": 8, "hidden": 16}}
    block = stage("lejepa", steps=20, batch=BATCH, save_every=10, **STRONG) | method
    blocks = {"features": block, "tuned": stage("supervised", init="features", steps=10)}
    after, _ = run(images, folder, blocks)
    assert {**after, "seconds": 0} == {**json.loads(json.dumps(before)), "seconds": 0}
    again = Trained.open(str(folder / "features"), "test").variables
    np.testing.assert_array_equal(again["params"]["head"]["features"], weights["params"]["head"]["features"])
