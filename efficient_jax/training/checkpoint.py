"""Checkpoints with orbax, asynchronous and atomic: the newest ones stay, and the best one by validation score.

The folder of a stage holds everything that its model needs: the train state, and as JSON the `ModelSpec` that rebuilds
the network.
"""

import contextlib
import hashlib
import operator
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from efficient_jax.errors import UserError, few
from efficient_jax.models.spec import ModelSpec
from efficient_jax.training import parallel
from efficient_jax.types import Tree

if TYPE_CHECKING:
    import orbax.checkpoint as ocp  # takes 0.6 s, so only where a checkpoint is opened

FOLDER = "checkpoints"
NEWEST = 2
DAMAGED = (ValueError, KeyError, TypeError, OSError)  # what orbax, tensorstore and json raise


def open_manager(stage: Path, keep_every: int = 0) -> "ocp.CheckpointManager":
    """Returns the checkpoint manager of a stage. As a context manager it waits for the last save.

    Args:
        stage: folder of the stage.
        keep_every: also keeps the checkpoint of every so many steps, beside the newest and the best; 0: none.

    Raises: UserError where the scores of a checkpoint cannot be read.
    """
    import orbax.checkpoint as ocp
    from orbax.checkpoint import checkpoint_managers as policies

    newest = policies.LatestN(n=NEWEST)
    score = operator.itemgetter("validation")
    best = policies.BestN(get_metric_fn=score, n=1, keep_checkpoints_without_metrics=False)
    snapshots = [policies.EveryNSteps(interval_steps=keep_every)] if keep_every else []
    policy = policies.AnyPreservationPolicy([newest, best, *snapshots])
    # Without best_fn the scores would not be written.
    options = ocp.CheckpointManagerOptions(create=True, preservation_policy=policy, best_fn=score)
    handlers = {"state": ocp.StandardCheckpointHandler(), "model": ocp.JsonCheckpointHandler()}
    try:
        return ocp.CheckpointManager((stage / FOLDER).absolute(), options=options, item_handlers=handlers)
    except DAMAGED as error:
        raise UserError(
            f"{stage / FOLDER}: the scores of a checkpoint cannot be read ({_why(error)}); delete its folder, most "
            "likely the newest, and give the same command again"
        ) from error


def save(manager: "ocp.CheckpointManager", step: int, state: Tree, spec: ModelSpec, validation: float | None) -> None:
    """Starts to save; returns as soon as the state is copied.

    Args:
        manager: as from `saving`.
        step: number of steps that were trained.
        state: the train state; "ema" are the variables that `load` returns.
        spec: what rebuilds the network.
        validation: score on validation images, higher is better; None if there are none.
    """
    import orbax.checkpoint as ocp

    # Orbax wants jax.Arrays to be spread over all processes; then each writes its part.
    copied = jax.tree.map(jnp.copy if parallel.is_spread(state) else np.array, state)
    manager.save(
        step,
        args=ocp.args.Composite(state=ocp.args.StandardSave(copied), model=ocp.args.JsonSave(spec.to_json())),
        metrics=None if validation is None else {"validation": validation},
    )


@contextlib.contextmanager
def saving(stage: Path, where: str, keep_every: int = 0) -> Iterator["ocp.CheckpointManager"]:
    """Opens a checkpoint manager for saving. A failed save is reported later, at the latest when it closes.

    Args:
        stage: folder of the stage.
        where: what an error names.
        keep_every: as in `open_manager`.

    Raises: UserError naming `where` when a checkpoint cannot be written.
    """
    try:
        with open_manager(stage, keep_every) as manager:
            yield manager
    except (OSError, ValueError) as error:
        if isinstance(error, ValueError) and "os_error_code" not in str(error):  # tensorstore's
            raise
        reason = re.search(r"[^:]+(?= \[os_error_code)", str(error))
        why = reason[0].strip() if reason else error
        raise UserError(
            f"{where}: a checkpoint cannot be written ({why}); those before it are whole: make room, and give the same "
            "command again"
        ) from error


def best_step(manager: "ocp.CheckpointManager") -> int | None:
    """Returns the step of the best checkpoint.

    Args:
        manager: the checkpoints of a stage.

    Returns: the step with the highest validation score, the later one of equal ones; the newest where none has a score;
        None where there is no checkpoint.
    """
    scores = {step: (manager.metrics(step) or {}).get("validation") for step in manager.all_steps()}
    scored = {step: score for step, score in scores.items() if score is not None}
    best: int | None = max(scored, key=lambda step: (scored[step], step)) if scored else manager.latest_step()
    return best


def restore(manager: "ocp.CheckpointManager", step: int, like: Tree, devices: Sequence[jax.Device]) -> Tree:
    """Reads the train state of a checkpoint and places it, also where it was saved by another number of devices.

    Args:
        manager: the checkpoints of a stage.
        step: after which step it was saved.
        like: a state with its structure, shapes and dtypes, spread like it or else copied to every device.
        devices: on which it is placed.

    Raises: UserError listing what differs, when the checkpoint is of another architecture.
    """
    import orbax.checkpoint as ocp

    saved = manager.item_metadata(step)["state"]
    differences = compare(saved, like)
    if differences:
        raise UserError(f"{manager.directory}/{step} is a checkpoint of another architecture: {differences}")
    spread = parallel.is_spread(like)
    target = jax.tree.map(ocp.utils.to_shape_dtype_struct if spread else lambda x: np.empty(x.shape, x.dtype), like)
    state = manager.restore(step, args=ocp.args.Composite(state=ocp.args.StandardRestore(target)))["state"]
    return state if spread else parallel.replicate(state, devices)


