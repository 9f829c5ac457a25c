"""A config becomes a plan, or one line says which key does not fit."""

import copy

import jax
import numpy as np
import pytest

from efficient_jax.plan import plan
from efficient_jax.stages import operations, resolved
from efficient_jax.types import UserError


def stage(**changes):
    return {
        "model": {"name": "cnn", "width": 4},
        "method": {"name": "supervised"},
        "batch": {"labelled": 8},
        "augment": {"ops": ()},
        "optim": {
            "learning_rate": 1e-3,
            "warmup": 2,
            "weight_decay": 0.01,
            "clip": 1.0,
            "rules": ((".*", 1.0),),
        },
        "updates": 10,
    } | changes


STUDENT = {"method": {"name": "noisy_student"}, "batch": {"labelled": 8, "unlabelled": 16}, "teacher": "first"}
CONFIG = {
    "seed": 0,
    "data": {"source": {"name": "mnist5k"}, "labels_per_class": 10, "test": 1000},
    "stages": ("first", "student"),
    "first": stage(),
    "student": stage(**STUDENT),
}


def changed(path, value):
    """CONFIG with another value at a dotted path."""
    config = copy.deepcopy(CONFIG)
    *blocks, last = path.split(".")
    block = config
    for name in blocks:
        block = block[name]
    block[last] = value
    return config


def test_a_plan_has_every_default():
    found = plan(CONFIG)
    assert (found.seed, found.devices, found.source) == (0, 0, ("mnist5k", {}))
    sizes = {"labels_per_class": 10, "test": 1000, "validation": 0}
    assert found.split == sizes | {"folds": 0, "fold": 0, "stratify": True, "unlabelled": 0}
    first, student = found.stages
    assert (first.name, first.model) == ("first", ("cnn", {"width": 4, "dropout": 0.0}))
    assert first.method == ("supervised", {"label_smoothing": 0.0, "class_balance": 0.0})
    assert (found.duplicates, first.balanced) == ("refuse", False)
    assert (first.batch, first.teachers, first.pseudo_labels) == ({"labelled": 8}, (), {})
    assert resolved(first, 100).optim["algorithm"] == {"name": "adamw"}
    assert (student.batch, student.teachers) == ({"labelled": 8, "unlabelled": 16}, ("first",))
    assert student.pseudo_labels["threshold"] == 0.3


def test_stages_run_in_the_order_of_their_names():
    config = CONFIG | {"stages": ("z", "first", "a"), "z": stage(), "a": stage()}
    assert [s.name for s in plan(config).stages] == ["z", "first", "a"]


def test_ops_are_applied(key):
    augment = plan(changed("first.augment", {"ops": ("cutout",), "cutout": {"size": 64}})).stages[0].augment
    seen = augment(jax.random.split(key, 2), {"image": np.full((2, 8, 8, 1), 9, np.uint8)})
    np.testing.assert_array_equal(seen["image"], 0)


@pytest.mark.parametrize(
    "augment",
    [
        {"ops": ("flip",)},
        {"ops": ("mirror",), "mirror": {"op": "flip", "probability": 1.0}},
        {"ops": ("one_of",), "one_of": {"ops": ("cutout", "some_of")}, "cutout": {"size": 2},
         "some_of": {"ops": ("rot90", "mirror"), "n_min": 1, "n_max": 1}, "mirror": {"op": "flip"}},
    ],
)  # fmt: skip
def test_operations_that_change_labels_are_warned_of(augment):
    config = changed("student.augment", augment) | {"data": CONFIG["data"] | {"label_changing": ("flip", "rotate")}}
    assert plan(config).warnings == (
        "config.student.augment applies 'flip', named in config.data.label_changing: labels may be wrong after it",
    )
    assert plan(config | {"stages": ("first",)}).warnings == ()


def test_a_policy_applies_what_it_may_choose():
    assert "rotate" in operations(("randaugment",), {})
    assert "rotate" not in operations(("randaugment",), {"randaugment": {"ops": ("color",)}})


