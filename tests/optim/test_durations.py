import pytest

from efficient_jax.errors import UserError
from efficient_jax.optim.durations import override, resolve

STAGE = {"batch": 32, "epoch": 100, "steps": 200, "where": "config.finetune.optim"}  # 3.125 steps an epoch


@pytest.mark.parametrize(
    ("given", "steps"),
    [
        ({"warmup": 7}, 7),
        ({"warmup_epochs": 16}, 50),
        ({"warmup_epochs": 1.0}, 3),
        ({"warmup_examples": 320}, 10),
        ({"warmup_percent": 12.5}, 25),
    ],
)
def test_every_form_becomes_steps(given, steps):
    found = resolve(given, ("warmup",), **STAGE)
    assert found == {"warmup": steps}
    assert type(found["warmup"]) is int


def test_what_is_no_duration_stays():
    block = {"learning_rate": 0.1, "rules": ((".*", 1.0),), "warmup_epochs": 4.0}
    assert resolve(block, ("warmup", "period"), **STAGE) == {
        "learning_rate": 0.1,
        "rules": ((".*", 1.0),),
        "warmup": 13,  # 12.5
    }
    assert "warmup" not in block


def test_tuples_are_converted_one_by_one():
    assert resolve({"boundaries_percent": (50, 75.0)}, ("boundaries",), **STAGE) == {"boundaries": (100, 150)}


@pytest.mark.parametrize(("examples", "steps"), [(1, 1), (47, 1), (48, 2), (79, 2), (80, 3)])
def test_rounding(examples, steps):
    """To the nearest, a half up, but not to none."""
    assert resolve({"period_examples": examples}, ("period",), **STAGE) == {"period": steps}


@pytest.mark.parametrize("default", [{"steps": 0}, {"steps_percent": 0.0}, {"steps": 0, "steps_examples": 0}])
def test_zero_is_not_given(default):
    assert resolve(default | {"steps_epochs": 32}, ("steps",), **STAGE) == {"steps": 100}
    assert resolve(default, ("steps",), **STAGE) == {"steps": 0}


def test_an_empty_tuple_is_not_given():
    block = {"boundaries": (), "boundaries_epochs": (16, 32)}
    assert resolve(block, ("boundaries",), **STAGE) == {"boundaries": (50, 100)}
    assert resolve({"boundaries": ()}, ("boundaries",), **STAGE) == {"boundaries": ()}


@pytest.mark.parametrize(
    ("block", "known", "message"),
    [
        ({"warmup": 3, "warmup_epochs": 1}, {}, "warmup and warmup_epochs are both given; give one"),
        ({"warmup_percent": 3, "warmup_examples": 1}, {}, "warmup_examples and warmup_percent are both given"),
        ({"warmup_percent": 5}, {"steps": 0}, "warmup_percent cannot be converted to steps here; "
         "give one of warmup, warmup_epochs, warmup_examples"),
        ({"warmup_epochs": 5}, {"epoch": 0}, "warmup_epochs cannot be converted to steps here"),
    ],
)  # fmt: skip
def test_exactly_one_form_of_what_is_known(block, known, message):
    with pytest.raises(UserError) as error:
        resolve(block, ("warmup",), **(STAGE | known))
    assert str(error.value).startswith(f"config.finetune.optim: {message}")


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"warmup": -1}, "warmup: -1 is not a duration; want 0 or more"),
        ({"warmup_epochs": -0.5}, "warmup_epochs: -0.5 is not a duration"),
        ({"warmup_epochs": (1, -2)}, "warmup_epochs: -2 is not a duration"),
        ({"warmup_percent": float("nan")}, "warmup_percent: nan is not a duration"),
        ({"warmup": 2.5}, "warmup: expected a whole number of steps, got 2.5 (float)"),
        ({"warmup": True}, "warmup: expected a whole number of steps, got True (bool)"),
        ({"warmup_epochs": "1"}, "warmup_epochs: expected a number, got '1' (str)"),
    ],
)
def test_what_is_no_duration_is_refused(block, message):
    with pytest.raises(UserError) as error:
        resolve(block, ("warmup",), **STAGE)
    assert str(error.value).startswith(f"config.finetune.optim.{message}")


def test_a_flag_replaces_the_form_that_the_config_gives():
    optim = {"warmup": 0, "warmup_percent": 5.0, "schedule": {"period": 0, "period_epochs": 2.0, "final": 0.1}}
    config = {"seed": 3, "s": {"steps": 30, "epochs": 60.0, "optim": optim | {"warmup": 7}}}
    config["s"]["optim"]["schedule"]["period"] = 9
    override(config, ["seed", "s.steps", "s.optim.warmup", "s.optim.schedule.period", "s.optim.schedule.final"])
    schedule = {"period": 9, "period_epochs": 0.0, "final": 0.1}
    expected = {"warmup": 7, "warmup_percent": 0.0, "schedule": schedule}
    assert config == {"seed": 3, "s": {"steps": 30, "epochs": 0.0, "optim": expected}}


def test_two_forms_that_flags_give_contradict_each_other_as_ever():
    config = {"s": {"steps": 30, "epochs": 2.0}, "t": {"steps": 0, "epochs": 2.0}}
    override(config, ["s.steps", "s.epochs", "t.steps"])
    assert config == {"s": {"steps": 30, "epochs": 2.0}, "t": {"steps": 0, "epochs": 2.0}}