def newest(
    manager: "ocp.CheckpointManager", like: Tree, devices: Sequence[jax.Device], say: Callable[[str], None]
) -> tuple[int, Tree]:
    """Reads the newest checkpoint that is not damaged. Damaged ones after it are deleted, to be saved again.

    Args:
        manager: the checkpoints of a stage.
        like: the state before the first step, on the devices.
        devices: on which the state is placed.
        say: shows a line for each damaged checkpoint.

    Returns: (step, state); (0, `like`) where there is no checkpoint.

    Raises: UserError where all checkpoints are damaged, and for one of another architecture, as `restore`.
    """
    damaged: list[int] = []
    for step in sorted(manager.all_steps(), reverse=True):
        try:
            state = restore(manager, step, like, devices)
        except DAMAGED as error:
            say(f"the checkpoint of step {step} is damaged ({_why(error)}); taking the one before")
            damaged.append(step)
            continue
        for damaged_step in damaged:
            manager.delete(damaged_step)
        return step, state
    if damaged:  # nothing is deleted: the disk may be at fault, and the checkpoints whole
        raise UserError(f"no checkpoint in {manager.directory} can be read; delete the folder to begin the stage anew")
    return 0, like


def steps(stage: Path) -> list[int]:
    """Returns the steps of all checkpoints of a stage, in order.

    Args:
        stage: folder of the stage.
    """
    with open_manager(stage) as manager:
        return sorted(manager.all_steps())


def chosen(stage: Path) -> int | None:
    """Returns the step of the checkpoint that `load` takes by default, see `best_step`.

    Args:
        stage: folder of the stage.
    """
    if not (stage / FOLDER).is_dir():
        return None
    with open_manager(stage) as manager:
        return best_step(manager)


class Saved(NamedTuple):
    """What `load` reads of a checkpoint."""

    step: int  # after which it was saved
    variables: Tree  # averaged (EMA), numpy arrays
    spec: ModelSpec


def load(stage: Path, where: str, step: int | None = None) -> Saved:
    """Reads the averaged variables of a checkpoint, without knowing the network.

    Args:
        stage: folder of the stage.
        where: the flag or key that an error names.
        step: after which step it was saved; None: the best on validation, or else the newest.

    Raises: UserError if there is none, or a damaged one.
    """
    if not (stage / FOLDER).is_dir():
        raise UserError(f"{where}: {str(stage)!r} is not a trained stage (it has no folder {FOLDER!r})")
    try:
        return _load(stage, where, step)
    except DAMAGED as error:
        raise UserError(
            f"{where}: the checkpoint of {str(stage)!r} is damaged ({_why(error)}); train it again"
        ) from error


def _why(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


def _load(stage: Path, where: str, step: int | None) -> Saved:
    import orbax.checkpoint as ocp

    with open_manager(stage) as manager:
        step = best_step(manager) if step is None else step
        if step is None:
            raise UserError(f"{where}: {str(stage)!r} has no finished checkpoint")
        if step not in manager.all_steps():
            known = ", ".join(map(str, sorted(manager.all_steps())))
            raise UserError(f"{where}: {str(stage)!r} has no checkpoint of step {step}; it has {known}")
        host = jax.tree.map(
            lambda x: np.empty(x.shape, x.dtype),
            manager.item_metadata(step)["state"],
            is_leaf=lambda x: hasattr(x, "shape"),
        )
        restored = manager.restore(
            step, args=ocp.args.Composite(state=ocp.args.StandardRestore(host), model=ocp.args.JsonRestore())
        )
    return Saved(step, restored["state"]["ema"], ModelSpec.from_json(restored["model"]))


def fingerprint(variables: Tree) -> str:
    """Returns a hash of the names, dtypes, shapes and values of variables; it is the same on every machine.

    Args:
        variables: arrays.

    Returns: 16 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
        values = np.asarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {values.dtype} {values.shape}".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()[:16]


def compare(saved: Tree, wanted: Tree) -> str:
    """Describes in which leaves and shapes two trees differ.

    Args:
        saved: a tree of arrays or their shapes, from a checkpoint.
        wanted: the same of the model.

    Returns: the first differences in words; "" for none.
    """
    a, b = (
        {
            jax.tree_util.keystr(path, simple=True, separator="/"): tuple(leaf.shape)
            for path, leaf in jax.tree_util.tree_leaves_with_path(tree, is_leaf=lambda x: hasattr(x, "shape"))
        }
        for tree in (saved, wanted)
    )
    lines = [f"{name} is {list(a[name])}, here {list(b[name])}" for name in a if name in b and a[name] != b[name]]
    lines += [f"{name} is not in this model" for name in a if name not in b]
    lines += [f"{name} is not in the checkpoint" for name in b if name not in a]
    return few(lines, 3, "; ")
