"""Configs and sweeps are found in the current folder, then beside launch.py."""

import subprocess

import pytest

from efficient_jax.commands import files, flags
from efficient_jax.errors import UserError

# ml_collections loads a config by a method that Python 3.12 has no more
OWN = """
from ml_collections import ConfigDict

def get_config(arg=""):
    return ConfigDict({"own": True, "arg": arg, "shares": (1, 2)})
"""


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.versions
@pytest.mark.parametrize(
    "argv", [[], ["--config=configs/quickstart.py:tiny"], ["--config", "configs/quickstart.py:tiny"]]
)
def test_the_shipped_configs_are_found_from_any_folder(argv):
    config = flags.parse("train", [*argv, "--config.student.steps=7"])["config"]
    assert config.student.steps == 7
    assert (
        config.to_dict().keys() == files.load_config(str(files.HOME / "configs/quickstart.py"), "test").to_dict().keys()
    )


@pytest.mark.parametrize("command", ["train", "explore", "bench"])
def test_every_command_finds_its_default_config(command):
    assert "student" in flags.parse(command, [])["config"].stages


def test_the_current_folder_comes_first(elsewhere):
    (elsewhere / "configs").mkdir()
    (elsewhere / "configs/quickstart.py").write_text(OWN)
    config = flags.parse("train", ["--config=configs/quickstart.py:x", "--config.own=False"])["config"]
    assert config.to_dict() == {"own": False, "arg": "x", "shares": (1, 2)}
    assert "stages" in flags.parse("train", ["--config=configs/linear_probe.py"])["config"]


def test_a_sweep_is_found_too():
    config = files.run_file("configs/sweeps/few_labels.py", "--sweep", "CONFIG", "trials")["CONFIG"]
    assert files.load_config(config, "--sweep: CONFIG").stages


def test_a_file_that_is_nowhere_is_said_with_the_nearest_name(elsewhere):
    with pytest.raises(
        UserError, match=r"^--config: no file 'configs/quikstart.py'; did you mean 'configs/quickstart.py'"
    ):
        flags.parse("train", ["--config=configs/quikstart.py"])
    (elsewhere / "configs").mkdir()
    (elsewhere / "configs/mine.py").write_text(OWN)
    with pytest.raises(UserError, match=r"did you mean 'configs/mine.py'"):
        flags.parse("train", ["--config=configs/mime.py"])


def test_without_git_the_commit_is_unknown(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert files.git("rev-parse", "HEAD") == b""


def test_in_a_folder_that_is_no_checkout_the_commit_is_unknown(elsewhere, monkeypatch):
    monkeypatch.setattr(files, "CHECKOUT", elsewhere)
    monkeypatch.setattr(files, "HOME", elsewhere)
    assert files.git("rev-parse", "HEAD") == b""
    subprocess.run(["git", "init", "--quiet"], cwd=elsewhere, check=True)
    assert files.git("rev-parse", "--is-inside-work-tree") == b"true\n"
    monkeypatch.setattr(files, "HOME", elsewhere / "share")  # as in a wheel, beside which another repository may lie
    assert files.git("rev-parse", "--is-inside-work-tree") == b""
