"""bench on tiny stages: every figure is there and they agree with each other; nothing has to be trained before."""

import re

import numpy as np
import pytest
from ml_collections import ConfigDict

from efficient_jax import files
from efficient_jax.commands.bench import bench
from efficient_jax.errors import UserError
from efficient_jax.training import benchmark
from tests.commands.launch import TINY, call
from tests.tiny_run import stage

MLP = {"name": "mlp", "width": 4}  # of each stage five programs are compiled
BLOCKS = {
    "teacher": stage("supervised", augment={"ops": ("flip", "resize"), "resize": {"size": (12, 12)}}),
    "head": {"model": {"name": "cnn", "width": 4}, "method": {"name": "linear_probe"}, "init": "teacher"},
    "distilled": stage("distill", model=MLP, teacher="teacher"),
    "fixmatch": stage("fixmatch", model=MLP, strong_augment={"ops": ("cutout",), "cutout": {"size": 2}}),
}


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(benchmark, "MATRIX", {"cpu": 64})
    monkeypatch.setattr(benchmark, "COPIED", 2**16)


def config(images, *names) -> ConfigDict:
    source = {"name": "npz", "path": images}
    data = {"source": source, "labels_per_class": 4, "test": 30}
    return ConfigDict({"seed": 0, "devices": 2, "stages": names, "data": data} | {name: BLOCKS[name] for name in names})


def measured(images, tmp_path, *names, **flags) -> list[dict]:
    bench(config(images, *names), workdir=str(tmp_path / "bench"), seconds=0.01, repeats=1, **flags)
    return files.read_json(tmp_path / "bench" / "bench.json")["stages"]


def test_figures_agree(images, tmp_path, capsys):
    (found,) = measured(images, tmp_path, "teacher")
    assert "teacher: 8 images per step" in capsys.readouterr().out
    seconds = found["seconds_per_step"]
    assert seconds.keys() == {"feed", "forward", "plain", "step", "loop"}
    assert all(value > 0 for value in seconds.values())
    np.testing.assert_allclose(found["images_per_second"]["step"], 8 / seconds["step"])
    np.testing.assert_allclose(found["loop_of_step"], seconds["step"] / seconds["loop"])  # of one round
    np.testing.assert_allclose(found["share_of_step"]["augmentation"], 1 - seconds["plain"] / seconds["step"])
    np.testing.assert_allclose(
        found["utilisation"], 8 * found["flops_per_image"] / seconds["step"] / found["rates"]["flops"]
    )
    assert found["memory"]["temporary"] > 0


def test_no_negative_time_is_printed(images, tmp_path, capsys, monkeypatch):
    """The step with augmentation was measured shorter than that without, and than the forward pass."""
    seconds = {"feed": 0.001, "forward": 0.012, "plain": 0.011, "step": 0.01, "loop": 0.02}
    monkeypatch.setattr(benchmark, "calls_within", lambda _, state, __: (1, state))
    monkeypatch.setattr(benchmark, "alternated", lambda of, *_: ({name: [seconds.get(name, 0.5)] for name in of}, 0))
    (found,) = measured(images, tmp_path, "teacher")
    assert found["share_of_step"]["augmentation"] == pytest.approx(-0.1)
    said = capsys.readouterr().out
    assert not re.search(r"(?<!\w)-\d", said)
    assert re.search(r"augmentation +– +– +–", said)
    assert re.search(r"backward pass, optimizer, average +– +– +–", said)


def test_stages_need_no_trained_teacher(images, tmp_path, capsys):
    """Those that are measured by themselves are not either."""
    (found,) = measured(images, tmp_path, *BLOCKS, stage="distilled")
    assert (found["stage"], found["images_per_step"]) == ("distilled", 16)
    (found,) = measured(images, tmp_path, "fixmatch")
    assert (found["stage"], found["images_per_step"]) == ("fixmatch", 24)
    assert measured(images, tmp_path, *BLOCKS, stage="head") == []
    assert "head: linear_probe has no steps to measure" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"stage": "techer"}, "did you mean 'teacher'"),
        ({"seconds": 0.0}, "--seconds=0.0 --repeats=7: want seconds above 0 and 1 or more repeats"),
        ({"repeats": 0}, "--seconds=2.0 --repeats=0: want seconds above 0 and 1 or more repeats"),
    ],
)
def test_what_is_wrong_is_said(flags, said, images, tmp_path):
    with pytest.raises(UserError, match=said):
        bench(config(images, "teacher"), workdir=str(tmp_path), **flags)


def test_the_command_of_the_readme(tmp_path, capsys):
    quick = ("--config.augmented.augment.ops=('flip',)", "--config.devices=1", "--seconds=0.05", "--repeats=1")
    call("bench", TINY, f"--workdir={tmp_path}", "--stage=augmented", *quick)
    assert "backward pass, optimizer, average" in capsys.readouterr().out
    assert files.read_json(tmp_path / "bench.json")["stages"][0]["stage"] == "augmented"
