"""Heads that are fitted or corrected without steps."""

import jax
import numpy as np
import pytest

from efficient_jax.experiment import fit
from efficient_jax.training.trained import Trained
from tests.tiny_run import run, stage, tuned


@pytest.mark.versions
@pytest.mark.parametrize("head", ["ridge", "logistic"])
def test_a_head_is_fitted_without_steps(images, teacher, tmp_path, head):
    probe = {"model": stage("supervised")["model"], "method": {"name": "linear_probe", "head": head}, "init": "first"}
    first = stage("supervised", init=str(teacher))
    found = run(images, tmp_path, {"first": first, "probe": probe})[1]
    assert found["test"] == {"correct": 30, "n": 30}
    before, after = (Trained.open(str(tmp_path / name), "test").variables for name in ("first", "probe"))
    assert (before["params"].pop("head")["kernel"] != after["params"].pop("head")["kernel"]).any()
    jax.tree.map(np.testing.assert_array_equal, before, after)


def test_a_fitted_head_is_where_training_may_start(images, teacher, tmp_path):
    probe = {"model": stage("supervised")["model"], "method": {"name": "linear_probe"}, "init": str(teacher)}
    block = tuned(((".*", 0.0),), init="probe", steps=2)
    run(images, tmp_path, {"probe": probe | {"views": 3, "augment": {"ops": ("flip",)}}, "then": block})
    before, after = (Trained.open(str(tmp_path / name), "test").variables for name in ("probe", "then"))
    jax.tree.map(np.testing.assert_array_equal, before, after)


def test_features_of_a_probe_are_computed_once_for_all_heads(images, teacher, tmp_path, monkeypatch):
    """Of a network as it is; where it is another, or augmented views are asked for, anew. The heads are those that
    each finds alone."""
    extracted, extract = [], fit.extract_rows
    monkeypatch.setattr(fit, "extract_rows", lambda *a, **k: extracted.append(len(a[3])) or extract(*a, **k))
    model = stage("supervised")["model"]
    probe = {"model": model, "init": str(teacher), "method": {"name": "linear_probe", "head": "ridge"}}
    logistic = probe | {"method": {"name": "linear_probe", "head": "logistic"}}
    views = probe | {"views": 2, "augment": {"ops": ("flip",)}}
    blocks = {"a": probe, "b": logistic, "c": probe | {"init": "b"}, "d": views, "e": probe | {"size": 16}}
    together = run(images, tmp_path, blocks, validation=30)
    assert extracted == [12, 30, 12, 12, 12, 30]
    alone = run(images, tmp_path / "alone", {"b": logistic}, validation=30)[0]
    without = {"seconds": 0}
    assert together[1] | without == alone | without
    one, other = (Trained.open(str(path / "b"), "test").variables for path in (tmp_path, tmp_path / "alone"))
    jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.mark.versions
def test_a_bias_is_put_right_by_the_images_without_labels(images, tmp_path):
    """A student that has never seen a class learns of it from the frequencies; all but its bias stays."""
    block = {"model": stage("supervised")["model"], "method": {"name": "prior_correction"}, "init": "blind"}
    blind = stage("supervised", omit=("1",), steps=30)
    before, after = run(images, tmp_path, {"blind": blind, "corrected": block})
    assert after["test"]["correct"] > before["test"]["correct"]
    start, end = (Trained.open(str(tmp_path / name), "test").variables for name in ("blind", "corrected"))
    assert (start["params"]["head"].pop("bias") != end["params"]["head"].pop("bias")).all()
    jax.tree.map(np.testing.assert_array_equal, start, end)