def test_operations_hide_behind_names():
    blocks = {
        "first": {"op": "one_of", "ops": ("one_of",)},
        "one_of": {"ops": ("turn", "first")},
        "turn": {"op": "by_class", "of": "rotate", "degrees": (30.0, 0.0)},
    }
    assert operations(("first",), blocks) == {"one_of", "by_class", "rotate"}


def test_a_folder_with_checkpoints_is_a_teacher(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    assert plan(changed("student.teacher", str(tmp_path))).stages[1].teachers == (str(tmp_path),)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("sede", 1, "config.sede: no such key; did you mean 'seed'?"),
        ("seed", True, "config.seed: expected int, got True (bool)"),
        ("devices", -1, "config.devices: -1 is negative; 0 takes what fits"),
        ("stages", (), "config.stages: want at least one name and each once, got ()"),
        ("stages", ("first", "first"), "config.stages: want at least one name and each once"),
        ("stages", ("frist",), "config.stages: unknown name 'frist'; did you mean 'first'?"),
        ("stages", (1,), "config.stages: unknown name 1; there is: first, student"),
        ("stages", ["first"], "config.stages: expected tuple, got ['first'] (list)"),
        ("data", 3, "config.data: expected dict, got 3 (int)"),
        ("data.tset", 1, "config.data.tset: no such key; did you mean 'test'?"),
        ("data.labels_per_class", -1, "config.data.labels_per_class: -1 is less than 0"),
        ("data.test", -1, "config.data.test: -1 is less than 0"),
        ("data.validation", -1, "config.data.validation: -1 is less than 0"),
        ("data.duplicates", "drip", "config.data.duplicates: unknown name 'drip'; did you mean 'drop'?"),
        ("data.feed", "steam", "config.data.feed: unknown name 'steam'; did you mean 'stream'?"),
        ("data.feed", "stream", "config.data.feed: the source 'mnist5k' is in memory; can be streamed: coco, "),
        ("data.source.feed", "stream", "config.data.source.feed: no such key"),
        ("first.batch.balanced", 1, "config.first.batch.balanced: expected bool, got 1 (int)"),
        ("data.label_changing", "flip", "config.data.label_changing: expected tuple, got 'flip' (str)"),
        ("data.label_changing", ("flop",), "config.data.label_changing: unknown name 'flop'; did you mean 'flip'?"),
        ("data.source", {"name": "mnist"}, "config.data.source.name: unknown name 'mnist'; did you mean 'mnist5k'?"),
        ("data.source", {"name": "npz"}, "config.data.source.path: missing, and it has no default"),
        ("data.source", {}, "config.data.source.name: missing; there is: coco, digits, folder, mnist5k, npz, "),
        ("first.name", "x", "config.first.name: no such key"),
        ("first.updats", 1, "config.first.updats: no such key; did you mean 'updates'?"),
        ("first.updates", 0, "config.first: want one of updates, epochs, examples; none of them is given"),
        ("first.updates", -1, "config.first.updates: -1 is negative"),
        ("first.epochs", 1.0, "config.first: want one of updates, epochs, examples; updates = 10 and epochs = 1.0"),
        ("first.norm_axis", "x", "config.first.norm_axis: 'x' is neither 'device' nor ''"),
        ("first.mean", (0.5,), "config.first: mean (0.5,) and std () want a number for each channel"),
        ("first.views", 2, "config.first.views: the method 'supervised' augments in every update"),
        ("first.optim.schedule", {"name": "cosin"}, "config.first.optim.schedule.name: unknown name 'cosin'; did you"),
        ("first.optim.warmup_epochs", 1.0, "config.first.optim: warmup and warmup_epochs are both given; give one"),
        ("first.optim.layers", ("a",), "config.first.optim.layers: no such key"),
        ("first.log_every", 0, "config.first.log_every: 0 is less than 1"),
        ("first.save_every", 0, "config.first.save_every: 0 is less than 1"),
        ("first.ema_decay", 1.0, "config.first.ema_decay: 1.0 is not in 0.0 .. 1.0"),
        ("first.teacher", "student", "config.first.teacher: the method 'supervised' has no use for 'student'"),
        ("first.pseudo_labels", {"soft": True}, "config.first.pseudo_labels: the method 'supervised' does not read"),
        ("first.model.name", "cn", "config.first.model.name: unknown name 'cn'; did you mean 'cnn'?"),
        ("first.model.with", 4, "config.first.model.with: no such key; did you mean 'width'?"),
        ("first.model.classes", 4, "config.first.model.classes: no such key"),
        ("first.method.name", "supervise", "config.first.method.name: unknown name 'supervise'"),
        ("first.method.label_smoothing", "a", "config.first.method.label_smoothing: expected float, got 'a' (str)"),
        ("first.method.teacher", "a", "config.first.method.teacher: no such key"),
        ("first.batch.labelled", 0, "config.first.batch.labelled: 0 is less than 1"),
        ("first.batch.labeled", 8, "config.first.batch.labeled: no such key; did you mean 'labelled'?"),
        ("first.batch.unlabelled", 8, "config.first.batch.unlabelled: 8 asked, but the method learns from labelled"),
        ("first.batch.where", "x", "config.first.batch.where: no such key"),
        ("student.batch.unlabelled", -1, "config.student.batch.unlabelled: -1 is less than 0"),
        ("first.optim.lr", 0.1, "config.first.optim.lr: no such key"),
        ("first.optim.steps", 10, "config.first.optim.steps: no such key"),
        ("first.augment.ops", "flip", "config.first.augment.ops: expected tuple, got 'flip' (str)"),
        ("first.augment.ops", ("flop",), "config.first.augment.ops: unknown name 'flop'; did you mean 'flip'?"),
        ("first.augment.ops", ("cutout",), "config.first.augment.cutout.size: missing, and it has no default"),
        ("first.augment.cutuot", {}, "config.first.augment: unknown name 'cutuot'; did you mean 'cutout'?"),
        ("first.augment.cutout", {"sise": 1}, "config.first.augment.cutout.sise: no such key; did you mean 'size'?"),
        ("first.augment.cutout", {"size": 1.5}, "config.first.augment.cutout.size: expected int, got 1.5 (float)"),
        ("first.augment.cutout", 3, "config.first.augment.cutout: expected a block of settings, got 3 (int)"),
        ("first.init", "student", "config.first.init: stage 'student' comes later; it must come before 'first'"),
        ("student.teacher", "", "config.student.teacher: the method 'noisy_student' needs one"),
        ("student.teacher", "student", "config.student.teacher: stage 'student' comes later"),
        ("student.teacher", "frist", "config.student.teacher: 'frist' is neither an earlier stage nor the folder"),
        ("student.teachers", ("first",), "config.student: teacher and teachers are both given; give one"),
        ("student.class_map", {"0": 1}, "config.student.class_map: 1 is no name"),
        ("first.class_map", {"0": "1"}, "config.first.class_map: the method 'supervised' does not read it"),
        ("first.omit", (3,), "config.first.omit: 3 is no name"),
        ("student.batch.labelled", 0, "config.student.batch.labelled: 0 is less than 1"),
        ("student.pseudo_labels", {"soft": 1}, "config.student.pseudo_labels.soft: expected bool, got 1 (int)"),
        ("student.pseudo_labels", {"seed": 1}, "config.student.pseudo_labels.seed: no such key"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_said_in_one_line(path, value, message):
    with pytest.raises(UserError) as error:
        plan(changed(path, value))
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_rare_classes_are_corrected_for_once():
    block = stage(batch={"labelled": 8, "balanced": True}, method={"name": "supervised", "class_balance": 0.9})
    assert plan(CONFIG | {"first": block | {"method": {"name": "supervised"}}}).stages[0].balanced is True
    with pytest.raises(UserError, match=r"^config\.first: batch\.balanced and method\.class_balance both correct"):
        plan(CONFIG | {"first": block})


def test_a_block_that_no_stage_names_is_checked_too():
    with pytest.raises(UserError, match=r"^config\.student\.updates: -1 is negative$"):
        plan(changed("student.updates", -1) | {"stages": ("first",)})


@pytest.mark.parametrize(
    ("length", "updates"),
    [({"updates": 7}, 7), ({"epochs": 2.5}, 250), ({"examples": 80}, 10), ({"epochs": 0.001}, 1)],
)
def test_how_long_a_stage_trains_may_be_said_in_three_ways(length, updates):
    optim = stage()["optim"] | {"warmup": 0}
    (first,) = plan(CONFIG | {"stages": ("first",), "first": stage(optim=optim, updates=0) | length}).stages
    assert resolved(first, 800).updates == updates  # of 8 images


def test_durations_of_the_optimizer_are_resolved_with_the_stage():
    optim = stage()["optim"] | {"warmup": 0, "warmup_percent": 10.0}
    optim["schedule"] = {"name": "step", "boundaries_epochs": (1.0, 1.5), "factor": 0.1}
    block = stage(optim=optim, updates=0, epochs=2.0)
    (first,) = plan(CONFIG | {"stages": ("first",), "first": block}).stages
    found = resolved(first, 800).optim
    assert (found["warmup"], found["schedule"]["boundaries"]) == (20, (100, 150))


def test_warmup_must_leave_something_to_train():
    first = plan(changed("first.optim.warmup", 10)).stages[0]
    message = r"^config\.first\.optim\.warmup: 10 is not in 0 \.\. 9, the updates of the stage$"
    with pytest.raises(UserError, match=message):
        resolved(first, 100)


DISTILL = {"method": {"name": "distill", "hard_weight": 0.0}, "batch": {"labelled": 8, "unlabelled": 16}}


def test_several_teachers_are_each_an_earlier_stage():
    first = CONFIG | {"stages": ("first", "other", "both"), "other": stage()}
    assert plan(first | {"both": stage(**DISTILL, teachers=("first", "other"))}).stages[2].teachers == (
        "first",
        "other",
    )
    with pytest.raises(UserError, match=r"^config\.both\.teachers: 'othre' is neither .*; did you mean 'other'\?$"):
        plan(first | {"both": stage(**DISTILL, teachers=("first", "othre"))})


def test_without_labels_durations_count_the_other_images():
    block = stage(**DISTILL | {"batch": {"labelled": 0, "unlabelled": 16}}, teacher="first", updates=0, epochs=2.0)
    found = plan(CONFIG | {"stages": ("first", "student"), "student": block}).stages[1]
    assert found.batch == {"unlabelled": 16}
    assert resolved(found, 800).updates == 100


def test_some_stream_must_have_images():
    block = stage(**DISTILL | {"batch": {"labelled": 0, "unlabelled": 0}}, teacher="first")
    with pytest.raises(UserError, match=r"^config\.student\.batch\.labelled: 0 is less than 1$"):
        plan(CONFIG | {"student": block})


def test_a_correction_reads_no_views():
    block = {"model": {"name": "cnn"}, "method": {"name": "prior_correction"}, "init": "first", "views": 2}
    with pytest.raises(UserError, match=r"^config\.student\.views: the method 'prior_correction' has no updates"):
        plan(CONFIG | {"student": block})


PROBE = {"model": {"name": "cnn"}, "method": {"name": "linear_probe"}, "init": "first"}


WEAK_AND_STRONG = STUDENT | {"method": {"name": "fixmatch"}, "teacher": "", "strong_augment": {"ops": ("rotate",)}}


def test_a_strong_view_is_built(key):
    found = plan(CONFIG | {"student": stage(**WEAK_AND_STRONG)}).stages[1]
    image = np.random.default_rng(0).integers(0, 256, (2, 9, 9, 1), np.uint8)
    batch = {"image": image, "label": np.eye(2, dtype=np.float32)}
    keys = jax.random.split(key, 2)
    np.testing.assert_array_equal(found.augment(keys, batch)["image"], image)
    assert not np.array_equal(found.strong_augment(keys, batch)["image"], image)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"strong_augment": {}}, r"strong_augment: the method 'fixmatch' needs a block of operations"),
        ({"method": {"name": "mean_teacher"}}, r"strong_augment: the method 'mean_teacher' has no strong view"),
        ({"augment": {"ops": ("mixup",)}}, r"augment: 'mixup' mixes images, but the method 'fixmatch' compares views"),
        ({"strong_augment": {"ops": ("cutmix",)}}, r"strong_augment: 'cutmix' mixes images"),
        ({"batch": {"labelled": 8}}, r"batch\.unlabelled: the method 'fixmatch' needs some"),
        ({"teacher": "first"}, r"teacher: the method 'fixmatch' has no use for 'first'"),
    ],
)
def test_what_two_views_do_not_fit_with(changes, message):
    with pytest.raises(UserError, match=message):
        plan(CONFIG | {"student": stage(**(WEAK_AND_STRONG | changes))})


