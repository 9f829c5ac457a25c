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
    workdir.mkdir(exist_ok=True)
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


HEAD_ONLY = (("head/.*", 1.0), (".*", 0.0))


def tuned(rules, **changes):
    return stage("supervised", optim=stage("supervised")["optim"] | {"weight_decay": 0.1, "rules": rules}, **changes)


def test_a_frozen_backbone_keeps_every_bit(images, teacher, tmp_path):
    """Parameters and batch statistics, in the average that a stage hands on too."""
    run(images, tmp_path, {"probe": tuned(HEAD_ONLY, init=str(teacher), updates=5)})
    before, after = (members.load(path, "test")[1] for path in (teacher, tmp_path / "probe"))
    assert (before["params"].pop("head")["kernel"] != after["params"].pop("head")["kernel"]).any()
    jax.tree.map(np.testing.assert_array_equal, before, after)


@pytest.mark.parametrize("method", [{"head": "svm"}, {"l2": -1.0}])
def test_settings_of_a_head_are_checked_before_features_are_computed(images, teacher, tmp_path, method):
    block = {"model": stage("supervised")["model"], "method": {"name": "linear_probe"} | method, "init": str(teacher)}
    with pytest.raises(UserError, match=r"^config\.probe: method\."):
        run(images, tmp_path, {"probe": block})
    assert not (tmp_path / "probe").exists()


@pytest.mark.parametrize("head", ["ridge", "logistic"])
def test_a_head_is_fitted_without_updates(images, teacher, tmp_path, head):
    probe = {"model": stage("supervised")["model"], "method": {"name": "linear_probe", "head": head}, "init": "first"}
    first = stage("supervised", init=str(teacher))
    found = run(images, tmp_path, {"first": first, "probe": probe})[1]
    assert found["test"] == {"correct": 30, "n": 30}
    before, after = (members.load(tmp_path / name, "test")[1] for name in ("first", "probe"))
    assert (before["params"].pop("head")["kernel"] != after["params"].pop("head")["kernel"]).any()
    jax.tree.map(np.testing.assert_array_equal, before, after)


def test_a_fitted_head_is_where_training_may_start(images, teacher, tmp_path):
    probe = {"model": stage("supervised")["model"], "method": {"name": "linear_probe"}, "init": str(teacher)}
    block = tuned(((".*", 0.0),), init="probe", updates=2)
    run(images, tmp_path, {"probe": probe | {"views": 3, "augment": {"ops": ("flip",)}}, "then": block})
    before, after = (members.load(tmp_path / name, "test")[1] for name in ("probe", "then"))
    jax.tree.map(np.testing.assert_array_equal, before, after)


def test_the_head_is_new_where_the_classes_are(teacher, tmp_path):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "two.npz", images=rng.integers(0, 256, (90, *SHAPE), np.uint8), labels=np.arange(90) % 2)
    run(str(tmp_path / "two.npz"), tmp_path / "run", {"s": tuned(HEAD_ONLY, init=str(teacher))})
    before, (_, after, about) = members.load(teacher, "test")[1:], members.load(tmp_path / "run" / "s", "test")
    assert after["params"]["head"]["kernel"].shape == (16, 2)
    np.testing.assert_array_equal(
        before[0]["params"]["stage1"]["conv"]["kernel"], after["params"]["stage1"]["conv"]["kernel"]
    )
    assert (about["mean"], about["std"]) == (before[1]["mean"], before[1]["std"])  # they belong to the weights


def test_grey_images_may_enter_a_network_for_colours(images, tmp_path):
    run(images, tmp_path, {"s": stage("supervised", mean=(0.5,) * 3, std=(0.25,) * 3)})
    _, variables, _ = members.load(tmp_path / "s", "test")
    assert variables["params"]["stage1"]["conv"]["kernel"].shape[2] == 3


def test_devices_may_normalise_each_for_itself(images, tmp_path):
    """Their statistics are averaged, so that they agree; assert_replicas_agree at the checkpoint would fail."""
    together, alone = ({"s": stage("supervised", norm_axis=axis)} for axis in ("device", ""))
    run(images, tmp_path / "together", together)
    run(images, tmp_path / "alone", alone)
    a, b = (members.load(tmp_path / name / "s", "test")[1]["batch_stats"] for name in ("together", "alone"))
    np.testing.assert_allclose(a["stage1"]["norm"]["mean"], b["stage1"]["norm"]["mean"], rtol=0.02)
    assert (a["stage1"]["norm"]["var"] != b["stage1"]["norm"]["var"]).any()


def test_a_stage_may_be_measured_in_epochs(images, tmp_path):
    (found,) = run(images, tmp_path, {"s": stage("supervised", updates=0) | {"epochs": 2.0}})
    assert found["updates"] == 3  # 12 labelled images, 8 in an update


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": {"name": "densenet"}}, r"no pixels are left at 'stage\d'; take larger images"),
        ({"model": {"name": "vit", "variant": "S/16"}}, "16"),
        ({"init": "weights.pth"}, "weights of others, which there are for .*; the model is 'cnn'"),
        ({"init": "weights.pth", "model": {"name": "resnet", "depth": 18}}, r"weights\.pth: there is no such file"),
    ],
)
def test_a_network_that_does_not_fit_is_said_before_training(images, tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        run(images, tmp_path, {"s": stage("supervised") | changes})
