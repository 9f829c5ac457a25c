"""The first things a run shows, from stored results."""

from efficient_jax.report.summary import accuracy_first, comparison_rows, headline

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
    assert [(item["what"], item["stage"], item["accuracy"]) for item in headline([a, b])] == [
        ("best stage", "a", "90.00"),
        ("last stage", "b", "80.00"),
    ]
    assert [(item["what"], item["stage"]) for item in headline([b, a])] == [("best and last stage", "a")]
    assert [item["what"] for item in headline([a])] == ["stage"]
    assert headline([a])[0]["interval"].startswith("[82.")
    assert headline([]) == []


def test_the_accuracy_follows_the_name():
    headers = ["stage", "labels", "accuracy, % [95% interval]", "mAP"]
    assert accuracy_first(["a", "1", "2 [1, 3]", "4"], headers) == ["a", "2 [1, 3]", "4", "1"]
    assert accuracy_first(["a", "1"], ["stage", "0°"]) == ["a", "1"]
