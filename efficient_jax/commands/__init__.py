"""The commands of `launch.py`; a command's flags are its function's arguments."""

from collections.abc import Callable

from efficient_jax.commands import bench, evaluate, explain, explore, predict, sweep, train

COMMANDS: dict[str, Callable[..., None]] = {
    "train": train.train,
    "evaluate": evaluate.evaluate,
    "predict": predict.predict,
    "explain": explain.explain,
    "explore": explore.explore,
    "sweep": sweep.sweep,
    "bench": bench.bench,
}
