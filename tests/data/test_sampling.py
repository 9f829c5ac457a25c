"""The order: every row once per epoch, from (seed, step) alone."""

import numpy as np
import pytest

from efficient_jax.data import index_shuffle, sampling
from efficient_jax.data.sampling import batch_at

ROWS = np.arange(100, 110)


@pytest.fixture(autouse=True, params=[index_shuffle.LIMIT, 1], ids=["few", "many"])
def limit(request, monkeypatch):
    """Datasets of any size have these properties: of ten rows, as few as they are and as if they were many."""
    monkeypatch.setattr(index_shuffle, "LIMIT", request.param)


@pytest.mark.parametrize("size", [1, 2, 4, 10, 15, 25])
def test_every_row_once_per_epoch(size):
    """Also when batches run over the ends of epochs, or are larger than an epoch."""
    steps = 60 // size
    stream = np.concatenate([batch_at(ROWS, size, step, seed=3) for step in range(steps)])
    assert len(stream) == steps * size
    for epoch in range(len(stream) // 10):
        np.testing.assert_array_equal(np.sort(stream[epoch * 10 :][:10]), ROWS)


def test_the_stream_is_one_whatever_the_batch():
    streams = [np.concatenate([batch_at(ROWS, size, s, seed=3) for s in range(60 // size)]) for size in (3, 20)]
    np.testing.assert_array_equal(*streams)


def test_a_batch_does_not_depend_on_what_was_asked_before():
    forwards = [batch_at(ROWS, 4, step, seed=3) for step in range(20)]
    for other in range(10, 30):  # their orders take the place of those that are kept
        batch_at(ROWS, 4, 0, seed=other)
    backwards = [batch_at(ROWS, 4, step, seed=3) for step in reversed(range(20))][::-1]
    np.testing.assert_array_equal(forwards, backwards)


def test_seeds_and_epochs_have_orders_of_their_own():
    orders = [batch_at(ROWS, 10, epoch, seed) for epoch in range(3) for seed in range(3)]
    assert len(np.unique(orders, axis=0)) == 9


def test_a_changed_batch_changes_no_other():
    batch = batch_at(ROWS, 10, 0, seed=3)
    expected = batch.copy()
    batch[:] = 0
    np.testing.assert_array_equal(batch_at(ROWS, 10, 0, seed=3), expected)


@pytest.mark.parametrize("size", [3, 5, 10, 16])
def test_padded_drops_nothing_and_keeps_the_order(size):
    parts = list(sampling.padded(ROWS, size))
    assert {len(part) for part, _ in parts} == {size}
    np.testing.assert_array_equal(np.concatenate([part[:real] for part, real in parts]), ROWS)
    assert set(np.concatenate([part[real:] for part, real in parts])) <= {ROWS[0]}


def test_copies_are_the_integer_part_and_a_coin():
    rates, coins = np.array([0.25, 0.25, 1.0, 2.75, 2.75]), np.array([0.2, 0.3, 0.0, 0.7, 0.8])
    np.testing.assert_array_equal(sampling.copies(rates, coins), [1, 0, 1, 3, 2])


def test_every_class_comes_as_often_as_the_largest():
    """Exactly where the sizes divide, else on average; nothing is left out."""
    classes = np.repeat([0, 1, 2], [6, 3, 2])
    np.testing.assert_array_equal(sampling.balanced(classes[:, None], 3, 0), [1] * 6 + [2] * 3 + [3] * 2)
    classes = np.repeat([0, 1, 3], [50, 30, 7])
    copies = np.stack([sampling.balanced(classes[:, None], 4, seed) for seed in range(400)])
    assert copies.min() == 1
    per_class = np.stack([copies[:, classes == number].sum(1) for number in (0, 1, 3)], axis=1)
    deviation = np.sqrt([0, 30 * (2 / 3) * (1 / 3), 7 * (1 / 7) * (6 / 7)])
    assert (np.abs(per_class.mean(0) - 50) <= 4 * deviation / np.sqrt(400)).all()


def test_a_row_of_several_classes_is_repeated_as_its_rarest_one_wants():
    """Class 0 is in six rows, class 1 in three, class 2 in two; the last row has none."""
    classes = np.array([[0, 1], [0, 2], [0, 3], [0, 1], [0, 3], [1, 2], [0, 3], [3, 3]])
    np.testing.assert_array_equal(sampling.balanced(classes, 3, 0), [2, 3, 1, 2, 1, 3, 1, 1])
