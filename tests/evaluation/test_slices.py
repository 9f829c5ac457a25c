"""Where answers are wrong more often."""

import numpy as np
from scipy import stats

from efficient_jax.evaluation import slices


def test_what_errors_go_with_is_found_and_nothing_else():
    rng = np.random.default_rng(0)
    dark, chance = rng.random(400), rng.random(400)
    right = rng.random(400) < np.where(dark < 0.25, 0.5, 0.95)
    found = {row["measure"]: row for row in slices.slices(right, {"edge_width": dark, "chance": chance})}
    assert found["edge width"]["p_value"] < 1e-6
    assert found["chance"]["p_value"] > 0.05
    for row in found.values():
        assert sum(part["correct"] for part in row["parts"]) == right.sum()
        assert [part["n"] for part in row["parts"]] == [100] * 4
    lows, highs = np.array([part["values"] for part in found["edge width"]["parts"]]).T
    assert (lows[1:] > highs[:-1]).all()


def test_yes_and_no_are_compared_by_fishers_test():
    right, copied = np.array([1, 1, 1, 1, 0, 0, 0, 1], bool), np.array([1, 1, 1, 1, 0, 0, 0, 0], bool)
    (row,) = slices.slices(right, {"copied": copied, "same for all": np.ones(8)})
    assert [(part["values"], part["correct"], part["n"]) for part in row["parts"]] == [(False, 1, 4), (True, 4, 4)]
    assert row["p_value"] == stats.fisher_exact([[1, 3], [4, 0]])[1]


def test_images_without_a_value_are_left_out():
    values = np.array([np.nan, 1.0, 2.0, np.nan, 3.0])
    (row,) = slices.slices(np.array([0, 1, 0, 1, 1], bool), {"noise": values})
    assert sum(part["n"] for part in row["parts"]) == 3
