"""sweep: one line per trial, a failing trial does not stop the rest, and a second call does what is missing."""

import contextlib
import json
import shlex
import subprocess

import numpy as np
import pytest

from efficient_jax.commands.flags import parse
from efficient_jax.commands.sweep import voted
from efficient_jax.errors import UserError
from efficient_jax.files import read_json
from tests.commands.launch import Forked, call, forks, launch

SWEEP = """
CONFIG = "configs/quickstart.py:tiny"
COMPARISONS = ((("few", "supervised"), ("more", "supervised")),)

def trials():
    yield "too many", {"seed": 0, "data.test": 9000, "stages": ("supervised",)}
    for seed in (0, 1):
        for group, labels in (("few", 4), ("more", 10)):
            yield group, {"seed": seed, "data.labels_per_class": labels, "stages": ("supervised",)}
"""


def trial(command, **_):
    """A trial's process, forked from one that has imported everything; the test of votes begins its own."""
    return contextlib.nullcontext(Forked(*command[2:]))


def test_sweep_is_resumable_and_ends_with_paired_differences(tmp_path, monkeypatch, capsys):
    forks()  # which is a process, as trials are not from here on
    monkeypatch.setattr(subprocess, "Popen", trial)
    monkeypatch.setenv("COLUMNS", "120")
    (tmp_path / "s.py").write_text(SWEEP)
    flags = ["sweep", f"--sweep={tmp_path / 's.py'}", f"--workdir={tmp_path / 'w'}"]
    call(*flags)
    out = capsys.readouterr().out
    records = [json.loads(line) for line in (tmp_path / "w" / "results.jsonl").read_text().splitlines()]
    assert [r["group"] for r in records] == ["too many", "few", "more", "few", "more"]
    assert "config.data.test: cannot take 9000" in records[0]["error"]
    assert "4 of 5 trials" in out
    few, more = (
        [r["stages"]["supervised"]["correct"] / 10 for r in records if r["group"] == g] for g in ("few", "more")
    )
    mean = (few[0] - more[0] + few[1] - more[1]) / 2
    assert f"| few / supervised | more / supervised | {mean:+.2f} [" in out

    commands = [line for line in (tmp_path / "w" / "results.md").read_text().splitlines() if "launch.py train" in line]
    for command, record in zip(commands, records[1:], strict=True):  # each is of the same config as its trial
        config = parse("train", shlex.split(command)[3:])["config"].to_dict()
        assert json.loads(json.dumps(config)) == read_json(tmp_path / "w" / record["id"] / "config.json")

    call(*flags)
    again = (tmp_path / "w" / "results.jsonl").read_text().splitlines()
    assert len(again) == 6  # only the failed trial ran again
    assert json.loads(again[-1])["group"] == "too many"


VOTES = """
CONFIG = "configs/quickstart.py:tiny"
SPLIT = "validation"
VOTES = {"both": "supervised,augmented"}
COMPARISONS = ((("few", "both"), ("few", "augmented")),)

def trials():
    plain = {"augmented.augment.ops": ()}
    yield "few", {"seed": 0, "data.validation": 50, "stages": ("supervised", "augmented")} | plain
"""


def test_a_vote_of_members_is_in_the_tables(tmp_path):
    """Its counts are those of the mean of the members' probabilities, on validation images and on the test's."""
    (tmp_path / "s.py").write_text(VOTES)
    code, out, err = launch("sweep", f"--sweep={tmp_path / 's.py'}", f"--workdir={tmp_path / 'w'}")
    assert code == 0, err
    (record,) = [json.loads(line) for line in (tmp_path / "w" / "results.jsonl").read_text().splitlines()]
    assert list(record["stages"]) == ["supervised", "augmented", "both"]
    run = tmp_path / "w" / record["id"]
    for split, file in (("validation", "validation.npz"), ("test", "predictions.npz")):
        members = [np.load(run / stage / file) for stage in ("supervised", "augmented")]
        answers = np.mean([member["probabilities"] for member in members], 0).argmax(1)
        correct, n = int((answers == members[0]["label"]).sum()), len(answers)
        found = voted(run / "votes" / "both", split, n)
        assert (found["correct"], found["n"]) == (correct, n)
        if split == "validation":
            assert record["stages"]["both"] == {"correct": correct, "n": n}
        else:
            assert found["members"] == 2
    assert "| few | both | 1 | " in out
    assert "| few / both | few / augmented | " in out
    commands = (tmp_path / "w" / "results.md").read_text().split("```sh\n")[1].splitlines()
    folder = f"runs/{record['id']}"
    members = f"--members={folder}/supervised,{folder}/augmented"
    assert commands[1] == f"python launch.py evaluate {members} --out={folder}/votes/both"


def test_an_unknown_sweep_is_said():
    with pytest.raises(UserError, match=r"^--sweep: no file"):
        call("sweep", "--sweep=configs/sweeps/nowhere.py")
