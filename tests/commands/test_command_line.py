"""What an installed package has in place of `launch.py` and its folder."""

import os
import pkgutil
import subprocess
import sys
import tomllib

import pytest

from efficient_jax.commands import COMMANDS, command_line
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


def test_the_first_line_comes_before_jax_is_loaded(monkeypatch):
    """It says what is loaded and what comes next; loading JAX takes more than half a second."""
    monkeypatch.setenv("COLUMNS", "120")
    asks = (
        "import sys; from efficient_jax.commands.command_line import first_line; "
        "print(first_line('train', ['--images=a', '--config.seed=1']), 'jax' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", asks], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "train --images=a: loading JAX; next: read the images, check every stage, train False\n"


def test_every_command_has_a_first_line():
    assert set(command_line.NEXT) == set(COMMANDS)


@pytest.fixture
def started(monkeypatch):
    """What the process, that of a command, was started anew with."""
    monkeypatch.setattr(sys, "argv", ["launch.py", "models"])
    monkeypatch.setattr(sys, "orig_argv", ["python", "launch.py", "models"])
    started: list[tuple[str, list[str]]] = []
    monkeypatch.setattr(os, "execv", lambda program, arguments: started.append((program, arguments)))
    return started


def test_memory_is_in_huge_pages_where_the_kernel_gives_them_on_request(monkeypatch, started, tmp_path):
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.check=3")
    (tmp_path / "enabled").write_text("always [madvise] never\n")
    command_line.with_huge_pages(tmp_path / "enabled")
    assert started == [(sys.executable, sys.orig_argv)]
    assert os.environ["GLIBC_TUNABLES"] == "glibc.malloc.check=3:glibc.malloc.hugetlb=1"
    command_line.with_huge_pages(tmp_path / "enabled")
    assert len(started) == 1


@pytest.mark.parametrize("argv", [["launch.py", "bench"], ["launch.py"]], ids=len)
def test_a_process_that_was_started_for_something_else_stays_as_it_is(argv, monkeypatch, started, tmp_path):
    """A fork, or a program that calls the command line: started anew, it would do what it did at first."""
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    monkeypatch.setattr(sys, "argv", argv)
    (tmp_path / "enabled").write_text("always [madvise] never\n")
    command_line.with_huge_pages(tmp_path / "enabled")
    assert not started


@pytest.mark.parametrize("modes", ["[always] madvise never", "always madvise [never]"])
def test_a_kernel_that_decides_by_itself_is_not_asked(modes, monkeypatch, started, tmp_path):
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    (tmp_path / "enabled").write_text(modes)
    command_line.with_huge_pages(tmp_path / "enabled")
    command_line.with_huge_pages(tmp_path / "another system")
    assert not started


def test_without_jax_one_line_says_how_to_install_it(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "jax", None)  # as an import finds a package that is not there
    assert command_line.main(["models"]) == 2
    assert capsys.readouterr().err == "error: jax is not installed: pip install -e .\n"
