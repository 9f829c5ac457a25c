"""The first things a run shows, from stored results."""

from efficient_jax.report.summary import accuracy_first, comparison_rows, first_figure, headline
from efficient_jax.report.tables import ACCURACY
from efficient_jax.types import INTERVAL, Column

CONFIG = {"student": {"teacher": "teacher"}, "continued": {"init": "student"}}


def result(stage, correct, *compared):
    return {"stage": stage, "test": {"correct": correct, "n": 100}, "labels": 1, "compared": list(compared)}


def test_a_stage_is_beside_its_teacher_and_its_start():
    worse = {"stage": "teacher", "won": 1, "lost": 12, "n": 100, "p": 0.0034}
    equal = {"stage": "student", "won": 3, "lost": 2, "n": 100, "p": 1.0}
    results = [result("teacher", 90), result("student", 79, worse), result("continued", 80, equal), {"stage": "later"}]
    assert comparison_rows(CONFIG, results) == [
        ["student", "-11.00", "worse than teacher, its teacher", "1", "12", "0.003"],
        ["continued", "+1.00", "not told apart from student, its start", "3", "2", "1.000"],
    ]


def test_best_and_last_are_one_line_where_they_are_the_same():
    a, b = result("a", 90), result("b", 80)
    assert [(item["what"], item["stage"], item["number"]) for item in headline([a, b], ACCURACY)] == [
        ("best stage", "a", "90.00"),
        ("last stage", "b", "80.00"),
    ]
    assert [(item["what"], item["stage"]) for item in headline([b, a], ACCURACY)] == [("best and last stage", "a")]
    assert [item["what"] for item in headline([a], ACCURACY)] == ["stage"]
    assert headline([a], ACCURACY)[0]["interval"].startswith("[82.")
    assert headline([], ACCURACY) == []


def test_the_figure_of_a_run_is_that_of_its_task():
    figure = first_figure({"data": {"figure": ["mean_iou", "mean IoU, %", INTERVAL, 100.0]}})
    tests = [
        {"mean_iou": iou, "mean_iou_interval": [0.25, 0.75], "correct": n, "n": 9} for iou, n in ((0.5, 1), (0.25, 9))
    ]
    found = headline([result("a", 0) | {"test": tests[0]}, result("b", 0) | {"test": tests[1]}], figure)
    assert found[0] == {
        "what": "best stage",
        "stage": "a",
        "name": "mean IoU",
        "number": "50.00",
        "interval": "[25.00, 75.00]",
    }
    assert first_figure({}) == ACCURACY == Column("correct", "accuracy, %", INTERVAL)


def test_the_accuracy_follows_the_name():
    headers = ["stage", "labels", "accuracy, % [95% interval]", "mAP"]
    assert accuracy_first(["a", "1", "2 [1, 3]", "4"], headers) == ["a", "2 [1, 3]", "4", "1"]
    assert accuracy_first(["a", "1"], ["stage", "0°"]) == ["a", "1"]
