"""Stages wired to each other, on tiny images with few updates."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from efficient_jax import files, losses, models
from efficient_jax.experiment import stage as experiment
from efficient_jax.experiment.run import description_of
from efficient_jax.experiment.targets import supervise
from efficient_jax.methods import METHODS
from efficient_jax.training import checkpoint, step, trained
from efficient_jax.training.stopping import Stop, Stopped
from efficient_jax.types import UserError
from tests.commands.launch import ROOT
from tests.tiny_run import SHAPE, prepared, run, stage


def test_what_can_be_learned_is_learned(teacher):
    found = json.loads((teacher / "result.json").read_text())
    assert found["test"] == {"correct": 30, "n": 30}


@pytest.mark.parametrize("method", ["fixmatch", "flexmatch", "uda", "mean_teacher", "pseudo_label"])
def test_a_network_that_is_its_own_teacher_learns(images, tmp_path, method):
    strong = {"strong_augment": {"ops": ("cutout",), "cutout": {"size": 2}}}
    (found,) = run(images, tmp_path, {"s": stage(method, updates=40, **(strong if METHODS[method].strong else {}))})
    assert found["test"]["correct"] >= 20  # of 30; 10 by chance
    assert found["images_seen"] == 40 * (24 if METHODS[method].strong else 16)


LEARNED = ("distill", "noisy_student", "fixmatch", "flexmatch", "uda", "mean_teacher", "pseudo_label")


def test_devices_do_not_change_the_losses_of_any_method(images, teacher, tmp_path):
    """As many as there are; where these are eight, as in the test below, of every one."""
    blocks: dict = {}
    methods = LEARNED if jax.device_count() == 8 else ("noisy_student", "flexmatch")
    for name in methods:
        strong = {"strong_augment": {"ops": ("cutout",), "cutout": {"size": 2}}} if METHODS[name].strong else {}
        taught = {"teacher": str(teacher)} if METHODS[name].needs_teacher else {}
        batch = {"labelled": 16, "unlabelled": 16}
        blocks[name] = stage(name, updates=3, log_every=1, batch=batch, **strong, **taught)
    counts = (1, jax.device_count())
    for devices in counts:
        run(images, tmp_path / str(devices), blocks, devices=devices)
    for name in methods:
        one, many = (
            [line["loss"] for line in files.read_lines(tmp_path / str(devices) / name / "metrics.jsonl")]
            for devices in counts
        )
        assert len(one) == 3
        np.testing.assert_allclose(many, one, rtol=1e-5, err_msg=name)


def test_eight_devices():
    """In a process that has them."""
    test = f"{Path(__file__).relative_to(ROOT)}::test_devices_do_not_change_the_losses_of_any_method"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "0", test],
        cwd=ROOT,
        env={**os.environ, "JAX_NUM_CPU_DEVICES": "8"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout


def test_stages_of_other_sizes(images, teacher, tmp_path):
    """A student on images of another size has its teacher's labels; the next stage goes on as before."""
    labels = {"threshold": 0.0, "balance": False}
    blocks = {
        "student": stage("noisy_student", updates=30, teacher=str(teacher), size=16, pseudo_labels=labels),
        "fixed": stage("supervised", init="student"),
        "again": stage("noisy_student", teacher="student", pseudo_labels=labels),
    }
    student, fixed, again = run(images, tmp_path, blocks)
    assert student["pseudo_labels"]["right"] == again["pseudo_labels"]["right"] == 108
    assert student["test"]["correct"] == fixed["test"]["correct"] == 30
    shapes = [trained.load(tmp_path / name, "test")[2]["image_shape"] for name in blocks]
    assert shapes == [[16, 16, 1], [8, 8, 1], [8, 8, 1]]
    seen = np.load(tmp_path / "student" / "samples.npz")
    assert seen["raw"].shape[1:] == (16, 16, 1)


