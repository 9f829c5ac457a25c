"""A config becomes a plan, or one line says which key does not fit."""

import contextlib
import copy
import math

import hypothesis
import jax
import pytest
from hypothesis import strategies as st

from configs import few_labels, quickstart
from efficient_jax.errors import UserError
from efficient_jax.experiment.config import plan
from efficient_jax.experiment.stage_steps import resolved
from efficient_jax.tasks import CLASSIFICATION
from tests.experiment.plans import CONFIG, changed, stage


def test_a_plan_has_every_default():
    found = plan(CONFIG)
    assert (found.seed, found.devices, found.source) == (0, 0, ("mnist5k", {}))
    sizes = {"labels_per_class": 10, "test": 1000, "validation": 0}
    assert found.split == sizes | {"folds": 0, "fold": 0, "stratify": True, "unlabelled": 0}
    first, student = found.stages
    assert (first.name, first.model) == ("first", ("cnn", {"width": 4, "dropout": 0.0}))
    assert (first.method_name, first.method_settings) == (
        "supervised",
        dict.fromkeys(("label_smoothing", "class_balance", "logit_adjustment", "gce", "dice_weight"), 0.0),
    )
    assert (found.duplicates, first.balanced) == ("refuse", False)
    assert (first.batch, first.teachers, first.pseudo_labels) == ({"labelled": 8}, (), {})
    assert resolved(first, 100, CLASSIFICATION).optim["algorithm"] == {"name": "adamw"}
    assert (student.batch, student.teachers) == ({"labelled": 8, "unlabelled": 16}, ("first",))
    assert resolved(student, 100, CLASSIFICATION).pseudo_labels["threshold"] == 0.3


def test_stages_run_in_the_order_of_their_names():
    config = CONFIG | {"stages": ("z", "first", "a"), "z": stage(), "a": stage()}
    assert [s.name for s in plan(config).stages] == ["z", "first", "a"]


