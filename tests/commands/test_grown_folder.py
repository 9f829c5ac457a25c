"""Commands on a run whose folder has grown since: they judge it on the images that it held out, and on no others."""

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from efficient_jax.commands.evaluate import evaluate
from efficient_jax.commands.explain import explain
from efficient_jax.commands.explore import explore
from efficient_jax.commands.predict import predict
from efficient_jax.commands.train import train
from efficient_jax.data.identity import digest
from efficient_jax.errors import UserError
from efficient_jax.evaluation import members
from efficient_jax.experiment.config import plan
from efficient_jax.experiment.dataset import Data, load_data
from efficient_jax.experiment.leaks import trained_before
from efficient_jax.experiment.workdir import read_config
from efficient_jax.explore import class_bias, preview
from efficient_jax.files import read_json
from efficient_jax.inference import predictions
from tests import tiny_run

CLASSES = ("bright", "dark")


def draw(folder, first, last):
    """Images of two classes that differ in brightness."""
    for i in range(first, last):
        pixels = np.random.default_rng(i).integers(0, 200, (8, 8), np.uint8) + np.uint8(55 * (i % 2 == 0))
        path = folder / CLASSES[i % 2] / f"{i % 10}{i:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)


@pytest.fixture(scope="module")
def grown(tmp_path_factory):
    """A trained run of 48 images, to which 48 came, also of a class between the others; a test image has another
    name."""
    root = tmp_path_factory.mktemp("grown")
    draw(root / "data", 0, 48)
    source = {"name": "folder", "path": str(root / "data"), "size": 8, "channels": 1}
    stage = tiny_run.stage("supervised", steps=6, save_every=3, keep_every=3, log_every=6, ema_decay=0.0)
    config = {"seed": 0, "devices": 1, "stages": ("net",), "net": stage}
    config["data"] = {"source": source, "labels_per_class": 8, "test": 12, "validation": 8}
    train(ConfigDict(config), str(root / "run"))
    draw(root / "data", 48, 96)
    draw(root / "more", 96, 104)
    (root / "more" / "dark").rename(root / "data" / "clear")
    test = predictions.read(root / "run" / "net" / "predictions.npz", "test")
    renamed = Path(test.images[3])
    renamed.rename(renamed.with_name("zzz.png"))
    return root


def stored(grown, part="test"):
    return predictions.read(grown / "run" / "net" / predictions.FILES[part], "test")


@pytest.mark.parametrize(
    "flags",
    [
        {"members": "{net}", "tta": "flips"},
        {"members": "{net}@3"},
        {"members": "{net}", "turn": "90"},
        {"members": "{net}@*", "soup": "greedy"},
        {"members": "{net}"},
    ],
    ids=["tta", "step", "turn", "soup", "stored"],
)
def test_evaluate_sees_the_test_images_of_the_run(grown, tmp_path, flags, capsys):
    flags = {name: value.format(net=grown / "run" / "net") for name, value in flags.items()}
    evaluate(**flags, out=str(tmp_path))
    said, test = capsys.readouterr().out, stored(grown)
    found = predictions.read(tmp_path / "predictions.npz", "test")
    assert found.contents == test.contents
    np.testing.assert_array_equal(found.labels, test.labels)
    scores = read_json(tmp_path / "evaluation.json")["members"].values()
    assert all(of["n"] == 12 for of in scores)
    if "turn" in flags:
        (of,) = scores
        assert [row["n"] for row in of["turned"]] == [12, 12]
        assert of["turned"][0]["correct"] == of["correct"]
    run = re.escape(str(grown / "run"))
    assert re.search(
        rf"{run}: its images are those of split\.csv: 52 images added since and left out; 1 image renamed", said
    )


def test_the_images_of_the_page_are_those_of_the_run(grown):
    """Stored indices mean the images that they meant."""
    test, data = stored(grown), members.first_data([str(grown / "run")], members.run_opener(print))
    assert tuple(data.source.name(i) for i in test.ids) == test.images
    files = {digest(path.read_bytes()).hex()[:16]: path for path in (grown / "data").rglob("*.png")}
    for content, image in zip(test.contents, data.source.images[test.ids], strict=True):
        np.testing.assert_array_equal(image[..., 0], np.asarray(Image.open(files[content])))
    left = {image.tobytes() for image in data.source.images[data.split["labelled"]]}
    assert not left & {image.tobytes() for image in data.source.images[test.ids]}


def test_explain_and_explore_look_at_held_out_images_of_the_run(grown, tmp_path, capsys, monkeypatch):
    explain(str(grown / "run"), layer="stage1", workdir=str(tmp_path))
    names = re.findall(r"<figcaption>(.*)</figcaption>", (tmp_path / "explain.html").read_text())
    held_out = stored(grown, "validation")
    assert set(names) == {"/".join(Path(name).parts[-2:]) for name in held_out.images}
    assert capsys.readouterr().out.count("images added since and left out") == 1
    about = json.loads((tmp_path / "explain.json").read_text())[str(grown / "run")]
    assert about["step"] == read_json(grown / "run" / "net" / "result.json")["step"]

    class Measured(Exception):
        """In place of the measurement, which takes long."""

    def measure(_, images, labels, __):
        raise Measured(images, labels)

    monkeypatch.setattr(class_bias, "of_operations", measure)
    monkeypatch.setattr(preview, "OPS", {})
    monkeypatch.setattr(preview, "MIXES", {})
    with pytest.raises(Measured) as measured:
        explored(grown / "run", tmp_path)
    images, labels = measured.value.args
    assert capsys.readouterr().out.count("images added since and left out") == 1
    np.testing.assert_array_equal(labels, held_out.labels)
    np.testing.assert_array_equal(images[..., 0], [np.asarray(Image.open(name)) for name in held_out.images])


