"""What stages share."""

import jax
import numpy as np

from efficient_jax.experiment.stage import run_stage
from efficient_jax.training import checkpoint
from tests.tiny_run import prepared, run, stage


def test_a_stage_of_another_run_is_restored_once(images, teacher, tmp_path, monkeypatch):
    """For its normalisation, the dry run, as a start and as a teacher, of two stages."""
    restored, load = [], checkpoint.load
    monkeypatch.setattr(checkpoint, "load", lambda stage, *rest: restored.append(stage) or load(stage, *rest))
    student = stage("noisy_student", init=str(teacher), teacher=str(teacher), pseudo_labels={"threshold": 0.0})
    _, second = run(images, tmp_path, {"a": student, "b": stage("distill", init=str(teacher), teacher="a")})
    assert restored.count(teacher) == 1
    assert second["test"]["n"] == 30


def test_what_a_stage_begins_with_is_left_as_it_is(two, teacher, tmp_path):
    """A new head for other classes does not get into what the next stage restores."""
    blocks = {name: stage("supervised", init=str(teacher)) for name in ("a", "b")}
    ready = prepared(two, tmp_path, blocks)
    before = jax.tree.map(np.copy, ready.trained(str(teacher), "test").variables)
    for each in ready.plan.stages:
        run_stage(each, ready)
    jax.tree.map(np.testing.assert_array_equal, ready.trained(str(teacher), "test").variables, before)
