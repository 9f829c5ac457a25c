"""sweep: runs many trials of one config, each in its own process; resumable; writes tables and a figure."""

import hashlib
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NotRequired, TypedDict, cast

from efficient_jax import files
from efficient_jax.commands.files import PROGRAM, load_config, run_file
from efficient_jax.distributed import console, log
from efficient_jax.errors import UserError, counted
from efficient_jax.evaluation import out_of_fold
from efficient_jax.experiment.config_keys import allow, departures
from efficient_jax.report import layout, sweep_figure, sweep_tables, tables
from efficient_jax.report.summary import first_figure
from efficient_jax.settings import Settings

Stage = tuple[str, str]
"""Group and name of a stage."""


class Trial(TypedDict):
    """A trial of a sweep."""

    id: str  # a hash of its config without the defaults, and of VOTES if there are any
    group: str
    seed: int
    overrides: Settings  # dotted key -> value
    fold: NotRequired[int]
    folds: NotRequired[int]


class Outcome(TypedDict, total=False):
    """What came of a trial: stages, or an error."""

    stages: dict[str, tables.SweptStage]
    git_commit: str | None
    git_dirty: bool
    devices: list[str]
    figure: str  # header of the score of its stages, where that is not the accuracy
    error: str  # last line of its messages
    command: str  # that failed


def sweep(sweep: str = "", workdir: str = "", results: str = "") -> None:
    """Runs many trials of one config, each in its own process, and writes a table; resumable.

    The file defines CONFIG, the path of a config, and `trials()`, which yields (group, overrides): a flat dict of
    dotted keys. It may define COMPARISONS, pairs of (group, stage) whose paired differences are shown; SPLIT, "test"
    (the default) or "validation", the images on which accuracy is measured; VOTES, a dict from a name to the members of
    a soft vote in each trial's run, as `evaluate --members` without RUN/. Trials with config.data.folds are shown fold
    by fold, and once all folds of a stage are done their predictions are written to one file
    (`efficient_jax.evaluation.out_of_fold`). The tables are also in a .md beside the results, the figure in an .svg. A
    trial is identified by its config: when that changes, the trial runs again. A failed trial leaves a line with its
    error, does not stop the others, and is run again the next time.

    Args:
        sweep: the Python file of the sweep.
        workdir: folder for the runs; empty: runs/NAME of the file.
        results: file of JSON lines to which trials are added; empty: WORKDIR/results.jsonl.

    Raises:
        UserError: the file does not load, a trial does not fit the config, or the results cannot be written.
    """
    module = run_file(sweep, "--sweep", "CONFIG", "trials")
    trials = trials_of(module)
    folder = Path(workdir or f"runs/{Path(sweep).stem}")
    path = Path(results or folder / "results.jsonl")
    done = _succeeded(path)
    for number, trial in enumerate(trials, 1):
        if trial["id"] not in done:
            log(f"trial {number}/{len(trials)}: {trial['group']}, {trial['overrides']}")
            outcome = _run(module, trial["overrides"], folder / trial["id"])
            _append(path, {**trial, **outcome})
            if "error" in outcome:
                log(f"  failed: {outcome['error']}")
    done = _succeeded(path)
    records = [done[trial["id"]] for trial in trials if trial["id"] in done]
    markdown = described(records, module.get("COMPARISONS", ()))
    console().out(markdown)
    for file in _out_of_fold(records, folder, path):
        log(f"out-of-fold predictions: {file}")
    if records:
        sweep_figure.write_figure(path.with_suffix(".svg"), records)
        about = (module["__doc__"] or "").strip()
        commands = "\n".join(
            f"{PROGRAM} {shlex.join(arguments)}"
            for trial in trials
            if trial["id"] in done
            for arguments in _commands(module, trial["overrides"], Path("runs") / trial["id"])
        )
        whole = f"{about}\n\n{markdown}\nEach trial by itself:\n\n```sh\n{commands}\n```\n"
        files.write_text(path.with_suffix(".md"), whole)
    log(f"{len(records)} of {counted(len(trials), 'trial')} in {path}")


