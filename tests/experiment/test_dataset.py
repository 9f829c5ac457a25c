"""Which images a plan trains on: none that equals a test image."""

import re
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from rich.console import Console

from efficient_jax.data import decode
from efficient_jax.data.sources.handwritten_digits import mnist5k
from efficient_jax.data.stream import Streamed
from efficient_jax.errors import UserError
from efficient_jax.experiment import run
from efficient_jax.experiment.config import plan
from efficient_jax.experiment.dataset import MOST_HELD_OUT, Data, load_data
from tests.data.sources.test_image_folders import fill
from tests.experiment.plans import CONFIG


def load(source, **data):
    return load_data(plan(CONFIG | {"data": {"source": source, "labels_per_class": 0} | data}))


@pytest.fixture
def image_folder(tmp_path, monkeypatch):
    """Two classes with 6 images each, and 4 for the test; of the pool two and of class b one equal one of those."""
    monkeypatch.chdir(tmp_path)
    fill(tmp_path, **{f"train/{'ab'[i % 2]}/{i:02}.png": i for i in range(12)})
    fill(tmp_path, **{f"test/{'ab'[i % 2]}/{i:02}.png": i for i in range(11, 15)})
    fill(tmp_path, **{f"more/{i:02}.png": i for i in range(13, 20)})
    return {"name": "folder", "path": "train", "test_path": "test", "unlabelled_path": "more", "size": 4}


@pytest.mark.parametrize("feed", ["memory", "stream"])
def test_images_of_the_test_are_refused_and_listed(image_folder, feed):
    with pytest.raises(UserError) as error:
        load(image_folder, feed=feed)
    assert str(error.value) == (
        "config.data: 3 images equal a test image, pixel for pixel (1 labelled, 2 unlabelled): "
        "train/b/11.png = test/b/11.png, more/13.png = test/b/13.png, more/14.png = test/a/14.png; "
        'remove them, or leave them out with config.data.duplicates="drop"'
    )


@pytest.mark.parametrize("feed", ["memory", "stream"])
def test_images_of_the_test_may_be_left_out(image_folder, feed):
    """Of every part, and nothing else."""
    source, split = load(image_folder, duplicates="drop", feed=feed)
    grey = {name: sorted(source.images[ids][:, 0, 0, 0].tolist()) for name, ids in split.items()}
    assert grey == {
        "labelled": [*range(11)],
        "unlabelled": [*range(15, 20)],
        "validation": [],
        "test": [*range(11, 15)],
    }
    assert source.notes[-1].startswith("left out 3 images that equal a test image, pixel for pixel (1 labelled, 2 un")


@pytest.mark.parametrize(("free", "streamed"), [(2**20, False), (9000, True)])
def test_what_takes_more_than_half_of_the_memory_is_streamed(image_folder, monkeypatch, free, streamed):
    """23 images of 48 bytes, here and on each of four devices."""
    monkeypatch.setattr(decode, "free_memory", lambda: free)
    source, _ = load(image_folder, duplicates="drop")
    assert isinstance(source.images, Streamed) == streamed
    assert any("more than the 8.4e-07 GiB that they may take" in note for note in source.notes) == streamed


def test_others_are_drawn_in_place_of_those_left_out(tmp_path):
    """Every image is there twice: half of the test's twins would have been labelled or for validation."""
    rng = np.random.default_rng(0)
    pixels, labels = rng.integers(0, 256, (60, 4, 4, 1), np.uint8), np.arange(60) % 3
    np.savez(tmp_path / "a.npz", images=np.concatenate([pixels, pixels]), labels=np.concatenate([labels, labels]))
    source = {"name": "npz", "path": str(tmp_path / "a.npz")}
    with pytest.raises(UserError, match=r"more; remove them"):
        load(source, labels_per_class=15, test=30, validation=9)
    found, split = load(source, labels_per_class=15, test=30, validation=9, duplicates="drop")
    assert (len(split["labelled"]), len(split["validation"]), len(split["test"])) == (45, 9, 30)
    tested = {image.tobytes() for image in found.images[split["test"]]}
    others = np.concatenate([split[name] for name in ("labelled", "validation", "unlabelled")])
    assert not tested & {image.tobytes() for image in found.images[others]}
    assert (
        len(np.unique(others))
        == len(others)
        == 120 - 30 - sum(image.tobytes() in tested for image in np.delete(found.images, split["test"], axis=0))
    )


def test_equal_images_with_different_labels_are_noted(tmp_path):
    fill(tmp_path, **{"a/1.png": 1, "a/2.png": 2, "b/1.png": 1, "b/2.png": 4, "test/a/1.png": 7, "test/b/2.png": 8})
    source = {"name": "folder", "path": str(tmp_path), "size": 4}
    (tmp_path / "test").rename(tmp_path.parent / f"{tmp_path.name}-test")
    found, _ = load(source | {"test_path": f"{tmp_path}-test"})
    assert found.notes == (f"equal images have different labels: {tmp_path}/a/1.png = {tmp_path}/b/1.png",)


def test_no_two_of_the_packaged_digits_are_equal():
    source, split = load({"name": "mnist5k"}, labels_per_class=10, test=1000, validation=500)
    assert source.notes == ()
    assert sum(map(len, split.values())) == 5000
    assert len({image.tobytes() for image in mnist5k().images}) == 5000


