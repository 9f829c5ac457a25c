"""Random choices, which selections are compared with."""

import numpy as np

from efficient_jax.selection.controls import class_balanced, uniform

LABELS = np.repeat([0, 1, 2], [50, 20, 3])


def test_uniform_draws_are_uniform_and_leave_labelled_images_out():
    draws = [uniform(10, 3, [4], seed) for seed in range(3000)]
    counts = np.bincount(np.concatenate(draws), minlength=10)
    assert counts[4] == 0
    assert np.abs(counts[counts > 0] - 1000).max() < 5 * np.sqrt(1000 * 2 / 3)
    np.testing.assert_array_equal(uniform(10, 6, seed=1)[:2], uniform(10, 2, seed=1))


def test_classes_have_equal_numbers_until_they_run_out():
    for seed in range(10):
        assert np.bincount(LABELS[class_balanced(LABELS, 9, seed=seed)]).tolist() == [3, 3, 3]
        assert np.bincount(LABELS[class_balanced(LABELS, 13, seed=seed)]).tolist() == [5, 5, 3]
        assert np.ptp(np.bincount(LABELS[class_balanced(LABELS, 4, seed=seed)])) == 1


def test_labelled_images_of_a_class_count():
    chosen = class_balanced(LABELS, 4, [0, 1, 2, 50, 51])
    assert sorted(LABELS[chosen].tolist()) == [1, 2, 2, 2]


def test_a_smaller_count_is_a_prefix():
    np.testing.assert_array_equal(class_balanced(LABELS, 20, [0])[:7], class_balanced(LABELS, 7, [0]))
