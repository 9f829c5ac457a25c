"""The catalogue in the README of `augment/` lists every operation with exactly its settings."""

import inspect
import re

import jax
import numpy as np
import pytest

from efficient_jax import augment
from efficient_jax.augment.registry import CHOICES, MIXES, OPS, PHASED
from tests.commands.launch import ROOT

README = (ROOT / "efficient_jax/augment/README.md").read_text()
SECTIONS = re.findall(r"^### [^\n]*\[(\S+\.py)\]\(\1\)\n(.*?)(?=^###|\Z)", README, re.MULTILINE | re.DOTALL)
ROW = re.compile(r"^\| `(\w+)` \| .+ \| (.*) \|$", re.MULTILINE)
ROWS = [(file, *row) for file, section in SECTIONS for row in ROW.findall(section)]
ALL = OPS | MIXES | CHOICES | PHASED


def settings_of(cell: str) -> dict[str, object]:
    """`x=0.3` -> {"x": 0.3}; a setting without a default has `inspect.Parameter.empty`."""
    pairs = [text.partition("=") for text in re.findall(r"`([^`]+)`", cell)]
    return {name: eval(value) if value else inspect.Parameter.empty for name, _, value in pairs}


def test_every_operation_is_listed_once():
    assert sorted(name for _, name, _ in ROWS) == sorted(ALL)


@pytest.mark.parametrize(("file", "name", "cell"), ROWS, ids=[name for _, name, _ in ROWS])
def test_a_row_has_the_settings_of_its_operation(file, name, cell):
    function = inspect.unwrap(ALL[name])
    assert inspect.getsourcefile(function) == str(ROOT / "efficient_jax/augment" / file)
    parameters = [p for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY]
    shown = settings_of(cell)
    assert list(shown) == [p.name for p in parameters]
    for parameter in parameters:
        if shown[parameter.name] is ...:  # a long tuple, of which the description says what it holds
            assert len(parameter.default) > 4
        else:
            assert shown[parameter.name] == parameter.default


def test_the_examples_of_the_catalogue_run_and_are_the_same_pipeline():
    rng = np.random.default_rng(0)
    scope = {
        "images": rng.integers(0, 256, (4, 8, 8, 3), dtype=np.uint8),
        "masks": np.ones((4, 8, 8), np.int32),
        "labels": np.eye(4, dtype=np.float32),
    }
    python, config = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(python, scope)
    assert scope["turned"]["mask"].sum() < 64  # the corners came from outside
    block = eval(config.partition("=")[2])
    pipeline = jax.jit(augment.build(block["ops"], block))
    same = pipeline(scope["keys"], {"image": scope["images"], "label": scope["labels"]})
    for entry in ("image", "label"):
        np.testing.assert_array_equal(same[entry], scope["batch"][entry])