def _out_of_fold(records: list[tables.Record], folder: Path, results: Path) -> list[Path]:
    """Writes and returns a file of predictions for each group, stage and seed of which all folds are done."""
    complete: dict[tuple[str, str, int], dict[int, Path]] = {}
    for record in records:
        for stage in record["stages"] if "fold" in record else ():
            stages = complete.setdefault((record["group"], stage, record["seed"]), {})
            stages[record["fold"]] = folder / record["id"] / stage
    folds = {record["group"]: record["folds"] for record in records if "fold" in record}
    written = []
    for (group, stage, seed), stages in complete.items():
        if len(stages) == folds[group] and all((path / "validation.npz").is_file() for path in stages.values()):
            name = re.sub(r"\W+", "_", f"{results.stem} {group} {stage} {seed}")
            written.append(results.with_name(f"{name}.out_of_fold.csv"))
            out_of_fold.write_csv(written[-1], out_of_fold.gather(list(stages.values())))
    return written


def _split(module: Mapping[str, Any]) -> str:
    """Returns the split on which accuracy is measured."""
    split: str = module.get("SPLIT", "test")
    return split


def _append(path: Path, record: Mapping[str, object]) -> None:
    """Appends a line, also after a line that a killed sweep left half written."""
    with path.open("a+b") as file:
        if file.tell() and not path.read_bytes().endswith(b"\n"):
            file.write(b"\n")
        file.write(files.json_text(record).encode() + b"\n")


