"""Which image a tab gets."""

from efficient_jax.labelling.queue import HELD, Queue


def anything(_index: int) -> bool:
    return True


def test_tabs_get_different_images_in_order():
    queue = Queue([3, 1, 2, 0])
    assert queue.take("one", [], 2, anything, queue.order) == [3, 1]
    assert queue.take("two", [], 2, anything, queue.order) == [2, 0]
    assert queue.take("three", [], 2, anything, queue.order) == []


def test_what_a_tab_holds_stays_with_it_while_the_order_changes():
    queue = Queue([0, 1, 2, 3])
    held = queue.take("one", [], 2, anything, queue.order)
    queue.reorder([3, 2])
    assert queue.order == (3, 2, 0, 1)
    assert queue.take("one", held, 4, anything, queue.order) == [0, 1, 3, 2]


def test_what_is_answered_is_dropped_and_replaced():
    queue = Queue([0, 1, 2, 3])
    assert queue.take("one", [0, 1], 2, lambda index: index != 0, queue.order) == [1, 2]


def test_images_of_a_silent_tab_are_given_to_others():
    time = [0.0]
    queue = Queue([0, 1], clock=lambda: time[0])
    queue.take("one", [], 1, anything, queue.order)
    time[0] = HELD - 1
    assert queue.take("two", [], 2, anything, queue.order) == [1]
    assert queue.tabs() == {"one", "two"}
    time[0] = HELD
    assert queue.take("two", [1], 2, anything, queue.order) == [1, 0]
    assert queue.tabs() == {"two"}
