"""Stages wired to each other, on tiny images with few updates."""

import csv
import io
import json
import re

import jax
import numpy as np
import pytest
from rich.console import Console

from efficient_jax import experiment, losses, members, models, preparation
from efficient_jax.methods import METHODS
from efficient_jax.plan import plan
from efficient_jax.supervision import supervise
from efficient_jax.training import parallel
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
    assert found["pseudo_labels"] == {"pool": 198, "kept": 198, "known": 108, "right": 108, "classes_without": 0}


@pytest.mark.parametrize("method", ["fixmatch", "flexmatch", "uda", "mean_teacher", "pseudo_label"])
def test_a_network_that_is_its_own_teacher_learns(images, tmp_path, method):
    strong = {"strong_augment": {"ops": ("cutout",), "cutout": {"size": 2}}}
    (found,) = run(images, tmp_path, {"s": stage(method, updates=40, **(strong if METHODS[method].strong else {}))})
    assert found["test"]["correct"] >= 20  # of 30; 10 by chance
    assert found["images_seen"] == 40 * (24 if METHODS[method].strong else 16)


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
    shapes = [members.load(tmp_path / name, "test")[2]["image_shape"] for name in blocks]
    assert shapes == [[16, 16, 1], [8, 8, 1], [8, 8, 1]]
    seen = np.load(tmp_path / "student" / "samples.npz")
    assert seen["raw"].shape[1:] == (16, 16, 1)


def test_a_teacher_in_the_step_sees_what_the_student_sees(images, teacher, tmp_path):
    with pytest.raises(
        UserError, match=r"^config\.s\.teacher: .* knows images \[8, 8, 1\] .* \[4, 4, 1\]; set config\.s\.size"
    ):
        run(images, tmp_path, {"s": stage("distill", teacher=str(teacher), size=4)})


def prepared(images, workdir, stages, said=None, **data):
    """The run, before its stages."""
    split = {"labels_per_class": 4, "test": 30} | data
    config = {
        "seed": 0,
        "devices": 2,
        "stages": tuple(stages),
        "data": {"source": {"name": "npz", "path": images}} | split,
    }
    return preparation.prepare(plan(config | stages), workdir, Console(file=said or io.StringIO(), width=300))


def test_a_threshold_that_nothing_reaches_stops_before_training(images, teacher, tmp_path):
    block = stage("noisy_student", teacher=str(teacher), pseudo_labels={"threshold": 0.999999})
    ready = prepared(images, tmp_path, {"s": block})
    with pytest.raises(UserError) as error:
        experiment.run_stage(ready.stages[0], ready)
    message = r"config\.s\.pseudo_labels\.threshold: no image reaches 0\.999999; the highest confidence is 0\.\d+; "
    assert re.fullmatch(message + r"0\.\d\d would keep at least half of the images", str(error.value))
    assert not (tmp_path / "s" / "checkpoints").exists()


def test_an_interrupted_stage_takes_the_predictions_of_the_store(images, teacher, tmp_path):
    """Those that are there, of the same teacher: marked ones come back; with another's hash they are made anew."""
    block = stage("noisy_student", teacher=str(teacher), pseudo_labels={"threshold": 0.0, "balance": False})
    ready = prepared(images, tmp_path, {"s": block}, said := io.StringIO())
    (tmp_path / "s").mkdir()
    first = supervise(ready.stages[0], ready)
    assert "are those of pseudo_labels.csv" not in said.getvalue()
    table, about = tmp_path / "s" / "pseudo_labels.csv", tmp_path / "s" / "pseudo_labels.json"
    again = supervise(ready.stages[0], ready)
    assert f"s: predictions of {teacher} are those of pseudo_labels.csv" in said.getvalue()
    np.testing.assert_array_equal(again.labels, first.labels)
    np.testing.assert_array_equal(again.rows["unlabelled"], first.rows["unlabelled"])
    head, *lines = table.read_text().splitlines()
    table.write_text("\n".join([head, *(",".join([*line.split(",")[:-3], "1", "0", "0"]) for line in lines)]) + "\n")
    assert (supervise(ready.stages[0], ready).labels[ready.split["unlabelled"]] == [1, 0, 0]).all()
    about.write_text(about.read_text().replace('"teacher_hash": "', '"teacher_hash": "0'))
    np.testing.assert_array_equal(supervise(ready.stages[0], ready).labels, first.labels)


