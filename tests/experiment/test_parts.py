"""Stages whose labels belong to parts of images: classes of pixels, and objects."""

import json

import jax
import numpy as np
import pytest

from efficient_jax import files
from efficient_jax.data.sources import SOURCES
from efficient_jax.errors import UserError
from efficient_jax.experiment.dataset import Data
from efficient_jax.report.page import write_report
from efficient_jax.tasks import DETECTION, SEGMENTATION
from efficient_jax.training.trained import Trained
from tests import drawn_parts
from tests.drawn_parts import block, run

NAMES = tuple(drawn_parts.SOURCES)
FIGURE = {"drawn_masks": "mean_iou", "drawn_boxes": "ap50"}
LABELS = {"drawn_masks": {"threshold": 0.8}, "drawn_boxes": {"threshold": 0.3}}
STRONG = {"ops": ("brightness", "flip"), "brightness": {"strength": 0.3}}


@pytest.fixture(autouse=True, scope="module")
def sources():
    SOURCES.update(drawn_parts.SOURCES)
    yield
    for name in NAMES:
        del SOURCES[name]


def student(source, steps, **changes):
    batch = {"labelled": 8, "unlabelled": 8}
    return block(source, "noisy_student", steps, batch=batch, pseudo_labels=LABELS[source], **changes)


def matched(source, steps, **changes):
    threshold = {"drawn_masks": 0.8, "drawn_boxes": 0.3}[source]
    method = {"name": "ema_teacher", "threshold": threshold, "strong_views": 1}
    batch = {"labelled": 8, "unlabelled": 8}
    return block(source, "ema_teacher", steps, batch=batch, strong_augment=STRONG, **changes) | {"method": method}


def distilled(source, steps, **changes):
    """A student with another network than its teacher."""
    method, model = {
        "drawn_masks": ("distill", {"name": "wide_resnet", "depth": 10, "width": 1}),
        "drawn_boxes": ("box_distill", {"name": "cnn", "width": 4}),
    }[source]
    return block(source, method, steps, batch={"labelled": 8, "unlabelled": 8}, model=model, **changes)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, sources):  # noqa: ARG001
    """Source -> (folder, result of each stage)."""
    runs = {}
    for name in NAMES:
        folder = tmp_path_factory.mktemp(name)
        augment = {"ops": ("flip",)}
        stages = {
            "net": block(name, steps=150, augment=augment, save_every=50),
            "student": student(name, 20, teacher="net", init="net"),
            "matched": matched(name, 20, init="net"),
        }
        runs[name] = folder, run(name, folder, stages, validation=6)
    return runs


@pytest.mark.versions
@pytest.mark.parametrize("name", NAMES)
def test_parts_are_learned(trained, name):
    _, (net, student, matched) = trained[name]
    for result in (net, student, matched):
        assert result["test"][FIGURE[name]] > 0.8
        assert result["labels"] == drawn_parts.COUNT - drawn_parts.TESTS - drawn_parts.HIDDEN - 6


@pytest.mark.parametrize("name", NAMES)
def test_a_teacher_labels_the_parts_of_which_it_is_sure(trained, name):
    folder, (_, student, _) = trained[name]
    counts = student["pseudo_labels"]
    about = json.loads((folder / "student" / "pseudo_labels.json").read_text())
    assert 0 < counts["kept"] <= counts["pool"]
    assert counts["known"] == 0  # nobody has labelled the pool
    assert sum(row["kept"] for row in about["classes"]) == counts["kept"]
    assert sum(row["pool"] for row in about["confidence"]) == counts["pool"]


def test_images_without_objects_are_among_those_that_are_learned(trained):
    data = Data.reopen(trained["drawn_boxes"][0], "--members", print)
    shows = data.task.members(data.source.labels[data.split["labelled"]], 2).any(1)
    assert 6 <= (~shows).sum() < len(shows) / 2


@pytest.mark.parametrize("name", NAMES)
def test_the_best_checkpoint_has_the_highest_figure(trained, name):
    folder, (net, *_) = trained[name]
    lines = files.read_lines(folder / "net" / "metrics.jsonl")
    scores = [line[f"validation_{FIGURE[name]}"] for line in lines if f"validation_{FIGURE[name]}" in line]
    assert len(scores) == 3
    assert net["validation"][FIGURE[name]] == pytest.approx(max(scores))


@pytest.mark.parametrize("name", NAMES)
def test_a_run_is_opened_again_with_its_labels(trained, name):
    folder, _ = trained[name]
    said = []
    data = Data.reopen(folder, "--members", said.append)
    source = drawn_parts.SOURCES[name]()
    assert not said
    assert len(data.split["test"]) == drawn_parts.TESTS
    np.testing.assert_array_equal(data.source.images, source.images)
    known = data.task.known(data.source.labels)
    np.testing.assert_array_equal(known, np.arange(drawn_parts.COUNT) < drawn_parts.COUNT - drawn_parts.HIDDEN)


