"""What an installed package has in place of `launch.py` and its folder."""

import pkgutil
import tomllib

from efficient_jax.commands import command_line
from tests.commands.launch import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_the_installed_command_is_that_of_launch():
    assert pkgutil.resolve_name(PROJECT["project"]["scripts"]["efficient-jax"]) is command_line.run


def test_a_wheel_has_every_config():
    shipped = PROJECT["tool"]["setuptools"]["data-files"]
    of_folder = {folder.removeprefix("share/efficient_jax/"): patterns for folder, patterns in shipped.items()}
    found = {path for patterns in of_folder.values() for pattern in patterns for path in ROOT.glob(pattern)}
    assert found == set((ROOT / "configs").rglob("*.py"))
    assert all(pattern.startswith(f"{folder}/") for folder, patterns in of_folder.items() for pattern in patterns)
