"""The commands of `launch.py`; a command's flags are its function's arguments."""

from collections.abc import Callable

from efficient_jax.commands import bench, evaluate, explain, explore, label, predict, select, sweep, train

COMMANDS: dict[str, Callable[..., None]] = {
    "train": train.train,
    "evaluate": evaluate.evaluate,
    "predict": predict.predict,
    "select": select.select,
    "explain": explain.explain,
    "explore": explore.explore,
    "label": label.label,
    "sweep": sweep.sweep,
    "bench": bench.bench,
}
