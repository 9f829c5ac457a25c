"""The commands of `launch.py`; a command's flags are its function's arguments."""

from collections.abc import Callable

from efficient_jax.commands.bench import bench
from efficient_jax.commands.evaluate import evaluate
from efficient_jax.commands.explain import explain
from efficient_jax.commands.explore import explore
from efficient_jax.commands.predict import predict
from efficient_jax.commands.sweep import sweep
from efficient_jax.commands.train import train

COMMANDS: dict[str, Callable[..., None]] = {
    "train": train,
    "evaluate": evaluate,
    "predict": predict,
    "explain": explain,
    "explore": explore,
    "sweep": sweep,
    "bench": bench,
}
