"""A third task is one file and one line: here the label is a level, answered by the nearest of ordered classes."""

import dataclasses
import io

import jax.numpy as jnp
import numpy as np
from rich.console import Console

from efficient_jax.data.dataset import Source
from efficient_jax.experiment import dataset
from efficient_jax.experiment.config import plan
from efficient_jax.experiment.stage import run_stage
from efficient_jax.experiment.streams import check_labels
from efficient_jax.report import page, tables
from efficient_jax.tasks import CLASSIFICATION, TASKS
from efficient_jax.types import Column
from tests.experiment.plans import CONFIG, WEAK_AND_STRONG
from tests.experiment.plans import stage as block
from tests.tiny_run import begin, begun, shades, stage

LEVELS = dataclasses.replace(
    CLASSIFICATION,
    name="levels",
    labels="one level",
    loss=lambda logits, targets, _=0.0: jnp.square(logits - targets).sum(-1),
    counts=lambda _, labels, answers: {
        "correct": int((answers == labels).sum()),
        "n": len(labels),
        "distance": float(np.abs(answers - labels).mean()),
    },
    columns=(*CLASSIFICATION.columns, Column("distance", "mean distance", ".3f", 1.0)),
    scores=lambda counts: {"closeness": -counts["distance"]},
)


def test_methods_for_one_class_fit_a_third_task_of_one_class(monkeypatch):
    monkeypatch.setitem(TASKS, "levels", LEVELS)
    *_, student = plan(CONFIG | {"student": block(**WEAK_AND_STRONG)}).stages
    assert not student.method.needs("task")
    check_labels(
        student, Source(np.zeros((1, 4, 4, 1), np.uint8), np.zeros(1, np.int32), ("low", "high"), task="levels")
    )


def test_a_third_task_is_trained_and_judged(tmp_path, monkeypatch):
    monkeypatch.setitem(TASKS, "levels", LEVELS)
    source = dataset.SOURCES["npz"]
    monkeypatch.setitem(dataset.SOURCES, "npz", lambda *, path: source(path=path)._replace(task="levels"))
    images = shades(tmp_path / "a.npz", np.arange(240) % 3)
    stages = {"net": stage("supervised", steps=60, save_every=20), "probe": stage("linear_probe")}
    stages["probe"] = {key: stages["probe"][key] for key in ("model", "method")} | {"init": "net"}
    data = {"source": {"name": "npz", "path": images}, "labels_per_class": 0, "test": 30, "validation": 30}
    config = {"seed": 0, "devices": 2, "stages": tuple(stages), "data": data, **stages}
    run = begun(config, tmp_path, Console(file=io.StringIO()))
    begin(tmp_path, config, run.data)
    results = [run_stage(each, run) for each in run.plan.stages]
    for result in results:
        assert result["test"]["distance"] < 0.1
        assert result["test"]["correct"] >= 27
    logged = (tmp_path / "net" / "metrics.jsonl").read_text()
    assert "validation_closeness" in logged
    assert "validation_accuracy" not in logged
    assert tables.stage_headers(results, LEVELS.columns)[-1] == "mean distance"
    distances = [f"{result['test']['distance']:.3f}" for result in results]
    assert [row[-1] for row in tables.stage_rows(results, LEVELS.columns)] == distances
    assert "validation mean distance" in page.write_report(tmp_path, LEVELS.columns).read_text()
