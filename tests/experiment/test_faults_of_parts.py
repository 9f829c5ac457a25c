"""Broken files, a killed process, NaN, labels that show nothing: runs of masks and boxes say so and lose nothing."""

import functools
import socket
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from efficient_jax import files
from efficient_jax.data.sources import SOURCES
from efficient_jax.errors import UserError
from efficient_jax.experiment.config import plan
from efficient_jax.experiment.run import Run
from efficient_jax.experiment.stage import run_stage
from efficient_jax.training import checkpoint
from efficient_jax.training.trained import Trained
from tests import drawn_parts, tiny_maps, tiny_run
from tests.commands.launch import Forked

COUNT, TESTS, STEPS = 24, 4, 40
DECODERS = {
    "masks": {"name": "masks", "width": 8, "strides": (4,)},
    "boxes": {"name": "boxes", "width": 8, "strides": (4, 8), "tower": 1},
}


def annotate(folder: Path, name: str, outside: tuple = (), more: tuple = ()) -> dict:
    """The squares that `tiny_maps.draw` drew, as boxes of a COCO file; only every third image shows any."""
    images, annotations = [], [{"image_id": 0, "category_id": 1, "bbox": box} for box in outside]
    for number, path in enumerate(sorted((folder / "masks").glob("*.png"))):
        mask = np.asarray(Image.open(path))
        images.append({"id": number, "file_name": path.name, "width": mask.shape[1], "height": mask.shape[0]})
        for label in () if number % 3 else np.unique(mask[mask > 0]).tolist():
            (top, left), (bottom, right) = (edge(np.nonzero(mask == label), 1) for edge in (np.min, np.max))
            box = [int(left), int(top), int(right - left + 1), int(bottom - top + 1)]
            annotations.append({"image_id": number, "category_id": label, "bbox": box})
    categories = [{"id": i, "name": kind} for i, kind in enumerate((*tiny_maps.CLASSES[1:], *more), 1)]
    files.write_json(folder / name, {"images": images, "annotations": annotations, "categories": categories})
    source = {"name": "coco", "path": str(folder / name), "folder": str(folder / "images"), "task": "detection"}
    return source | {"size": tiny_maps.SIZE, "channels": 1}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> dict[str, dict]:
    """The settings of a source of masks, and of one of boxes on the same images."""
    folder = tmp_path_factory.mktemp("drawn") / "set"
    return {"masks": tiny_maps.draw(folder, COUNT), "boxes": annotate(folder, "boxes.json")}


def configured(source: dict, feed: str = "stream", **changes) -> dict:
    decoder = DECODERS["masks" if source["name"] == "masks" else "boxes"]
    augment = {"ops": ("flip",)}
    block = tiny_run.stage("supervised", STEPS, save_every=10, log_every=5, decoder=decoder, augment=augment)
    data = {"source": source, "feed": feed, "test": TESTS}
    return {"seed": 0, "devices": 2, "stages": ("net",), "data": data, "net": block | changes}


def read(config: dict, workdir: Path) -> Run:
    """The run before its stages, with its data."""
    workdir.mkdir(exist_ok=True)
    return Run.open(plan(config), workdir, Console(quiet=True))


def left_by(ready: Run) -> dict:
    """What the stage leaves: its losses and its predictions, to the bit."""
    (stage,) = ready.plan.stages
    run_stage(stage, ready)
    return left_in(ready.workdir)


def left_in(workdir: Path) -> dict:
    losses = [line["loss"] for line in files.read_lines(workdir / "net/metrics.jsonl")]
    return {"losses": losses, "test": np.load(workdir / "net/predictions.npz")["probabilities"].tobytes()}


@pytest.fixture(scope="module")
def kept(drawn, tmp_path_factory) -> Callable[[str], dict]:
    """What a run leaves whose images are in memory and that nothing stops."""
    return functools.cache(lambda kind: left_by(read(configured(drawn[kind], "memory"), tmp_path_factory.mktemp(kind))))


def test_files_that_break_in_the_middle_of_an_epoch(drawn, kept, tmp_path, monkeypatch):
    """A lost image stops a run in one line. Masks are in memory: an unreadable one stops the next start."""
    config = configured(drawn["masks"])
    ready = read(config, tmp_path)
    image = Path(ready.data.source.names[ready.data.split["labelled"][0]])
    mask = Path(drawn["masks"]["masks"]) / image.name
    whole, save = {file: file.read_bytes() for file in (image, mask)}, checkpoint.save

    def lose(*arguments):
        save(*arguments)
        image.unlink(missing_ok=True)
        mask.write_bytes(b"broken")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save", lose)
        with pytest.raises(UserError, match=rf"^config\.data\.source: {image} cannot be read any more .*; put the im"):
            left_by(ready)
    image.write_bytes(whole[image])
    line = rf"^config\.data\.source\.masks: 1 unreadable image: {image} \(its mask: not an image\); mend or remove them"
    with pytest.raises(UserError, match=line):
        read(config, tmp_path)
    left_out = read(configured(drawn["masks"] | {"unreadable": 1}), tmp_path)
    assert len(left_out.data.source.images) == COUNT - 1
    assert left_out.fingerprint != ready.fingerprint  # which `train` refuses in the folder of the run
    mask.write_bytes(whole[mask])
    again = read(config, tmp_path)
    assert again.fingerprint == ready.fingerprint
    assert left_by(again) == kept("masks")


