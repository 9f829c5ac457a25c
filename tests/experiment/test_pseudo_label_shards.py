"""Pseudo-labels of large pools: equal to those of the CSV file, and nothing is lost where a file or the process is."""

import csv
import errno
import io
import json
import os
import resource
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from efficient_jax import distributed
from efficient_jax.data.dataset import Source
from efficient_jax.errors import UserError
from efficient_jax.experiment import pseudo_label_files, pseudo_label_shards, pseudo_label_store
from efficient_jax.experiment.pseudo_label_files import Shards
from efficient_jax.experiment.pseudo_label_store import Pool
from efficient_jax.experiment.targets import supervise
from efficient_jax.training.labels import on_host
from tests import tiny_run
from tests.commands import launch

SETTINGS = {"threshold": 0.3, "balance": True, "per_class": 0, "soft": True, "shuffled": False}
SHARD = 64
IMAGES = 300  # in five shards


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(pseudo_label_files, "IMAGES", SHARD)


def pool_of(folder, classes=12, soft_classes=0, images=IMAGES, teacher=0):
    """(the pool, the predictions of all its images); half of the true labels are known."""
    rng = np.random.default_rng([classes, teacher])
    p = rng.dirichlet(np.full(classes, 0.05), images + 10).astype(np.float32)
    p[::3] = np.round(p[::3], 1)  # many are equal
    labels = np.where(rng.random(len(p)) < 0.5, rng.integers(0, classes, len(p)), -1)
    labels[:10] = rng.integers(0, classes, 10)
    source = Source(np.zeros((len(p), 1, 1, 1), np.uint8), labels, tuple(f"class {i}" for i in range(classes)))
    folder.mkdir(exist_ok=True, parents=True)
    return Pool(folder, source, np.arange(10), np.arange(10, len(p)), 8, soft_classes, "config.s", (500,)), p


def origin_of(**settings):
    return {"teacher": "first", "teacher_hash": "abc", "seed": 3, "settings": SETTINGS | settings}


class Teacher:
    """Predicts images by their indices, and remembers which."""

    def __init__(self, probabilities, before=id):
        self.probabilities, self.before, self.asked = probabilities, before, []

    def __call__(self, ids):
        self.before(len(self.asked))
        self.asked += [ids.tolist()]
        return self.probabilities[ids]


def made_of(pool, p, origin=None, **teaching):
    """(the pseudo-labels, what is said, the images that are predicted)."""
    said, teacher = [], Teacher(p, **teaching)
    return pseudo_label_shards.pseudo_labels(pool, teacher, origin or origin_of(), said.append), said, teacher.asked


def part(number):
    return list(range(10 + SHARD * number, min(10 + SHARD * (number + 1), 10 + IMAGES)))


def path(folder, number, count=5):
    return folder / f"pseudo_labels/part-{number:05}-of-{count:05}.parquet"


def rows_of(folder):
    return pq.read_table(folder / "pseudo_labels").to_pylist()


@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize(("classes", "soft_classes"), [(3, 0), (12, 0), (12, 5), (12, 1), (150, 0)])
def test_shards_are_as_the_table(classes, soft_classes, soft, shuffled, tmp_path):
    """The same images with as many copies, targets, audit and columns; the table has all probabilities."""
    pool, p = pool_of(tmp_path / "shards", classes, soft_classes)
    for settings in ({"balance": True}, {"balance": False}, {"per_class": 40}):
        origin = origin_of(soft=soft, shuffled=shuffled, **settings)
        found, _, _ = made_of(pool, p, origin)
        table = pool._replace(folder=tmp_path)
        expected = pseudo_label_store.pseudo_labels(table, p.__getitem__, origin, pytest.fail)
        kept = expected.copies > 0
        np.testing.assert_array_equal(found.ids, expected.ids[kept])
        np.testing.assert_array_equal(found.copies, expected.copies[kept])
        vectors = on_host(expected.labels, classes)[kept]
        np.testing.assert_array_equal(on_host(found.labels, classes), vectors)
        about = dict(found.about)
        assert [about.pop("shards"), about.pop("top")] == [
            5,
            soft_classes or min(classes, 10 if classes > 100 else 100),
        ]
        assert about == expected.about


