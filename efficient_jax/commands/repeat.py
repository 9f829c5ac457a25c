"""The config of an existing run, to start another from: `--from=WORKDIR` loads this file."""

from pathlib import Path

from ml_collections import ConfigDict

from efficient_jax.experiment.workdir import read_config


def get_config(workdir: str) -> ConfigDict:
    """Returns the config of a run.

    Args:
        workdir: folder of the run.

    Raises:
        UserError: the folder has no config.
    """
    return ConfigDict(read_config(Path(workdir), "--from"))
