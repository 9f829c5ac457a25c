"""The commands of `launch.py`; a command's flags are its function's arguments."""

from efficient_jax.commands.evaluate import evaluate
from efficient_jax.commands.explain import explain
from efficient_jax.commands.explore import explore
from efficient_jax.commands.sweep import sweep
from efficient_jax.commands.train import train

COMMANDS = {"train": train, "evaluate": evaluate, "explain": explain, "explore": explore, "sweep": sweep}