def test_pseudo_labels_do_not_depend_on_the_number_of_devices(images, teacher, tmp_path):
    block = stage("noisy_student", teacher=str(teacher), pseudo_labels={"threshold": 0.0})
    found = []
    for devices in (1, 4):
        ready = prepared(images, tmp_path, {"s": block})._replace(devices=jax.devices()[:devices])
        ready = ready._replace(
            images=parallel.replicate(ready.source.images, ready.devices), workdir=tmp_path / str(devices)
        )
        (ready.workdir / "s").mkdir(parents=True)
        found.append(supervise(ready.stages[0], ready))
    np.testing.assert_allclose(found[0].labels, found[1].labels, atol=1e-6)
    np.testing.assert_array_equal(found[0].rows["unlabelled"], found[1].rows["unlabelled"])


def test_rare_classes_come_as_often_as_others(tmp_path):
    labels = np.repeat([0, 1], [60, 20])
    pixels = np.random.default_rng(0).integers(0, 256, (80, *SHAPE), np.uint8)
    np.savez(tmp_path / "a.npz", images=pixels, labels=labels)
    block = stage("supervised", batch={"labelled": 8, "balanced": True})
    ready = prepared(str(tmp_path / "a.npz"), tmp_path, {"s": block}, labels_per_class=0, test=8)
    rows = supervise(ready.stages[0], ready).rows["labelled"]
    np.testing.assert_array_equal(np.bincount(labels[rows]), [54, 54])
    np.testing.assert_array_equal(np.unique(rows), ready.split["labelled"])


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
        about = preparation.description_of(each, ready)
        variables = models.init(members.build(about)[0], jax.random.key(0), SHAPE)
        variables["params"]["head"] = jax.tree.map(np.zeros_like, variables["params"]["head"])
        updates = experiment.updates(each, ready, supervise(each, ready), about, variables)
        given = next(updates.given(0))
        counts = np.bincount(labels[np.asarray(given["labelled"]["index"])[:, 0].ravel()], minlength=2)
        first.append(float(updates.update(updates.state, given)[1]["loss"][0]))
    weights = np.array(losses.class_weights(np.array([54.0, 18.0], np.float32), 0.999))
    np.testing.assert_allclose(first, [8 * np.log(2), counts @ weights * np.log(2)], rtol=1e-5)  # all are undecided


