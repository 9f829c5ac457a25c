"""The steps of a stage and their loop: what is counted, resumed, chosen."""

import contextlib
import io
import json

import jax
import numpy as np
import pytest

from efficient_jax import files, losses, models
from efficient_jax.experiment.opened_stage import Stage
from efficient_jax.experiment.stage import run_stage
from efficient_jax.experiment.targets import supervise
from efficient_jax.experiment.train import build_train_steps
from efficient_jax.training.stopping import Stop, Stopped
from efficient_jax.training.trained import Trained
from tests.tiny_run import SHAPE, prepared, run, stage


def test_the_loss_knows_how_many_of_each_class_are_labelled(tmp_path):
    """With a class balance near 1 a class of which half as many are labelled weighs twice as much: it is told so."""
    labels = np.repeat([0, 1], [60, 20])
    pixels = np.random.default_rng(0).integers(0, 256, (80, *SHAPE), np.uint8)
    np.savez(tmp_path / "a.npz", images=pixels, labels=labels)
    first = []
    for beta in (0.0, 0.999):
        block = stage("supervised", model={"name": "mlp", "width": 4}) | {
            "method": {"name": "supervised", "class_balance": beta}
        }
        ready = prepared(str(tmp_path / "a.npz"), tmp_path, {"s": block}, labels_per_class=0, test=8)
        (config,) = ready.plan.stages
        opened = Stage.open(config, ready)
        variables = models.init(opened.module, jax.random.key(0), SHAPE)
        variables["params"]["head"] = jax.tree.map(np.zeros_like, variables["params"]["head"])
        steps = build_train_steps(opened, supervise(config, ready), variables)
        given = next(steps.inputs(0, 1))
        counts = np.bincount(labels[np.asarray(given["labelled"]["index"])[:, 0].ravel()], minlength=2)
        first.append(float(steps.run(steps.state, given)[1]["loss"][0]))
    weights = np.array(losses.class_weights(np.array([54.0, 18.0], np.float32), 0.999))
    np.testing.assert_allclose(first, [8 * np.log(2), counts @ weights * np.log(2)], rtol=1e-5)  # all are undecided


def test_with_validation_the_best_checkpoint_is_the_result(images, tmp_path):
    """Every checkpoint is scored; the result has the score of the best."""
    (found,) = run(images, tmp_path, {"s": stage("supervised", steps=6, save_every=1, log_every=6)}, validation=30)
    lines = [json.loads(line) for line in (tmp_path / "s" / "metrics.jsonl").read_text().splitlines()]
    scores = [line["validation_accuracy"] for line in lines if "validation_accuracy" in line]
    assert len(scores) == 6
    assert found["validation"]["correct"] == round(30 * max(scores))
    logged = {line["step"]: line["validation_loss"] for line in lines if "validation_loss" in line}
    kept = np.load(tmp_path / "s" / "validation.npz")
    of_truth = kept["probabilities"][np.arange(30), kept["label"]]
    assert logged[found["step"]] == pytest.approx(-np.log(of_truth).mean(), rel=1e-5)


def test_devices_may_normalise_each_for_itself(images, tmp_path):
    """Their statistics are averaged, so that they agree; assert_replicas_agree at the checkpoint would fail."""
    together, alone = ({"s": stage("supervised", norm_axis=axis)} for axis in ("device", ""))
    run(images, tmp_path / "together", together)
    run(images, tmp_path / "alone", alone)
    a, b = (Trained.open(str(tmp_path / name / "s"), "test").variables["batch_stats"] for name in ("together", "alone"))
    np.testing.assert_allclose(a["stage1"]["norm"]["mean"], b["stage1"]["norm"]["mean"], rtol=0.02)
    assert (a["stage1"]["norm"]["var"] != b["stage1"]["norm"]["var"]).any()


class After(Stop):
    """Asks to stop at its `count`-th question."""

    def __init__(self, count):
        super().__init__()
        self.count = count

    def __call__(self):
        self.count -= 1
        return self.count == 0


def test_a_resumed_stage_says_where_it_goes_on_and_counts_all_its_seconds(images, tmp_path):
    """The first question comes before the first step, the last after the last one; what was trained is what an
    unstopped run trains."""
    said, block = io.StringIO(), stage("supervised", steps=6, save_every=2)
    ready = prepared(images, tmp_path, {"s": block}, said)
    (each,) = ready.plan.stages
    with pytest.raises(Stopped, match="stopped before the first step of stage 's'"):
        run_stage(each, ready, After(1))
    with pytest.raises(Stopped, match=r"stage 's': stopped after step 3 of 6"):
        run_stage(each, ready, After(4))
    assert "goes on" not in said.getvalue()
    spent = files.read_json(tmp_path / "s" / "seconds.json")["seconds"]
    assert spent > 0
    files.write_json(tmp_path / "s" / "seconds.json", {"seconds": 1000.0})
    with pytest.raises(Stopped, match="stopped after the last step of stage 's'"):
        run_stage(each, ready, After(5))
    assert "s: goes on after step 3 of 6\n" in said.getvalue()
    assert files.read_json(tmp_path / "s" / "seconds.json")["seconds"] > 1000
    assert run_stage(each, ready)["seconds"] > 1000
    whole = prepared(images, tmp_path / "whole", {"s": block})._replace(profile=range(2, 4))
    whole.workdir.mkdir()
    assert run_stage(whole.plan.stages[0], whole)["seconds"] < 1000
    one, other = (Trained.open(str(path / "s"), "test").variables for path in (tmp_path, tmp_path / "whole"))
    jax.tree.map(np.testing.assert_array_equal, one, other)
    assert list((tmp_path / "whole" / "s").glob("plugins/profile/*/*.xplane.pb"))


def test_a_step_names_its_parts_for_traces_and_computes_the_same_without(images, tmp_path, monkeypatch):
    def lowered(workdir):
        ready = prepared(images, workdir, {"s": stage("supervised", augment={"ops": ("flip",)})})
        (config,) = ready.plan.stages
        opened = Stage.open(config, ready)
        variables = models.init(opened.module, jax.random.key(0), SHAPE)
        steps = build_train_steps(opened, supervise(config, ready), variables)
        return steps.step.lower(*steps.arguments(steps.state, next(steps.inputs(0, 1))))

    named = lowered(tmp_path)
    names = named.as_text(debug_info=True)
    for name in ("loss/jvp(augment)/", "loss/jvp(forward)/", "loss/transpose(jvp(forward))/", '"optimizer/'):
        assert name in names
    monkeypatch.setattr(jax, "named_scope", contextlib.contextmanager(lambda name: iter([name])))
    assert lowered(tmp_path).as_text() == named.as_text()
