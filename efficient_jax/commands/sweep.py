"""sweep: many runs of one config, each in a process of its own; resumable; a table at the end."""

import hashlib
import json
import runpy
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from efficient_jax import binding, records
from efficient_jax.report import sweep_figure, tables
from efficient_jax.types import UserError


def sweep(sweep: str = "", workdir: str = "", results: str = "") -> None:
    """Runs the trials of the python file `sweep` that `results` (default: WORKDIR/results.jsonl) does not have yet.

    The file has CONFIG, the path of a config; `trials()`, which yields (group, overrides), overrides a flat dict of
    dotted keys; if it likes COMPARISONS, pairs of (group, stage) whose paired differences are shown below the table,
    and SPLIT, "test" (the default) or "validation", the images that count. A trial
    is known by its resolved config: change that, and it runs again. One that fails leaves a line with its error, does
    not stop the rest, and is tried again the next time.
    """
    console = Console()
    module = _load(sweep)
    folder = Path(workdir or f"runs/{Path(sweep).stem}")
    path = Path(results or folder / "results.jsonl")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--workdir: cannot write to {str(folder)!r}: {error.strerror}") from error
    trials = [(group, overrides, identity(module["CONFIG"], overrides)) for group, overrides in module["trials"]()]
    done = _succeeded(path)
    for number, (group, overrides, name) in enumerate(trials, 1):
        if name not in done:
            console.print(f"trial {number}/{len(trials)}: {group}, {overrides}", highlight=False)
            record = {"id": name, "group": group, "seed": overrides.get("seed", 0), "overrides": overrides}
            record |= _run(module["CONFIG"], overrides, folder / name, module.get("SPLIT", "test"))
            with path.open("a") as file:
                file.write(json.dumps(record) + "\n")
            if "error" in record:
                console.print(f"  failed: {record['error']}", highlight=False)
    done = _succeeded(path)
    found = [done[name] for _, _, name in trials if name in done]
    show(found, module.get("COMPARISONS", ()), console)
    if found:
        sweep_figure.write_figure(path.with_suffix(".svg"), found)
    console.print(f"{len(found)} of {len(trials)} trials in {path}", highlight=False)


def _succeeded(path: Path) -> dict[str, dict[str, Any]]:
    """The trials in `path` that did not fail, by their id."""
    return {record["id"]: record for record in records.read_lines(path) if "error" not in record}


def show(found: list[dict[str, Any]], comparisons: tuple, console: Console) -> None:
    """The table of a sweep, in markdown, so that it can be copied."""
    if found:
        console.out(tables.markdown(tables.SWEEP_HEADERS, tables.sweep_rows(found)))
    rows = []
    known = {(record["group"], stage) for record in found for stage in record["stages"]}
    for a, b in comparisons:
        if {a, b} <= known:
            rows.append([" / ".join(a), " / ".join(b), *tables.difference_cells(tables.differences(found, a, b))])
    if rows:
        console.out(tables.markdown(["this", "minus this", "points [95% interval]", "pairs"], rows))


def _load(path: str) -> dict[str, Any]:
    if not Path(path).is_file():
        known = [str(p) for p in Path("configs/sweeps").glob("*.py")]
        raise UserError(f"--sweep: no file {path!r}{binding.nearest(path, known)}")
    module = runpy.run_path(path)
    for name in ("CONFIG", "trials"):
        if name not in module:
            raise UserError(f"--sweep: {path!r} does not define {name}")
    return module


def identity(config_file: str, overrides: Mapping[str, Any]) -> str:
    """A hash of the config with the overrides in place."""
    file, *argument = config_file.split(":", 1)
    config = runpy.run_path(file)["get_config"](*argument)
    try:
        config.update_from_flattened_dict(overrides)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"--sweep: the overrides {overrides} do not fit {config_file!r}: {error}") from error
    return hashlib.sha256(json.dumps(config.to_dict(), sort_keys=True).encode()).hexdigest()[:12]


def _run(config_file: str, overrides: Mapping[str, Any], workdir: Path, split: str) -> dict[str, Any]:
    """{"stages": {name: result}} of one trial, or {"error": its last line}."""
    flags = [f"--config.{key}={value}" for key, value in overrides.items()]
    command = [
        sys.executable,
        sys.argv[0],
        "train",
        f"--config={config_file}",
        f"--workdir={workdir}",
        *flags,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        return {"error": lines[-1], "command": " ".join(command[1:])}
    about = records.read_json(workdir / "run.json")
    stages = records.read_json(workdir / "config.json")["stages"]
    return {
        "stages": {name: _scored(records.read_json(workdir / name / "result.json"), split) for name in stages},
        "git_commit": about["git_commit"],
        "devices": about["devices"],
    }


def _scored(result: dict[str, Any], split: str) -> dict[str, Any]:
    """A stage's result with the counts of one split on top, as the tables read it; of the other nothing is told."""
    of_test = ("negative_log_likelihood", "calibration_error")
    hidden = ("stage", "test", "validation", *(of_test if split != "test" else ()))
    return {**result[split], **{key: value for key, value in result.items() if key not in hidden}}