def _succeeded(path: Path) -> dict[str, tables.Record]:
    """Returns id -> record of the trials in `path` that did not fail; raises a UserError if it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.open("a").close()
    except OSError as error:
        raise UserError(f"--results: cannot write to {str(path)!r}: {error.strerror}") from error
    records = [record for record in files.read_lines(path) if "error" not in record]
    return {record["id"]: cast(tables.Record, record) for record in records}


def described(records: list[tables.Record], comparisons: Collection[tuple[Stage, Stage]]) -> str:
    """Returns the tables of a sweep in markdown.

    Args:
        records: those of the trials.
        comparisons: pairs of (group, stage); those without records are left out.

    Raises:
        UserError: two records have the same group, seed and fold.
    """
    headers = sweep_tables.headers(records)
    parts = [layout.markdown(headers, sweep_tables.sweep_rows(records))] if records else []
    if fold_rows := sweep_tables.fold_rows(records):
        parts.append(layout.markdown(sweep_tables.FOLD_HEADERS, fold_rows))
    if agreement := tables.agreement_line(
        [result for record in records for result in record["stages"].values() if "test" in result]
    ):
        parts.append(f"{agreement}\n")
    rows = []
    known = {(record["group"], stage) for record in records for stage in record["stages"]}
    for a, b in comparisons:
        if {a, b} <= known:
            rows.append(
                [" / ".join(a), " / ".join(b), *sweep_tables.difference_cells(sweep_tables.differences(records, a, b))]
            )
    if rows:
        parts.append(layout.markdown(["this", "minus this", "points [95% interval]", "pairs"], rows))
    return "\n".join(parts)


def trials_of(module: Mapping[str, Any]) -> list[Trial]:
    """Returns the trials of a sweep.

    Args:
        module: global names of the file, with CONFIG and `trials`.

    Raises:
        UserError: overrides do not fit the config, or two trials have the same config.
    """
    trials = [_trial(module, group, overrides) for group, overrides in module["trials"]()]
    if len({trial["id"] for trial in trials}) < len(trials):
        raise UserError("--sweep: two trials have the same config")
    return trials


def _trial(module: Mapping[str, Any], group: str, overrides: Mapping[str, Any]) -> Trial:
    """Describes a trial."""
    config = load_config(module["CONFIG"], "--sweep: CONFIG").lock()
    allow(config, overrides)
    try:
        config.update_from_flattened_dict(overrides)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"--sweep: {dict(overrides)} does not fit {module['CONFIG']!r}: {error}") from error
    folds = config.data.get("folds", 0)
    if _split(module) == "validation" and not config.data.get("validation", 0) and not folds:
        raise UserError(f"--sweep: SPLIT is 'validation', but {group!r} has no validation images")
    content = departures(config.to_dict()) | ({"VOTES": module["VOTES"]} if "VOTES" in module else {})
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]
    trial: Trial = {"id": digest, "group": group, "seed": config.seed, "overrides": dict(overrides)}
    return {**trial, "fold": config.data.get("fold", 0), "folds": folds} if folds else trial


def _run(module: Mapping[str, Any], overrides: Mapping[str, Any], workdir: Path) -> Outcome:
    """Runs a trial."""
    for arguments in _commands(module, overrides, workdir):
        command = [sys.executable, sys.argv[0], *arguments]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            try:
                _, messages = process.communicate()
            except KeyboardInterrupt:
                process.terminate()  # it saves a checkpoint
                process.communicate()
                raise
        if process.returncode:
            lines = messages.strip().splitlines() or [f"exit code {process.returncode}"]
            return {"error": lines[-1], "command": " ".join(command[1:])}
    about, split = files.read_json(workdir / "run.json"), _split(module)
    results = {
        name: files.read_json(workdir / name / "result.json")
        for name in files.read_json(workdir / "config.json")["stages"]
    }
    figure = first_figure(about)
    stages = {name: _scored(result, split, figure.name) for name, result in results.items()}
    counts = next(iter(results.values()))[split]
    votes = {name: voted(_vote_folder(workdir, name), split, counts["n"]) for name in _votes(module)}
    return {
        "stages": stages | votes,
        "git_commit": about["git_commit"],
        "git_dirty": about["git_dirty"],
        "devices": about["devices"],
        **({} if figure.name == tables.ACCURACY.name else {"figure": figure.header}),
    }


def _votes(module: Mapping[str, Any]) -> Mapping[str, str]:
    votes: Mapping[str, str] = module.get("VOTES", {})
    return votes


def _vote_folder(workdir: Path, name: str) -> Path:
    return workdir / "votes" / name


def _commands(module: Mapping[str, Any], overrides: Mapping[str, Any], workdir: Path) -> list[list[str]]:
    """Returns the arguments of `launch.py` for each command of a trial: train, then evaluate for each vote."""
    flags = [f"--config.{key}={value}".replace("'", '"') for key, value in overrides.items()]  # quoted for a shell
    train = ["train", f"--config={module['CONFIG']}", f"--workdir={workdir}", *flags]
    return [train] + [
        ["evaluate", f"--members={_members(workdir, members)}", f"--out={_vote_folder(workdir, name)}"]
        for name, members in _votes(module).items()
    ]


def _members(workdir: Path, members: str) -> str:
    return ",".join(f"{workdir}/{member}" for member in members.split(","))


def voted(folder: Path, split: str, images: int) -> tables.SweptStage:
    """Returns the metrics of a vote in the form of a stage's result.

    Args:
        folder: where `evaluate` wrote evaluation.json.
        split: "test" or "validation".
        images: number of images of the split.

    Raises:
        UserError: the vote has only one member.
    """
    about = files.read_json(folder / "evaluation.json")
    if len(about["members"]) < 2:
        raise UserError(f"--sweep: VOTES: {folder.name!r} has one member only, {next(iter(about['members']))!r}")
    if split == "validation":  # the vote of all members is the last of the greedy choice
        return {"correct": round(about["selection"][-1]["accuracy"] * images), "n": images}
    figures = list(about["members"].values())[-1]
    kept = ("correct", "n", "negative_log_likelihood", "calibration_error")
    metrics = {name: figures[name] for name in kept if name in figures}
    return cast(tables.SweptStage, metrics | {"members": len(about["members"]) - 1})


def _scored(result: files.Json, split: str, figure: str) -> tables.SweptStage:
    """Returns a stage's result with the counts of `split` at the top level, without test metrics for validation."""
    score = {} if figure == tables.ACCURACY.name else {"score": result[split][figure]}
    test_metrics = ("test", "negative_log_likelihood", "calibration_error")
    hidden = ("stage", *(test_metrics if split != "test" else ()))
    shown = {key: value for key, value in result.items() if key not in hidden}
    return cast(tables.SweptStage, result[split] | score | shown)
