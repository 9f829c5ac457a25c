"""Stages wired to each other, on tiny images with few updates."""

import json

import jax
import numpy as np
import pytest
from rich.console import Console

from efficient_jax import experiment, members, preparation
from efficient_jax.plan import plan
from efficient_jax.types import UserError

CLASSES, SHAPE = 3, (8, 8, 1)


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> str:
    """Three classes that differ in brightness; the last 90 images have no label."""
    rng = np.random.default_rng(0)
    labels = np.arange(240) % CLASSES
    pixels = rng.integers(0, 60, (240, *SHAPE)) + 90 * labels[:, None, None, None]
    path = tmp_path_factory.mktemp("images") / "images.npz"
    np.savez(path, images=pixels.astype(np.uint8), labels=np.where(np.arange(240) < 150, labels, -1))
    return str(path)


def stage(method: str, updates: int = 2, **changes) -> dict:
    block = {
        "model": {"name": "cnn", "width": 4},
        "method": {"name": method},
        "batch": {"labelled": 8} if method == "supervised" else {"labelled": 8, "unlabelled": 8},
        "augment": {"ops": ()},
        "optim": {"learning_rate": 1e-2, "warmup": 0, "weight_decay": 0.0, "clip": 1.0, "rules": ((".*", 1.0),)},
        "updates": updates,
        "ema_decay": 0.9,
    }
    return block | changes


def run(images: str, workdir, stages: dict, validation: int = 0) -> list[dict]:
    config = {
        "seed": 0,
        "devices": 2,
        "stages": tuple(stages),
        "data": {
            "source": {"name": "npz", "path": images},
            "labels_per_class": 4,
            "test": 30,
            "validation": validation,
        },
        **stages,
    }
    checked = plan(config)
    prepared = preparation.prepare(checked, workdir, Console(quiet=True))
    return [experiment.run_stage(stage, prepared) for stage in prepared.stages]


@pytest.fixture(scope="module")
def teacher(images, tmp_path_factory):
    """A trained stage of another run."""
    workdir = tmp_path_factory.mktemp("teacher")
    run(images, workdir, {"teacher": stage("supervised", updates=30)})
    return workdir / "teacher"


def test_what_can_be_learned_is_learned(teacher):
    found = json.loads((teacher / "result.json").read_text())
    assert found["test"] == {"correct": 30, "n": 30}


def test_a_teacher_of_another_run_labels_the_pool(images, teacher, tmp_path):
    block = stage("noisy_student", teacher=str(teacher), pseudo_labels={"threshold": 0.0, "balance": False})
    (found,) = run(images, tmp_path, {"student": block})
    # 240 images less 30 of the test and 12 labelled; a person's label is known of 108
    assert found["pseudo_labels"] == {"pool": 198, "kept": 198, "known": 108, "right": 108}


def test_a_teacher_is_the_same_after_training(images, teacher, tmp_path):
    _, before, _ = members.load(teacher, "test")
    run(images, tmp_path, {"small": stage("distill", teacher=str(teacher))})
    _, after, _ = members.load(teacher, "test")
    jax.tree.map(np.testing.assert_array_equal, before, after)


def test_a_start_is_where_training_starts(images, teacher, tmp_path):
    """With a learning rate of zero the parameters stay what `init` names."""
    still = {"learning_rate": 0.0, "warmup": 0, "weight_decay": 0.0, "clip": 1.0, "rules": ((".*", 1.0),)}
    run(images, tmp_path, {"tuned": stage("supervised", init=str(teacher), optim=still)})
    start, end = (members.load(path, "test")[1]["params"] for path in (teacher, tmp_path / "tuned"))
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


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optim": stage("supervised")["optim"] | {"rules": (("head/.*", 1.0),)}}, "no rule matches"),
        ({"augment": {"ops": ("cutout",), "cutout": {"size": -3}}}, r"config\.s: cutout"),
        ({"model": {"name": "cnn", "width": 0}}, "width"),
    ],
)
def test_values_are_checked_before_training(images, tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        run(images, tmp_path, {"s": stage("supervised") | changes})
    assert not (tmp_path / "s").exists()


def test_a_teacher_of_other_classes_is_refused(teacher, tmp_path):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "two.npz", images=rng.integers(0, 256, (90, *SHAPE), np.uint8), labels=np.arange(90) % 2)
    block = stage("distill", teacher=str(teacher))
    with pytest.raises(UserError, match="knows the classes"):
        run(str(tmp_path / "two.npz"), tmp_path, {"s": block})