def test_strong_operations_that_change_labels_are_warned_of():
    data = CONFIG["data"] | {"label_changing": ("rotate",)}
    (warning,) = plan(CONFIG | {"student": stage(**WEAK_AND_STRONG), "data": data}).warnings
    assert "config.student" in warning


def test_a_method_that_fits_has_no_updates():
    probe = plan(CONFIG | {"stages": ("first", "probe"), "probe": PROBE}).stages[1]
    assert resolved(probe, 100) == probe
    assert (probe.updates, probe.batch, probe.method[1]) == (0, {}, {"head": "logistic", "l2": 0.0})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"init": ""}, "config.probe.init: the method 'linear_probe' needs a trained network"),
        ({"updates": 5}, "config.probe.updates: the method 'linear_probe' has no updates and does not read it"),
        ({"augment": {"ops": ("flip",)}}, "config.probe.views: 0; `augment` wants 1 or more"),
        ({"augment": {"ops": ("mixup",)}, "views": 1}, "config.probe.augment: 'mixup' mixes images, so that held-out"),
        ({"init": "efficientnet-lite9"}, "config.probe.init: 'efficientnet-lite9' is neither an earlier stage nor"),
        ({"method": {"name": "linear_probe", "heads": "ridge"}}, "config.probe.method.heads: no such key"),
    ],
)
def test_a_method_that_fits_says_what_it_wants(changes, message):
    with pytest.raises(UserError) as error:
        plan(CONFIG | {"stages": ("first", "probe"), "probe": PROBE | changes})
    assert str(error.value).startswith(message)


