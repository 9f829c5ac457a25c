"""A run's images, read again: the same images in the same parts, whatever became of the source since."""

import csv
import io
import json
import shutil
import tarfile
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from efficient_jax import files
from efficient_jax.data import known
from efficient_jax.data.dataset import Source, contents
from efficient_jax.errors import UserError
from efficient_jax.experiment import split_table
from efficient_jax.experiment.config import plan
from efficient_jax.experiment.dataset import Data, load_data
from efficient_jax.experiment.workdir import keep_split
from efficient_jax.tasks import TASKS
from tests.experiment.plans import CONFIG, stage

KINDS = ("folder", "table", "npz", "parquet", "tar", "coco")
NAMED = ("folder", "table", "tar", "coco")
CLASSES = ("cat", "dog")
SPLIT = {"labels_per_class": 3, "test": 4, "validation": 4}


def random_image(seed):
    return np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)


def item(number, label):
    return f"{number:02}", random_image(number), label


ITEMS = [item(i, CLASSES[i % 2]) for i in range(20)]


def png(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def write(kind, root, items):
    """Stores (name, pixels, class) in the way of a source, in place of what is there; returns the source's block."""
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    classes = sorted({label for *_, label in items})
    if kind == "folder":
        for name, pixels, label in items:
            png(root / label / f"{name}.png", pixels)
        return {"name": "folder", "path": str(root), "size": 4}
    if kind == "npz":
        labels = [classes.index(label) for *_, label in items]
        np.savez(root / "a.npz", images=[pixels for _, pixels, _ in items], labels=labels, classes=classes)
        return {"name": "npz", "path": str(root / "a.npz")}
    for name, pixels, _ in items:
        png(root / f"{name}.png", pixels)
    if kind == "table":
        lines = [f"{name}.png,{label}" for name, _, label in items]
        (root / "a.csv").write_text("\n".join(["file,label", *lines]))
        return {"name": "table", "path": str(root / "a.csv"), "size": 4}
    if kind == "coco":
        size = {"width": 4, "height": 4}
        content = {
            "images": [{"id": i, "file_name": f"{name}.png"} | size for i, (name, *_) in enumerate(items)],
            "annotations": [
                {
                    "id": i,
                    "image_id": i,
                    "category_id": classes.index(label),
                    "bbox": [0, 0, 2, 2],
                    "area": 4,
                    "iscrowd": 0,
                }
                for i, (*_, label) in enumerate(items)
            ],
            "categories": [{"id": i, "name": name} for i, name in enumerate(classes)],
        }
        (root / "a.json").write_text(json.dumps(content))
        return {"name": "coco", "path": str(root / "a.json"), "size": 4, "task": "multi_label"}
    if kind == "tar":
        with tarfile.open(root / "a.tar", "w") as archive:
            for name, _, label in items:
                (root / f"{name}.txt").write_text(label)
                archive.add(root / f"{name}.png", f"{name}.png")
                archive.add(root / f"{name}.txt", f"{name}.txt")
        return {"name": "tar", "path": str(root / "a.tar"), "size": 4}
    info = {"info": {"features": {"label": {"names": classes}}}}
    table = pa.table(
        {
            "image": [(root / f"{name}.png").read_bytes() for name, *_ in items],
            "label": [classes.index(label) for *_, label in items],
        }
    )
    pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps(info)}), root / "a.parquet")
    return {"name": "parquet", "path": str(root / "a.parquet")}


class Begun:
    """A run on ITEMS of which nothing is trained, whose images can change."""

    def __init__(self, kind, root, items=ITEMS, feed=""):
        self.kind, self.root, self.run, self.items = kind, root / "data", root / "run", items
        data = {"source": write(kind, self.root, items), "feed": feed} | SPLIT
        method = {"name": "supervised"}
        config = {"seed": 0, "data": data, "stages": ("first",), "first": stage(method=method)}
        self.source, self.split = load_data(plan(CONFIG | config))
        self.pixels = self.source.images[np.arange(len(items))]
        self.run.mkdir()
        files.write_json(self.run / "config.json", config)
        files.write_json(self.run / "run.json", {"data": {"classes": self.source.classes, "task": self.source.task}})
        keep_split(self.run, self.source, self.split)

    def numbers(self, part):
        """Which of ITEMS are in a part."""
        known = {pixels.tobytes(): i for i, (_, pixels, _) in enumerate(self.items)}
        return [known[image.tobytes()] for image in self.pixels[self.split[part]]]

    def again(self, items, where="--members"):
        """(images, parts, lines that are shown) when the source has other items."""
        write(self.kind, self.root, items)
        said = []
        data = Data.reopen(self.run, where, said.append)
        return data.source, data.split, said

    def same(self, items, without=()):
        """Reads the changed source; what each part has is what the run had; returns what is said."""
        source, split, said = self.again(items)
        assert source.classes == self.source.classes
        for part, ids in self.split.items():
            left = np.setdiff1d(ids, without)
            np.testing.assert_array_equal(split[part], left)
            np.testing.assert_array_equal(source.images[left], self.pixels[left])
            np.testing.assert_array_equal(source.labels[left], self.source.labels[left])
            assert [source.name(i) for i in left] == [self.source.name(i) for i in left]
        return said


