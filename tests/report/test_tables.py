"""Cells and paired differences against numbers worked out by hand."""

import math

import pytest
from rich.console import Console

from efficient_jax.errors import UserError
from efficient_jax.report import layout, sweep_tables, tables
from efficient_jax.tasks import CLASSIFICATION, MULTI_LABEL

ACCURACY, SEVERAL = CLASSIFICATION.columns, MULTI_LABEL.columns
PSEUDO = {"pool": 50, "kept": 40, "known": 0, "right": 0, "classes_without": 0}


def result(stage, **changes):
    return {
        "stage": stage,
        "parameters": 1234567,
        "labels": 100,
        "steps": 2000,
        "images_seen": 256000,
        "pseudo_labels": None,
        "test": {"correct": 90, "n": 100},
        **changes,
    }


def records(group, accuracies):
    """`{stage: {seed: correct of 100}}` as trial records."""
    seeds = dict.fromkeys(seed for of in accuracies.values() for seed in of)
    return [
        {
            "group": group,
            "seed": seed,
            "stages": {stage: {"correct": of[seed], "n": 100} for stage, of in accuracies.items() if seed in of},
        }
        for seed in seeds
    ]


def shown(table, width):
    console = Console(width=width)
    with console.capture() as captured:
        console.print(table)
    return captured.get()


def test_cells_of_a_stage():
    pseudo = PSEUDO | {"known": 40, "right": 39}
    rows = tables.stage_rows([result("supervised"), result("student", pseudo_labels=pseudo)], ACCURACY)
    # Wilson's interval for 90 of 100, from the formula: (0.9 + 1.92073/100 ± ...) / (1 + 3.84146/100)
    assert rows[0] == ["supervised", "1,234,567", "100", "2,000", "256,000", "–", "–", "90.00 [82.56, 94.48]"]
    assert rows[1][5:7] == ["40", "97.5"]


def test_no_pseudo_label_kept_has_no_share():
    (row,) = tables.stage_rows([result("student", pseudo_labels=PSEUDO | {"kept": 0})], ACCURACY)
    assert row[5:7] == ["0", "–"]


@pytest.mark.parametrize(("known", "right", "share"), [(20, 15, "75.0"), (0, 0, "–")])
def test_share_of_right_pseudo_labels_counts_the_known(known, right, share):
    pseudo = PSEUDO | {"known": known, "right": right}
    (row,) = tables.stage_rows([result("student", pseudo_labels=pseudo)], ACCURACY)
    assert row[5:7] == ["40", share]


@pytest.mark.parametrize(("missing", "cell"), [(1, "40, 1 class without"), (3, "40, 3 classes without")])
def test_classes_without_pseudo_labels_are_in_the_table(missing, cell):
    (row,) = tables.stage_rows([result("student", pseudo_labels=PSEUDO | {"classes_without": missing})], ACCURACY)
    assert row[5] == cell


def test_several_labels_have_pseudo_labels_where_there_are_any():
    counts = {"mean_average_precision": 0.5, "micro_f1": 0.25, "macro_f1": 0.125}
    several = {"test": {"correct": 90, "n": 100} | counts}
    results = [result("a", **several), result("b", pseudo_labels=PSEUDO, **several)]
    assert tables.stage_headers(results, SEVERAL)[5:7] == ["pseudo-labels kept", "right, %"]
    assert [row[5:7] for row in tables.stage_rows(results, SEVERAL)] == [["–", "–"], ["40", "–"]]
    assert {len(row) for row in tables.stage_rows(results, SEVERAL)} == {len(tables.stage_headers(results, SEVERAL))}


def test_a_stage_without_result_is_not_finished():
    (row,) = tables.stage_rows([{"stage": "student"}], ACCURACY)
    assert row == ["student", *["–"] * 6, "not finished"]