def test_a_folder_with_checkpoints_is_a_teacher(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    assert plan(changed("student.teacher", str(tmp_path))).stages[1].teachers == (str(tmp_path),)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("sede", 1, "config.sede: no such key; did you mean 'seed'?"),
        ("seed", True, "config.seed: expected int, got True (bool)"),
        ("devices", -1, "config.devices: -1 is negative; 0 takes what fits"),
        ("track", ("wand",), "config.track: unknown name 'wand'; did you mean 'wandb'?"),
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
        ("data.source", {}, "config.data.source.name: missing; there is: coco, digits, folder, masks, mnist5k, "),
        ("first.name", "x", "config.first.name: no such key"),
        ("first.stpes", 1, "config.first.stpes: no such key; did you mean 'steps'?"),
        ("first.steps", 0, "config.first: want one of steps, epochs, examples; none of them is given"),
        ("first.steps", -1, "config.first.steps: -1 is negative"),
        ("first.epochs", 1.0, "config.first: want one of steps, epochs, examples; steps = 10 and epochs = 1.0"),
        ("first.norm_axis", "x", "config.first.norm_axis: 'x' is neither 'device' nor ''"),
        ("first.mean", (0.5,), "config.first: mean (0.5,) and std () want a number for each channel"),
        ("first.views", 2, "config.first.views: the method 'supervised' augments in every step"),
        ("first.optim.schedule", {"name": "cosin"}, "config.first.optim.schedule.name: unknown name 'cosin'; did you"),
        ("first.optim.warmup_epochs", 1.0, "config.first.optim: warmup and warmup_epochs are both given; give one"),
        ("first.optim.layers", ("a",), "config.first.optim.layers: no such key"),
        ("first.log_every", 0, "config.first.log_every: 0 is less than 1"),
        ("first.save_every", 0, "config.first.save_every: 0 is less than 1"),
        ("first.ema_decay", 1.0, "config.first.ema_decay: 1.0 is not in 0.0 .. 1.0"),
        ("first.teacher", "student", "config.first.teacher: the method 'supervised' does not read 'student'"),
        ("first.pseudo_labels", {"soft": True}, "config.first.pseudo_labels: the method 'supervised' does not read"),
        ("first.model.name", "cn", "config.first.model.name: unknown name 'cn'; did you mean 'cnn'?"),
        ("first.model.with", 4, "config.first.model.with: no such key; did you mean 'width'?"),
        ("first.model.classes", 4, "config.first.model.classes: no such key"),
        ("first.method.name", "supervise", "config.first.method.name: unknown name 'supervise'"),
        ("first.method.label_smoothing", "a", "config.first.method.label_smoothing: expected float, got 'a' (str)"),
        ("first.method.teacher", "a", "config.first.method.teacher: no such key"),
        ("first.batch.labelled", 0, "config.first.batch.labelled: 0 is less than 1"),
        ("first.batch.labeled", 8, "config.first.batch.labeled: no such key; did you mean 'labelled'?"),
        ("first.batch.unlabelled", 8, "config.first.batch.unlabelled: 8 images, but the method reads labelled"),
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
        ("student.class_map", {"0": 1}, "config.student.class_map: 1 is not a string"),
        ("first.class_map", {"0": "1"}, "config.first.class_map: the method 'supervised' does not read it"),
        ("first.omit", (3,), "config.first.omit: 3 is not a string"),
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
    with pytest.raises(UserError, match=r"^config\.student\.steps: -1 is negative$"):
        plan(changed("student.steps", -1) | {"stages": ("first",)})


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


CONFIGS = [module.get_config().to_dict() for module in (quickstart, few_labels)]
VALUES = [
    -1,
    0,
    1,
    10**12,
    -0.5,
    0.0,
    2.0,
    math.nan,
    math.inf,
    True,
    None,
    "",
    "student",
    "no such thing",
    "ünïcode \n",
]
VALUES += [
    (),
    ("student",),
    ("x", 1),
    ((".*", 1.0),),
    (("(", 1.0),),
    [1],
    {},
    {"name": "cnn"},
    {"name": 3},
    {1: 2},
    b"x",
]


def paths(block: dict, before: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    here = [(*before, key) for key in block]
    return here + [path for key, of in block.items() if isinstance(of, dict) for path in paths(of, (*before, key))]


def mutated(draw, config: dict) -> dict:
    config = copy.deepcopy(config)
    *blocks, key = draw(st.sampled_from(paths(config)))
    block = config
    for name in blocks:
        block = block[name]
    how = draw(st.sampled_from(["replace", "replace", "remove", "misspell", "move"]))
    if how == "replace":
        block[key] = draw(st.sampled_from(VALUES))
    elif how == "remove":
        del block[key]
    elif how == "misspell":
        block[key[:-1]] = block.pop(key)
    else:
        config[draw(st.sampled_from(["seed", "data", "student", "new"]))] = block.pop(key)
    return config


@hypothesis.settings(max_examples=200, deadline=None, derandomize=True, database=None)
@hypothesis.given(st.data())
def test_a_mutated_config_is_a_plan_or_one_line(data):
    config = mutated(data.draw, data.draw(st.sampled_from(CONFIGS)))
    traced = []
    jax.monitoring.register_event_duration_secs_listener(lambda event, *_, **__: traced.append(event))
    with contextlib.suppress(UserError):
        plan(config)
    jax.monitoring.clear_event_listeners()
    assert traced == []


def test_paths_of_a_source_may_have_environment_variables(monkeypatch):
    block = CONFIG | {"data": {"source": {"name": "folder", "path": "$EFFICIENT_JAX_DATA/cats", "size": 8}}}
    monkeypatch.setenv("EFFICIENT_JAX_DATA", "/data")
    assert plan(block).source[1]["path"] == "/data/cats"
    monkeypatch.delenv("EFFICIENT_JAX_DATA")
    with pytest.raises(
        UserError, match=r"source\.path: .* needs the environment variable EFFICIENT_JAX_DATA, which is"
    ):
        plan(block)