def test_the_loss_knows_how_many_of_each_class_are_labelled(tmp_path):
    """With a class balance near 1 a class of which half as many are labelled weighs twice as much: it is told so."""
    labels = np.repeat([0, 1], [60, 20])
    pixels = np.random.default_rng(0).integers(0, 256, (80, *SHAPE), np.uint8)
    np.savez(tmp_path / "a.npz", images=pixels, labels=labels)
    first = []
    for beta in (0.0, 0.999):
        block = stage("supervised") | {"method": {"name": "supervised", "class_balance": beta}}
        ready = prepared(str(tmp_path / "a.npz"), tmp_path, {"s": block}, labels_per_class=0, test=8)
        (each,) = ready.stages
        about = description_of(each, ready)
        variables = models.init(trained.build(about)[0], jax.random.key(0), SHAPE)
        variables["params"]["head"] = jax.tree.map(np.zeros_like, variables["params"]["head"])
        updates = experiment.updates(each, ready, supervise(each, ready), about, variables)
        given = next(updates.given(0))
        counts = np.bincount(labels[np.asarray(given["labelled"]["index"])[:, 0].ravel()], minlength=2)
        first.append(float(updates.update(updates.state, given)[1]["loss"][0]))
    weights = np.array(losses.class_weights(np.array([54.0, 18.0], np.float32), 0.999))
    np.testing.assert_allclose(first, [8 * np.log(2), counts @ weights * np.log(2)], rtol=1e-5)  # all are undecided


def test_a_teacher_is_the_same_after_training(images, teacher, tmp_path):
    _, before, _ = trained.load(teacher, "test")
    run(images, tmp_path, {"small": stage("distill", teacher=str(teacher))})
    _, after, _ = trained.load(teacher, "test")
    jax.tree.map(np.testing.assert_array_equal, before, after)


def test_a_start_is_where_training_starts(images, teacher, tmp_path):
    """With a learning rate of zero the parameters stay what `init` names."""
    still = {"learning_rate": 0.0, "warmup": 0, "weight_decay": 0.0, "clip": 1.0, "rules": ((".*", 1.0),)}
    run(images, tmp_path, {"tuned": stage("supervised", init=str(teacher), optim=still)})
    start, end = (trained.load(path, "test")[1]["params"] for path in (teacher, tmp_path / "tuned"))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), start, end)


def test_with_validation_the_best_checkpoint_is_the_result(images, tmp_path):
    """Every checkpoint is scored; the result has the score of the best."""
    (found,) = run(images, tmp_path, {"s": stage("supervised", updates=6, save_every=1, log_every=6)}, validation=30)
    lines = [json.loads(line) for line in (tmp_path / "s" / "metrics.jsonl").read_text().splitlines()]
    scores = [line["validation_accuracy"] for line in lines if "validation_accuracy" in line]
    assert len(scores) == 6
    assert found["validation"]["correct"] == round(30 * max(scores))


def test_a_finished_stage_is_not_trained_again(images, teacher):
    before = (teacher / "metrics.jsonl").stat().st_mtime_ns
    run(images, teacher.parent, {"teacher": stage("supervised", updates=30)})
    assert (teacher / "metrics.jsonl").stat().st_mtime_ns == before


def test_what_a_teacher_sees_needs_no_classes_in_common(two, teacher, tmp_path):
    """What the method trains beside the student is neither handed on nor counted; the layers of a rate know it."""
    terms = (("fitnet", 1.0, "stage2", "stage3"), ("similarity", 10.0, "features", "features"))
    optim = stage("distill")["optim"] | {"layer_decay": 0.9}
    method = {"name": "feature_distill", "terms": terms}
    block = stage("feature_distill", teacher=str(teacher), optim=optim) | {"method": method}
    _, before, _ = trained.load(teacher, "test")
    found, alone = run(two, tmp_path, {"s": block, "alone": stage("supervised", init="s")})
    assert found["parameters"] == alone["parameters"]
    assert "regressor" not in trained.load(tmp_path / "s", "test")[1]["params"]
    jax.tree.map(np.testing.assert_array_equal, before, trained.load(teacher, "test")[1])


def test_a_student_can_do_without_labels(images, teacher, tmp_path):
    block = stage("distill", teacher=str(teacher), updates=0, epochs=0.5)
    block |= {"batch": {"labelled": 0, "unlabelled": 8}}
    soft = {"name": "distill", "hard_weight": 0.0}
    (found,) = run(images, tmp_path, {"s": block | {"method": soft}})
    assert (found["labels"], found["updates"], found["images_seen"]) == (0, 12, 96)  # 198 images without labels
    with pytest.raises(UserError, match=r"config\.s: method\.hard_weight: 0\.1 asked, but batch\.labelled is 0"):
        run(images, tmp_path / "hard", {"s": block})


