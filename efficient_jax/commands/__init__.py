"""The commands of `launch.py`; a command's flags are its function's arguments."""

from collections.abc import Callable

from efficient_jax.commands import bench, evaluate, explain, explore, label, predict, sweep, train

COMMANDS: dict[str, Callable[..., None]] = {
    "train": train.train,
    "evaluate": evaluate.evaluate,
    "predict": predict.predict,
    "explain": explain.explain,
    "explore": explore.explore,
    "label": label.label,
    "sweep": sweep.sweep,
    "bench": bench.bench,
}
