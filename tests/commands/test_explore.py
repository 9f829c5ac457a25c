"""explore: one page, from the command line."""

import json
import re

import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from efficient_jax import augment
from efficient_jax.commands.explore import explore, sentences, summary
from efficient_jax.commands.files import load_config
from efficient_jax.data import label_errors
from efficient_jax.errors import UserError
from efficient_jax.experiment.config import plan
from efficient_jax.experiment.dataset import Data, load_data
from efficient_jax.explore import class_bias, preview
from efficient_jax.report import catalogue
from tests import tiny_maps, tiny_run
from tests.commands.launch import TINY, call
from tests.report.stored_run import Page

SYNTHETIC = {"classes": 10, "size": 28, "images": 700, "channels": 1}


def little(monkeypatch):
    """A catalogue that compiles quickly."""
    few = {name: augment.OPS[name] for name in ("flip", "brightness", "saturation")}
    monkeypatch.setattr(preview, "OPERATIONS", few)
    monkeypatch.setattr(class_bias, "OPS", few)


def run_here(tmp_path, *, members="", control="", predictions="", **data):
    config = load_config("configs/quickstart.py:tiny", "test").unlock()
    config.stages = ("supervised", "augmented")
    config.data.update(data)
    explore(config, str(tmp_path), members, control, predictions)
    return (tmp_path / "explore.html").read_text()


@pytest.mark.parametrize("strengths", [1, pytest.param(9, marks=pytest.mark.slow)])
def test_every_operation_of_the_catalogue_is_on_the_page(strengths, tmp_path, capsys, monkeypatch):
    """At its largest strength; `-m slow`: at all. Each is a program, and most of the time goes into compiling."""
    table = {name: each._replace(values=each.values[-strengths:]) for name, each in preview.STRENGTHS.items()}
    monkeypatch.setattr(preview, "STRENGTHS", table)
    monkeypatch.setenv("COLUMNS", "120")
    call("explore", TINY, f"--workdir={tmp_path}")
    said, page = capsys.readouterr().out.rstrip().rsplit("\n", 1)
    assert re.fullmatch(rf"page: {tmp_path / 'explore.html'} \(\d\.\d MB\)", page)
    assert "100 labelled, 3,900 unlabelled, 1,000" in said
    assert "leave flip, flip_vertical, rot90" in said
    assert [each.name for each in tmp_path.iterdir()] == ["explore.html"]
    text = (tmp_path / "explore.html").read_text()
    drawn = {name for name, step in re.findall(r'alt="(\w+), ([^"]+)"', text) if step != "as stored"}
    assert drawn == set(preview.OPERATIONS)
    sheets = re.findall(r'alt="contact sheet of ([^"]+), image 1"', text)
    assert sheets == ["supervised", "augmented, distilled", "student, student2"]
    assert "supervised: no augmentation" in text


def test_the_catalogue_is_drawn_on_photographs(tmp_path, monkeypatch):
    little(monkeypatch)
    for name, color in {"a.png": "red", "b.png": "blue"}.items():
        Image.new("RGB", (90, 70), color).save(tmp_path / name)
    files = f"{tmp_path / 'a.png'},{tmp_path / 'b.png'}"
    call("explore", TINY, f"--catalogue={files}", f"--workdir={tmp_path / 'drawn'}")
    assert catalogue.names(tmp_path / "drawn" / catalogue.NAME) == ["flip", "brightness", "saturation"]


def test_a_photograph_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match=r"^--catalogue: 1 unreadable image: .*gone\.jpg \(not there\)"):
        call("explore", TINY, f"--catalogue={tmp_path / 'gone.jpg'}", f"--workdir={tmp_path / 'drawn'}")


def test_a_second_call_overwrites_the_page(tmp_path, monkeypatch):
    little(monkeypatch)
    assert "labels may be wrong" not in run_here(tmp_path)
    assert "config.augmented.augment applies" in run_here(tmp_path, label_changing=("affine",))
    assert [each.name for each in tmp_path.iterdir()] == ["explore.html"]


