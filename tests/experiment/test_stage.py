"""Stages wired to each other, on tiny images with few steps."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from efficient_jax import files
from efficient_jax.errors import UserError
from efficient_jax.methods import METHODS
from efficient_jax.training.trained import Trained
from tests.commands.launch import ROOT
from tests.tiny_run import SHAPE, run, stage, tuned


def test_what_can_be_learned_is_learned(teacher):
    found = json.loads((teacher / "result.json").read_text())
    assert found["test"] == {"correct": 30, "n": 30}


@pytest.mark.versions
@pytest.mark.parametrize(
    "method", ["fixmatch", "flexmatch", "freematch", "softmatch", "uda", "mean_teacher", "pseudo_label"]
)
def test_a_network_that_is_its_own_teacher_learns(images, tmp_path, method):
    two_views = METHODS[method].needs("strong_augment")
    (found,) = run(images, tmp_path, {"s": stage(method, steps=40, **(STRONG if two_views else {}))})
    assert found["test"]["correct"] >= 20  # of 30; 10 by chance
    assert found["images_seen"] == 40 * (24 if two_views else 16)


STRONG = {"strong_augment": {"ops": ("cutout",), "cutout": {"size": 2}}}
LEARNED = (
    "distill",
    "noisy_student",
    "fixmatch",
    "flexmatch",
    "freematch",
    "softmatch",
    "uda",
    "mean_teacher",
    "pseudo_label",
)
NORMALISED = ("noisy_student", "flexmatch")


@pytest.mark.skipif(jax.device_count() < 8, reason="test_eight_devices runs it, in a process that has them")
def test_devices_do_not_change_the_losses_of_any_method(images, teacher, tmp_path):
    """One and eight; also four where the network normalises over all devices."""
    blocks: dict = {}
    for name in LEARNED:
        strong = STRONG if METHODS[name].needs("strong_augment") else {}
        taught = {"teacher": str(teacher)} if METHODS[name].needs_teacher else {}
        network = {} if name in NORMALISED else {"model": {"name": "mlp", "width": 8}}
        batch = {"labelled": 16, "unlabelled": 16}
        blocks[name] = stage(name, steps=3, log_every=1, batch=batch, **strong, **taught, **network)
    counts = {1: LEARNED, 8: LEARNED, 4: NORMALISED}
    for devices, names in counts.items():
        run(images, tmp_path / str(devices), {name: blocks[name] for name in names}, devices=devices)
    losses = {
        (devices, name): [line["loss"] for line in files.read_lines(tmp_path / str(devices) / name / "metrics.jsonl")]
        for devices, names in counts.items()
        for name in names
    }
    for (devices, name), found in losses.items():
        assert len(found) == 3
        np.testing.assert_allclose(found, losses[1, name], rtol=1e-5, err_msg=f"{name}, {devices} devices")


@pytest.mark.versions
def test_eight_devices():
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
        "student": stage("noisy_student", steps=30, teacher=str(teacher), size=16, pseudo_labels=labels),
        "fixed": stage("supervised", init="student"),
        "again": stage("noisy_student", teacher="student", pseudo_labels=labels),
    }
    student, fixed, again = run(images, tmp_path, blocks)
    assert student["pseudo_labels"]["right"] == again["pseudo_labels"]["right"] == 108
    assert student["test"]["correct"] == fixed["test"]["correct"] == 30
    shapes = [Trained.open(str(tmp_path / name), "test").spec.image_shape for name in blocks]
    assert shapes == [(16, 16, 1), (8, 8, 1), (8, 8, 1)]
    seen = np.load(tmp_path / "student" / "samples.npz")
    assert seen["raw"].shape[1:] == (16, 16, 1)


@pytest.mark.versions
def test_a_teacher_is_the_same_after_training(images, teacher, tmp_path):
    before = Trained.open(str(teacher), "test").variables
    run(images, tmp_path, {"small": stage("distill", teacher=str(teacher))})
    after = Trained.open(str(teacher), "test").variables
    jax.tree.map(np.testing.assert_array_equal, before, after)


def test_a_start_is_where_training_starts(images, teacher, tmp_path):
    """With a learning rate of zero the parameters stay what `init` names."""
    still = {"learning_rate": 0.0, "warmup": 0, "weight_decay": 0.0, "clip": 1.0, "rules": ((".*", 1.0),)}
    run(images, tmp_path, {"tuned": stage("supervised", init=str(teacher), optim=still)})
    start, end = (Trained.open(str(path), "test").variables["params"] for path in (teacher, tmp_path / "tuned"))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), start, end)


def test_a_finished_stage_is_not_trained_again(images, teacher):
    before = (teacher / "metrics.jsonl").stat().st_mtime_ns
    run(images, teacher.parent, {"teacher": stage("supervised", steps=30)})
    assert (teacher / "metrics.jsonl").stat().st_mtime_ns == before


@pytest.mark.versions
def test_what_a_teacher_sees_needs_no_classes_in_common(two, teacher, tmp_path):
    """What the method trains beside the student is neither handed on nor counted; the layers of a rate know it."""
    terms = (("fitnet", 1.0, "stage2", "stage3"), ("similarity", 10.0, "features", "features"))
    optim = stage("distill")["optim"] | {"layer_decay": 0.9}
    method = {"name": "feature_distill", "terms": terms}
    block = stage("feature_distill", teacher=str(teacher), optim=optim) | {"method": method}
    before = Trained.open(str(teacher), "test").variables
    found, alone = run(two, tmp_path, {"s": block, "alone": stage("supervised", init="s")})
    assert found["parameters"] == alone["parameters"]
    assert "regressor" not in Trained.open(str(tmp_path / "s"), "test").variables["params"]
    jax.tree.map(np.testing.assert_array_equal, before, Trained.open(str(teacher), "test").variables)


def test_a_student_can_do_without_labels(images, teacher, tmp_path):
    block = stage("distill", teacher=str(teacher), steps=0, epochs=0.5)
    block |= {"batch": {"labelled": 0, "unlabelled": 8}}
    soft = {"name": "distill", "hard_weight": 0.0}
    (found,) = run(images, tmp_path, {"s": block | {"method": soft}})
    assert (found["labels"], found["steps"], found["images_seen"]) == (0, 12, 96)  # 198 images without labels
    with pytest.raises(UserError, match=r"config\.s: method\.hard_weight: 0\.1 needs labels, but batch\.labelled is 0"):
        run(images, tmp_path / "hard", {"s": block})


HEAD_ONLY = (("head/.*", 1.0), (".*", 0.0))


def test_a_frozen_backbone_keeps_every_bit(images, teacher, tmp_path):
    """Parameters and batch statistics, in the average that a stage hands on too."""
    run(images, tmp_path, {"probe": tuned(HEAD_ONLY, init=str(teacher), steps=5)})
    before, after = (Trained.open(str(path), "test").variables for path in (teacher, tmp_path / "probe"))
    assert (before["params"].pop("head")["kernel"] != after["params"].pop("head")["kernel"]).any()
    jax.tree.map(np.testing.assert_array_equal, before, after)


def test_the_head_is_new_where_the_classes_are(teacher, tmp_path):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "two.npz", images=rng.integers(0, 256, (90, *SHAPE), np.uint8), labels=np.arange(90) % 2)
    run(str(tmp_path / "two.npz"), tmp_path / "run", {"s": tuned(HEAD_ONLY, init=str(teacher))})
    before, after = (Trained.open(str(path), "test") for path in (teacher, tmp_path / "run" / "s"))
    assert after.variables["params"]["head"]["kernel"].shape == (16, 2)
    kernels = [trained.variables["params"]["stage1"]["conv"]["kernel"] for trained in (before, after)]
    np.testing.assert_array_equal(*kernels)
    assert (after.spec.mean, after.spec.std) == (before.spec.mean, before.spec.std)  # they belong to the weights


def test_grey_images_may_enter_a_network_for_colours(images, tmp_path):
    run(images, tmp_path, {"s": stage("supervised", mean=(0.5,) * 3, std=(0.25,) * 3)})
    variables = Trained.open(str(tmp_path / "s"), "test").variables
    assert variables["params"]["stage1"]["conv"]["kernel"].shape[2] == 3


def test_a_stage_may_be_measured_in_epochs(images, tmp_path):
    (found,) = run(images, tmp_path, {"s": stage("supervised", steps=0) | {"epochs": 2.0}})
    assert found["steps"] == 3  # 12 labelled images, 8 in an update
