"""Features on disk: found by the content of images, whole or not at all, and bounded."""

import os

import numpy as np
import pytest

from efficient_jax.errors import UserError
from efficient_jax.evaluation.soup import soup_of
from efficient_jax.experiment import feature_cache, fit
from tests.tiny_run import run, stage

POOLS = {"network": np.arange(8.0, dtype=np.float32).reshape(4, 2), "mean": np.ones((4, 3), np.float32)}
NAMES = ["a", "b", "c", "d"]


def test_images_are_found_by_content_in_any_order(tmp_path):
    file, lines = tmp_path / "features" / "net.npz", []
    assert feature_cache.known(NAMES, file, lines.append) is None
    feature_cache.keep(NAMES[:3], {name: x[:3] for name, x in POOLS.items()}, file, lines.append)
    feature_cache.keep(NAMES[2:], {name: x[2:] for name, x in POOLS.items()}, file, lines.append)
    found = feature_cache.known(["d", "a"], file, lines.append)
    np.testing.assert_array_equal(found["network"], POOLS["network"][[3, 0]])
    assert feature_cache.known(["a", "e"], file, lines.append) is None
    assert lines[-1].startswith(f"features of 2 images are read from {file} (")


def test_a_damaged_file_is_said_and_replaced(tmp_path):
    file, lines = tmp_path / "net.npz", []
    feature_cache.keep(NAMES, POOLS, file, lines.append)
    whole = file.read_bytes()
    for content in (whole[:-100], whole[:60] + b"XXXX" + whole[64:], b""):
        file.write_bytes(content)
        assert feature_cache.known(NAMES, file, lines.append) is None
        assert "is damaged" in lines[-1]
    feature_cache.keep(NAMES, POOLS | {"mean": np.full((4, 3), np.nan, np.float32)}, file, lines.append)
    assert feature_cache.known(NAMES, file, lines.append) is None
    feature_cache.keep(NAMES, POOLS, file, lines.append)
    assert feature_cache.known(NAMES, file, lines.append) is not None


def test_the_files_that_were_used_longest_ago_make_room(tmp_path, monkeypatch):
    for age, name in enumerate(("new", "old")):
        feature_cache.keep(NAMES, POOLS, tmp_path / f"{name}.npz", lambda _: None)
        os.utime(tmp_path / f"{name}.npz", (1e9 - age, 1e9 - age))
    size = (tmp_path / "new.npz").stat().st_size
    monkeypatch.setattr(feature_cache, "MOST", size + 200)
    feature_cache.keep(NAMES, POOLS, tmp_path / "third.npz", lambda _: None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new.npz", "third.npz"]
    monkeypatch.setattr(feature_cache, "MOST", 10)
    lines = []
    feature_cache.keep(NAMES, POOLS, tmp_path / "fourth.npz", lines.append)
    assert "not kept" in lines[0]
    assert not (tmp_path / "fourth.npz").exists()


def test_a_second_run_with_another_head_reads_them(images, teacher, tmp_path, monkeypatch):
    """In any run beside it, on the same images and weights; a kNN head is then used like any other."""
    extracted, extract = [], fit.extract_rows
    monkeypatch.setattr(fit, "extract_rows", lambda *a, **k: extracted.append(len(a[3])) or extract(*a, **k))
    monkeypatch.setattr(fit, "WORTH", 0.0)
    model = stage("supervised")["model"]
    probe = {"model": model, "init": str(teacher), "method": {"name": "linear_probe"}}
    knn = probe | {"method": {"name": "linear_probe", "head": "knn"}}
    run(images, tmp_path / "one", {"probe": probe})
    assert extracted == [12]
    found = run(images, tmp_path / "two", {"knn": knn, "tuned": stage("supervised", init="knn")})
    assert extracted == [12]
    assert found[0]["test"] == {"correct": 30, "n": 30}
    with pytest.raises(UserError, match="which holds labelled images"):
        soup_of([str(tmp_path / "two" / "knn")] * 2, "uniform", lambda _: None)
    run(images, tmp_path / "three", {"knn": knn | {"init": str(tmp_path / "two" / "tuned")}})
    assert extracted == [12, 12]