def test_objects_are_described(tmp_path, monkeypatch):
    """Each image of 60 x 40 has a small object in a larger one, and one that the crop to the middle 40 cuts."""
    little(monkeypatch)
    rng, images, annotations = np.random.default_rng(0), [], []
    for number in range(60):
        Image.fromarray(rng.integers(0, 256, (40, 60, 3), np.uint8)).save(tmp_path / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "width": 60, "height": 40})
        for box in ([20, 10, 20, 20], [25, 15, 10, 10], [5, 3, 10, 6]):
            annotations.append({"image_id": number, "category_id": 1 + number % 2, "bbox": box})
    content = {"images": images, "annotations": annotations, "categories": [{"id": k, "name": f"c{k}"} for k in (1, 2)]}
    (tmp_path / "a.json").write_text(json.dumps(content))
    source = {"name": "coco", "path": str(tmp_path / "a.json"), "size": 80, "task": "classification"}
    text = run_here(tmp_path / "page", source=source, labels_per_class=10, test=20)
    facts = dict(re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", text))
    assert facts["occlusion"].startswith("67% of the objects have the box of another over 25% of their box or more")
    said = "0% of the objects end at the border of the image, 33% are cut by the crop to a square"
    assert facts["truncation"] == said
    # 400, 100 and (15 - 10) * 6 = 30 of 1,600 pixels; twice as large, sqrt(0.5 * 0.0625) * 80 = 14.1
    assert "<td>cutout: size = 14</td><td>the median object takes 6.2% of the image, of which this hides" in text


def test_masks_are_described_and_move_with_their_images(tmp_path, monkeypatch, capsys):
    little(monkeypatch)
    data = {"source": tiny_maps.draw(tmp_path / "drawn", 20), "labels_per_class": 8, "test": 6}
    config = {
        "seed": 0,
        "devices": 1,
        "stages": ("teacher",),
        "data": data,
        "teacher": tiny_maps.stage("supervised", 2),
    }
    explore(ConfigDict(config), str(tmp_path / "page"))
    said, text = capsys.readouterr().out, (tmp_path / "page/explore.html").read_text()
    assert "14 training images, 0 of them without regions; 6 held-out" in " ".join(said.split())
    assert "background, not tinted" in text
    assert "below as augmented" in text
    assert text.count('alt="contact sheet of teacher') == 10


def test_a_member_is_judged_on_validation_images(tmp_path, monkeypatch, capsys):
    data = ["--config.data.validation=40", "--config.data.label_changing=('affine',)"]
    stages = ["--config.stages=('augmented',)", "--config.augmented.steps=60", "--config.devices=1"]
    call("train", TINY, f"--workdir={tmp_path / 'run'}", *data, *stages)
    warning = "\nwarning: config.augmented.augment applies 'affine', named in config.data.label_changing"
    assert warning in capsys.readouterr().out
    little(monkeypatch)
    run = str(tmp_path / "run")
    with pytest.raises(UserError, match=r"^--predictions: .* was trained on other images than the config names"):
        run_here(tmp_path / "page", predictions=run, test=500, source={"name": "synthetic", **SYNTHETIC})
    text = run_here(tmp_path / "page", members=run, predictions=run, validation=40)
    assert "On 40 of the 40 validation images of its run." in text
    assert Page(text).cells.count("mean of classes") == 2  # after a flip, and a change of brightness
    assert "No prediction changes with saturation." in text
    with np.load(tmp_path / "run" / "augmented" / "validation.npz") as arrays:
        rows, _ = label_errors.suspects(arrays["label"], arrays["probabilities"])
        names = arrays["image"][rows]
    assert len(rows)
    assert re.findall(r'alt="[0-9] · validation · (image \d+)"', text)[: len(rows)] == names.tolist()[:24]


def test_losses_of_an_operation_and_strength_are_one_line():
    loss = class_bias.Loss("flip", "always", 1, 3, 4, 1, 20)
    lines = sentences([loss, loss._replace(label=2), loss._replace(step="never")], ("0", "1", "2"))
    assert lines == [
        "flip, always: significantly more predictions become wrong in class 1 (75% of 4; the other classes 5%), "
        "class 2 (75% of 4; the other classes 5%).",
        "flip, never: significantly more predictions become wrong in class 1 (75% of 4; the other classes 5%).",
    ]


BAD = {
    "a misspelt command": (["exploer", TINY], "did you mean 'explore'?"),
    "a misspelt flag": (["explore", TINY, "--wokdir=x"], "no flag --wokdir; did you mean 'workdir'?"),
    "a config that is not there": (
        ["explore", "--config=configs/quikstart.py"],
        "did you mean 'configs/quickstart.py'?",
    ),
    "a misspelt key": (["explore", TINY, "--config.student.augment.cutout.siz=4"], "did you mean 'size'?"),
    "an unwritable folder": (["explore", TINY, "--workdir=/proc/here"], "cannot write to '/proc/here'"),
    "a member that is not there": (["explore", TINY, "--members=nowhere"], "--members: 'nowhere' is neither a run nor"),
    "predictions that are not there": (
        ["explore", TINY, "--predictions=nowhere"],
        "--predictions: 'nowhere' is neither",
    ),
    "a control alone": (["explore", TINY, "--control=nowhere"], "explore: --control is for --members"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused(name, tmp_path, capsys):
    arguments, expected = BAD[name]
    if not any(a.startswith("--workdir") or a == "exploer" for a in arguments):
        arguments = [*arguments, f"--workdir={tmp_path}"]
    with pytest.raises(UserError) as error:
        call(*arguments)
    assert expected in str(error.value)
    assert capsys.readouterr().out == ""


def test_settings_that_fit_no_image_are_said_with_their_stage(tmp_path):
    config = load_config("configs/quickstart.py:tiny", "test").unlock()
    config.student.augment.cutout.size = 0
    with pytest.raises(UserError, match=r"^config\.student\.augment: cutout: size 0"):
        explore(config, str(tmp_path))


def test_members_with_several_labels_are_refused(tmp_path):
    """What an operation does to one class cannot be counted where an image has several."""
    rng = np.random.default_rng(0)
    tags = rng.integers(0, 2, (60, 2))
    np.savez(tmp_path / "a.npz", images=rng.integers(0, 256, (60, 4, 4, 1), np.uint8), labels=tags)
    (tmp_path / "r" / "s" / "checkpoints").mkdir(parents=True)
    config = load_config("configs/quickstart.py:tiny", "test").to_dict()
    config["data"] = {"source": {"name": "npz", "path": str(tmp_path / "a.npz")}, "test": 20}
    tiny_run.begin(tmp_path / "r", config, Data(*load_data(plan(config)), devices=()))
    with pytest.raises(UserError, match=r"^--members: .* predicts several labels for each image"):
        run_here(tmp_path / "page", members=str(tmp_path / "r" / "s"))


def test_the_terminal_names_the_class_that_loses_most():
    right = np.array([[1, 1, 1, 1], [1, 1, 0, 1], [1, 1, 0, 0]], bool)
    measured = class_bias.Accuracies(("none", "weak", "strong"), right, np.array([0, 0, 1, 1]))
    assert summary("flip", measured, ("a", "b")) == ["flip", "75.0", "50.0", "-50.0", "b, 100.0"]
