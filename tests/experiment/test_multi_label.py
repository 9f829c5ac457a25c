"""Images with several labels, from an .npz to trained stages, their thresholds and their figures."""

import io
import json

import numpy as np
import pytest
from rich.console import Console

import efficient_jax
from efficient_jax.commands.evaluate import evaluate
from efficient_jax.data.sources.npz_files import npz
from efficient_jax.errors import UserError
from efficient_jax.experiment.config import plan
from efficient_jax.experiment.run import Run
from efficient_jax.experiment.stage import run_stage
from efficient_jax.experiment.targets import supervise
from efficient_jax.metrics import accuracy
from efficient_jax.report.page import write_report
from efficient_jax.tasks import MULTI_LABEL
from efficient_jax.training.trained import Trained
from tests.tiny_run import begin, begun, stage

SHAPE = (8, 8, 2)
QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> str:
    """Two independent labels, each the brightness of a channel; the last 30 of 230 images are not labelled."""
    rng = np.random.default_rng(0)
    tags = (rng.random((230, 2)) < [0.5, 0.3]).astype(np.int32)
    pixels = rng.integers(0, 120, (230, *SHAPE)) + 100 * tags[:, None, None]
    tags[200:] = -1
    path = tmp_path_factory.mktemp("images") / "images.npz"
    np.savez(path, images=pixels.astype(np.uint8), labels=tags, classes=np.array(["left", "right"]))
    return str(path)


def run(images, workdir, stages, validation=40, **data):
    """(results, what was said); leaves what `evaluate` and the report read."""
    split = {"labels_per_class": 0, "test": 50, "validation": validation, **data}
    data = {"source": {"name": "npz", "path": images}, **split}
    config = {"seed": 0, "devices": 2, "stages": tuple(stages), "data": data, **stages}
    said = io.StringIO()
    prepared = begun(config, workdir, Console(file=said, width=200))
    begin(workdir, config, prepared.data)
    return [run_stage(each, prepared) for each in prepared.plan.stages], said.getvalue()


def block(steps=80, **changes):
    return stage("supervised", steps=steps, batch={"labelled": 16}, save_every=20, **changes)


@pytest.fixture(scope="module")
def trained(images, tmp_path_factory):
    """A trained network, and a head on its features."""
    workdir = tmp_path_factory.mktemp("trained")
    probe = {"model": {"name": "cnn", "width": 4}, "method": {"name": "linear_probe"}, "init": "net"}
    results, _ = run(images, workdir, {"net": block(), "probe": probe})
    return workdir, results


def test_two_independent_labels_are_learned(trained):
    _, results = trained
    for result in results:
        assert result["test"]["n"] == 50
        assert result["test"]["correct"] >= 49
        assert result["test"]["mean_average_precision"] > 0.99


def test_what_is_saved_is_what_was_tested(trained, images):
    """`load`, the thresholds of the specification and those of the result give the figures of the result."""
    workdir, results = trained
    source = npz(path=images)
    for result in results:
        ids, shown = (np.load(workdir / result["stage"] / "predictions.npz")[k] for k in ("id", "probabilities"))
        found = efficient_jax.load(str(workdir / result["stage"]))(source.images[ids])
        np.testing.assert_allclose(found, shown, atol=1e-5)
        spec = Trained.open(str(workdir / result["stage"]), "here").spec
        assert spec.task == "multi_label"
        assert spec.thresholds == tuple(result["thresholds"])
        scored = accuracy.several_labels(shown, source.labels[ids], (shown >= result["thresholds"]).astype(int))
        assert result["test"] == scored


def test_the_best_checkpoint_is_that_of_the_best_mean_average_precision(trained):
    workdir, (result, _) = trained
    lines = [json.loads(line) for line in (workdir / "net" / "metrics.jsonl").read_text().splitlines()]
    scores = [line["validation_mean_average_precision"] for line in lines if "validation_macro_f1" in line]
    assert len(scores) == 4
    assert result["validation"]["mean_average_precision"] == pytest.approx(max(scores))


def test_evaluate_and_the_report_agree(trained, tmp_path):
    workdir, results = trained
    names = [str(workdir / result["stage"]) for result in results]
    evaluate(members=",".join(names), out=str(tmp_path / "scores"))
    scores = json.loads((tmp_path / "scores" / "evaluation.json").read_text())["members"]
    for name, result in zip(names, results, strict=True):
        assert {key: scores[name][key] for key in result["test"]} == pytest.approx(result["test"])
    assert scores["soft vote of 2"]["mean_average_precision"] > 0.99
    text = write_report(workdir, MULTI_LABEL.columns, False, True).read_text()
    assert "mAP, %" in text
    assert "Confusion matrix" not in text