@pytest.mark.parametrize("name", NAMES)
def test_test_images_with_another_label_are_refused(trained, name, monkeypatch):
    folder, _ = trained[name]
    source = drawn_parts.SOURCES[name]()
    if name == "drawn_masks":
        source.labels[0, 0, 0] = 2
    else:
        source.objects["boxes"][0, 0, 0] += 1.0
    monkeypatch.setitem(SOURCES, name, lambda: source)
    with pytest.raises(UserError, match=r"test image 'image 0' of .* has another label than in the run; put it back"):
        Data.reopen(folder, "--members", print)


@pytest.mark.versions
@pytest.mark.parametrize("name", NAMES)
def test_devices_do_not_change_the_losses(trained, name, tmp_path):
    teacher = str(trained[name][0] / "net")
    stages = {
        "net": block(name, steps=3, log_every=1),
        "student": student(name, 3, teacher=teacher, log_every=1),
        "matched": matched(name, 3, init=teacher, log_every=1),
        "distilled": distilled(name, 3, teacher=teacher, log_every=1),
    }
    stages["matched"]["method"] |= {"strong_views": 2, "channel_dropout": 0.5}
    losses = []
    for devices in (1, 4):
        run(name, tmp_path / str(devices), stages, devices)
        metrics = [files.read_lines(tmp_path / str(devices) / stage / "metrics.jsonl") for stage in stages]
        losses.append([[line["loss"] for line in lines] for lines in metrics])
    np.testing.assert_allclose(losses[0], losses[1], rtol=2e-5)


@pytest.mark.parametrize("name", NAMES)
def test_a_stage_that_goes_on_ends_as_one_that_was_not_stopped(name, tmp_path):
    whole, parts = ({"net": block(name, steps=4, save_every=save)} for save in (4, 2))
    run(name, tmp_path / "whole", whole)
    run(name, tmp_path / "parts", parts)
    (tmp_path / "parts" / "net" / "result.json").unlink()
    kept = tmp_path / "parts" / "net" / "checkpoints"
    for step in kept.glob("4"):
        files_of_step = sorted(step.rglob("*"), reverse=True)
        for path in files_of_step:
            path.rmdir() if path.is_dir() else path.unlink()
        step.rmdir()
    run(name, tmp_path / "parts", parts)
    one, other = (Trained.open(str(tmp_path / part / "net"), "test").variables for part in ("whole", "parts"))
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_a_backbone_with_another_decoder_gets_a_new_one(trained, tmp_path):
    start = trained["drawn_boxes"][0] / "net"
    still = {"learning_rate": 0.0, "warmup": 0, "weight_decay": 0.0, "clip": 1.0, "rules": ((".*", 1.0),)}
    run("drawn_masks", tmp_path, {"net": block("drawn_masks", steps=1, init=str(start), optim=still)})
    before, after = (Trained.open(str(path), "test").variables["params"] for path in (start, tmp_path / "net"))
    shared = before.keys() - {"decoder", "head"}
    assert shared == after.keys() - {"decoder", "head"}
    for name in shared:
        jax.tree.map(np.testing.assert_array_equal, before[name], after[name])
    assert "pyramid" in after["decoder"]
    assert "class_tower" not in after["decoder"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"decoder": {}}, r"config\.net\.decoder\.name: '' does not fit data with a class for each pixel"),
        ({"decoder": {"name": "boxes"}}, r"config\.net\.decoder\.name: 'boxes' does not fit .*; say 'masks'"),
        ({"decoder": {"name": "mask"}}, r"config\.net\.decoder\.name: unknown name 'mask'; did you mean 'masks'\?"),
        ({"method": {"name": "fixmatch"}, "batch": {"labelled": 8, "unlabelled": 8}}, "does not fit data with a class"),
        ({"model": {"name": "mlp"}}, r"^config\.net: model\.name: MLP has no feature maps"),
        ({"method": {"name": "supervised", "gce": 0.7}}, r"^config\.net: method\.gce: 0\.7"),
    ],
)
def test_what_does_not_fit_pixels_is_said(changes, message, tmp_path):
    if "strong" not in changes and changes.get("method", {}).get("name") == "fixmatch":
        changes = changes | {"strong_augment": STRONG}
    with pytest.raises(UserError, match=message):
        run("drawn_masks", tmp_path, {"net": block("drawn_masks") | changes})


@pytest.mark.parametrize("name", NAMES)
def test_a_threshold_that_no_part_reaches_stops_before_training(name, tmp_path):
    stages = {"net": block(name), "s": student(name, 2, teacher="net") | {"pseudo_labels": {"threshold": 1.0}}}
    with pytest.raises(UserError, match=r"^config\.s\.pseudo_labels\.threshold: no (pixel|box) reaches 1\.0; "):
        run(name, tmp_path, stages)


@pytest.mark.parametrize("name", NAMES)
def test_the_page_of_a_run_with_validation_is_written(trained, name):
    folder, _ = trained[name]
    task = {"drawn_masks": SEGMENTATION, "drawn_boxes": DETECTION}[name]
    text = write_report(folder, task.columns, False, False).read_text()
    assert "Pseudo-labels" in text
    assert task.columns[0].header in text