@pytest.mark.parametrize("kind", ["masks", pytest.param("boxes", marks=pytest.mark.slow)])
def test_after_kill_9_a_run_ends_as_the_uninterrupted_one(kind, drawn, kept, tmp_path):
    config = configured(drawn[kind])
    files.write_json(tmp_path / "config.json", config)
    process = Forked("train", f"--from={tmp_path}", f"--workdir={tmp_path / 'run'}")
    metrics = tmp_path / "run/net/metrics.jsonl"
    while not (metrics.exists() and '"step": 15,' in metrics.read_text()):
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    process.kill()
    process.communicate()
    assert not (tmp_path / "run/net/result.json").exists()
    assert left_by(read(config, tmp_path / "run")) == kept(kind)


def test_two_processes_with_masks_are_as_one(drawn, kept, tmp_path):
    with socket.create_server(("localhost", 0)) as free:
        address = f"localhost:{free.getsockname()[1]}"
    files.write_json(tmp_path / "config.json", configured(drawn["masks"]))
    flags = [f"--from={tmp_path}", f"--workdir={tmp_path / 'run'}", "--processes=2", f"--coordinator={address}"]
    both = [Forked("train", *flags, f"--process={number}") for number in range(2)]
    said = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    one, two = kept("masks"), left_in(tmp_path / "run")
    np.testing.assert_allclose(two["losses"], one["losses"], rtol=1e-5)
    np.testing.assert_allclose(*(np.frombuffer(x["test"], np.float32) for x in (two, one)), atol=1e-5)


@pytest.mark.parametrize("kind", [pytest.param("masks", marks=pytest.mark.slow), "boxes"])
def test_nan_stops_and_keeps_the_last_checkpoint(kind, drawn, tmp_path):
    """The warm-up begins with a learning rate of zero."""
    optim = {"learning_rate": 1e30, "warmup": STEPS - 1, "weight_decay": 0.0, "clip": 0.0, "rules": ((".*", 1.0),)}
    with pytest.raises(UserError, match=r"^stage 'net': the .* in step \d+; the last checkpoint is kept"):
        left_by(read(configured(drawn[kind], "memory", optim=optim, save_every=1, log_every=1), tmp_path))
    variables = Trained.open(str(tmp_path / "net"), "test").variables
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(variables))


def test_a_box_outside_of_its_image_is_counted_and_the_others_are_learned(drawn, tmp_path):
    """Equal labels are equal runs. A box that is partly inside is clipped."""
    folder = Path(drawn["boxes"]["path"]).parent
    clean = read(configured(drawn["boxes"]), tmp_path)
    broken = annotate(folder, "outside.json", outside=([40, 2, 6, 6],))
    with pytest.raises(UserError, match=r"^config\.data\.source\.path: 1 box that cannot be used: .*outside of the im"):
        read(configured(broken), tmp_path)
    ready = read(configured(broken | {"bad_boxes": 1}), tmp_path)
    assert ready.fingerprint == clean.fingerprint
    assert [note for note in ready.data.source.notes if note.startswith("left out 1 box that cannot be used: ")]
    partly = read(configured(annotate(folder, "partly.json", outside=([-3, 2, 6, 6],))), tmp_path).data.source
    boxes, visible = partly.objects["boxes"], partly.objects["box_visible"]
    assert visible.sum() == clean.data.source.objects["box_visible"].sum() + 1
    assert boxes.min() >= 0.0
    assert boxes.max() <= tiny_maps.SIZE


def test_a_class_that_no_label_shows_is_said_before_training(drawn, tmp_path):
    folder = Path(drawn["boxes"]["path"]).parent
    line = r"^config\.data\.labels_per_class: all asked, but class 'never' has 0 images left"
    for source in (
        drawn["masks"] | {"classes": (*tiny_maps.CLASSES, "never")},
        annotate(folder, "never.json", more=("never",)),
    ):
        with pytest.raises(UserError, match=line):
            read(configured(source), tmp_path)


def test_a_class_that_only_test_masks_show_is_noted(tmp_path, monkeypatch):
    source = drawn_parts.masks()
    source.labels[:2, 0] = 3
    monkeypatch.setitem(SOURCES, "drawn_masks", lambda: source._replace(classes=(*source.classes, "late")))
    config = configured({"name": "masks"}) | {"data": {"source": {"name": "drawn_masks"}, "test": 0}}
    notes = read(config, tmp_path).data.source.notes
    assert "labelled images show none of 'late' (of 2): it is not learned, and its test images count as wrong" in notes
