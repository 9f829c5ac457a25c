"""A run whose images are decoded when they are used is the run that keeps them, bit for bit, and resumes as that."""

import json
import socket
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from efficient_jax import files
from efficient_jax.errors import UserError
from efficient_jax.experiment.run import Run
from efficient_jax.experiment.stage import run_stage
from efficient_jax.training import batches, checkpoint, parallel
from tests.commands.launch import Forked
from tests.tiny_run import begun, stage

MLP = {"name": "mlp", "width": 8}
STAGES = {
    "teacher": stage("supervised", model=MLP, steps=12, save_every=4, augment={"ops": ("flip", "mixup")}),
    "head": {"model": MLP, "method": {"name": "linear_probe"}, "init": "teacher"},
    "student": stage("noisy_student", model=MLP, teacher="teacher", size=6, pseudo_labels={"threshold": 0.0}),
}


@pytest.fixture(scope="module")
def image_folder(tmp_path_factory) -> Path:
    """Three classes that differ in brightness, and more without a label."""
    folder, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for i in range(60):
        path = folder / ("unlabelled" if i > 44 else "abc"[i % 3]) / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray((rng.integers(0, 60, (9, 8, 3)) + 90 * (i % 3)).astype(np.uint8)).save(path)
    return folder


def configured(image_folder: Path, feed: str, stages: dict) -> dict[str, Any]:
    source = {"name": "folder", "path": str(image_folder), "size": 8}
    data = {"source": source, "feed": feed, "labels_per_class": 5, "test": 12, "validation": 6}
    return {"seed": 0, "devices": 2, "stages": tuple(stages), "data": data, **stages}


def prepared(image_folder: Path, workdir: Path, feed: str, stages: dict) -> Run:
    workdir.mkdir(exist_ok=True)
    return begun(configured(image_folder, feed, stages), workdir, Console(quiet=True))


def run(ready: Run) -> dict[str, Any]:
    """What the stages leave: their results, what they logged and predicted."""
    left: dict[str, Any] = {}
    for each in ready.plan.stages:
        folder = ready.workdir / each.name
        left[each.name] = run_stage(each, ready) | {"seconds": 0}
        log = (folder / "metrics.jsonl").read_text() if each.batch else ""
        left[f"{each.name} log"] = [json.loads(line) | {"images_per_second": 0} for line in log.splitlines()]
        left[f"{each.name} predictions"] = np.load(folder / "predictions.npz")["probabilities"].tobytes()
        left[f"{each.name} samples"] = {name: a.tobytes() for name, a in np.load(folder / "samples.npz").items()}
    return left


@pytest.fixture(scope="module")
def kept(image_folder, tmp_path_factory):
    ready = prepared(image_folder, tmp_path_factory.mktemp("kept"), "memory", STAGES)
    return run(ready) | {"normalisation": (ready.mean, ready.std)}


def test_the_same_run(image_folder, kept, tmp_path):
    """Training, augmentation, a head on features, pseudo-labels, images of another size, evaluation."""
    ready = prepared(image_folder, tmp_path, "stream", STAGES)
    np.testing.assert_allclose((ready.mean, ready.std), kept["normalisation"], rtol=1e-14)
    streamed = run(ready)
    assert streamed == {name: kept[name] for name in streamed}


def test_two_processes_that_stream_are_as_one(image_folder, kept, tmp_path):
    """Each decodes the images of its own device."""
    with socket.create_server(("localhost", 0)) as free:
        address = f"localhost:{free.getsockname()[1]}"
    files.write_json(tmp_path / "config.json", configured(image_folder, "stream", STAGES))
    workdir = tmp_path / "run"
    flags = [f"--from={tmp_path}", f"--workdir={workdir}", "--processes=2", f"--coordinator={address}"]
    both = [Forked("train", *flags, f"--process={number}") for number in range(2)]
    said = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    for name in STAGES:
        one = np.frombuffer(kept[f"{name} predictions"], np.float32)
        two = np.load(workdir / name / "predictions.npz")["probabilities"]
        np.testing.assert_allclose(two.ravel(), one, rtol=1e-5, atol=1e-6, err_msg=name)


def test_an_image_that_vanishes_stops_the_run_which_then_carries_on(image_folder, kept, tmp_path, monkeypatch):
    """From the checkpoint before; and ends as if nothing had been."""
    ready = prepared(image_folder, tmp_path, "stream", {"teacher": STAGES["teacher"]})
    lost = Path(ready.data.source.names[ready.data.split["labelled"][0]])
    content, save = lost.read_bytes(), checkpoint.save
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save", lambda *args: (save(*args), lost.unlink(missing_ok=True)))
        with pytest.raises(UserError, match=rf"^config.data.source: {lost} cannot be read any more .*; put the image"):
            run(ready)
    lost.write_bytes(content)
    assert not (tmp_path / "teacher/result.json").exists()
    with checkpoint.open_manager(tmp_path / "teacher") as manager:
        assert manager.latest_step() in (4, 8)
    again = run(ready)
    assert again == {name: kept[name] for name in again}


def test_what_is_made_ahead_comes_in_order_and_fails_in_its_turn():
    def make(i: int) -> int:
        made.append(i)
        if i == 5:
            raise UserError("five")
        return 10 * i

    made: list[int] = []
    found = batches.ahead(make, iter(range(8)))
    assert next(found) == 0
    assert max(made) <= batches.AHEAD
    assert [next(found) for _ in range(4)] == [10, 20, 30, 40]
    with pytest.raises(UserError, match="five"):
        next(found)
    assert list(batches.ahead(make, iter(range(2)))) == [0, 10]


def test_what_is_looked_up_is_shared_as_the_rows_are():
    asked = []

    def look_up(rows):
        asked.append(rows)
        return np.repeat(rows[..., None], 3, -1)

    rows, devices = np.arange(16).reshape(2, 8), jax.local_devices()
    shared = parallel.shared_by(look_up, rows, devices)
    np.testing.assert_array_equal(shared[..., 0], parallel.shared(rows, devices))
    assert shared.sharding.is_equivalent_to(parallel.shared(rows, devices).sharding, shared.ndim)
    np.testing.assert_array_equal(asked, [np.moveaxis(rows.reshape(2, 4, 2), 1, 0)])
