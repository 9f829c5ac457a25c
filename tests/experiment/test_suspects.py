"""Labelled images whose label looks wrong: found, listed, and left out, unlabelled or weighed."""

import csv
import dataclasses
import io

import jax
import numpy as np
import pytest
from rich.console import Console

from efficient_jax import files
from efficient_jax.data.dataset import Labelling
from efficient_jax.errors import UserError
from efficient_jax.experiment import suspects
from efficient_jax.experiment.config import plan
from efficient_jax.experiment.dry_run import dry_run
from efficient_jax.experiment.run import Run
from efficient_jax.experiment.stage import run_stage
from efficient_jax.experiment.streams import check_streams
from efficient_jax.experiment.targets import supervise
from efficient_jax.training.labels import on_host
from efficient_jax.training.trained import Trained
from tests.experiment.plans import CONFIG, PROBE, changed
from tests.tiny_run import stage

NOISE = {"share": 0.2, "seed": 1}


def opened(images, workdir, action, features, devices=2, said=None, noise=NOISE, **settings):
    """A run with one stage, and the folder of that stage."""
    method = "pseudo_label" if action == "unlabel" else "supervised"
    block = stage(method, suspects={"action": action, "features": str(features), **settings})
    data = {"source": {"name": "npz", "path": images}, "labels_per_class": 30, "test": 30}
    data |= {"label_noise": noise} if noise else {}
    config = {"seed": 0, "devices": devices, "stages": ("s",), "data": data, "s": block}
    (workdir / "s").mkdir(parents=True)
    return Run.open(plan(config), workdir, Console(file=said or io.StringIO(), width=300))


def listed(run):
    with (run.workdir / "s" / suspects.TABLE).open(newline="") as file:
        return list(csv.DictReader(file))


def test_wrong_labels_of_training_images_alone_are_planted(images, teacher, tmp_path):
    run = opened(images, tmp_path, "drop", teacher)
    source, truth = run.data.source, np.where(np.arange(240) < 150, np.arange(240) % 3, -1)
    np.testing.assert_array_equal(run.true_labels, truth)
    changed_ids = np.flatnonzero(source.labels != truth)
    assert len(changed_ids) == 18  # 20% of 90
    assert np.isin(changed_ids, run.data.split["labelled"]).all()
    assert source.notes[-1] == "config.data.label_noise: 18 of 90 labelled images have a wrong label"


def test_planted_wrong_labels_are_dropped_and_listed(images, teacher, tmp_path):
    run = opened(images, tmp_path, "drop", teacher, said=(said := io.StringIO()))
    wrong = np.flatnonzero(run.data.source.labels != run.true_labels)
    seen, weights = suspects.applied(run.plan.stages[0], run)
    assert weights is None
    np.testing.assert_array_equal(np.setdiff1d(run.data.split["labelled"], seen.data.split["labelled"]), wrong)
    np.testing.assert_array_equal(seen.data.split["unlabelled"], run.data.split["unlabelled"])
    rows = listed(run)
    assert sorted(int(row["id"]) for row in rows) == wrong.tolist()
    assert all(row["suggested"] == row["hidden"] != row["label"] and row["action"] == "drop" for row in rows)
    assert all(float(row["p(label)"]) < float(row["p(suggested)"]) for row in rows)
    line = "18 of 90 labels look wrong by the features of"
    assert line in said.getvalue()
    assert "18 dropped (suspects.csv); 18 of them are wrong, of 18 wrong labels" in said.getvalue()
    record = files.read_json(tmp_path / "s" / suspects.ABOUT)
    assert [record[key] for key in ("labelled", "suspects", "wrong", "wrong_suspects", "right_suggestions")] == [
        *(90, 18, 18, 18, 18)
    ]


def test_a_stage_does_not_learn_what_it_dropped(images, teacher, tmp_path):
    run = opened(images, tmp_path, "drop", teacher)
    assert run_stage(run.plan.stages[0], run)["labels"] == 72


