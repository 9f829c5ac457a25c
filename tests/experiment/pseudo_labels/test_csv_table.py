"""What is written of a round of pseudo-labels, and what can be read again."""

import csv
import json

import numpy as np
import pytest

from efficient_jax.data.dataset import Source
from efficient_jax.experiment.pseudo_labels import csv_table
from efficient_jax.experiment.pseudo_labels.audit import audit, of_predictions
from efficient_jax.experiment.pseudo_labels.csv_table import Round

CLASSES = ("cat", 'dog, "large"', "owl")
NAMES = tuple(f"a/{i}.png" for i in range(8))
SOURCE = Source(np.zeros((8, 1, 1, 1), np.uint8), np.array([0, 1, 1, 0, 1, 1, 2, -1]), CLASSES, names=NAMES)
LABELLED, IDS = np.array([0, 1, 2]), np.array([3, 4, 5, 6, 7])
P = np.array([[0.9, 0.05, 0.05], [0.3, 0.6, 0.1], [0.7, 0.2, 0.1], [0.55, 0.25, 0.2], [0.1, 0.9, 0]], np.float32)
ROUND = Round(IDS, P, P, np.array([2, 1, 1, 0, 3]))
ASKED = {"teacher": "first", "teacher_hash": "abc", "settings": {"threshold": 0.6}}
SEVERAL = SOURCE._replace(
    task="multi_label",
    labels=np.array([[1, 1, 0], [0, 0, 1], [0, 0, 1], [1, 0, 0], [0, 0, 0], [1, 0, 1], [-1] * 3, [1, 1, 1]]),
)


def rows(folder):
    with (folder / "pseudo_labels.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_person_can_read_the_table(tmp_path):
    csv_table.write(tmp_path, SOURCE, ROUND, ASKED)
    found = rows(tmp_path)
    assert [row["image"] for row in found] == [f"a/{i}.png" for i in IDS]
    assert [row["label"] for row in found] == ["cat", CLASSES[1], "cat", "cat", CLASSES[1]]
    assert [row["hidden"] for row in found] == ["cat", CLASSES[1], CLASSES[1], "owl", ""]
    assert [int(row["copies"]) for row in found] == [2, 1, 1, 0, 3]
    assert [float(row["confidence"]) for row in found] == pytest.approx([0.9, 0.6, 0.7, 0.55, 0.9])
    assert [float(row['p(dog, "large")']) for row in found] == pytest.approx(P[:, 1].tolist())
    assert json.loads((tmp_path / "pseudo_labels.json").read_text()) == ASKED


def test_several_labels_stand_behind_each_other(tmp_path):
    p = np.array([[0.9, 0.8, 0.2], [0.1, 0.3, 0.2], [0.5, 0.1, 0.9], [0.1, 0.1, 0.1], [0.9, 0.9, 0.9]], np.float32)
    csv_table.write(tmp_path, SEVERAL, Round(IDS, p, p, np.ones(5, int)), ASKED)
    found = rows(tmp_path)
    assert [row["label"] for row in found][:4] == [f"cat; {CLASSES[1]}", "nothing", "cat; owl", "nothing"]
    assert [row["hidden"] for row in found] == ["cat", "nothing", "cat; owl", "", f"cat; {CLASSES[1]}; owl"]
    assert [float(row["confidence"]) for row in found] == pytest.approx([0.9] * 5)


def stored(folder, source=SOURCE, ids=IDS):
    p = np.random.default_rng(0).dirichlet(np.full(len(source.classes), 0.1), len(ids)).astype(np.float32)
    copies = np.ones(len(ids), int)
    counts = audit(source, LABELLED, ids, copies, [of_predictions(source, ids, p, p, copies, 0.0)], 1)
    csv_table.write(folder, source, Round(ids, p, p, copies), ASKED | counts)
    return p


def test_what_is_read_is_what_was_written_bit_for_bit(tmp_path):
    np.testing.assert_array_equal(csv_table.read(tmp_path / "nothing", ASKED, IDS), None)
    p = stored(tmp_path)
    found = csv_table.read(tmp_path, ASKED, IDS)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found.view(np.int32), p.view(np.int32))


def test_names_of_any_kind_are_no_hindrance(tmp_path):
    source = SOURCE._replace(classes=("a\nb", 'a"', "a,b"), names=tuple(f'x\n,"{i}' for i in range(8)))
    p = stored(tmp_path, source)
    np.testing.assert_array_equal(csv_table.read(tmp_path, ASKED, IDS), p)


@pytest.mark.parametrize(
    ("changes", "ids"),
    [({"teacher_hash": "abd"}, IDS), ({"settings": {"threshold": 0.7}}, IDS), ({}, IDS[::-1]), ({}, IDS[:-1])],
)
def test_another_teacher_settings_or_pool_are_not_those_of_the_store(tmp_path, changes, ids):
    stored(tmp_path)
    assert csv_table.read(tmp_path, ASKED | changes, ids) is None
