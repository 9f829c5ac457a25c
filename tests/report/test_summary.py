"""The first things a run shows, from predictions with known answers."""

import json

import numpy as np
import pytest
from scipy import stats

from efficient_jax.report.results import read_results
from efficient_jax.report.summary import comparison_rows, headline

STAGES = {
    "teacher": {},
    "student": {"teacher": "teacher"},
    "continued": {"init": "student"},
    "weights": {"init": "some_package"},
}


def result(correct):
    return {"test": {"correct": correct, "n": 100}, "labels": 1}


@pytest.fixture
def run(tmp_path):
    """The student loses 1 image of its teacher and gains 9; the next stage predicts what the student does."""
    (tmp_path / "config.json").write_text(json.dumps({"stages": list(STAGES)} | STAGES))
    labels = np.arange(100) % 2
    student = np.where(np.arange(100) == 0, 1 - labels, labels)
    answers = {"teacher": np.where(np.isin(np.arange(100), range(1, 10)), 1 - labels, labels), "student": student}
    answers |= {"continued": student, "weights": labels}
    order = np.random.default_rng(0).permutation(100)  # the order of a file does not matter
    for stage, predicted in answers.items():
        ids = order if stage == "student" else np.arange(100)
        (tmp_path / stage).mkdir()
        (tmp_path / stage / "result.json").write_text(json.dumps(result(int((predicted == labels).sum()))))
        arrays = {"id": ids, "label": labels[ids], "probabilities": np.eye(2)[predicted[ids]]}
        np.savez(tmp_path / stage / "predictions.npz", **arrays)
    return tmp_path


def test_a_stage_is_tested_against_its_teacher_and_its_start(run):
    student, continued = comparison_rows(run, read_results(run))
    p = stats.binomtest(9, 10).pvalue
    assert student == ["student", "+8.00", "better than teacher, its teacher", "9", "1", f"{p:.3f}"]
    assert continued == ["continued", "+0.00", "not told apart from student, its start", "0", "0", "1.000"]


def test_a_stage_that_is_not_finished_is_not_compared(run):
    (run / "student" / "result.json").unlink()
    assert comparison_rows(run, read_results(run)) == []


def test_several_labels_count_where_all_are_right(run):
    labels = np.array([[1, 0], [1, 1], [0, 0]])
    for stage, probabilities in {"teacher": labels * 0.4, "student": labels * 0.6}.items():
        np.savez(run / stage / "predictions.npz", id=np.arange(3), label=labels, probabilities=probabilities)
    (row, *_) = comparison_rows(run, read_results(run))
    assert row[3:5] == ["2", "0"]


def test_best_and_last_are_one_line_where_they_are_the_same():
    a, b = {"stage": "a"} | result(90), {"stage": "b"} | result(80)
    assert [(item["what"], item["stage"], item["accuracy"]) for item in headline([a, b])] == [
        ("best stage", "a", "90.00"),
        ("last stage", "b", "80.00"),
    ]
    assert [item["what"] for item in headline([b, a])] == ["best and last stage"]
    assert [item["what"] for item in headline([a])] == ["stage"]
    assert headline([a])[0]["interval"].startswith("[82.")
    assert headline([]) == []