def test_suspects_that_are_unlabelled_join_the_other_stream_without_their_label(images, teacher, tmp_path):
    run = opened(images, tmp_path, "unlabel", teacher, noise={})
    run.data.source.labels[(ids := run.data.split["labelled"][:3])] = [2, 0, 1]  # wrong labels that nobody knows of
    seen, _ = suspects.applied(run.plan.stages[0], run)
    rows = supervise(run.plan.stages[0], seen).rows
    assert np.isin(ids, rows["unlabelled"]).all()
    assert not np.isin(ids, rows["labelled"]).any()
    assert (seen.data.source.labels[ids] == -1).all()
    assert {row["hidden"] for row in listed(run)} == {""}


def test_the_weight_of_a_suspect_is_the_probability_of_its_label(images, teacher, tmp_path):
    run = opened(images, tmp_path, "weight", teacher)
    seen, weights = suspects.applied(run.plan.stages[0], run)
    learned = on_host(supervise(run.plan.stages[0], seen, weights).labels, 3)
    expected = np.zeros((240, 3))
    labelled = run.data.split["labelled"]
    expected[labelled, run.data.source.labels[labelled]] = 1.0
    for row in listed(run):
        expected[int(row["id"])] *= float(row["p(label)"])
    np.testing.assert_allclose(learned, expected, rtol=1e-6)
    assert (learned[labelled].sum(1) < 0.5).sum() == 18


def test_the_last_images_of_a_class_are_kept(images, teacher, tmp_path):
    run = opened(images, tmp_path, "drop", teacher, noise={"share": 0.5, "seed": 1}, keep=28)
    seen, _ = suspects.applied(run.plan.stages[0], run)
    before, after = (np.bincount(r.data.source.labels[r.data.split["labelled"]], minlength=3) for r in (run, seen))
    assert (after >= np.minimum(before, 28)).all()
    assert {row["action"] for row in listed(run)} == {"drop", suspects.KEPT}


def test_the_list_is_the_same_on_any_number_of_devices(images, teacher, tmp_path):
    runs = [opened(images, tmp_path / str(n), "drop", teacher, devices=n) for n in (1, 4)]
    for run in runs:
        suspects.applied(run.plan.stages[0], run)
    assert len({(run.workdir / "s" / suspects.TABLE).read_bytes() for run in runs}) == 1


def test_an_interrupted_stage_reads_its_list(images, teacher, tmp_path):
    """A shortened list comes back; with another network's hash it is made anew."""
    run = opened(images, tmp_path, "drop", teacher, said=(said := io.StringIO()))
    first, _ = suspects.applied(run.plan.stages[0], run)
    table, about = tmp_path / "s" / suspects.TABLE, tmp_path / "s" / suspects.ABOUT
    head, line, *_ = table.read_text().splitlines()
    table.write_text(f"{head}\n{line}\n")
    again, _ = suspects.applied(run.plan.stages[0], run)
    assert "s: suspects are those of suspects.csv" in said.getvalue()
    assert len(again.data.split["labelled"]) == 89
    about.write_text(about.read_text().replace('"network_hash": "', '"network_hash": "0'))
    anew, _ = suspects.applied(run.plan.stages[0], run)
    np.testing.assert_array_equal(anew.data.split["labelled"], first.data.split["labelled"])


def test_the_start_of_a_stage_and_a_stage_that_was_trained_on_labels(images, tmp_path):
    """Without `features` the network is the start, here one that saw the labels."""
    start, block = stage("supervised", 30), stage("supervised", init="start", suspects={"action": "drop"})
    data = {"source": {"name": "npz", "path": images}, "labels_per_class": 30, "test": 30, "label_noise": NOISE}
    config = {"seed": 0, "devices": 2, "stages": ("start", "s"), "data": data, "start": start, "s": block}
    run = Run.open(plan(config), tmp_path, Console(file=(said := io.StringIO()), width=300))
    run_stage(run.plan.stages[0], run)
    (tmp_path / "s").mkdir()
    suspects.applied(run.plan.stages[1], run)
    assert "s: 'start' was trained on labels: it has learned wrong ones too, and shows fewer of them" in said.getvalue()
    assert "labels look wrong by the features of 'start'" in said.getvalue()


