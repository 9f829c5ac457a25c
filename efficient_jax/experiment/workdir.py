"""Checks that a workdir belongs to one experiment, one dataset and one process at a time."""

import contextlib
import fcntl
import functools
import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from efficient_jax import distributed, files
from efficient_jax.data.dataset import Source
from efficient_jax.errors import UserError, counted
from efficient_jax.experiment import split_table
from efficient_jax.settings import Settings

LOCK = ".lock"


def writable(path: Path, flag: str) -> Path:
    """Creates a folder if it does not exist, and checks that files can be written there.

    Args:
        path: of the folder.
        flag: what an error names.

    Returns: the path.

    Raises: UserError when nothing can be written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise UserError(f"{flag}: cannot write to {str(path)!r}: {error.strerror}; choose another folder") from error
    return path


@contextlib.contextmanager
def claimed(workdir: Path, config: Mapping[str, Any]) -> Iterator[None]:
    """Locks the folder of a run, creating it; its files stay as they are. Of several processes the first locks it.

    Args:
        workdir: the folder.
        config: of the run.

    Raises: UserError when it cannot be written, is in use, or holds another experiment or other files.
    """
    if not distributed.is_first():
        distributed.wait("workdir")
        if not workdir.is_dir():
            raise UserError(f"--workdir: process 0 writes to {str(workdir)!r}, which is not here; all have to see it")
        yield
        return
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        lock = (workdir / LOCK).open("w")
    except OSError as error:
        raise UserError(
            f"--workdir: cannot write to {str(workdir)!r}: {error.strerror}; choose another folder"
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UserError(f"--workdir: another process is training in {str(workdir)!r}") from error
        _check(workdir, json.loads(files.json_text(config)))
        distributed.wait("workdir")
        yield


def check_data(workdir: Path, fingerprint: str, generated: str = "") -> None:
    """Checks that a run continues with the data with which it began: with other images its split would differ.

    Args:
        workdir: folder of the run.
        fingerprint: of the images and labels.
        generated: fingerprint of generated images that are read from a folder; "" for none.

    Raises: UserError for another fingerprint.
    """
    record = workdir / "run.json"
    if not record.exists():
        return
    before = files.read_json(record)["data"]
    current = {
        "fingerprint": ("images or labels", fingerprint),
        "generated_fingerprint": ("generated images", generated),
    }
    for key, (what, now) in current.items():
        if (then := before.get(key, "")) != now:
            raise UserError(
                f"--workdir: {str(workdir)!r} was begun with other {what} (fingerprint {then}, now {now}); give a new "
                "--workdir"
            )


def keep_split(workdir: Path, source: Source, split: Mapping[str, np.ndarray]) -> None:
    """Writes the split of a run to `split.csv`, see `split_table`; one that exists has to be equal.

    Args:
        workdir: folder of the run.
        source: the dataset.
        split: part -> indices of its images.

    Raises: UserError where it is not equal: another version of a library may draw other images.
    """
    path, content = workdir / split_table.FILE, functools.partial(split_table.lines, source, split)
    if not path.exists():
        with files.whole(path) as file:
            file.writelines(content())
        return
    with path.open("rb") as file:
        if all(file.read(len(part)) == part for part in content()) and not file.read(1):
            return
    lines = set(path.read_bytes().decode().splitlines()) ^ set(b"".join(content()).decode().splitlines())
    raise UserError(
        f"--workdir: {str(path)!r} puts images into other parts than are drawn now "
        f"({counted(len(lines), 'line differs', 'lines differ')}); "
        "install the versions that run.json names, or give a new --workdir"
    )


def _check(workdir: Path, config: Settings) -> None:
    stored = workdir / "config.json"
    if not stored.exists():
        # A killed run may have left no more than the lock and an unfinished file.
        if [path for path in workdir.iterdir() if path.name not in (LOCK, "explore.html") and path.suffix != ".part"]:
            raise UserError(f"--workdir: {str(workdir)!r} holds files, but no run; choose an empty or a new folder")
        return
    before = files.read_json(stored)
    started = [name for name in before["stages"] if (workdir / name).exists()]
    # Blocks of stages that come after all that has started may still change, and where metrics are written.
    open_blocks = set(before) - {"seed", "devices", "data", "stages", *started} | {"track"}
    differences = [
        difference
        for key in sorted((before.keys() | config.keys()) - open_blocks)
        for difference in _differences(before.get(key, "nothing"), config.get(key, "nothing"), f"config.{key}")
    ]
    if differences:
        more = f" (and {len(differences) - 1} more)" if len(differences) > 1 else ""
        raise UserError(
            f"--workdir: {str(workdir)!r} holds another experiment: {differences[0]}{more}; give a new --workdir, or "
            "delete the folders of the stages that should be trained anew and of those after them"
        )


def _differences(there: Any, here: Any, where: str) -> Iterator[str]:
    if isinstance(there, dict) and isinstance(here, dict):
        for key in sorted(there.keys() | here.keys()):
            yield from _differences(there.get(key, "nothing"), here.get(key, "nothing"), f"{where}.{key}")
    elif there != here:
        there, here = ("a block" if isinstance(value, dict) else value for value in (there, here))
        yield f"{where} is {there} there, {here} here"


def read_config(workdir: Path, where: str) -> Settings:
    """Reads the config of a run, with tuples where it had them.

    Args:
        workdir: folder of the run.
        where: what an error names.

    Raises: UserError if there is none.
    """
    if not (workdir / "config.json").is_file():
        raise UserError(f"{where}: {str(workdir)!r} has no config.json, so it is not a run")
    config: Settings = _tuples(files.read_json(workdir / "config.json"))
    return config


def _tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _tuples(entry) for key, entry in value.items()}
    return tuple(_tuples(entry) for entry in value) if isinstance(value, list) else value