UNFIT = {
    "no test images": ({}, {}, "config.data.test: 0 asked, and the source has no test images of its own; say how many"),
    "two test parts": ({"test_path": "test"}, {"test": 4}, "the source has test images of its own"),
    "too many for the test": ({}, {"test": 40}, "config.data.test: cannot take 40"),
    "too many for validation": ({}, {"test": 4, "validation": 40}, "config.data.validation: cannot take 40"),
    "all labels asked": ({}, {"test": 4, "labels_per_class": 7}, "but no image is unlabelled; set a lower"),
    "too many folds": ({}, {"test": 4, "folds": 9}, "config.data.folds: 9 asked"),
    "no pool": ({}, {"test": 4, "unlabelled": 40}, "config.data.unlabelled: 40 asked"),
    "no image for a stream": ({}, {"test": 4}, "config.student.batch.unlabelled: 16 asked, but no image is unlabelled"),
}


@pytest.mark.parametrize("kind", ["folder", "table", "parquet", "tar"])
@pytest.mark.parametrize("name", UNFIT)
def test_what_needs_no_image_is_said_before_one_is_decoded(name, kind, tmp_path, monkeypatch):
    source, data, said = UNFIT[name]
    monkeypatch.chdir(tmp_path)
    fill(tmp_path, **{f"train/{'ab'[i % 2]}/{i:02}.png": i for i in range(12)})
    fill(tmp_path, **{f"test/{'ab'[i % 2]}/{i:02}.png": i for i in range(20, 24)})
    files = {part: sorted((tmp_path / part).rglob("*.png")) for part in ("train", "test")}
    for part, found in files.items():
        if kind == "table":
            lines = ["file,label", *(f"{file.relative_to(tmp_path)},{file.parent.name}" for file in found)]
            (tmp_path / f"{part}.csv").write_text("\n".join(lines))
        if kind == "parquet":
            labels = ["ab".index(file.parent.name) for file in found]
            content = {"image": [file.read_bytes() for file in found], "label": labels}
            pq.write_table(pa.table(content), tmp_path / f"{part}.parquet")
        if kind == "tar":
            with tarfile.open(tmp_path / f"{part}.tar", "w") as archive:
                for file in found:
                    file.with_suffix(".txt").write_text(file.parent.name)
                    archive.add(file, file.name)
                    archive.add(file.with_suffix(".txt"), f"{file.stem}.txt")
    end = {"folder": "", "table": ".csv", "parquet": ".parquet", "tar": ".tar"}[kind]
    source = {key: f"{value}{end}" for key, value in ({"path": "train"} | source).items()}

    def decoded(*_):
        raise AssertionError("an image was decoded")

    monkeypatch.setattr(decode, "decode_files", decoded)
    data = {"source": {"name": kind, "size": 4} | source, "labels_per_class": 0} | data
    with pytest.raises(UserError, match=re.escape(said)):
        run.Run.open(plan(CONFIG | {"data": data}), tmp_path / "run", Console(quiet=True))


@pytest.fixture
def images_with_masks(tmp_path, monkeypatch):
    """Twelve images of which nine have a mask; the last of the pool equals the first of the test."""
    monkeypatch.chdir(tmp_path)
    fill(tmp_path, **{f"train/{i:02}.png": i for i in range(12)}, **{f"test/{i:02}.png": i for i in range(11, 15)})
    for folder, numbers in {"train": range(9), "test": range(11, 15)}.items():
        (tmp_path / f"{folder}_masks").mkdir()
        for number in numbers:
            Image.fromarray(np.arange(24).reshape(6, 4).astype(np.uint16)).save(f"{folder}_masks/{number:02}.png")
    return {
        "name": "masks",
        **{"path": "train", "masks": "train_masks", "test_path": "test", "test_masks": "test_masks"},
        **{"size": 4, "instances": True},
    }


@pytest.mark.parametrize("feed", ["memory", "stream"])
def test_images_with_masks_are_split_and_leaks_are_found(images_with_masks, feed):
    with pytest.raises(
        UserError, match=r"1 image equals a test image, pixel for pixel \(1 unlabelled\): train/11\.png ="
    ):
        load(images_with_masks, labels_per_class=3, validation=2, feed=feed)
    source, split = load(images_with_masks, labels_per_class=3, validation=2, feed=feed, duplicates="drop")
    assert {name: len(ids) for name, ids in split.items()} == {
        "labelled": 3,
        "validation": 2,
        "test": 4,
        "unlabelled": 6,
    }
    known = (source.labels != 255).any((1, 2))
    assert known[np.concatenate([split[name] for name in ("labelled", "validation", "test")])].all()
    assert (~known)[split["unlabelled"]].sum() == 2


@pytest.mark.parametrize("source", ["masks", "voc"])
def test_test_images_of_two_kinds_are_refused(images_with_masks, source):
    own = {"masks": images_with_masks, "voc": {"name": "voc", "path": "train", "size": 4, "test_set": "val"}}
    with pytest.raises(
        UserError, match=r"test: 2 asked, but the source has test images of its own, .*test_(path|set)="
    ):
        load(own[source], test=2)


def test_test_images_are_held_out_only_where_there_is_no_validation_image():
    split = {"labelled": np.arange(5), "validation": np.arange(5, 9), "test": np.arange(9, 9 + 2 * MOST_HELD_OUT)}
    ids, about = Data(mnist5k(), split, devices=()).held_out()
    assert ids.tolist() == [5, 6, 7, 8]
    assert "validation images" in about
    ids, about = Data(mnist5k(), split | {"validation": np.arange(0)}, devices=()).held_out()
    assert len(ids) == len(set(ids)) == MOST_HELD_OUT
    assert set(ids) < set(split["test"])
    assert "choose nothing by these" in about
