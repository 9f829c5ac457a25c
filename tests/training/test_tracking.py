"""Metrics reach the trackers that a config names, without a network; small modules stand in for W&B and MLflow."""

import contextlib
import os
import sys
import types
from typing import ClassVar

import pytest

from efficient_jax import files
from efficient_jax.errors import UserError
from efficient_jax.training import tracking


@pytest.fixture
def stage(tmp_path):
    """The folder of a stage."""
    (tmp_path / "run" / "s").mkdir(parents=True)
    files.write_json(tmp_path / "run" / "config.json", {"seed": 3})
    return tmp_path / "run" / "s"


def interrupted(stage, name):
    """Goes on after step 5, and is stopped after step 6."""
    with tracking.metrics_log(stage, 5, (name,)) as write:
        write(6, {"loss": 0.25})
        raise KeyboardInterrupt


class FakeRun(contextlib.AbstractContextManager):
    """A run of W&B."""

    def __init__(self, **arguments):
        self.arguments, self.logged, self.ended = arguments, [], []
        self.id = arguments["id"] or "new"

    def log(self, values, step):
        self.logged.append((step, values))

    def __exit__(self, kind, *_):
        self.ended.append(kind)


class FakeClient:
    """The client of MLflow; what it was asked is in `calls`."""

    calls: ClassVar[list] = []

    def __init__(self, address):
        self.calls.append(("address", address))

    def get_experiment_by_name(self, _):
        return None

    def create_run(self, experiment, run_name, tags):
        self.calls.append(("create_run", experiment, run_name, tags))
        return types.SimpleNamespace(info=types.SimpleNamespace(run_id="abc"))

    def __getattr__(self, name):
        return lambda *arguments, **named: self.calls.append((name, *arguments, *named.values())) or name


def test_wandb_gets_every_value_offline_and_a_resumed_stage_the_same_run(stage, monkeypatch):
    runs = []
    fake = types.ModuleType("wandb")
    fake.init = lambda **arguments: runs.append(FakeRun(**arguments)) or runs[-1]
    fake.Settings = dict
    monkeypatch.setitem(sys.modules, "wandb", fake)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    with tracking.metrics_log(stage, 0, ("wandb",)) as write:
        write(5, {"loss": 0.5})
    with pytest.raises(KeyboardInterrupt):
        interrupted(stage, "wandb")
    first, second = runs
    assert first.arguments["mode"] == "offline"
    assert first.arguments["config"] == {"seed": 3}
    assert (first.arguments["group"], first.arguments["name"], first.arguments["id"]) == ("run", "s", None)
    assert second.arguments["id"] == first.id
    assert (first.logged, second.logged) == ([(5, {"loss": 0.5})], [(6, {"loss": 0.25})])
    assert (first.ended, second.ended) == ([None], [KeyboardInterrupt])
    assert [record["step"] for record in files.read_lines(stage / "metrics.jsonl")] == [5, 6]


def test_mlflow_gets_every_value_in_the_workdir_and_a_resumed_stage_the_same_run(stage, monkeypatch):
    fake = types.ModuleType("mlflow")
    fake.MlflowClient = FakeClient
    monkeypatch.setitem(sys.modules, "mlflow", fake)
    for variable in ("MLFLOW_TRACKING_URI", *tracking.QUIET):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(FakeClient, "calls", [])
    with tracking.metrics_log(stage, 0, ("mlflow",)) as write:
        write(5, {"loss": 0.5, "accuracy": 1.0})
    with pytest.raises(KeyboardInterrupt):
        interrupted(stage, "mlflow")
    assert (os.environ["MLFLOW_DISABLE_TELEMETRY"], os.environ["WANDB_ERROR_REPORTING"]) == ("true", "false")
    address = ("address", f"sqlite:///{stage.parent}/mlflow.db")
    assert FakeClient.calls == [
        address,
        ("create_experiment", "run"),
        ("create_run", "create_experiment", "s", {"workdir": str(stage.parent)}),
        ("log_metric", "abc", "loss", 0.5, 5),
        ("log_metric", "abc", "accuracy", 1.0, 5),
        ("set_terminated", "abc", "FINISHED"),
        address,
        ("log_metric", "abc", "loss", 0.25, 6),
        ("set_terminated", "abc", "KILLED"),
    ]


def test_tensorboard_has_its_events_in_the_folder_and_nobody_else_does(stage):
    with tracking.metrics_log(stage, 0, ()) as write:
        write(1, {"loss": 2.0})
    assert [path.name for path in stage.iterdir()] == ["metrics.jsonl"]
    with tracking.metrics_log(stage, 0, ("tensorboard",)) as write:
        write(1, {"loss": 2.0})
    (events,) = stage.glob("events.out.tfevents*")
    assert b"loss" in events.read_bytes()


def test_of_several_processes_only_the_first_tracks(stage, monkeypatch):
    monkeypatch.setattr(tracking.distributed, "is_first", lambda: False)
    monkeypatch.setitem(sys.modules, "wandb", None)
    tracking.check(("wandb",))
    with tracking.metrics_log(stage, 0, ("wandb",)) as write:
        write(1, {"loss": 2.0})
    assert list(stage.iterdir()) == []


def test_a_package_that_is_missing_is_said_with_the_extra_that_brings_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    said = r"^config\.track: 'mlflow' needs a package that cannot be imported \(.*\): pip install -e '\.\[track\]'$"
    with pytest.raises(UserError, match=said):
        tracking.check(("tensorboard", "mlflow"))
