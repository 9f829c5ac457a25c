"""predict of a segmentation run: a map for each image, in the pixels of the image."""

import re
import shutil

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import jaccard_score

import efficient_jax
from efficient_jax.commands.evaluate import evaluate
from efficient_jax.commands.predict import predict
from efficient_jax.data.sources.mask_folders import masks
from efficient_jax.errors import UserError
from efficient_jax.evaluation import folder_maps
from efficient_jax.files import read_json
from efficient_jax.inference import map_files
from tests import tiny_maps
from tests.commands.launch import ROOT


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """New images, one of them in a deeper folder, one upright by its EXIF tag alone, and one that is none."""
    folder = tmp_path_factory.mktemp("new")
    tiny_maps.draw(folder, 6, seed=1)
    images = folder / "images"
    for part in ("images", "masks"):
        (folder / part / "deep").mkdir()
        (folder / part / "00.png").rename(folder / part / "deep/00.png")
    with Image.open(images / "01.png") as image, Image.open(folder / "masks/01.png") as mask:
        exif = Image.Exif()
        exif[0x0112] = 6  # to be turned clockwise
        image.rotate(90, expand=True).save(images / "01.png", exif=exif)
        assert mask.size == image.size
    (images / "broken.jpg").write_bytes(b"no image")
    return folder


@pytest.fixture(scope="module")
def written(segmented, folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "maps"
    predict(members=str(segmented), images=str(folder / "images"), out=str(out))
    return out


def test_each_image_has_a_map_of_its_size(written, folder):
    truth, found = map_files.files(folder / "masks", "test"), map_files.files(written, "test")
    assert sorted(found) == ["01", "02", "03", "04", "05", "deep/00"] == sorted(truth)
    right = []
    for name, file in found.items():
        classes, expected = map_files.read(file, "test"), map_files.read(truth[name], "test")
        assert classes.shape == expected.shape
        right.append((classes == expected).mean())
    assert min(right) > 0.8, right  # 60 steps learn the levels of gray; background alone is 0.4 to 0.9


def test_load_has_the_same_maps(written, folder, segmented):
    classify = efficient_jax.load(segmented)
    names = ["01", "deep/00", "04"]
    found = classify.maps([folder / f"images/{name}.png" for name in names])
    for name, classes in zip(names, found, strict=True):
        np.testing.assert_array_equal(classes, map_files.read(written / f"{name}.png", "test"))
    with Image.open(folder / "images/04.png") as image:
        for one in (folder / "images/04.png", image, np.asarray(image)):
            (classes,) = classify.maps(one)
            np.testing.assert_array_equal(classes, found[2])


def test_a_square_of_the_networks_size_is_not_changed(segmented):
    classify = efficient_jax.load(segmented)
    pixels = np.random.default_rng(0).integers(0, 256, (2, tiny_maps.SIZE, tiny_maps.SIZE, 1), np.uint8)
    probabilities = classify(pixels)
    assert probabilities.shape == (*pixels.shape[:3], len(tiny_maps.CLASSES))
    np.testing.assert_array_equal(classify.maps(pixels), probabilities.argmax(-1))
    assert classify.maps([]) == []


def test_the_source_of_masks_reads_the_maps(written, folder, tmp_path):
    images = tmp_path / "images"
    shutil.copytree(folder / "images", images, ignore=shutil.ignore_patterns("broken.jpg"))
    source = masks(path=str(images), masks=str(written), size=tiny_maps.SIZE)
    assert source.classes == tiny_maps.CLASSES
    assert (source.labels != 255).any((1, 2)).all()


def test_evaluate_reads_the_maps(written, folder, tmp_path):
    evaluate(members=str(written), truth=str(folder / "masks"), out=str(tmp_path / "out"))
    (found,) = read_json(tmp_path / "out/evaluation.json")["members"].values()
    truth = map_files.files(folder / "masks", "test")
    read = [(map_files.read(written / f"{name}.png", "test"), map_files.read(truth[name], "test")) for name in truth]
    predicted, labels = (np.concatenate([pair[i].ravel() for pair in read]) for i in (0, 1))
    assert found["mean_iou"] == pytest.approx(jaccard_score(labels, predicted, average="macro"))


def test_unreadable_images_are_listed_and_chunks_change_nothing(
    written, folder, segmented, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(folder_maps, "CHUNK", 2)
    predict(members=str(segmented), images=str(folder / "images"), out=str(tmp_path / "maps"))
    assert "left out 1 unreadable image" in capsys.readouterr().out
    for name, file in map_files.files(written, "test").items():
        assert file.read_bytes() == (tmp_path / "maps" / f"{name}.png").read_bytes()


def test_several_members_predict_by_the_mean_of_their_probabilities(segmented, folder, tmp_path):
    members = [str(segmented / stage) for stage in ("teacher", "student")]
    predict(members=",".join(members), images=str(folder / "images"), out=str(tmp_path / "maps"))
    with Image.open(folder / "images/02.png") as image:
        square = image.resize((tiny_maps.SIZE, tiny_maps.SIZE)).convert("L")
    pixels = np.asarray(square)[None, ..., None]
    mean = np.mean([efficient_jax.load(name)(pixels) for name in members], 0)
    shutil.rmtree(tmp_path / "maps")
    (tmp_path / "square").mkdir()
    square.save(tmp_path / "square/a.png")
    predict(members=",".join(members), images=str(tmp_path / "square"), out=str(tmp_path / "maps"))
    np.testing.assert_array_equal(map_files.read(tmp_path / "maps/a.png", "test"), mean[0].argmax(-1))


def test_maps_of_flipped_views_are_flipped_back(segmented, tmp_path):
    """The mean over an image and its mirror image is mirrored by mirroring the image."""
    pixels = np.random.default_rng(0).integers(0, 256, (tiny_maps.SIZE, tiny_maps.SIZE), np.uint8)
    for name, image in {"a": pixels, "b": pixels[:, ::-1]}.items():
        (tmp_path / name).mkdir()
        Image.fromarray(image).save(tmp_path / name / "1.png")
        predict(members=str(segmented), images=str(tmp_path / name), out=str(tmp_path / f"{name}_maps"), tta="flips")
    first, mirrored = (map_files.read(tmp_path / f"{name}_maps/1.png", "test") for name in "ab")
    assert len(np.unique(first)) > 1
    np.testing.assert_array_equal(first, mirrored[:, ::-1])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"out": "maps.csv"}, r"^--out: 'maps\.csv' is a file; .* name a folder$"),
        ({"out": "FOLDER/masks"}, r"^--out: the folder '.*' is not empty; name a new one for the maps$"),
        ({"out": "FOLDER/images/maps"}, "^--out: '.*' is in --images"),
        ({"coverage": 0.9}, "^--coverage and --top are for images of one class; an image has a class for each pixel$"),
        ({"top": 5}, "^--coverage and --top"),
        ({"tta": "flip"}, "^--tta: .*did you mean 'flips'"),
        ({"images": "FOLDER/nothing"}, "^--images: "),
    ],
)
def test_what_does_not_fit_is_said(segmented, folder, tmp_path, monkeypatch, settings, message):
    monkeypatch.chdir(tmp_path)
    settings = {
        key: str(value).replace("FOLDER", str(folder)) if key in ("out", "images") else value
        for key, value in settings.items()
    }
    with pytest.raises(UserError, match=message):
        predict(**{"members": str(segmented), "images": str(folder / "images"), "out": "maps"} | settings)
    assert not (tmp_path / "maps").exists()


