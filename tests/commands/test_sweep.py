"""sweep: one line per trial, a failing trial does not stop the rest, and a second call does what is missing."""

import json
import shlex

import pytest

from efficient_jax.commands.flags import parse
from efficient_jax.records import read_json
from tests.commands.launch import launch

SWEEP = """
CONFIG = "configs/quickstart.py:tiny"
COMPARISONS = ((("few", "supervised"), ("more", "supervised")),)

def trials():
    yield "too many", {"seed": 0, "data.labels_per_class": 1000, "stages": ("supervised",)}
    for seed in (0, 1):
        for group, labels in (("few", 4), ("more", 10)):
            yield group, {"seed": seed, "data.labels_per_class": labels, "stages": ("supervised",)}
"""


@pytest.mark.filterwarnings("ignore:the load_module")  # of ml_collections
def test_sweep_is_resumable_and_ends_with_paired_differences(tmp_path):
    (tmp_path / "s.py").write_text(SWEEP)
    flags = ["sweep", f"--sweep={tmp_path / 's.py'}", f"--workdir={tmp_path / 'w'}"]
    code, out, err = launch(*flags)
    assert code == 0, err
    records = [json.loads(line) for line in (tmp_path / "w" / "results.jsonl").read_text().splitlines()]
    assert [r["group"] for r in records] == ["too many", "few", "more", "few", "more"]
    assert "1000 asked" in records[0]["error"]
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

    code, out, err = launch(*flags)
    assert code == 0, err
    again = (tmp_path / "w" / "results.jsonl").read_text().splitlines()
    assert len(again) == 6  # only the failed trial ran again
    assert json.loads(again[-1])["group"] == "too many"


def test_an_unknown_sweep_is_one_line():
    code, _, err = launch("sweep", "--sweep=configs/sweeps/nowhere.py")
    assert code == 2
    assert err.startswith("error: --sweep: no file")