def test_several_labels_have_columns_of_their_own():
    counts = {"mean_average_precision": 0.5, "micro_f1": 0.25, "macro_f1": 0.125}
    results = [result("a", test={"correct": 90, "n": 100} | counts), {"stage": "b"}]
    assert tables.stage_headers(results, SEVERAL)[4:] == [
        "images seen",
        "test all labels right, % [95% interval]",
        "mAP, %",
        "micro F1, %",
        "macro F1, %",
    ]
    first, second = tables.stage_rows(results, SEVERAL)
    assert first[-4:] == ["90.00 [82.56, 94.48]", "50.00", "25.00", "12.50"]
    assert second == ["b", *["–"] * 7, "not finished"]
    everything = counts | dict.fromkeys(counts, 1.0)
    words = shown(
        tables.stage_table([result("net", test={"correct": 100, "n": 100} | everything)], SEVERAL), 80
    ).split()
    assert {"1,234,567", "256,000", "[96.30,", "100.00]"} <= set(words)
    assert words.count("100.00") == 4


def test_terminal_shows_names_as_they_are():
    assert "[red]x" in shown(tables.stage_table([result("[red]x")], ACCURACY), 120)


def test_narrow_terminal_cuts_no_number():
    words = shown(tables.stage_table([result("noisy_student_2")], ACCURACY), 80).split()
    assert {"1,234,567", "256,000", "90.00", "[82.56,", "94.48]"} <= set(words)