def test_a_bias_is_put_right_by_the_images_without_labels(images, tmp_path):
    """A student that has never seen a class learns of it from the frequencies; all but its bias stays."""
    block = {"model": stage("supervised")["model"], "method": {"name": "prior_correction"}, "init": "blind"}
    blind = stage("supervised", omit=("1",), updates=30)
    before, after = run(images, tmp_path, {"blind": blind, "corrected": block})
    assert after["test"]["correct"] > before["test"]["correct"]
    start, end = (trained.load(tmp_path / name, "test")[1] for name in ("blind", "corrected"))
    assert (start["params"]["head"].pop("bias") != end["params"]["head"].pop("bias")).all()
    jax.tree.map(np.testing.assert_array_equal, start, end)


HEAD_ONLY = (("head/.*", 1.0), (".*", 0.0))


def tuned(rules, **changes):
    return stage("supervised", optim=stage("supervised")["optim"] | {"weight_decay": 0.1, "rules": rules}, **changes)


def test_a_frozen_backbone_keeps_every_bit(images, teacher, tmp_path):
    """Parameters and batch statistics, in the average that a stage hands on too."""
    run(images, tmp_path, {"probe": tuned(HEAD_ONLY, init=str(teacher), updates=5)})
    before, after = (trained.load(path, "test")[1] for path in (teacher, tmp_path / "probe"))
    assert (before["params"].pop("head")["kernel"] != after["params"].pop("head")["kernel"]).any()
    jax.tree.map(np.testing.assert_array_equal, before, after)


@pytest.mark.parametrize("head", ["ridge", "logistic"])
def test_a_head_is_fitted_without_updates(images, teacher, tmp_path, head):
    probe = {"model": stage("supervised")["model"], "method": {"name": "linear_probe", "head": head}, "init": "first"}
    first = stage("supervised", init=str(teacher))
    found = run(images, tmp_path, {"first": first, "probe": probe})[1]
    assert found["test"] == {"correct": 30, "n": 30}
    before, after = (trained.load(tmp_path / name, "test")[1] for name in ("first", "probe"))
    assert (before["params"].pop("head")["kernel"] != after["params"].pop("head")["kernel"]).any()
    jax.tree.map(np.testing.assert_array_equal, before, after)


def test_a_fitted_head_is_where_training_may_start(images, teacher, tmp_path):
    probe = {"model": stage("supervised")["model"], "method": {"name": "linear_probe"}, "init": str(teacher)}
    block = tuned(((".*", 0.0),), init="probe", updates=2)
    run(images, tmp_path, {"probe": probe | {"views": 3, "augment": {"ops": ("flip",)}}, "then": block})
    before, after = (trained.load(tmp_path / name, "test")[1] for name in ("probe", "then"))
    jax.tree.map(np.testing.assert_array_equal, before, after)


def test_the_head_is_new_where_the_classes_are(teacher, tmp_path):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "two.npz", images=rng.integers(0, 256, (90, *SHAPE), np.uint8), labels=np.arange(90) % 2)
    run(str(tmp_path / "two.npz"), tmp_path / "run", {"s": tuned(HEAD_ONLY, init=str(teacher))})
    before, (_, after, about) = trained.load(teacher, "test")[1:], trained.load(tmp_path / "run" / "s", "test")
    assert after["params"]["head"]["kernel"].shape == (16, 2)
    np.testing.assert_array_equal(
        before[0]["params"]["stage1"]["conv"]["kernel"], after["params"]["stage1"]["conv"]["kernel"]
    )
    assert (about["mean"], about["std"]) == (before[1]["mean"], before[1]["std"])  # they belong to the weights


def test_grey_images_may_enter_a_network_for_colours(images, tmp_path):
    run(images, tmp_path, {"s": stage("supervised", mean=(0.5,) * 3, std=(0.25,) * 3)})
    _, variables, _ = trained.load(tmp_path / "s", "test")
    assert variables["params"]["stage1"]["conv"]["kernel"].shape[2] == 3


