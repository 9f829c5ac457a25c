"""A block fits its function, or one line says what does not."""

import pytest

from efficient_jax.errors import UserError
from efficient_jax.settings import bind, bind_named, choose


def train(given, *, rate: float, steps: int = 3, sizes: tuple[int, ...] = (), nesterov: bool = False, name: str = ""):
    del given, rate, steps, sizes, nesterov, name


def test_values_and_defaults():
    bound = bind(train, {"rate": 0.5, "sizes": (1, 2)}, "config")
    assert bound == {"rate": 0.5, "steps": 3, "sizes": (1, 2), "nesterov": False, "name": ""}


def test_an_int_passes_for_a_float():
    rate = bind(train, {"rate": 1}, "config")["rate"]
    assert type(rate) is float
    assert rate == 1.0


def test_a_value_or_a_tuple_of_several():
    def turned(*, degrees: float | tuple[float, float]):
        del degrees

    assert bind(turned, {"degrees": (0.0, 30.0)}, "config") == {"degrees": (0.0, 30.0)}
    assert type(bind(turned, {"degrees": 30}, "config")["degrees"]) is float
    with pytest.raises(UserError, match=r"config.degrees: expected float, got '30' \(str\)"):
        bind(turned, {"degrees": "30"}, "config")


def test_hundreds_of_names_are_counted():
    with pytest.raises(UserError, match="unknown name 'q'; there are 300 names"):
        choose("q", dict.fromkeys(map(str, range(300))), "config")


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"rate": 1.0, "stepz": 1}, "config.stepz: no such key; did you mean 'steps'?"),
        (
            {"rate": 1.0, "qqqq": 1},
            "config.qqqq: no such key; there is: name, nesterov, rate, sizes, steps",
        ),
        ({"rate": 1.0, "given": 1}, "config.given: no such key; there is: name, nesterov, rate, sizes, steps"),
        ({}, "config.rate: missing, and it has no default"),
        ({"rate": "1.0"}, "config.rate: expected float, got '1.0' (str)"),
        ({"rate": True}, "config.rate: expected float, got True (bool)"),
        ({"rate": 1.0, "steps": True}, "config.steps: expected int, got True (bool)"),
        ({"rate": 1.0, "steps": 2.0}, "config.steps: expected int, got 2.0 (float)"),
        ({"rate": 1.0, "nesterov": 1}, "config.nesterov: expected bool, got 1 (int)"),
        ({"rate": 1.0, "sizes": [1]}, "config.sizes: expected tuple, got [1] (list)"),
        ({"rate": 1.0, "name": 3}, "config.name: expected str, got 3 (int)"),
        (3, "config: expected a block of settings, got 3 (int)"),
    ],
)
def test_what_does_not_fit_is_said(block, message):
    with pytest.raises(UserError) as error:
        bind(train, block, "config")
    assert str(error.value) == message


def test_a_name_chooses_the_function():
    options = {"constant": lambda *, value: value, "zero": lambda: 0}
    assert bind_named(options, {"name": "constant", "value": 2}, "config.x") == ("constant", {"value": 2})
    with pytest.raises(UserError, match=r"^config\.x\.value: no such key; there is: none$"):
        bind_named(options, {"name": "zero", "value": 2}, "config.x")
    with pytest.raises(UserError, match=r"^config\.x\.name: missing; there is: constant, zero$"):
        bind_named(options, {"value": 2}, "config.x")


@pytest.mark.parametrize(
    ("name", "hint"), [("zeero", "did you mean 'zero'"), (3, "there is: one, zero"), ({}, "there is: one, zero")]
)
def test_an_unknown_name_gets_a_hint(name, hint):
    with pytest.raises(UserError, match=hint):
        choose(name, {"zero": 0, "one": 1}, "config.name")
