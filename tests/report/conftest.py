import json

import pytest

from tests.report.stored_run import ATTACK, write_stage


@pytest.fixture
def workdir(tmp_path):
    """A stored run of two stages."""
    config = {
        "stages": ["teacher", "student"],
        "student": {"optim": {"lr": 0.25}},
        "teacher": {"note": ATTACK},
    }
    (tmp_path / "config.json").write_text(json.dumps(config, sort_keys=True))
    counts = {"labelled": 20, "unlabelled": 3, "validation": 50, "test": 100}
    run = {
        "command": f"python launch.py train --workdir='{ATTACK}'",
        "time": "2025-01-02T03:04:05",
        "git_commit": "abc1234",
        "git_dirty": True,
        "versions": {"jax": "0.10.2"},
        "devices": ["cpu:0"],
        "data": {"source": "digits", "classes": [ATTACK, "$\\frac"], "notes": [f"left {ATTACK}"], **counts},
    }
    (tmp_path / "run.json").write_text(json.dumps(run))
    write_stage(tmp_path / "teacher", correct=80)
    write_stage(tmp_path / "student", correct=90, teacher=ATTACK)
    return tmp_path