def test_without_validation_images_the_thresholds_are_a_half(images, tmp_path):
    (result,), said = run(images, tmp_path, {"net": block(steps=2)}, validation=0)
    assert "net: no validation images, so the threshold of every label is 0.5" in said
    assert result["thresholds"] == [0.5, 0.5]
    assert result["validation"] is None
    assert Trained.open(str(tmp_path / "net"), "here").spec.thresholds == (0.5, 0.5)


def test_mixed_images_are_learned_from(images, tmp_path):
    augment = {"ops": ("mixup", "cutmix"), "mixup": {"alpha": 0.2}, "cutmix": {"alpha": 1.0}}
    (result,), _ = run(images, tmp_path, {"net": block(steps=150, augment=augment)}, labels_per_class=20)
    assert 20 <= result["labels"] <= 40
    assert result["test"]["mean_average_precision"] > 0.9


@pytest.mark.parametrize("method", ["pseudo_label", "distill"])
def test_methods_of_one_class_are_refused(images, trained, tmp_path, method):
    teacher = {"teacher": str(trained[0] / "net")} if method == "distill" else {}
    with pytest.raises(UserError) as error:
        run(images, tmp_path, {"s": stage(method, **teacher)})
    assert str(error.value) == (
        f"config.s.method: {method!r} does not fit data with several labels for each image; "
        "take 'supervised' or 'noisy_student' or 'linear_probe'"
    )


def test_a_teacher_of_several_labels_is_refused_where_each_image_has_one_class(images, trained, tmp_path):
    with np.load(images) as arrays:
        np.savez(tmp_path / "one.npz", **dict(arrays) | {"labels": arrays["labels"][:, 0]})
    path, teacher = str(tmp_path / "one.npz"), str(trained[0] / "net")
    with pytest.raises(UserError, match=r"^config\.s\.teacher: .* predicts several labels for each image, not one"):
        run(path, tmp_path, {"s": stage("distill", teacher=teacher)})
    assert not (tmp_path / "s").exists()


def test_a_teacher_labels_images_label_by_label(images, trained, tmp_path):
    """30 images of which nobody knows, and those that a label for a class leaves over."""
    teacher = str(trained[0] / "net")
    student = stage("noisy_student", steps=40, teacher=teacher, pseudo_labels={"threshold": 0.8})
    (result,), said = run(images, tmp_path, {"s": student}, labels_per_class=10)
    found = result["pseudo_labels"]
    assert found["pool"] == 230 - 50 - 40 - result["labels"]
    assert 0 < found["kept"] <= found["pool"]
    assert found["right"] / found["known"] > 0.97
    assert f"s: {found['kept']} of {found['pool']} pseudo-labels kept" in said
    assert result["test"]["mean_average_precision"] > 0.95
    assert "present or absent" in write_report(tmp_path, MULTI_LABEL.columns, False, True).read_text()


def test_pseudo_labels_are_refused(images, tmp_path):
    with pytest.raises(UserError, match=r"^config\.s\.pseudo_labels: the method 'supervised' does not read them$"):
        run(images, tmp_path, {"s": block(pseudo_labels={"threshold": 0.5})})


def test_images_of_rare_labels_are_repeated(images, tmp_path):
    data = {"source": {"name": "npz", "path": images}, "labels_per_class": 0, "test": 50}
    balanced = stage("supervised", batch={"labelled": 8, "balanced": True})
    run = Run.open(plan({"seed": 0, "devices": 2, "stages": ("s",), "data": data, "s": balanced}), tmp_path, QUIET)
    rows = supervise(run.plan.stages[0], run).rows["labelled"]
    labels, repeats = run.data.source.labels, np.bincount(rows, minlength=230)
    counts = labels[run.data.split["labelled"]].sum(0)
    rate = counts[0] / counts[1]
    assert rate > 1.2
    rare = run.data.split["labelled"][labels[run.data.split["labelled"], 1] == 1]
    assert set(repeats[rare]) <= {int(rate), int(rate) + 1}
    assert set(repeats[np.setdiff1d(run.data.split["labelled"], rare)]) == {1}


def test_classes_of_several_labels_do_not_weigh(images, tmp_path):
    changes = {"method": {"name": "supervised", "class_balance": 0.9}}
    with pytest.raises(UserError, match=r"^config\.s: method\.class_balance: 0.9 .* it has several labels; set"):
        run(images, tmp_path, {"s": block() | changes})