@pytest.fixture(params=KINDS)
def begun(request, tmp_path):
    return Begun(request.param, tmp_path)


def test_an_unchanged_source_gives_the_parts_of_the_run_and_says_nothing(begun):
    assert begun.same(ITEMS) == []


def test_added_images_are_left_out_and_counted(begun):
    """They come before, between and after the others, and with them a class that moves the indices of the others."""
    more = [
        ("00a", random_image(100), "ape"),
        *ITEMS[:7],
        ("06a", random_image(101), "cat"),
        *ITEMS[7:],
        ("99", random_image(102), "dog"),
    ]
    (line,) = begun.same(more)
    assert line == f"{begun.run}: its images are those of split.csv: 3 images added since and left out"


def test_a_split_that_is_drawn_again_would_test_on_training_images(tmp_path):
    """The fault that the stored split is there for: the same config on more images has other test images."""
    begun = Begun("npz", tmp_path)
    seen = np.concatenate([begun.split[part] for part in ("labelled", "unlabelled", "validation")])
    trained = {image.tobytes() for image in begun.pixels[seen]}
    redrawn = []
    for count in range(22, 40, 2):
        more = [*ITEMS, *(item(i, CLASSES[i % 2]) for i in range(20, count))]
        block = write(begun.kind, begun.root, more)
        source, split = load_data(plan(CONFIG | {"data": {"source": block} | SPLIT}))
        redrawn.append(len({image.tobytes() for image in source.images[split["test"]]} & trained))
        source, split, _ = begun.again(more)
        assert not {image.tobytes() for image in source.images[split["test"]]} & trained
    assert sum(redrawn) > 0


def test_a_training_image_that_is_gone_is_left_out_and_named(begun):
    gone, index = begun.numbers("labelled")[0], int(begun.split["labelled"][0])
    (line,) = begun.same([*ITEMS[:gone], *ITEMS[gone + 1 :]], without=[index])
    assert line.endswith(
        f"split.csv: 1 image of the training gone or changed and left out ({begun.source.name(index)})"
    )


@pytest.mark.parametrize("part", ["test", "validation"])
@pytest.mark.parametrize("what", ["gone", "edited"])
def test_a_held_out_image_that_is_gone_or_edited_is_an_error_that_names_it(begun, part, what):
    number, index = begun.numbers(part)[1], begun.split[part][1]
    name, pixels, label = ITEMS[number]
    edited = [] if what == "gone" else [(name, 255 - pixels, label)]
    with pytest.raises(UserError) as error:
        begun.again([*ITEMS[:number], *edited, *ITEMS[number + 1 :]])
    how = "is gone or changed"
    if begun.kind in NAMED:
        how = "is gone" if what == "gone" else "has other content than in the run"
    assert str(error.value).startswith(
        f"--members: {part} image {begun.source.name(index)!r} of {str(begun.run)!r} {how}; put it back"
    )


def test_an_edited_training_image_is_left_out(begun):
    number, index = begun.numbers("unlabelled")[0], int(begun.split["unlabelled"][0])
    name, pixels, label = ITEMS[number]
    (line,) = begun.same([*ITEMS[:number], (name, 255 - pixels, label), *ITEMS[number + 1 :]], without=[index])
    assert "1 image added since and left out; 1 image of the training gone or changed and left out" in line


def test_renamed_and_reordered_images_are_found_by_their_content(begun):
    """All have other names, in the other order; where images have no names nothing else has changed."""
    said = begun.same([(f"z{99 - int(name)}", pixels, label) for name, pixels, label in ITEMS[::-1]])
    if begun.kind not in NAMED:
        assert said == []
    else:
        assert "20 images renamed (" in said[0]


