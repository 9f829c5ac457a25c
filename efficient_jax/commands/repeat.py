"""The config of a run that is there, for another: what `--from=WORKDIR` stands for."""

from pathlib import Path

from ml_collections import ConfigDict

from efficient_jax.experiment.workdir import read_config


def get_config(workdir: str) -> ConfigDict:
    return ConfigDict(read_config(Path(workdir), "--from"))