def test_soft_labels_are_what_is_learned(tmp_path):
    rng = np.random.default_rng(0)
    soft = rng.dirichlet(np.ones(3), 90).astype(np.float32)
    np.savez(tmp_path / "a.npz", images=rng.integers(0, 256, (90, *SHAPE), np.uint8), soft_labels=soft)
    ready = prepared(str(tmp_path / "a.npz"), tmp_path, {"s": stage("supervised")}, test=9)
    ids = ready.split["labelled"]
    np.testing.assert_array_equal(np.bincount(soft[ids].argmax(1)), [4, 4, 4])
    np.testing.assert_array_equal(supervise(ready.stages[0], ready).labels[ids], soft[ids])


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
        ({"augment": {"ops": ("cutout",), "cutout": {"size": -3}}}, r"^config\.s\.augment: cutout"),
        (
            {
                "method": {"name": "fixmatch"},
                "batch": {"labelled": 8, "unlabelled": 8},
                "strong_augment": {"ops": ("cutout",), "cutout": {"size": 0}},
            },
            r"^config\.s\.strong_augment: cutout",
        ),
        ({"model": {"name": "cnn", "width": 0}}, "width"),
    ],
)
def test_values_are_checked_before_training(images, tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        run(images, tmp_path, {"s": stage("supervised") | changes})
    assert not (tmp_path / "s").exists()


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> str:
    """Of the same images, dark ones and others: the teacher's class 0, and 1 and 2 together."""
    rng = np.random.default_rng(0)
    brightness = np.arange(240) % CLASSES
    pixels = rng.integers(0, 60, (240, *SHAPE)) + 90 * brightness[:, None, None, None]
    path = tmp_path_factory.mktemp("two") / "two.npz"
    labels = np.where(np.arange(240) < 150, brightness > 0, -1)
    np.savez(path, images=pixels.astype(np.uint8), labels=labels, classes=["dark", "bright"])
    return str(path)


def test_a_teacher_of_other_classes_is_refused(two, teacher, tmp_path):
    with pytest.raises(
        UserError,
        match=r"^config\.s\.teacher: .* knows the classes \['0', '1', '2'\], the data has .* config\.s\.class_map, or",
    ):
        run(two, tmp_path, {"s": stage("distill", teacher=str(teacher))})


CLASS_MAP = {"0": "dark", "1": "bright", "2": "bright"}


def stored(folder) -> list[dict[str, str]]:
    with (folder / "pseudo_labels.csv").open() as file:
        return list(csv.DictReader(file))


def test_a_class_map_makes_its_labels_those_of_the_student(two, teacher, tmp_path):
    labels = {"threshold": 0.0, "balance": False}
    block = stage("noisy_student", teacher=str(teacher), pseudo_labels=labels, class_map=CLASS_MAP)
    small = stage("distill", teacher=str(teacher), class_map=CLASS_MAP)
    found, _ = run(two, tmp_path, {"student": block, "small": small})
    # 240 images less 30 of the test and 8 labelled; a person's label is known of 112
    assert found["pseudo_labels"] == {"pool": 202, "kept": 202, "known": 112, "right": 112, "classes_without": 0}
    with pytest.raises(UserError, match=r"^config\.s\.class_map: no class of the teacher is mapped to 'dark'"):
        run(two, tmp_path / "wrong", {"s": small | {"class_map": dict.fromkeys("012", "bright")}})


def test_what_a_teacher_sees_needs_no_classes_in_common(two, teacher, tmp_path):
    """What the method trains beside the student is neither handed on nor counted; the layers of a rate know it."""
    terms = (("fitnet", 1.0, "stage2", "stage3"), ("similarity", 10.0, "features", "features"))
    optim = stage("distill")["optim"] | {"layer_decay": 0.9}
    method = {"name": "feature_distill", "terms": terms}
    block = stage("feature_distill", teacher=str(teacher), optim=optim) | {"method": method}
    _, before, _ = members.load(teacher, "test")
    found, alone = run(two, tmp_path, {"s": block, "alone": stage("supervised", init="s")})
    assert found["parameters"] == alone["parameters"]
    assert "regressor" not in members.load(tmp_path / "s", "test")[1]["params"]
    jax.tree.map(np.testing.assert_array_equal, before, members.load(teacher, "test")[1])


def test_unknown_intermediates_are_said_before_training(two, teacher, tmp_path):
    method = {"name": "feature_distill", "terms": (("angle", 1.0, "features", "stag2"),)}
    first = stage("supervised", model={"name": "mlp", "width": 8})
    for name, there in ((str(teacher), "did you mean 'stage2'"), ("first", "there is: features, hidden1")):
        blocks = {"first": first, "s": stage("distill", teacher=name) | {"method": method}}
        with pytest.raises(UserError, match=rf"^config\.s: method\.terms: intermediates of the teacher: .*; {there}"):
            run(two, tmp_path / "s", blocks)
    assert not (tmp_path / "s" / "first").exists()


def test_several_teachers_label_with_their_mean(images, teacher, tmp_path):
    labels = {"threshold": 0.0, "balance": False}
    blocks = {"other": stage("supervised", updates=4, model={"name": "mlp", "width": 8})}
    for name, teachers in (("a", (str(teacher),)), ("b", ("other",)), ("both", (str(teacher), "other"))):
        blocks[name] = stage("noisy_student", teachers=teachers, pseudo_labels=labels)
    blocks["small"] = stage("distill", teachers=(str(teacher), "other"))
    run(images, tmp_path, blocks)
    columns = [f"p({number})" for number in range(CLASSES)]
    a, b, both = (
        np.array([[float(row[c]) for c in columns] for row in stored(tmp_path / n)]) for n in ("a", "b", "both")
    )
    assert np.abs(a - b).max() > 0.1
    np.testing.assert_allclose(both, (a + b) / 2, atol=1e-6)


def test_a_student_can_do_without_labels(images, teacher, tmp_path):
    block = stage("distill", teacher=str(teacher), updates=0, epochs=0.5)
    block |= {"batch": {"labelled": 0, "unlabelled": 8}}
    soft = {"name": "distill", "hard_weight": 0.0}
    (found,) = run(images, tmp_path, {"s": block | {"method": soft}})
    assert (found["labels"], found["updates"], found["images_seen"]) == (0, 12, 96)  # 198 images without labels
    with pytest.raises(UserError, match=r"config\.s: method\.hard_weight: 0\.1 asked, but batch\.labelled is 0"):
        run(images, tmp_path / "hard", {"s": block})


@pytest.fixture(scope="module")
def all_known(tmp_path_factory) -> str:
    rng = np.random.default_rng(0)
    labels = np.arange(240) % CLASSES
    pixels = rng.integers(0, 60, (240, *SHAPE)) + 90 * labels[:, None, None, None]
    path = tmp_path_factory.mktemp("known") / "images.npz"
    np.savez(path, images=pixels.astype(np.uint8), labels=labels)
    return str(path)


def test_omitted_classes_are_in_no_stream(all_known, teacher, tmp_path):
    block = stage(
        "noisy_student", teacher=str(teacher), omit=("1",), pseudo_labels={"threshold": 0.0, "balance": False}
    )
    (found,) = run(all_known, tmp_path, {"s": block})
    assert found["labels"] == 8
    assert found["pseudo_labels"]["pool"] == 132  # of 198 without labels
    assert {row["hidden"] for row in stored(tmp_path / "s")} == {"0", "2"}


@pytest.mark.parametrize(
    ("omit", "message"),
    [
        (("3",), r"config\.s\.omit: unknown name '3'; there is: 0, 1, 2"),
        (("0", "1", "2"), r"config\.s\.batch\.labelled: 8 asked, but no image is labelled"),
    ],
)
def test_what_cannot_be_omitted_is_said(all_known, tmp_path, omit, message):
    with pytest.raises(UserError, match=message):
        run(all_known, tmp_path, {"s": stage("supervised", omit=omit)})


def test_what_nobody_has_labelled_cannot_be_omitted(images, teacher, tmp_path):
    with pytest.raises(
        UserError, match=r"^config\.s\.omit: nobody knows the classes of 90 images that are unlabelled$"
    ):
        run(images, tmp_path, {"s": stage("distill", teacher=str(teacher), omit=("1",))})


def test_a_bias_is_put_right_by_the_images_without_labels(images, teacher, tmp_path):
    """A student that has never seen a class learns of it from the frequencies; all but its bias stays."""
    block = {"model": stage("supervised")["model"], "method": {"name": "prior_correction"}, "init": "blind"}
    blind = stage("supervised", init=str(teacher), omit=("1",), updates=10)
    before, after = run(images, tmp_path, {"blind": blind, "corrected": block})
    assert after["test"]["correct"] >= before["test"]["correct"]
    start, end = (members.load(tmp_path / name, "test")[1] for name in ("blind", "corrected"))
    assert (start["params"]["head"].pop("bias") != end["params"]["head"].pop("bias")).all()
    jax.tree.map(np.testing.assert_array_equal, start, end)


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