def test_a_person_can_read_a_shard(tmp_path):
    """Its columns are those of the table, with the most probable classes by index; what they follow from is beside."""
    pool, p = pool_of(tmp_path / "shards", 12, soft_classes=3)
    made_of(pool, p)
    pseudo_label_store.pseudo_labels(pool._replace(folder=tmp_path), p.__getitem__, origin_of(), pytest.fail)
    with (tmp_path / "pseudo_labels.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    shards = rows_of(pool.folder)
    assert list(shards[0]) == [
        *pseudo_label_store.COLUMNS,
        *(f"{kind}{i}" for kind in ("class", "p") for i in (1, 2, 3)),
    ]
    for shown, row in zip(shards, table, strict=True):
        text = {name: "" if shown[name] is None else str(shown[name]) for name in ("id", "image", "copies", "hidden")}
        assert text | {"label": shown["label"]} == {name: row[name] for name in (*text, "label")}
        assert shown["confidence"] == shown["p1"] == float(np.float32(row["confidence"]))
        order = np.argsort(-p[shown["id"]], kind="stable")[:3]
        assert [shown[f"class{i}"] for i in (1, 2, 3)] == order.tolist()
        assert [shown[f"p{i}"] for i in (1, 2, 3)] == p[shown["id"]][order].tolist()
    about = json.loads(pq.read_schema(path(pool.folder, 1)).metadata[b"pseudo_labels"])
    assert about == origin_of() | {
        "shard": 1,
        "shards": 5,
        "teacher_steps": [500],
        "top": 3,
        "classes": list(pool.source.classes),
    }
    assert sorted(file.name for file in pool.folder.iterdir()) == ["pseudo_labels", "pseudo_labels.json"]


def test_only_large_pools_of_one_class_are_stored_in_shards(tmp_path, monkeypatch):
    """Of several classes an image, a label is certain by each probability."""
    pool, _ = pool_of(tmp_path)
    assert not pseudo_label_shards.suits(pool)
    assert pseudo_label_shards.LARGE == 100_000
    monkeypatch.setattr(pseudo_label_shards, "LARGE", IMAGES)
    assert pseudo_label_shards.suits(pool)
    assert not pseudo_label_shards.suits(pool._replace(source=pool.source._replace(task="multi_label")))


def test_images_are_predicted_a_part_of_a_shard_at_a_time(tmp_path, monkeypatch):
    """No more probabilities than fit: here those of eight images of 12 classes."""
    monkeypatch.setattr(pseudo_label_shards, "BATCH", 4)
    monkeypatch.setattr(pseudo_label_shards, "PREDICTED", 8 * 12 * 4 + 40)
    pool, p = pool_of(tmp_path / "a")
    found, _, asked = made_of(pool, p)
    assert max(map(len, asked)) == 8
    assert np.concatenate(asked).tolist() == pool.ids.tolist()
    monkeypatch.undo()
    expected, _, asked = made_of(pool._replace(folder=tmp_path), p)
    np.testing.assert_array_equal(found.labels.probabilities, expected.labels.probabilities)


def test_a_next_start_reads_what_is_there(tmp_path):
    pool, p = pool_of(tmp_path)
    first, said, asked = made_of(pool, p)
    assert asked == [part(number) for number in range(5)]
    assert said == [f"{number} of 5 shards predicted" for number in range(1, 6)]
    times = [path(tmp_path, number).stat().st_mtime_ns for number in range(5)]
    again, said, asked = made_of(pool, p)
    assert (asked, said) == ([], ["predictions of first are those of 5 of 5 shards in pseudo_labels/"])
    assert [path(tmp_path, number).stat().st_mtime_ns for number in range(5)] == times
    np.testing.assert_equal(again._asdict(), first._asdict())


def lose(file):
    file.unlink()


def cut(file):
    file.write_bytes(file.read_bytes()[:-100])


def empty(file):
    file.write_bytes(b"")


def flip(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 4
    file.write_bytes(content)


@pytest.mark.parametrize(
    ("harm", "is_what"), [(lose, "not there"), (cut, "damaged"), (empty, "damaged"), (flip, "damaged")]
)
def test_one_bad_shard_is_predicted_again_and_said(harm, is_what, tmp_path):
    pool, p = pool_of(tmp_path)
    first, _, _ = made_of(pool, p)
    before = path(tmp_path, 3).read_bytes()
    harm(path(tmp_path, 3))
    again, said, asked = made_of(pool, p)
    assert asked == [part(3)]
    assert said == [
        "predictions of first are those of 4 of 5 shards in pseudo_labels/",
        f"pseudo_labels/: part-00003-of-00005.parquet is {is_what}: predicted again",
        "5 of 5 shards predicted",
    ]
    np.testing.assert_equal(again._asdict(), first._asdict())
    assert path(tmp_path, 3).read_bytes() == before


def test_any_flipped_bit_is_seen_or_harmless(tmp_path):
    pool, p = pool_of(tmp_path, images=20, soft_classes=3)
    made_of(pool, p)
    shards = Shards(pool, 3, origin_of() | {"teacher_steps": pool.steps, "top": 3, "classes": pool.source.classes})
    file, rng, states = path(tmp_path, 0, 1), np.random.default_rng(0), []
    whole, table = file.read_bytes(), pseudo_label_files.read(shards, 0)
    for place in rng.choice(len(whole), 1000, replace=False):
        content = bytearray(whole)
        content[place] ^= 1 << rng.integers(8)
        file.write_bytes(content)
        states.append(pseudo_label_files.state(shards, 0))
        assert states[-1] != pseudo_label_files.WHOLE or pseudo_label_files.read(shards, 0).equals(table)
    assert np.bincount(states)[pseudo_label_files.DAMAGED] > 300


@pytest.mark.parametrize(
    "changed", [{"teacher_hash": "abd"}, {"settings": SETTINGS | {"threshold": 0.4}}, {"seed": 4}], ids=str
)
def test_shards_of_another_teacher_or_settings_are_predicted_again(changed, tmp_path):
    pool, p = pool_of(tmp_path)
    made_of(pool, p)
    _, other = pool_of(tmp_path, teacher=1)
    found, said, asked = made_of(pool, other, origin_of() | changed)
    names = ", ".join(f"part-{number:05}-of-00005.parquet" for number in range(5))
    assert said[0] == f"pseudo_labels/: {names} are of another teacher, other settings or images: predicted again"
    assert asked == [part(number) for number in range(5)]
    expected, _, _ = made_of(pool_of(tmp_path / "new")[0], other, origin_of() | changed)
    np.testing.assert_equal(found._asdict(), expected._asdict())


def test_other_images_or_fewer_classes_of_each_are_predicted_again(tmp_path):
    pool, p = pool_of(tmp_path)
    made_of(pool, p)
    moved = pool._replace(ids=pool.ids[::-1].copy())
    assert len(made_of(moved, p)[2]) == 5
    assert len(made_of(moved._replace(soft_classes=5), p)[2]) == 5
    fewer = moved._replace(soft_classes=5, ids=moved.ids[:100])
    assert len(made_of(fewer, p)[2]) == 2
    assert sorted(file.name for file in (tmp_path / "pseudo_labels").iterdir()) == [
        f"part-0000{number}-of-00002.parquet" for number in range(2)
    ]


def test_a_threshold_that_nothing_reaches_is_said(tmp_path):
    pool, p = pool_of(tmp_path)
    with pytest.raises(UserError, match=r"^config\.s\.pseudo_labels\.threshold: no image reaches 0\.9999"):
        made_of(pool, np.minimum(p, np.float32(0.999)), origin_of(threshold=0.9999))
    assert not (tmp_path / "pseudo_labels.json").exists()


def limited(most):
    """No file may grow beyond so many bytes, as if the disk were full."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


@pytest.mark.parametrize("when", [3, "labels"])
def test_a_full_disk_loses_no_prediction(when, tmp_path, monkeypatch):
    """While the fourth shard is written, or while the first one gets its labels: the command line shows one line."""
    pool, p = pool_of(tmp_path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    complete = pseudo_label_shards.complete

    def labels(*arguments):
        limited(1000)
        complete(*arguments)

    with monkeypatch.context() as patch:
        if when == "labels":
            patch.setattr(pseudo_label_shards, "complete", labels)
        try:
            with pytest.raises(OSError, match="File too large") as error:
                made_of(pool, p, before=lambda count: limited(1000) if count == when else None)
        finally:
            limited(before)
    number = 3 if when == 3 else 0
    assert error.value.errno == errno.EFBIG  # which `command_line.main` shows as one line, with the name of the file
    assert error.value.filename == str(path(tmp_path, number))
    kept = range(3) if when == 3 else range(5)
    assert sorted((tmp_path / "pseudo_labels").iterdir()) == [path(tmp_path, number) for number in kept]
    assert not (tmp_path / "pseudo_labels.json").exists()
    found, _, asked = made_of(pool, p)
    assert asked == [part(number) for number in range(len(kept), 5)]
    expected, _, _ = made_of(pool_of(tmp_path / "b")[0], p)
    np.testing.assert_equal(found._asdict(), expected._asdict())


def test_a_shard_that_is_lost_meanwhile_is_said(tmp_path, monkeypatch):
    pool, p = pool_of(tmp_path)
    columns = pseudo_label_shards.columns
    monkeypatch.setattr(pseudo_label_shards, "columns", lambda shards: (cut(shards.path(2)), columns(shards))[1])
    with pytest.raises(UserError, match=r"part-00002-of-00005\.parquet cannot be read any more .* predicts it again$"):
        made_of(pool, p)
    monkeypatch.undo()
    monkeypatch.setattr(pseudo_label_files, "IMAGES", SHARD)
    assert made_of(pool, p)[2] == [part(2)]


def process(folder, killed_at=-1, processes=1, number=0, address=""):
    """Makes the pseudo-labels of a pool in this process, which may be killed before it predicts a shard."""
    pseudo_label_files.IMAGES = SHARD
    if processes > 1:
        distributed.join(str(processes), number, address)
    pool, p = pool_of(Path(folder))
    found, said, _ = made_of(
        pool, p, before=lambda count: os.kill(os.getpid(), signal.SIGKILL) if count == killed_at else None
    )
    print("made", found.copies.sum(), found.ids.sum(), on_host(found.labels, 12).sum(), *said, sep="\n")


def started(*arguments):
    call = f"from tests.experiment.test_pseudo_label_shards import process; process(*{arguments!r})"
    return launch.begin(sys.executable, "-c", call, stderr=subprocess.PIPE)


def test_after_kill_9_between_two_shards_the_others_are_predicted(tmp_path):
    killed = started(str(tmp_path), 2)
    _, err = killed.communicate(timeout=120)
    assert killed.returncode == -signal.SIGKILL, err
    left = tmp_path / "pseudo_labels" / f"{path(tmp_path, 2).name}.123.part"  # of one that was killed within a shard
    left.write_bytes(b"PAR1")
    pool, p = pool_of(tmp_path)
    found, said, asked = made_of(pool, p)
    assert asked == [part(2), part(3), part(4)]
    missing = ", ".join(path(tmp_path, number).name for number in (2, 3, 4))
    assert said[:2] == [
        "predictions of first are those of 2 of 5 shards in pseudo_labels/",
        f"pseudo_labels/: {missing} are not there: predicted again",
    ]
    assert not left.exists()
    expected, _, _ = made_of(pool_of(tmp_path / "b")[0], p)
    np.testing.assert_equal(found._asdict(), expected._asdict())


def test_two_processes_write_their_own_shards_and_read_all(tmp_path):
    """Two shards are there; of the others, which both predict, the first writes 2, and the second 1 and 3."""
    expected, _, _ = made_of(pool_of(tmp_path / "one")[0], pool_of(tmp_path / "one")[1])
    figures = [str(x.sum()) for x in (expected.copies, expected.ids, on_host(expected.labels, 12))]
    made_of(pool_of(tmp_path / "two")[0], pool_of(tmp_path / "two")[1])
    files = [path(tmp_path / "two", number) for number in range(5)]
    for harm, file in zip((lose, lose, flip), files[1:4], strict=True):
        harm(file)
    with socket.create_server(("localhost", 0)) as free:
        address = f"localhost:{free.getsockname()[1]}"
    both = [started(str(tmp_path / "two"), -1, 2, number, address) for number in range(2)]
    said = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    for out, _ in said:
        assert out.split("made\n")[1].splitlines() == [
            *figures,
            "predictions of first are those of 2 of 5 shards in pseudo_labels/",
            f"pseudo_labels/: {files[1].name}, {files[2].name} are not there: predicted again",
            f"pseudo_labels/: {files[3].name} is damaged: predicted again",
            *(f"{place} of 5 shards predicted" for place in (3, 4, 5)),
        ]
    assert rows_of(tmp_path / "two") == rows_of(tmp_path / "one")


def test_a_stage_learns_the_same_of_shards_and_of_the_table(images, teacher, tmp_path, monkeypatch):
    """The pool of a run, with its log and its files."""
    block = tiny_run.stage("noisy_student", teacher=str(teacher), pseudo_labels={"threshold": 0.4})
    ready = tiny_run.prepared(images, tmp_path, {"s": block}, said := io.StringIO())
    found = []
    for large in (100_000, 100):
        monkeypatch.setattr(pseudo_label_shards, "LARGE", large)
        ready = ready._replace(workdir=tmp_path / str(large))
        (ready.workdir / "s").mkdir(parents=True)
        found.append(supervise(ready.plan.stages[0], ready))
    table, shards = found
    np.testing.assert_array_equal(shards.rows["unlabelled"], table.rows["unlabelled"])
    used = np.unique(np.concatenate([*table.rows.values()]))
    vectors = [on_host(labels, 3)[used] for labels in (shards.labels, table.labels)]
    np.testing.assert_allclose(*vectors, atol=1e-6)  # batches of other sizes are predicted
    assert shards.pseudo_labels == table.pseudo_labels
    assert "s: 4 of 4 shards predicted" in said.getvalue()
    assert [row["id"] for row in rows_of(ready.workdir / "s")] == ready.data.split["unlabelled"].tolist()