@pytest.mark.parametrize("width", [40, 60, 80])
def test_a_table_that_is_too_wide_goes_on_below(width, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    headers = ["member", *(f"column{i}" for i in range(12))]
    text = shown(layout.rich_table(headers, [["a_long_name", *(f"{i}.2345678" for i in range(12))]]), width)
    assert max(map(len, text.splitlines())) <= width
    assert {*headers, *(f"{i}.2345678" for i in range(12))} <= set(text.split())


def test_the_best_of_several_stages_is_marked(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    better = result("b", test={"correct": 95, "n": 100})
    assert "b *" in shown(tables.stage_table([result("a"), better], ACCURACY), 80)
    assert "*" not in shown(tables.stage_table([better], ACCURACY), 80)


def test_a_stage_is_shown_beside_its_teacher():
    student = result("student", compared=[{"stage": "teacher", "won": 8, "lost": 1, "n": 200, "p": 0.0390625}])
    assert tables.paired_rows([result("teacher"), student]) == [["student", "teacher", "+3.50", "8", "1", "0.039"]]


def test_a_terminal_table_may_be_empty():
    assert "stage" in shown(tables.stage_table([], ACCURACY), 80)


def test_paired_difference_by_hand():
    of = {"base": {0: 80, 1: 70, 2: 60}, "more": {0: 81, 1: 72, 2: 63}}
    difference = sweep_tables.differences(records("g", of), ("g", "more"), ("g", "base"))
    # differences 1, 2, 3: mean 2, sd 1, t(0.975, 2) = 4.30265, half width 4.30265 / sqrt(3) = 2.48414
    assert difference.mean == pytest.approx(2.0)
    assert (difference.low, difference.high) == pytest.approx((-0.48414, 4.48414), abs=1e-5)
    assert (difference.pairs, difference.unpaired) == ([0, 1, 2], [])


def test_pairs_go_by_seed_not_by_line():
    of = {"base": {0: 80, 1: 70, 2: 60}, "more": {0: 81, 1: 72, 2: 63}}
    forward = records("a", of)
    difference = sweep_tables.differences([*forward[::-1], *records("b", of)], ("a", "more"), ("b", "base"))
    assert difference.mean == pytest.approx(2.0)


def test_unpaired_seeds_are_dropped_and_named():
    of = {"base": {0: 80, 1: 70, 7: 10}, "more": {0: 81, 1: 73, 9: 99}}
    first, second = sweep_tables.sweep_rows(records("g", of))
    assert first == ["g", "base", "3", "53.33", "–", "–", "–"]
    # differences 1, 3: mean 2, sd sqrt(2), t(0.975, 1) = 12.7062, half width 12.7062
    assert second == [
        "g",
        "more",
        "3",
        "84.33",
        "base",
        "+2.00 [-10.71, +14.71]",
        "2 (unpaired, left out: seeds 7, 9)",
    ]


def test_one_pair_has_no_interval():
    difference = sweep_tables.differences(records("g", {"a": {0: 80}, "b": {0: 75}}), ("g", "a"), ("g", "b"))
    assert difference.mean == pytest.approx(5.0)
    assert math.isnan(difference.low)
    assert sweep_tables.difference_cells(difference) == ["+5.00 [no interval]", "1"]


def test_without_a_pair_there_is_no_difference():
    _, row = sweep_tables.sweep_rows(records("g", {"a": {0: 80}, "b": {1: 75}}))
    assert row[5:] == ["–", "0 (unpaired, left out: seeds 0, 1)"]


def test_stages_are_compared_with_the_previous_one_or_with_the_baseline():
    trials = records("g", {"a": {0: 50, 1: 50}, "b": {0: 60, 1: 60}, "c": {0: 61, 1: 61}})
    assert [row[4] for row in sweep_tables.sweep_rows(trials)] == ["–", "a", "b"]
    rows = sweep_tables.sweep_rows(trials, baseline="a")
    assert [row[4] for row in rows] == ["–", "a", "a"]
    assert rows[2][5] == "+11.00 [+11.00, +11.00]"


def test_a_seed_recorded_twice_is_refused():
    trials = records("g", {"a": {3: 50}})
    with pytest.raises(UserError, match=r"seed 3 of 'g' is recorded twice"):
        sweep_tables.sweep_rows(trials + trials)


def test_unknown_stage_names_the_nearest():
    with pytest.raises(UserError, match=r"no record of g / studnet; the nearest is g / student"):
        sweep_tables.differences(records("g", {"student": {0: 1}, "a": {0: 1}}), ("g", "studnet"), ("g", "a"))


def test_markdown_keeps_bars_inside_cells():
    assert layout.markdown(["a", "b"], [["x|y", "1"]]) == "| a | b |\n| --- | --- |\n| x\\|y | 1 |\n"


def test_folds_are_shown_beside_each_other():
    records = [
        {"group": "few", "seed": 0, "fold": fold, "stages": {"head": {"correct": correct, "n": 10}}}
        for fold, correct in ((1, 7), (0, 5), (2, 9))
    ]
    assert sweep_tables.fold_rows(records) == [["few", "head", "0", "50.0 70.0 90.0", "70.00", "20.00"]]
    assert sweep_tables.sweep_rows(records)[0][2:4] == ["3", "70.00"]
    assert sweep_tables.fold_rows([{"group": "few", "seed": 0, "stages": {}}]) == []


def test_validation_is_compared_with_the_test():
    results = [{"validation": {"correct": c, "n": 100}, "test": {"correct": 10 * c, "n": 1000}} for c in (50, 60, 90)]
    said = tables.agreement_line(results)
    assert said.startswith(
        "Validation and test accuracy of 3: correlation 1.00 [1.00, 1.00], of ranks 1.00, slope 1.00. "
    )
    assert tables.agreement_line(results[:2]) == ""
    assert tables.agreement_line([{"validation": None, "test": {"correct": 1, "n": 2}}] * 3) == ""


def test_the_figure_of_a_sweep_is_that_of_its_task():
    scores = [0.5, 0.7]
    trials = [
        {"group": "g", "seed": i, "figure": "mean IoU, %", "stages": {"a": {"correct": 1, "n": 9, "score": score}}}
        for i, score in enumerate(scores)
    ]
    assert sweep_tables.headers(trials)[3] == "mean IoU, %"
    assert sweep_tables.sweep_rows(trials)[0][2:4] == ["2", "60.00"]
    assert sweep_tables.headers(records("g", {"a": {0: 1}}))[3] == "accuracy, %"


def test_pixels_and_boxes_are_not_counted_in_images():
    for figures in ({"mean_iou": 0.5, "correct": 1, "n": 2}, {"ap50": 0.5, "n": 2}):
        assert tables.agreement_line([{"stage": "a", "validation": figures, "test": figures}] * 4) == ""