def explored(run, folder):
    """`explore` of the grown folder, in which a class has few images, with the run as the member."""
    config = read_config(run, "test")
    data = config["data"] | {"labels_per_class": 1}
    explore(ConfigDict(config | {"data": data}), str(folder), members=str(run))


def test_every_stored_figure_says_what_it_is_of(grown, tmp_path, capsys):
    net = str(grown / "run" / "net")
    evaluate(members=f"{net}@3,{net}@6", tta="flips", weights="2,1", soup="uniform", out=str(tmp_path))
    found = read_json(tmp_path / "evaluation.json")["members"]
    assert {name: of["views"] for name, of in found.items()} == dict.fromkeys(found, "flips")
    assert [of["step"] for of in found.values()] == [3, 6, None, None]
    assert [of.get("stage") for of in found.values()] == [net, net, None, None]
    names = [f"{net}@3", f"{net}@6"]
    assert (found["uniform soup of 2"]["members"], found["uniform soup of 2"]["soup"]) == (names, "uniform")
    vote = found["soft vote of 2"]
    assert (vote["members"], vote["weights"], vote["vote"]) == (names, [2.0, 1.0], "soft")
    shown, page = capsys.readouterr().out, (tmp_path / "evaluation.html").read_text()
    assert "soft vote of 2: net@3 (weight 2), net@6 (weight 1); views: flips" in shown
    assert "3, flips" in page
    assert f"Metrics of {net}, weights of step 3; views: flips." in page
    evaluate(members=net, out=str(tmp_path))
    of = read_json(tmp_path / "evaluation.json")["members"][net]
    assert (of["views"], of["step"]) == ("none", read_json(grown / "run" / "net" / "result.json")["step"])


@pytest.mark.parametrize("suffix", ["csv", "npz"])
@pytest.mark.parametrize("folder", ["all", "test"])
def test_evaluate_takes_what_predict_wrote_for_the_test_images(grown, tmp_path, suffix, folder, capsys):
    """Of all images, or of the test images alone, in another folder under other names."""
    test, images = stored(grown), grown / "data"
    if folder == "test":
        images = tmp_path / "copies"
        images.mkdir()
        there = {digest(path.read_bytes()).hex()[:16]: path for path in (grown / "data").rglob("*.png")}
        for i, content in enumerate(test.contents):
            shutil.copy(there[content], images / f"{99 - i}.png")
    file = tmp_path / f"p.{suffix}"
    predict(members=str(grown / "run"), images=str(images), out=str(file))
    capsys.readouterr()
    evaluate(members=f"{file},{grown / 'run'}", out=str(tmp_path / "out"))
    one, other, vote = read_json(tmp_path / "out" / "evaluation.json")["members"].values()
    assert one["correct"] == other["correct"] == vote["correct"]
    assert one["n"] == 12
    assert one["negative_log_likelihood"] == pytest.approx(other["negative_log_likelihood"], rel=1e-4)
    left_out = ": left out " in capsys.readouterr().out
    assert left_out == (folder == "all")


def test_a_new_run_says_that_its_start_was_trained_on_its_test_images(grown):
    """The test images of the grown folder are drawn anew: of another run's labelled images some are among them."""
    config = read_config(grown / "run", "test")
    block = config["net"] | {"init": str(grown / "run" / "net")}
    started = plan(
        config | {"stages": ("other",), "other": block, "data": config["data"] | {"test": 40, "labels_per_class": 1}}
    )
    source, split = load_data(started)
    with (grown / "run" / "split.csv").open() as file:
        labelled = {row["content"] for row in csv.DictReader(file) if row["part"] == "labelled"}
    both = sum(digest(Path(source.name(i)).read_bytes()).hex()[:16] in labelled for i in split["test"])
    assert both
    (line,) = trained_before(started, source, split)
    net = str(grown / "run" / "net")
    assert line.startswith(f"{both} of 40 test images were labelled images of {net!r}, which stage 'other' takes")
    data = Data.reopen(grown / "run", "test", print)
    assert trained_before(plan(config), data.source, data.split) == []


def test_a_test_image_that_is_gone_ends_with_its_name(grown, tmp_path):
    for name in ("data", "run"):
        shutil.copytree(grown / name, tmp_path / name)
    config = (tmp_path / "run" / "config.json").read_text()
    (tmp_path / "run" / "config.json").write_text(config.replace(str(grown / "data"), str(tmp_path / "data")))
    gone = Path(stored(grown).images[0])
    (tmp_path / "data" / gone.relative_to(grown / "data")).unlink()
    run = str(tmp_path / "run")
    for command in (
        lambda: evaluate(members=run, tta="flips"),
        lambda: explain(run, workdir=str(tmp_path / "page")),
        lambda: explored(tmp_path / "run", tmp_path / "page"),
    ):
        with pytest.raises(UserError, match=rf"^--members: test image '{re.escape(str(gone))}' of .* is gone"):
            command()
    evaluate(members=run)  # stored predictions need no images
