"""Stages that pretrain a ViT: by MAE, whose decoder nobody else sees, and by LeJEPA with small local crops."""

import jax
import numpy as np
import pytest

from efficient_jax import files, models
from efficient_jax.errors import UserError
from efficient_jax.experiment.config import plan
from efficient_jax.experiment.opened_stage import Stage
from efficient_jax.experiment.stage import run_stage
from efficient_jax.experiment.train import build_program
from efficient_jax.models import vit
from efficient_jax.training.stopping import Stopped
from efficient_jax.training.trained import Trained
from tests.experiment.test_train import After
from tests.tiny_run import SHAPE, prepared, run, stage

NET = {"name": "vit", "variant": "tiny/2", "pool": "mean", "class_token": False}
BLOCK = stage("mae", model=NET, steps=6, batch={"labelled": 0, "unlabelled": 8}, save_every=3, log_every=3) | {
    "method": {"name": "mae", "decoder_width": 32, "decoder_depth": 1}
}
CROPS = {"ops": ("random_resized_crop",), "random_resized_crop": {"size": (4, 4), "area_max": 0.3}}


@pytest.fixture(autouse=True, scope="module")
def tiny():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(vit.SIZES, "tiny", (24, 1, 3))
        yield


@pytest.fixture(scope="module")
def trained(images, tmp_path_factory):
    """The folder and the results of a stage of MAE, and of one that starts from it."""
    folder = tmp_path_factory.mktemp("mae")
    blocks = {"features": BLOCK, "tuned": stage("supervised", model=NET, init="features", steps=2)}
    return folder, run(images, folder, blocks)


def test_a_stage_starts_from_the_network_without_its_decoder(trained):
    folder, (features, _) = trained
    fresh = models.shapes(vit.ViT(3, **{k: v for k, v in NET.items() if k != "name"}), SHAPE)
    assert Trained.open(str(folder / "tuned"), "test").variables["params"].keys() == fresh["params"].keys()
    both = [Trained.open(str(folder / name), "test") for name in ("features", "tuned")]
    assert both[0].variables["params"].keys() == fresh["params"].keys()
    assert [each.spec.head["name"] for each in both] == ["knn", "linear"]
    assert features["parameters"] < 100_000


def test_accuracy_of_neighbours_is_logged(trained):
    folder, _ = trained
    lines = files.read_lines(folder / "features" / "metrics.jsonl")
    assert len([line for line in lines if "knn_score" in line]) == 2
    assert all(np.isfinite(line["loss"]) for line in lines if "loss" in line)


def test_a_stopped_stage_ends_as_one_that_was_not(images, trained, tmp_path):
    """The decoder and its optimizer go on too: all weights are the same to the bit."""
    ready = prepared(images, tmp_path, {"features": BLOCK})
    (each,) = ready.plan.stages
    with pytest.raises(Stopped, match="stopped after step 3 of 6"):
        run_stage(each, ready, After(4))
    run_stage(each, ready)
    one, other = (Trained.open(str(path / "features"), "test").variables for path in (tmp_path, trained[0]))
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_the_decoder_has_the_learning_rate_of_the_head(images, tmp_path):
    ready = prepared(images, tmp_path, {"features": BLOCK | {"optim": BLOCK["optim"] | {"layer_decay": 0.5}}})
    opened = Stage.open(ready.plan.stages[0], ready)
    variables = models.shapes(opened.module, SHAPE)
    program = build_program(opened, variables)
    of_head = [row for row in program.table if row.multiplier == 1.0]
    assert sum(row.tensors for row in of_head) == len(jax.tree.leaves(program.added)) + 2
    assert program.added.keys() == {"decoder"}


def test_local_crops_of_another_size_train_a_vit(images, tmp_path):
    method = {"name": "lejepa", "local_views": 2, "directions": 16, "dim": 8, "hidden": 16}
    block = BLOCK | {"method": method, "strong_augment": CROPS, "steps": 2}
    run(images, tmp_path, {"features": block})
    lines = files.read_lines(tmp_path / "features" / "metrics.jsonl")
    assert [np.isfinite(line["distance"]) for line in lines if "distance" in line] == [True]


def test_another_architecture_is_refused_in_one_line():
    data = {"source": {"name": "npz", "path": "a.npz"}, "test": 8}
    block = BLOCK | {"model": {"name": "cnn", "width": 4}}
    message = r"^config.s.model.name: the method 'mae' needs 'vit', not 'cnn': it hides patches$"
    with pytest.raises(UserError, match=message):
        plan({"seed": 0, "devices": 1, "stages": ("s",), "data": data, "s": block})