@pytest.mark.parametrize("dtype", ["float16", "int8", "bf16"])
def test_models_compute_in_one_of_two_dtypes(dtype):
    with pytest.raises(UserError, match=rf"^config\.first\.model\.dtype: unknown name '{dtype}'"):
        plan(changed("first.model", {"name": "resnet", "dtype": dtype}))


def test_of_a_run_one_stage_is_a_start(tmp_path):
    (tmp_path / "net" / "checkpoints").mkdir(parents=True)
    with pytest.raises(UserError, match=rf"did you mean '{tmp_path}/net'\?$"):
        plan(changed("first.init", str(tmp_path)))


@pytest.mark.parametrize("init", ["efficientnet-lite0", "weights.safetensors", "weights.pth", "vit.npz"])
def test_a_stage_may_begin_with_weights_that_others_trained(init):
    assert plan(changed("first.init", init)).stages[0].init == init


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"folds": 1}, r"config\.data\.folds: 1 leaves nothing to learn from"),
        ({"folds": 5, "fold": 5}, r"config\.data\.fold: 5 is not one of 5 folds"),
        ({"fold": 1}, r"config\.data\.fold: 1 is not one of 0 folds"),
        ({"folds": 5, "validation": 10}, r"config\.data\.validation: 10 asked, and config\.data\.folds = 5 takes"),
    ],
)
def test_folds_that_do_not_fit_are_said(data, message):
    with pytest.raises(UserError, match=message):
        plan(changed("data", CONFIG["data"] | data))
