"""A stage's block becomes a stage: its operations, durations, teachers, and what they do not fit with."""

import jax
import numpy as np
import pytest

from efficient_jax.errors import UserError
from efficient_jax.experiment.config import plan
from efficient_jax.experiment.config_keys import keys_of
from efficient_jax.experiment.stage_steps import resolved
from efficient_jax.tasks import CLASSIFICATION
from tests.experiment.plans import CONFIG, DISTILL, PROBE, WEAK_AND_STRONG, changed, stage


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


@pytest.mark.parametrize(
    ("length", "steps"),
    [({"steps": 7}, 7), ({"epochs": 2.5}, 250), ({"examples": 80}, 10), ({"epochs": 0.001}, 1)],
)
def test_how_long_a_stage_trains_may_be_said_in_three_ways(length, steps):
    optim = stage()["optim"] | {"warmup": 0}
    (first,) = plan(CONFIG | {"stages": ("first",), "first": stage(optim=optim, steps=0) | length}).stages
    assert resolved(first, 800, CLASSIFICATION).steps == steps  # of 8 images


def test_durations_of_the_optimizer_are_resolved_with_the_stage():
    optim = stage()["optim"] | {"warmup": 0, "warmup_percent": 10.0}
    optim["schedule"] = {"name": "step", "boundaries_epochs": (1.0, 1.5), "factor": 0.1}
    block = stage(optim=optim, steps=0, epochs=2.0)
    (first,) = plan(CONFIG | {"stages": ("first",), "first": block}).stages
    found = resolved(first, 800, CLASSIFICATION).optim
    assert (found["warmup"], found["schedule"]["boundaries"]) == (20, (100, 150))


def test_warmup_must_leave_something_to_train():
    first = plan(changed("first.optim.warmup", 10)).stages[0]
    message = r"^config\.first\.optim\.warmup: 10 is not in 0 \.\. 9, the steps of the stage; warmup_percent is a"
    with pytest.raises(UserError, match=message):
        resolved(first, 100, CLASSIFICATION)


def test_several_teachers_are_each_an_earlier_stage():
    first = CONFIG | {"stages": ("first", "other", "both"), "other": stage()}
    assert plan(first | {"both": stage(**DISTILL, teachers=("first", "other"))}).stages[2].teachers == (
        "first",
        "other",
    )
    with pytest.raises(UserError, match=r"^config\.both\.teachers: 'othre' is neither .*; did you mean 'other'\?$"):
        plan(first | {"both": stage(**DISTILL, teachers=("first", "othre"))})


def test_without_labels_durations_count_the_other_images():
    block = stage(**DISTILL | {"batch": {"labelled": 0, "unlabelled": 16}}, teacher="first", steps=0, epochs=2.0)
    found = plan(CONFIG | {"stages": ("first", "student"), "student": block}).stages[1]
    assert found.batch == {"unlabelled": 16}
    assert resolved(found, 800, CLASSIFICATION).steps == 100


def test_a_strong_view_is_built(key):
    found = plan(CONFIG | {"student": stage(**WEAK_AND_STRONG)}).stages[1]
    image = np.random.default_rng(0).integers(0, 256, (2, 9, 9, 1), np.uint8)
    batch = {"image": image, "label": np.eye(2, dtype=np.float32)}
    keys = jax.random.split(key, 2)
    np.testing.assert_array_equal(found.augment(keys, batch)["image"], image)
    assert not np.array_equal(found.strong_augment(keys, batch)["image"], image)


def test_strong_operations_that_change_labels_are_warned_of():
    data = CONFIG["data"] | {"label_changing": ("rotate",)}
    (warning,) = plan(CONFIG | {"student": stage(**WEAK_AND_STRONG), "data": data}).warnings
    assert "config.student" in warning


def test_a_method_that_fits_has_no_steps():
    probe = plan(CONFIG | {"stages": ("first", "probe"), "probe": PROBE}).stages[1]
    assert resolved(probe, 100, CLASSIFICATION).steps == 0
    defaults = {"head": "logistic", "pool": "network", "l2": 0.0, "class_embeddings": ""}
    assert (probe.batch, probe.method_settings) == ({}, defaults)


@pytest.mark.parametrize("dtype", ["float16", "int8", "bf16"])
def test_models_compute_in_one_of_two_dtypes(dtype):
    with pytest.raises(UserError, match=rf"^config\.first\.model\.dtype: unknown name '{dtype}'"):
        plan(changed("first.model", {"name": "resnet", "dtype": dtype}))


def test_of_a_run_one_stage_is_a_start(tmp_path):
    (tmp_path / "net" / "checkpoints").mkdir(parents=True)
    with pytest.raises(UserError, match=rf"did you mean '{tmp_path}/net'\?$"):
        plan(changed("first.init", str(tmp_path)))


DINO = "vit_small_patch14_reg4_dinov2.lvd142m"


def test_published_weights_say_their_model():
    model, settings = plan(changed("first", stage(model={}, init=DINO))).stages[0].model
    assert (model, settings["variant"], settings["registers"], settings["gelu"]) == ("vit", "S/14", 4, "exact")
    for block in ({"stochastic_depth": 0.2}, {"name": "vit", "stochastic_depth": 0.2}):
        _, changed_one = plan(changed("first", stage(model=block, init=DINO))).stages[0].model
        assert changed_one == settings | {"stochastic_depth": 0.2}


def test_a_stage_that_begins_with_another_has_its_model():
    first, student = stage(init=DINO, model={"dropout": 0.1}), stage(init="first", model={"stochastic_depth": 0.2})
    config = CONFIG | {"first": first, "student": student}
    (_, begun), (_, followed) = (stage.model for stage in plan(config).stages)
    assert followed == begun | {"stochastic_depth": 0.2}
    keys = keys_of(config)
    shown = {name: keys[f"student.model.{name}"].value for name in ("name", "variant", "dropout", "stochastic_depth")}
    assert shown == {"name": "vit", "variant": "S/14", "dropout": 0.1, "stochastic_depth": 0.2}


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"model": {}}, r"^config\.first\.model\.name: missing; there is: "),
        (
            {"model": {}, "init": DINO + "x"},
            rf"^config\.first\.model\.name: missing, and init = .* did you mean '{DINO}'",
        ),
        (
            {"model": {"name": "cnn"}, "init": DINO},
            r"^config\.first\.model\.name: 'cnn', but init = .* leave config\.first",
        ),
        ({"model": {}, "init": "nowhere.pth"}, r"^config\.first\.init: nowhere\.pth: there is no such file"),
        ({"model": {"varaint": "S/14"}, "init": DINO}, r"^config\.first\.model\.varaint: .* did you mean 'variant'"),
    ],
)
def test_a_model_that_nothing_says_is_asked_for(block, message):
    with pytest.raises(UserError, match=message):
        plan(changed("first", stage(**block)))


@pytest.mark.parametrize("init", ["efficientnet-lite0", "weights.safetensors", "weights.pth", "vit.npz"])
def test_a_stage_may_begin_with_weights_that_others_trained(init):
    assert plan(changed("first", stage(model={"name": "efficientnet"}, init=init))).stages[0].init == init
