"""Pseudo-labels of large pools in shards are equal to those of the table."""

import csv
import io
import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from efficient_jax.errors import UserError
from efficient_jax.experiment.pseudo_labels import csv_table, shards
from efficient_jax.experiment.pseudo_labels.pool import COLUMNS, predicted_by
from efficient_jax.experiment.targets import supervise
from efficient_jax.training.labels import on_host
from tests import tiny_run
from tests.experiment.pseudo_labels.pools import IMAGES, SETTINGS, made_of, origin_of, part, path, pool_of, rows_of


@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize(("classes", "soft_classes"), [(3, 0), (12, 0), (12, 5), (12, 1), (150, 0)])
def test_shards_are_as_the_table(classes, soft_classes, soft, shuffled, tmp_path):
    """The same images with as many copies, targets, audit and columns; the table has all probabilities."""
    pool, p = pool_of(tmp_path / "shards", classes, soft_classes)
    for settings in ({"balance": True}, {"balance": False}, {"per_class": 40}):
        origin = origin_of(soft=soft, shuffled=shuffled, **settings)
        found, _, _ = made_of(pool, p, origin)
        beside = pool._replace(folder=tmp_path)
        expected = csv_table.pseudo_labels(beside, p.__getitem__, origin, [].append)
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
    csv_table.pseudo_labels(pool._replace(folder=tmp_path), p.__getitem__, origin_of(), pytest.fail)
    with (tmp_path / "pseudo_labels.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    rows = rows_of(pool.folder)
    assert list(rows[0]) == [
        *COLUMNS,
        *(f"{kind}{i}" for kind in ("class", "p") for i in (1, 2, 3)),
    ]
    for shown, row in zip(rows, table, strict=True):
        text = {name: "" if shown[name] is None else str(shown[name]) for name in ("id", "image", "copies", "hidden")}
        assert text | {"label": shown["label"]} == {name: row[name] for name in (*text, "label")}
        assert shown["confidence"] == shown["p1"] == float(np.float32(row["confidence"]))
        order = np.argsort(-p[shown["id"]], kind="stable")[:3]
        assert [shown[f"class{i}"] for i in (1, 2, 3)] == order.tolist()
        assert [shown[f"p{i}"] for i in (1, 2, 3)] == p[shown["id"]][order].tolist()
    about = json.loads(pq.read_schema(path(pool.folder, 1)).metadata[b"pseudo_labels"])
    assert about == predicted_by(origin_of()) | {
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
    assert not shards.suits(pool)
    assert shards.LARGE == 100_000
    monkeypatch.setattr(shards, "LARGE", IMAGES)
    assert shards.suits(pool)
    assert not shards.suits(pool._replace(source=pool.source._replace(task="multi_label")))


def test_images_are_predicted_a_part_of_a_shard_at_a_time(tmp_path, monkeypatch):
    """No more probabilities than fit: here those of eight images of 12 classes."""
    monkeypatch.setattr(shards, "BATCH", 4)
    monkeypatch.setattr(shards, "PREDICTED", 8 * 12 * 4 + 40)
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


@pytest.mark.parametrize(
    "changed", [{"settings": SETTINGS | {"threshold": 0.4, "per_class": 20}}, {"seed": 4}], ids=str
)
def test_other_settings_make_other_pseudo_labels_of_the_same_predictions(changed, tmp_path):
    pool, p = pool_of(tmp_path)
    made_of(pool, p)
    found, _, asked = made_of(pool, p, origin_of() | changed)
    assert asked == []
    expected, _, _ = made_of(pool_of(tmp_path / "new")[0], p, origin_of() | changed)
    np.testing.assert_equal(found._asdict(), expected._asdict())
    assert rows_of(tmp_path) == rows_of(tmp_path / "new")


@pytest.mark.parametrize("changed", [{"teacher_hash": "abd"}, {"vote": "hard"}], ids=str)
def test_shards_of_another_teacher_or_vote_are_predicted_again(changed, tmp_path):
    pool, p = pool_of(tmp_path)
    made_of(pool, p)
    _, other = pool_of(tmp_path, teacher=1)
    found, said, asked = made_of(pool, other, origin_of() | changed)
    names = ", ".join(f"part-{number:05}-of-00005.parquet" for number in range(5))
    assert said[0] == f"pseudo_labels/: {names} are of another teacher or of other images: predicted again"
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


def test_a_stage_learns_the_same_of_shards_and_of_the_table(images, teacher, tmp_path, monkeypatch):
    """The pool of a run, with its log and its files."""
    block = tiny_run.stage("noisy_student", teacher=str(teacher), pseudo_labels={"threshold": 0.4})
    ready = tiny_run.prepared(images, tmp_path, {"s": block}, said := io.StringIO())
    found = []
    for large in (100_000, 100):
        monkeypatch.setattr(shards, "LARGE", large)
        ready = ready._replace(workdir=tmp_path / str(large))
        (ready.workdir / "s").mkdir(parents=True)
        found.append(supervise(ready.plan.stages[0], ready))
    of_table, of_shards = found
    np.testing.assert_array_equal(of_shards.rows["unlabelled"], of_table.rows["unlabelled"])
    used = np.unique(np.concatenate([*of_table.rows.values()]))
    vectors = [on_host(labels, 3)[used] for labels in (of_shards.labels, of_table.labels)]
    np.testing.assert_allclose(*vectors, atol=1e-6)  # batches of other sizes are predicted
    assert of_shards.pseudo_labels == of_table.pseudo_labels
    assert "s: 4 of 4 shards predicted" in said.getvalue()
    assert [row["id"] for row in rows_of(ready.workdir / "s")] == ready.data.split["unlabelled"].tolist()
