"""train: trains the stages of a config in order, then prints the table and writes the report."""

import datetime
import json
import shlex
import sys
from importlib import metadata
from pathlib import Path

from ml_collections import ConfigDict

from efficient_jax import files
from efficient_jax.commands.files import PROGRAM, git
from efficient_jax.distributed import console, is_first, join, log, wait
from efficient_jax.experiment.config import plan
from efficient_jax.experiment.dry_run import dry_run
from efficient_jax.experiment.leaks import leaks, trained_before
from efficient_jax.experiment.results import keep_leaks
from efficient_jax.experiment.run import Run
from efficient_jax.experiment.stage import run_stage
from efficient_jax.experiment.workdir import check_data, claimed, keep_split
from efficient_jax.report import glossary, layout, tables
from efficient_jax.report.results import read_results
from efficient_jax.settings import Settings
from efficient_jax.tasks import TASKS
from efficient_jax.training import profiling, stopping, tracking

PARTS = ("labelled", "unlabelled", "generated", "validation", "test")
PACKAGES = ("efficient_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "scikit-learn")


def train(
    config: ConfigDict = "configs/quickstart.py",
    workdir: str = "runs/quickstart",
    images: str = "",
    labels: str = "",
    processes: str = "",
    process: int = 0,
    coordinator: str = "",
    profile: str = "",
) -> None:
    """Trains the stages of a config in order; finished stages are only shown.

    `--from=RUN` instead of `--config` takes the config of another run.

    Args:
        config: FILE or FILE:tiny, the same stages in two steps each.
        workdir: folder of the run; the same command resumes it.
        images: FOLDER with a folder of images for each class, and "unlabelled" for others: chooses the config by them.
        labels: table (.csv) of the classes of the images in `images`, where these are not in a folder for each class;
            its column part, as `label` writes it, says which are for the test. Images that no row names are unlabelled.
        processes: number of processes that train together; "auto": as set by Slurm, Open MPI, Kubernetes or a TPU pod;
            empty: this one alone.
        process: index of this process, from 0.
        coordinator: HOST:PORT at which process 0 can be reached.
        profile: FIRST:COUNT: traces steps FIRST to FIRST+COUNT-1 of every stage, counted from 1, into its folder; the
            step that compiles is left out.

    Raises:
        UserError: the config, its data or a flag is wrong, or the folder belongs to another experiment.
    """
    del images, labels  # `commands.images_flag` has replaced them by a config
    traced = profiling.steps(profile)
    if processes:
        join(processes, process, coordinator)
    settings = config.to_dict()
    checked = plan(settings)
    tracking.check(checked.track)
    folder = Path(workdir)
    with claimed(folder, settings), stopping.listening(log) as stop:
        if _is_finished(folder, settings):
            _show(folder)
            return
        run = Run.open(checked, folder, console())._replace(profile=traced if is_first() else range(0))
        dry_run(run)
        about = _about(run, settings)
        source, split, devices = run.data.source, run.data.split, run.data.devices
        check_data(folder, run.fingerprint, run.generated_fingerprint)
        files.write_json(folder / "config.json", settings)
        keep_split(folder, source._replace(labels=run.true_labels), split)
        if is_first() and not (folder / "run.json").exists():
            near_copies = leaks(source, split)
            keep_leaks(folder, source, split, near_copies)
            if diff := git("diff", "--binary", "--no-ext-diff", "--no-color", "HEAD"):
                (folder / "git.diff").write_bytes(diff)
            about["data"]["leaks"] = [leak.line for leak in near_copies]
            files.write_json(folder / "run.json", about)
        wait("run.json")
        about = files.read_json(folder / "run.json")
        names = ", ".join(f"{len(ids)} {name}" for name, ids in split.items() if len(ids))
        log(f"{folder}: {names} images; {len(devices)} x {devices[0].platform}")
        for note in source.notes:
            log(f"note: {note}")
        for leak in about["data"].get("leaks", ()):
            log(f"warning: {leak}; compare the images in the report")
        for warning in (*checked.warnings, *trained_before(checked, source, split)):
            log(f"warning: {warning}")
        for stage in checked.stages:
            stop.check(f"before stage {stage.name!r}")
            if (folder / stage.name / "result.json").exists():
                log(f"{stage.name}: finished before")
            run_stage(stage, run, stop)
        if is_first():
            _show_results(folder)


def _is_finished(folder: Path, config: Settings) -> bool:
    """Returns whether every stage of exactly this config is finished, so that nothing has to be read or checked.

    A table of labels that was written since is read again: it may have other labels.
    """
    needed = ["config.json", "run.json", *(f"{stage}/result.json" for stage in config["stages"])]
    if not all((folder / name).exists() for name in needed):
        return False
    table = Path(str(config["data"]["source"].get("path")))
    if table.is_file() and table.stat().st_mtime > (folder / "run.json").stat().st_mtime:
        return False
    same: bool = files.read_json(folder / "config.json") == json.loads(files.json_text(config))
    return same


def _show(folder: Path) -> None:
    """Shows a finished run."""
    about = files.read_json(folder / "run.json")["data"]
    names = ", ".join(f"{about[part]} {part}" for part in PARTS if about.get(part))
    log(f"{folder}: {names} images; they are not read again")
    for result in read_results(folder):
        log(f"{result['stage']}: finished before")
    if is_first():
        _show_results(folder)


def _show_results(folder: Path) -> None:
    """Shows the results of a run, and writes its report."""
    results = read_results(folder)
    task = TASKS[files.read_json(folder / "run.json")["data"]["task"]]
    console().print("\nTest images", style="bold")
    console().print(tables.stage_table(results, task.columns))
    if tables.best(results, task.columns[0]) is not None:
        console().print(tables.BEST_LEGEND)
    if paired := tables.paired_rows(results):
        console().print("\nEach stage against its teacher and its start, on the same test images", style="bold")
        console().print(layout.rich_table(tables.PAIRED_HEADERS, paired))
        console().print(glossary.legend(tables.PAIRED_HEADERS[2:]))
    from efficient_jax.report import page  # loads matplotlib, after the table is shown

    log(f"\nreport: {page.write_report(folder, task.columns, task.one_class, not task.exclusive)}")
    source = files.read_json(folder / "config.json")["data"]["source"]
    if source.get("rest") and task.one_class:  # labels that `label` has entered: others may be worth more
        flags = [f"--images={source['folder']}", f"--labels={source['path']}", f"--members={folder}", "--count=20"]
        log(f"label more: {shlex.join([*PROGRAM.split(), 'select', *flags])}")


def _about(run: Run, config: Settings) -> files.Json:
    commit, data = git("rev-parse", "HEAD").decode().strip(), run.data
    return {
        "command": " ".join(["python", *sys.argv]),
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "git_commit": commit or None,
        "git_dirty": bool(commit and git("status", "--porcelain")),
        "git_untracked": git("ls-files", "--others", "--exclude-standard").decode().splitlines(),
        "versions": {"python": sys.version.split()[0], **{name: metadata.version(name) for name in PACKAGES}},
        "devices": [str(device) for device in data.devices],
        "data": {
            "source": config["data"]["source"]["name"],
            "fingerprint": run.fingerprint,
            "generated_fingerprint": run.generated_fingerprint,
            "classes": list(data.source.classes),
            "task": data.source.task,
            "one_class": data.task.one_class,
            "figure": list(data.task.columns[0]),
            "notes": list(data.source.notes),
            **{name: len(ids) for name, ids in data.split.items()},
        },
    }
