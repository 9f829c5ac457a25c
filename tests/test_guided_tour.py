"""The guided tour's code: each block of "Add your own" is executed as it stands, and what it adds is used."""

import io
import re
from collections.abc import Iterator

import jax
import numpy as np
import pytest
from rich.console import Console

from efficient_jax import augment
from efficient_jax.augment import pipelines, registry
from efficient_jax.augment.entries import checked
from efficient_jax.data.sources import SOURCES
from efficient_jax.experiment.config import plan
from efficient_jax.experiment.dataset import load_data
from efficient_jax.experiment.results import evaluate_stage
from efficient_jax.experiment.stage import run_stage
from efficient_jax.methods import METHODS
from efficient_jax.models import MODELS, init
from efficient_jax.models.spec import ModelSpec
from efficient_jax.tasks import TASKS
from tests.commands.launch import ROOT
from tests.tiny_run import begin, begun, stage

README = (ROOT / "efficient_jax/README.md").read_text()
BLOCKS = dict(re.findall(r"^### Add an? (\w+)\n.*?```python\n(.*?)```", README, re.MULTILINE | re.DOTALL))
REGISTRIES = (METHODS, MODELS, SOURCES, TASKS, registry.PIXEL, registry.OPS, pipelines.KNOWN)
SOURCE = {"name": "stripes", "images": 60}


@pytest.fixture(autouse=True)
def five() -> Iterator[None]:
    """Executes every block; afterwards the registries are as they were."""
    before = [dict(entries) for entries in REGISTRIES]
    for code in BLOCKS.values():
        exec(code, {})
    (op,) = registry.PIXEL.keys() - before[4].keys()
    registry.OPS[op] = pipelines.KNOWN[op] = checked(registry.PIXEL[op])  # as the registry does on import
    yield
    for entries, old in zip(REGISTRIES, before, strict=True):
        entries.clear()
        entries.update(old)


def config(**changes: object) -> dict:
    """A config of one stage on the tour's source, with its method, model and operation."""
    added = {"model": {"name": "linear"}, "batch": {"labelled": 8}, "augment": {"ops": ("fog",)}}
    net = stage("confidence_penalty", steps=2, **added) | changes
    data = {"source": SOURCE, "labels_per_class": 4, "test": 20}
    return {"seed": 0, "devices": 1, "stages": ("net",), "data": data, "net": net}


def test_the_tour_adds_one_of_each():
    assert set(BLOCKS) == {"method", "model", "operation", "source", "task"}
    for code in BLOCKS.values():
        path = re.match(r"# (efficient_jax/\S+\.py)", code)
        assert path
        assert (ROOT / path[1]).parent.is_dir()


def test_the_files_of_the_tour_exist():
    """Paths in backticks that name a Python file are files of the package or tests."""
    paths = re.findall(r"`([a-z_]+/[a-z_/]+\.py)`", README)
    assert len(paths) >= 5
    for path in paths:
        assert (ROOT / "efficient_jax" / path).is_file() or (ROOT / path).is_file(), path


def test_the_method_trains_two_steps_with_the_model_the_operation_and_the_source(tmp_path):
    settings = config()
    run = begun(settings, tmp_path, Console(file=io.StringIO()))
    begin(tmp_path, settings, run.data)
    result = run_stage(run.plan.stages[0], run)
    assert result["steps"] == 2
    assert result["test"]["n"] == 20


def test_the_weight_of_the_method_is_a_setting():
    (net,) = plan(config(method={"name": "confidence_penalty", "weight": 0.5})).stages
    assert net.method_settings == {"weight": 0.5}


def test_the_model_builds_and_applies():
    spec = ModelSpec("linear", {}, ("a", "b", "c"), (4, 4, 1), (0.5,), (0.25,))
    module, apply = spec.build()
    variables = init(module, jax.random.key(0), spec.input_shape)
    (logits, intermediates), _ = apply(variables, np.zeros((2, 4, 4, 1), np.uint8), False, None)
    kernel = variables["params"]["head"]["kernel"]
    np.testing.assert_allclose(intermediates["features"], -2.0)  # black, normalised
    np.testing.assert_allclose(logits, np.tile(-2.0 * kernel.sum(0), (2, 1)), rtol=1e-5)


def test_the_operation_runs_in_a_pipeline():
    images = np.full((3, 4, 4, 1), 100, np.uint8)
    keys = jax.random.split(jax.random.key(0), 3)
    foggy = augment.build(("fog",), {"fog": {"strength": 1.0}})(keys, {"image": images})["image"]
    assert foggy.dtype == np.uint8
    assert (foggy > images).all()
    assert len(np.unique(foggy)) == 3  # each image has its own draw
    clear = augment.build(("fog",), {"fog": {"strength": 0.0}})(keys, {"image": images})["image"]
    np.testing.assert_array_equal(clear, images)


def test_the_source_loads_in_a_plan():
    source, split = load_data(plan(config()))
    assert source.classes == ("vertical", "horizontal")
    assert source.images.shape == (60, 8, 8, 1)
    assert [len(split[part]) for part in ("labelled", "test")] == [8, 20]


def test_the_task_judges(tmp_path):
    """Answers that are one level off have a distance of 1."""
    source, split = load_data(plan(config()))
    source = source._replace(task="levels", classes=("low", "middle", "high"))
    tested = split["test"]
    answers = source.labels[tested] + 1
    result = evaluate_stage(tmp_path, source, tested, np.eye(3, dtype=np.float32)[answers], ())
    assert result["test"]["distance"] == 1.0
    assert result["test"]["correct"] == 0
    assert TASKS["levels"].scores(result["test"]) == {"closeness": -1.0}
