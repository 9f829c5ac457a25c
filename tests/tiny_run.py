"""Runs of tiny stages on three classes that differ in brightness."""

import csv
import fcntl
import io
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rich.console import Console

from efficient_jax import files
from efficient_jax.data.dataset import fingerprint
from efficient_jax.experiment.config import plan
from efficient_jax.experiment.dry_run import dry_run
from efficient_jax.experiment.run import Run
from efficient_jax.experiment.stage import run_stage
from efficient_jax.experiment.workdir import keep_split

SHAPE = (8, 8, 1)


def shades(path: Path, labels: np.ndarray, **more) -> str:
    """An .npz of 240 images, dark, grey and bright in turn."""
    noise = np.random.default_rng(0).integers(0, 60, (240, *SHAPE))
    pixels = noise + 90 * (np.arange(240) % 3)[:, None, None, None]
    np.savez(path, images=pixels.astype(np.uint8), labels=labels, **more)
    return str(path)


def stage(method: str, steps: int = 2, **changes) -> dict:
    block = {
        "model": {"name": "cnn", "width": 4},
        "method": {"name": method},
        "batch": {"labelled": 8} if method == "supervised" else {"labelled": 8, "unlabelled": 8},
        "augment": {"ops": ()},
        "optim": {"learning_rate": 1e-2, "warmup": 0, "weight_decay": 0.0, "clip": 1.0, "rules": ((".*", 1.0),)},
        "steps": steps,
        "ema_decay": 0.9,
    }
    return block | changes


def tuned(rules, **changes):
    return stage("supervised", optim=stage("supervised")["optim"] | {"weight_decay": 0.1, "rules": rules}, **changes)


def run(images: str, workdir, stages: dict, validation: int = 0, devices: int = 2) -> list[dict]:
    config = {
        "seed": 0,
        "devices": devices,
        "stages": tuple(stages),
        "data": {
            "source": {"name": "npz", "path": images},
            "labels_per_class": 4,
            "test": 30,
            "validation": validation,
        },
        **stages,
    }
    return trained(config, workdir)


def trained(config: dict, workdir: Path) -> list[dict]:
    """The results of all stages of a config."""
    workdir.mkdir(exist_ok=True)
    prepared = begun(config, workdir, Console(quiet=True))
    begin(workdir, config, prepared.data)
    return [run_stage(stage, prepared) for stage in prepared.plan.stages]


def begun(config: dict, workdir: Path, console: Console) -> Run:
    """The run as `train` begins it: prepared, and every stage traced."""
    prepared = Run.open(plan(config), workdir, console)
    dry_run(prepared)
    return prepared


def begin(workdir, config, data):
    """Writes what `train` leaves of a run before its stages, as far as other commands read it."""
    files.write_json(workdir / "config.json", config)
    source, split = data.source, data.split
    record = {"source": config["data"]["source"]["name"], "fingerprint": fingerprint(source), "classes": source.classes}
    record |= {"figure": list(data.task.columns[0]), "one_class": data.task.one_class}
    record |= {"task": source.task, "notes": source.notes, **{part: len(ids) for part, ids in split.items()}}
    about = {"command": "", "time": "", "git_commit": None, "git_dirty": False, "versions": {}, "devices": []}
    files.write_json(workdir / "run.json", about | {"data": record})
    keep_split(workdir, source, split)


def prepared(images, workdir, stages, said=None, **data):
    """The run, before its stages."""
    split = {"labels_per_class": 4, "test": 30} | data
    config = {
        "seed": 0,
        "devices": 2,
        "stages": tuple(stages),
        "data": {"source": {"name": "npz", "path": images}} | split,
    }
    return begun(config | stages, workdir, Console(file=said or io.StringIO(), width=300))


def stored(folder) -> list[dict[str, str]]:
    with (folder / "pseudo_labels.csv").open() as file:
        return list(csv.DictReader(file))


def once(tmp_path_factory, name: str, make: Callable[[Path], None]) -> Path:
    """The folder that `make` has filled in the first of the worker processes of pytest that asked for it."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base  # shared by all workers
    folder, made = base / f"{name} of all", base / f"{name} is made"
    with (base / f"{name} lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            folder.mkdir()
            make(folder)
            made.touch()
    return folder