def test_devices_may_normalise_each_for_itself(images, tmp_path):
    """Their statistics are averaged, so that they agree; assert_replicas_agree at the checkpoint would fail."""
    together, alone = ({"s": stage("supervised", norm_axis=axis)} for axis in ("device", ""))
    run(images, tmp_path / "together", together)
    run(images, tmp_path / "alone", alone)
    a, b = (trained.load(tmp_path / name / "s", "test")[1]["batch_stats"] for name in ("together", "alone"))
    np.testing.assert_allclose(a["stage1"]["norm"]["mean"], b["stage1"]["norm"]["mean"], rtol=0.02)
    assert (a["stage1"]["norm"]["var"] != b["stage1"]["norm"]["var"]).any()


def test_a_stage_may_be_measured_in_epochs(images, tmp_path):
    (found,) = run(images, tmp_path, {"s": stage("supervised", updates=0) | {"epochs": 2.0}})
    assert found["updates"] == 3  # 12 labelled images, 8 in an update


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
    said, block = io.StringIO(), stage("supervised", updates=6, save_every=2)
    ready = prepared(images, tmp_path, {"s": block}, said)
    (each,) = ready.stages
    with pytest.raises(Stopped, match="stopped before the first step of stage 's'"):
        experiment.run_stage(each, ready, After(1))
    with pytest.raises(Stopped, match=r"stage 's': stopped after update 3 of 6"):
        experiment.run_stage(each, ready, After(4))
    assert "goes on" not in said.getvalue()
    spent = files.read_json(tmp_path / "s" / "seconds.json")["seconds"]
    assert spent > 0
    files.write_json(tmp_path / "s" / "seconds.json", {"seconds": 1000.0})
    with pytest.raises(Stopped, match="stopped after the last step of stage 's'"):
        experiment.run_stage(each, ready, After(5))
    assert "s: goes on after step 3 of 6\n" in said.getvalue()
    assert files.read_json(tmp_path / "s" / "seconds.json")["seconds"] > 1000
    assert experiment.run_stage(each, ready)["seconds"] > 1000
    whole = prepared(images, tmp_path / "whole", {"s": block})
    whole.workdir.mkdir()
    assert experiment.run_stage(whole.stages[0], whole)["seconds"] < 1000
    one, other = (trained.load(path / "s", "test")[1] for path in (tmp_path, tmp_path / "whole"))
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_a_stage_of_another_run_is_restored_once(images, teacher, tmp_path, monkeypatch):
    """For its normalisation, the rehearsal, as a start and as a teacher, of two stages."""
    restored, load = [], checkpoint._load
    monkeypatch.setattr(checkpoint, "_load", lambda stage, *rest: restored.append(stage) or load(stage, *rest))
    student = stage("noisy_student", init=str(teacher), teacher=str(teacher), pseudo_labels={"threshold": 0.0})
    _, second = run(images, tmp_path, {"a": student, "b": stage("distill", init=str(teacher), teacher="a")})
    assert restored.count(teacher) == 1
    assert second["test"]["n"] == 30


def test_what_a_stage_begins_with_is_left_as_it_is(two, teacher, tmp_path):
    """A new head for other classes does not get into what the next stage restores."""
    blocks = {name: stage("supervised", init=str(teacher)) for name in ("a", "b")}
    ready = prepared(two, tmp_path, blocks)
    before = jax.tree.map(np.copy, ready.restored(teacher, "test")[0])
    for each in ready.stages:
        experiment.run_stage(each, ready)
    jax.tree.map(np.testing.assert_array_equal, ready.restored(teacher, "test")[0], before)


def test_features_of_a_probe_are_computed_once_for_all_heads(images, teacher, tmp_path, monkeypatch):
    """Of a network as it is; where it is another, or augmented views are asked for, anew. The heads are those that
    each finds alone."""
    extracted, extract = [], step.extract_rows
    monkeypatch.setattr(step, "extract_rows", lambda *a, **k: extracted.append(len(a[3])) or extract(*a, **k))
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
    one, other = (trained.load(path / "b", "test")[1] for path in (tmp_path, tmp_path / "alone"))
    jax.tree.map(np.testing.assert_array_equal, one, other)
