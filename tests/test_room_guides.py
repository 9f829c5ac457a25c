"""The READMEs of `data/` and `models/` list every source and model with exactly its settings; their examples work."""

import importlib
import inspect
import re

import numpy as np
import pytest

from efficient_jax import settings
from efficient_jax.commands.flags import checked_config
from efficient_jax.data.class_names import NO_LABEL
from efficient_jax.data.sources import ENCODED, SOURCES
from efficient_jax.experiment.config import plan
from efficient_jax.models import MODELS, SUPPLIED
from efficient_jax.models.dense import dense_boxes, dense_masks
from tests.commands.launch import ROOT

DATA, NETWORKS, SELECTION = (
    (ROOT / f"efficient_jax/{room}/README.md").read_text() for room in ("data", "models", "selection")
)
SOURCE_ROWS = re.findall(r"^\| `(\w+)` \| .* \|(?: (`.*`))? \| `(--.*)` \|$", DATA, re.MULTILINE)
MODEL_ROWS = re.findall(r"^\| `(\w+)` \| .* \| (`\w+=.*`) \|$", NETWORKS.split("\n## ")[1], re.MULTILINE)
FRAMING = re.findall(r"^\| `(\w+)` \| [^|]* \|$", DATA, re.MULTILINE)


def test_every_source_and_model_is_listed_once():
    assert sorted(name for name, *_ in SOURCE_ROWS) == sorted(SOURCES)
    assert sorted(name for name, _ in MODEL_ROWS) == sorted(MODELS)


@pytest.mark.parametrize(("name", "cell", "flags"), SOURCE_ROWS)
def test_a_source_has_the_settings_of_its_row_and_its_example_is_a_config(name, cell, flags):
    parameters = inspect.signature(SOURCES[name]).parameters.values()
    shared = set(FRAMING) - ({"unreadable"} if name == "tfds" else set()) if name in ENCODED else set()
    assert {p.name for p in parameters if p.kind is p.KEYWORD_ONLY} == shared | set(re.findall(r"`(\w+)`", cell))
    config = checked_config("configs/finetune.py", ["--config=configs/finetune.py", *flags.split()])
    assert plan(config.to_dict()).source[0] == name


@pytest.mark.parametrize(("name", "cell"), MODEL_ROWS)
def test_a_model_has_the_settings_of_its_row(name, cell):
    shown = {key: eval(value) for key, value in re.findall(r"`(\w+)=([^`]+)`", cell)}
    parameters = inspect.signature(MODELS[name]).parameters
    assert shown == {key: p.default for key, p in parameters.items() if key not in SUPPLIED}


def test_all_names_of_no_label_are_listed():
    paragraph = re.search(r"### No label\n(.*?)\n\n###", DATA, re.DOTALL)
    assert paragraph
    assert NO_LABEL - {""} <= set(re.findall(r"`([^`]+)`", paragraph[1]))


def test_the_examples_of_models_run():
    scope = {"images": np.zeros((2, 32, 32, 3), np.uint8)}
    network, detector = re.findall(r"```python\n(.*?)```", NETWORKS, re.DOTALL)
    exec(network, scope)
    assert scope["logits"].shape == (2, 2)
    exec(detector, scope)
    assert scope["losses"].weight.shape == (2,)
    assert scope["found"]["boxes"].shape == (2, 100, 4)


@pytest.mark.parametrize("function", [dense_masks, dense_boxes])
def test_a_decoder_has_the_settings_of_its_row(function):
    (cell,) = re.findall(rf"^\| `{function.__name__}` \|.* \| (`\w+=.*`) \|$", NETWORKS, re.MULTILINE)
    shown = {key: eval(value) for key, value in re.findall(r"`(\w+)=([^`]+)`", cell)}
    assert shown == {key: p.default for key, p in settings.parameters(function).items()}


def test_the_example_of_selection_runs():
    rng = np.random.default_rng(0)
    scope = {"features": rng.normal(size=(100, 8)), "probabilities": rng.dirichlet(np.ones(3), 100)}
    (code,) = re.findall(r"```python\n(.*?)```", SELECTION, re.DOTALL)
    exec(code, scope)
    assert len(set(scope["labelled"].tolist())) == 60
    assert 0.99 < scope["part"].sum() <= 1.01


def test_the_table_of_selection_names_what_there_is():
    for module, function in re.findall(r"`(\w+)\.(\w+)`", SELECTION):
        assert callable(getattr(importlib.import_module(f"efficient_jax.selection.{module}"), function))