@pytest.mark.parametrize(
    ("path", "block", "message"),
    [
        ("first", {"action": "drop"}, r"config\.first\.suspects\.features: .* the stage has no init; name an earlier"),
        ("first", {"action": "dorp", "features": "x"}, r"config\.first\.suspects\.action: .*did you mean 'drop'"),
        ("first", {"features": "x"}, r"config\.first\.suspects\.action: "),
        ("first", {"action": "unlabel", "features": "x"}, r"config\.first\.suspects\.action: 'unlabel' needs .* unlab"),
        ("first", {"action": "drop", "features": "x", "keep": 0}, r"config\.first\.suspects\.keep: 0 is less than 1"),
        ("first", {"action": "drop", "fetures": "x"}, r"config\.first\.suspects.*'?fetures'?.*features"),
        (
            "student",
            {"action": "drop", "features": "frist"},
            r"config\.student\.suspects\.features: 'frist' is neither",
        ),
        ("student", {"action": "drop", "features": "student"}, r"config\.student\.suspects\.features: .* comes later"),
        ("probe", {"action": "weight"}, r"config\.probe\.suspects\.action: 'weight' needs a method that trains"),
    ],
)
def test_blocks_that_do_not_fit_are_refused(path, block, message):
    config = changed("first.steps", 10) | {"probe": PROBE, "stages": ("first", "student", "probe")}
    with pytest.raises(UserError, match=message):
        plan(config | {path: config[path] | {"suspects": block}})


@pytest.mark.parametrize(
    ("known", "message"),
    [
        (Labelling(np.arange(24) % 8, tuple("abcdefgh"), {}, None, "classification"), "class 'a' has 3 labelled imag"),
        (Labelling(np.ones((24, 2), int), ("a", "b"), {}, None, "multi_label"), "wrong labels are found where each"),
        (Labelling(np.arange(24) % 2, ("a", "b"), {}, None, "classification", np.ones((24, 2))), "soft labels"),
    ],
    ids=["few", "tags", "soft"],
)
def test_labels_among_which_nothing_can_be_found_are_refused(known, message):
    block = CONFIG["first"] | {"init": "", "suspects": {"action": "drop", "features": "efficientnet-lite0"}}
    checked = plan(CONFIG | {"stages": ("first",), "first": block})
    split = {"labelled": np.arange(24), "unlabelled": np.arange(0)}
    with pytest.raises(UserError, match=rf"^config\.first\.suspects: .*{message}"):
        check_streams(checked, known, split)


def test_a_network_for_other_images_is_refused_before_the_first_stage(images, tmp_path):
    with np.load(images) as arrays:
        np.savez(tmp_path / "color.npz", **{**arrays, "images": np.repeat(arrays["images"], 2, axis=-1)})
    run = opened(str(tmp_path / "color.npz"), tmp_path / "run", "drop", "efficientnet-lite0")
    with pytest.raises(UserError, match=r"^config\.s\.suspects\.features: .* takes images of 3 channels, .* have 2$"):
        dry_run(run)


def test_features_that_are_not_finite_are_refused(images, teacher, tmp_path):
    run = opened(images, tmp_path, "drop", teacher)
    broken = jax.tree.map(lambda x: np.full_like(x, np.nan), (trained := Trained.open(str(teacher), "")).variables)
    run.shared.trained[str(teacher)] = dataclasses.replace(trained, variables=broken)
    with pytest.raises(UserError, match=r"^config\.s\.suspects: features of .*teacher' are not finite; take another"):
        suspects.applied(run.plan.stages[0], run)


def test_label_noise_is_for_one_class_per_image(tmp_path, images):
    soft = np.full((240, 3), 1 / 3, np.float32)
    with np.load(images) as arrays:
        np.savez(tmp_path / "soft.npz", **arrays, soft_labels=soft)
    with pytest.raises(UserError, match=r"^config\.data\.label_noise: is for images of one class each"):
        opened(str(tmp_path / "soft.npz"), tmp_path / "run", "drop", "efficientnet-lite0")
