"""Writes the metrics of a stage: `metrics.jsonl`, and what `config.track` names of TensorBoard, W&B and MLflow.

Only the first process writes. W&B and MLflow write into the workdir and use no network, unless their own environment
variables WANDB_MODE and MLFLOW_TRACKING_URI ask for one.
"""

import contextlib
import importlib
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from efficient_jax import distributed, files
from efficient_jax.errors import UserError

Write = Callable[[int, Mapping[str, float]], None]
"""`write(step, values)` adds metrics of a step."""

RUNS = "tracked.json"
"""In the folder of a stage: tracker -> id of its run there, which a resumed stage continues."""
PACKAGES = {"tensorboard": "tensorboardX", "wandb": "wandb", "mlflow": "mlflow"}
QUIET = {"WANDB_ERROR_REPORTING": "false", "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_LOGGING_LEVEL": "WARNING"}
"""Environment of the packages: without it both report their use over the network, and MLflow prints lines."""


def check(names: tuple[str, ...]) -> None:
    """Imports the packages of trackers, so that a missing one is reported before training.

    Args:
        names: of trackers.

    Raises: UserError naming a package that is not installed.
    """
    for name in names if distributed.is_first() else ():
        try:
            _package(name)
        except ImportError as error:
            raise UserError(
                f"config.track: {name!r} needs a package that cannot be imported ({error}): pip install -e '.[track]'"
            ) from error


@contextlib.contextmanager
def tensorboard(folder: Path, first: int) -> Iterator[Write]:
    """Yields a function that writes TensorBoard scalars into the folder of a stage.

    Args:
        folder: of the stage.
        first: the last step that stays; TensorBoard hides what was written after it.
    """
    with _package("tensorboard").SummaryWriter(str(folder), purge_step=first + 1) as events:

        def write(step: int, values: Mapping[str, float]) -> None:
            for name, value in values.items():
                events.add_scalar(name, value, step)

        yield write


@contextlib.contextmanager
def wandb(folder: Path, first: int) -> Iterator[Write]:
    """Yields a function that writes to a W&B run: the stage, in the group of its workdir.

    Args:
        folder: of the stage.
        first: not used; steps that are trained again are written again.
    """
    del first
    package = _package("wandb")
    with package.init(
        project="efficient_jax",
        group=folder.parent.name,
        name=folder.name,
        id=_known(folder, "wandb"),
        resume="allow",
        dir=folder.parent,
        config=files.read_json(folder.parent / "config.json"),
        mode=os.environ.get("WANDB_MODE", "offline"),
        settings=package.Settings(silent=True),
    ) as run:
        _keep(folder, "wandb", run.id)
        yield lambda step, values: run.log(dict(values), step=step)


@contextlib.contextmanager
def mlflow(folder: Path, first: int) -> Iterator[Write]:
    """Yields a function that writes to an MLflow run: the stage, in the experiment of its workdir.

    Args:
        folder: of the stage.
        first: not used; steps that are trained again are written again.
    """
    del first
    workdir = folder.parent.absolute()
    client = _package("mlflow").MlflowClient(os.environ.get("MLFLOW_TRACKING_URI", f"sqlite:///{workdir}/mlflow.db"))
    run = _known(folder, "mlflow")
    if not run:
        experiment = client.get_experiment_by_name(workdir.name)
        number = experiment.experiment_id if experiment else client.create_experiment(workdir.name)
        run = client.create_run(number, run_name=folder.name, tags={"workdir": str(workdir)}).info.run_id
        _keep(folder, "mlflow", run)

    def write(step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            client.log_metric(run, name, value, step=step)

    status = "KILLED"
    try:
        yield write
        status = "FINISHED"
    finally:
        client.set_terminated(run, status)


TRACKERS: dict[str, Callable[[Path, int], contextlib.AbstractContextManager[Write]]] = {
    "tensorboard": tensorboard,
    "wandb": wandb,
    "mlflow": mlflow,
}


@contextlib.contextmanager
def metrics_log(folder: Path, first: int, names: tuple[str, ...]) -> Iterator[Write]:
    """Yields a function that writes to `metrics.jsonl` and to trackers.

    Args:
        folder: of the stage.
        first: the last step that stays, see `files.metrics_log`.
        names: keys of `TRACKERS`.
    """
    with contextlib.ExitStack() as stack:
        writes = [stack.enter_context(files.metrics_log(folder, first))]
        if distributed.is_first():
            writes += [stack.enter_context(TRACKERS[name](folder, first)) for name in names]

        def write(step: int, values: Mapping[str, float]) -> None:
            for each in writes:
                each(step, values)

        yield write


def _package(name: str) -> Any:
    for variable, value in QUIET.items():
        os.environ.setdefault(variable, value)
    return importlib.import_module(PACKAGES[name])


def _ids(folder: Path) -> dict[str, Any]:
    ids: dict[str, Any] = files.read_json(folder / RUNS) if (folder / RUNS).exists() else {}
    return ids


def _known(folder: Path, name: str) -> str | None:
    return _ids(folder).get(name)


def _keep(folder: Path, name: str, run: str) -> None:
    files.write_json(folder / RUNS, _ids(folder) | {name: run})