def test_two_images_of_one_map_are_said(segmented, folder, tmp_path):
    (tmp_path / "images").mkdir()
    for name in ("a.png", "a.bmp"):
        with Image.open(folder / "images/02.png") as image:
            image.save(tmp_path / "images" / name)
    with pytest.raises(
        UserError, match=r"^--images: '.*a\.bmp' and '.*a\.png' would have one map; rename one of them$"
    ):
        predict(members=str(segmented), images=str(tmp_path / "images"), out=str(tmp_path / "maps"))


def test_a_network_of_whole_images_has_no_maps(teacher):
    with pytest.raises(UserError, match=r"^maps: this network predicts one class of an image; take predict$"):
        efficient_jax.load(teacher).maps([])


def test_the_example_of_the_guide_runs(segmented, folder, monkeypatch):
    code = re.findall(r"```python\n(.*?)```", (ROOT / "efficient_jax/evaluation/README.md").read_text(), re.DOTALL)[0]
    for name, real in {"runs/segment": str(segmented), "a.jpg": "02.png", "b.jpg": "03.png"}.items():
        code = code.replace(name, real)
    monkeypatch.chdir(folder / "images")
    scope = {}
    exec(code, scope)
    assert [classes.ndim for classes in scope["maps"]] == [2, 2]
    assert scope["probabilities"].shape == (2, tiny_maps.SIZE, tiny_maps.SIZE, len(tiny_maps.CLASSES))