def test_labels_are_those_of_the_run(begun):
    """A test image whose label was mended since, and in a folder was moved for that."""
    number, index = begun.numbers("test")[0], begun.split["test"][0]
    name, pixels, label = ITEMS[number]
    other = next(each for each in CLASSES if each != label)
    (line,) = begun.same([*ITEMS[:number], (name, pixels, other), *ITEMS[number + 1 :]])
    assert f"1 image with another label now, evaluated with that of the run ({begun.source.name(index)})" in line


@pytest.mark.parametrize("kind", ["folder", "npz"])
def test_one_of_two_equal_images_stands_for_both(kind, tmp_path):
    twins = [*ITEMS[:1], ("00b", *ITEMS[0][1:]), *ITEMS[1:]]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SPLIT, "duplicates", "drop")  # a twin of a test image would be refused
        begun = Begun(kind, tmp_path, twins)
    source, split, _ = begun.again(ITEMS)
    for part, ids in begun.split.items():
        np.testing.assert_array_equal(split[part], ids)
        np.testing.assert_array_equal(source.images[ids], begun.pixels[ids])


def test_streamed_images_are_the_same(tmp_path):
    begun = Begun("folder", tmp_path, feed="stream")
    begun.same([("00a", random_image(100), "ape"), *ITEMS[1:], ("zz", *ITEMS[0][1:])])


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda run: (run / "split.csv").unlink(), r"has no split\.csv, which names its test images"),
        (lambda run: (run / "run.json").unlink(), r"has no run\.json"),
        (lambda run: (run / "split.csv").write_text("part,number,image\n"), r"split\.csv' cannot be read"),
    ],
)
def test_a_run_without_its_split_is_refused(tmp_path, damage, said):
    begun = Begun("npz", tmp_path)
    damage(begun.run)
    with pytest.raises(UserError, match=said):
        begun.again(ITEMS)


NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6)
PARTS = ("labelled", "unlabelled", "validation", "test", split_table.LEFT_OUT)


@settings(deadline=None)  # the first call imports pyarrow.csv
@given(st.lists(st.tuples(NAMES, st.integers(-1, 2), st.sampled_from(PARTS)), min_size=1, max_size=12), st.booleans())
def test_the_table_is_that_of_the_straightforward_writer_and_is_read_again(tmp_path_factory, images, several):
    """Names with commas, quotes and ends of lines, and generated images, which are not read."""
    names, labels, parts = zip(*images, strict=True)
    classes = ("a cat", 'a "dog", black', "")[: 3 if several else 2]
    numbers = np.array(labels, np.int32)
    numbers = numbers[:, None] % [2, 3, 1] % 2 if several else np.minimum(numbers, 1)
    task = TASKS["multi_label" if several else "classification"]
    pixels = np.arange(len(names), dtype=np.uint8).reshape(-1, 1, 1, 1) // 2
    source = Source(pixels, numbers.astype(np.int32), classes, names=names, task=task.name)
    split = {part: np.flatnonzero([each == part for each in parts]) for part in PARTS[:-1]}
    columns = task.to_columns(source.labels, classes)
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(["part", "number", "image", "content", *task.label_columns(classes)])
    for part in PARTS:
        for i in (i for i, each in enumerate(parts) if each == part):
            table.writerow([part, i, source.name(i), contents(source)[i], *(column[i] for column in columns)])
    folder = tmp_path_factory.mktemp("run")
    with mock.patch.object(known, "SHARD", 3), mock.patch.object(split_table, "SHARD", 3):
        written = b"".join(split_table.lines(source, split))
        assert written == text.getvalue().encode()
        more = text.getvalue().splitlines(keepends=True)[-1].replace(parts[0], split_table.GENERATED)
        (folder / "split.csv").write_bytes(written + (more.encode() if more.startswith(split_table.GENERATED) else b""))
        again = split_table.read(folder, classes, task, "where")
    assert [*again.names] == [source.name(i) for i in range(len(names))]
    assert again.contents.astype(str).tolist() == [*contents(source)]
    assert [again.parts[number] for number in again.part_of] == [*parts]
    np.testing.assert_array_equal(again.labels, source.labels)
    for part in PARTS:
        np.testing.assert_array_equal(np.flatnonzero(again.within(part)), np.flatnonzero(np.array(parts) == part))
