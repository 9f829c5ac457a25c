"""What `--help` shows at 80 columns."""

import itertools

import pytest

from efficient_jax.commands import COMMANDS, flags, function_of
from efficient_jax.commands.help import print_help
from efficient_jax.errors import UserError
from efficient_jax.settings import meanings
from tests.commands.launch import launch


@pytest.mark.parametrize("command", COMMANDS)
def test_every_flag_is_shown_with_its_meaning(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    print_help(command, ["--help"])
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    for name in flags.parameters_of(command):
        assert f"--{name}" in shown
        assert meanings(function_of(command))[name].split()[0] in shown


def test_a_paragraph_is_wrapped_once(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    print_help("select", ["--help"])
    _, _, paragraph, _ = capsys.readouterr().out.split("\n\n", 3)
    lines = paragraph.splitlines()
    assert all(len(line) + 1 + len(after.split()[0]) > 80 for line, after in itertools.pairwise(lines))


def test_every_key_of_a_config_is_shown_with_what_was_overridden(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    print_help("train", ["--config=configs/quickstart.py", "--config.student.accumulate=4"])
    shown = capsys.readouterr().out
    for block in ("config.data.source", "config.student.augment.cutout", "config.distilled.optim.schedule"):
        assert f"\n{block}\n" in shown
    rows = [line.split()[:3] for line in shown.splitlines()]
    assert ["accumulate", "4", "*"] in rows
    assert rows.count(["accumulate", "1", "parts"]) == 4  # of the other stages


def test_unknown_commands_have_no_help():
    with pytest.raises(UserError, match="command: unknown name 'trian'; did you mean 'train'"):
        print_help("trian", ["--help"])


def test_help_ends_well_and_trains_nothing(tmp_path):
    code, out, err = launch("train", "--config=configs/quickstart.py", f"--workdir={tmp_path}/run", "--help")
    assert (code, err) == (0, "")
    assert "config.student.method" in out
    assert not (tmp_path / "run").exists()
