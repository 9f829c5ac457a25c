"""Files are whole or not there, and a resumed log has each step once."""

import errno
import json
from pathlib import Path

import numpy as np
import pytest

from efficient_jax import files
from efficient_jax.report import results, tables


class Killed:
    """An array that cannot be written: the process dies half way."""

    def __array__(self, *args, **kwargs):
        raise KeyboardInterrupt


def test_json_comes_back(tmp_path):
    files.write_json(tmp_path / "a.json", {"n": 1, "x": [0.5, "ä"]})
    assert files.read_json(tmp_path / "a.json") == {"n": 1, "x": [0.5, "ä"]}


def test_numbers_that_are_not_finite_are_null(tmp_path):
    """RFC 8259 has no others; readers get None."""
    content = {"a": float("nan"), "b": [np.float64("inf"), (1.5, -np.inf)], "c": {"d": np.nan, "e": None}, "f": True}
    files.write_json(tmp_path / "a.json", content)
    with files.metrics_log(tmp_path, 0) as log:
        log(1, {"loss": 0.5, "share": float("nan")})
    with files.metrics_log(tmp_path, 1):  # what is kept is written anew
        pass
    for text in ((tmp_path / "a.json").read_text(), (tmp_path / "metrics.jsonl").read_text()):
        assert json.loads(text, parse_constant=pytest.fail)
    expected = {"a": None, "b": [None, [1.5, None]], "c": {"d": None, "e": None}, "f": True}
    assert files.read_json(tmp_path / "a.json") == expected
    assert files.read_lines(tmp_path / "metrics.jsonl") == [{"step": 1, "loss": 0.5, "share": None}]
    columns = results.read_metrics(tmp_path / "metrics.jsonl")
    np.testing.assert_array_equal(columns["share"], [np.nan])
    assert [tables.figure(value, ".1f", 100) for value in (None, float("nan"), 0.5)] == ["–", "–", "50.0"]


def test_json_has_one_writer():
    """Beside it only strings are dumped: keys and hashes of configs, names within an .npz or a flag."""
    package = Path(files.__file__).parent
    users = {p.relative_to(package).as_posix() for p in package.rglob("*.py") if "json.dump" in p.read_text()}
    assert users == {
        "files.py",
        "data/known.py",
        "data/cache.py",
        "data/tar_index.py",
        "experiment/fit.py",
        "commands/sweep.py",
        "commands/contact_sheets.py",
        "models/cost.py",
    }


def test_of_several_processes_only_the_first_writes(tmp_path, monkeypatch):
    monkeypatch.setattr(files.distributed, "is_first", lambda: False)
    files.write_json(tmp_path / "a.json", {"n": 1})
    for n in (1, 100_000):
        files.write_npz(tmp_path / "a.npz", {"x": np.arange(n), "y": np.arange(n)})
    assert list(tmp_path.iterdir()) == []
    with files.whole(tmp_path / "own", by_each=True) as file:
        file.write(b"shard")
    assert (tmp_path / "own").read_bytes() == b"shard"


def test_a_full_disk_names_the_file_and_leaves_the_old_one(tmp_path):
    files.write_text(tmp_path / "a", "old")
    with pytest.raises(OSError, match="No space left") as error, files.whole(tmp_path / "a"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert error.value.filename == str(tmp_path / "a")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a", "old")]


def test_arrays_come_back(tmp_path):
    files.write_npz(tmp_path / "a.npz", {"x": np.arange(3), "name": np.array("teacher")})
    with np.load(tmp_path / "a.npz") as arrays:
        np.testing.assert_array_equal(arrays["x"], np.arange(3))
        assert arrays["name"] == "teacher"
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


def test_arrays_in_temporary_files_are_written_like_others_and_read_by_entry(tmp_path):
    values = np.random.default_rng(0).random((5, 3, 4)).astype(np.float32)
    stored = files.scratch(values.shape, np.float32)
    stored[:] = values
    files.release(stored)
    files.write_npz(tmp_path / "a.npz", {"id": np.arange(5), "x": stored})
    with (tmp_path / "b.npz").open("wb") as file:
        np.savez_compressed(file, id=np.arange(5), x=values)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert files.npz_shape(tmp_path / "a.npz", "x") == values.shape
    read = files.read_npz_entries(tmp_path / "a.npz", "x", np.float16)
    np.testing.assert_array_equal(read, values.astype(np.float16))
    np.testing.assert_array_equal(np.stack([*files.entries(read)]), read)
    assert files.scratch((0, 3), np.float32).shape == (0, 3)
    with pytest.raises(KeyError, match="y"):
        files.npz_shape(tmp_path / "a.npz", "y")


def test_a_failed_write_leaves_the_old_json(tmp_path):
    files.write_json(tmp_path / "a.json", 1)
    with pytest.raises(TypeError):
        files.write_json(tmp_path / "a.json", {"ok": 1, "not json": object()})
    assert files.read_json(tmp_path / "a.json") == 1


def test_a_killed_write_leaves_the_old_arrays(tmp_path):
    files.write_npz(tmp_path / "a.npz", {"x": np.arange(3)})
    with pytest.raises(KeyboardInterrupt):
        files.write_npz(tmp_path / "a.npz", {"x": np.zeros(3), "y": Killed()})
    with np.load(tmp_path / "a.npz") as arrays:
        np.testing.assert_array_equal(arrays["x"], np.arange(3))


def test_half_a_line_at_the_end_is_left_out(tmp_path):
    path = tmp_path / "a.jsonl"
    assert files.read_lines(path) == []
    path.write_text('{"step": 1}\n{"step": 2}\n{"st')
    assert files.read_lines(path) == [{"step": 1}, {"step": 2}]
    path.write_text('{"step": 1}\n{"step": 2}')  # valid JSON, but nobody knows whether of the whole number
    assert files.read_lines(path) == [{"step": 1}]


def test_a_resumed_log_carries_on_from_the_checkpoint(tmp_path):
    with files.metrics_log(tmp_path, 0) as log:
        for step in (10, 20, 30):
            log(step, {"loss": float(step)})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 40, "lo')
    with files.metrics_log(tmp_path, 20) as log:
        log(30, {"loss": 0.5})
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"step": 10, "loss": 10.0},
        {"step": 20, "loss": 20.0},
        {"step": 30, "loss": 0.5},
    ]


def test_a_line_is_on_disk_as_soon_as_it_is_written(tmp_path):
    with files.metrics_log(tmp_path, 0) as log:
        log(1, {"loss": 2.0})
        assert files.read_lines(tmp_path / "metrics.jsonl") == [{"step": 1, "loss": 2.0}]
