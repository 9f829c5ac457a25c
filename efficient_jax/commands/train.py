"""train: the stages of a config, in order, then the table and the report."""

import datetime
import json
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict
from rich.console import Console

from efficient_jax import experiment, records
from efficient_jax.data.sources import fingerprint
from efficient_jax.plan import plan
from efficient_jax.report import page, tables
from efficient_jax.types import UserError

PACKAGES = ("efficient_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "scikit-learn")


def train(config: ConfigDict = "configs/quickstart.py", workdir: str = "runs/quickstart") -> None:
    """Trains what is not yet trained; a finished run is only shown."""
    console = Console()
    settings = config.to_dict()
    checked = plan(settings)
    folder = Path(workdir)
    check_workdir(folder, json.loads(json.dumps(settings)))
    run = experiment.prepare(checked, folder, console)
    records.write_json(folder / "config.json", settings)
    if not (folder / "run.json").exists():
        records.write_json(folder / "run.json", _about(run, settings))
    names = ", ".join(f"{len(ids)} {name}" for name, ids in run.split.items() if len(ids))
    console.print(f"{folder}: {names} images; {len(run.devices)} x {run.devices[0].platform}", highlight=False)
    results = []
    for stage in checked.stages:
        if (folder / stage.name / "result.json").exists():
            console.print(f"{stage.name}: finished before")
        results.append(experiment.run_stage(stage, run))
    console.print(tables.stage_table(results))
    console.print(f"report: {page.write_report(folder)}", highlight=False, soft_wrap=True)


def check_workdir(workdir: Path, config: dict[str, Any]) -> None:
    """That `workdir` can be written, and is new or holds this config's run. Leaves it as it is."""
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=workdir):
            pass
    except OSError as error:
        raise UserError(
            f"--workdir: cannot write to {str(workdir)!r}: {error.strerror}; choose another folder"
        ) from error
    if not (workdir / "config.json").exists():
        if any(workdir.iterdir()):
            raise UserError(f"--workdir: {str(workdir)!r} holds files, but no run; choose an empty or a new folder")
        return
    if differences := list(_differences(records.read_json(workdir / "config.json"), config, "config")):
        more = f" (and {len(differences) - 1} more)" if len(differences) > 1 else ""
        raise UserError(
            f"--workdir: {str(workdir)!r} holds another experiment: {differences[0]}{more}; give a new --workdir"
        )


def _differences(there: Any, here: Any, where: str):
    if isinstance(there, dict) and isinstance(here, dict):
        for key in sorted(there.keys() | here.keys()):
            yield from _differences(there.get(key, "nothing"), here.get(key, "nothing"), f"{where}.{key}")
    elif there != here:
        yield f"{where} is {there} there, {here} here"


def _about(run: experiment.Run, config: dict[str, Any]) -> dict[str, Any]:
    commit = _git("rev-parse", "HEAD")
    return {
        "command": " ".join(["python", *sys.argv]),
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "git_commit": commit or None,
        "git_dirty": bool(commit and _git("status", "--porcelain")),
        "versions": {"python": sys.version.split()[0], **{name: metadata.version(name) for name in PACKAGES}},
        "devices": [str(device) for device in run.devices],
        "data": {
            "source": config["data"]["source"]["name"],
            "fingerprint": fingerprint(run.source),
            "classes": list(run.source.classes),
            **{name: len(ids) for name, ids in run.split.items()},
        },
    }


def _git(*arguments: str) -> str:
    """What git says of the code's checkout; '' where it is none."""
    where = Path(__file__).parent
    done = subprocess.run(["git", *arguments], cwd=where, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""
