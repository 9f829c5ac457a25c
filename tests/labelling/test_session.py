"""What the page is told: images, undo, two tabs, two people, review."""

import csv
import uuid

import numpy as np
import pytest

from efficient_jax.labelling.guesses import Guesses, Members
from efficient_jax.labelling.images import Images
from efficient_jax.labelling.queue import Queue
from efficient_jax.labelling.session import Refused, Session, draw, start
from efficient_jax.labelling.store import Store

NAMES = ("0.png", "1.png", "2.png", "3.png")


def session(folder, who="anna", several=False, review=False) -> Session:
    store = Store(folder / "labels.csv", several)
    start(store, ["cat", "dog"], who)
    return Session(Images(str(folder), NAMES), store, Queue(range(len(NAMES))), who, review)


def items(view) -> list[int]:
    return [item["index"] for item in view["items"]]


def say(work, index, kind="label", labels=("cat",), tab="1", held=(), count=1, **more):
    answer = {"id": uuid.uuid4().hex, "index": index, "kind": kind, "labels": [*labels] if kind == "label" else []}
    return work.call("answer", {"tab": tab, "held": [*held], "count": count, "answers": [answer], **more})


def ask(work, request="next", tab="1", held=(), count=1, **more):
    return work.call(request, {"tab": tab, "held": [*held], "count": count, "id": uuid.uuid4().hex, **more})


def outcomes(work) -> dict[str, tuple[str, tuple[str, ...]]]:
    return {file: (outcome.kind, outcome.labels) for file, outcome in sorted(work.store.answers.outcomes.items())}


def test_an_answer_is_on_disk_when_the_next_image_is_told(tmp_path):
    work = session(tmp_path)
    assert items(ask(work)) == [0]
    assert items(say(work, 0)) == [1]
    again = Store(tmp_path / "labels.csv", False)
    assert again.answers.outcomes["0.png"].labels == ("cat",)


def test_undo_takes_back_the_answers_of_its_tab_one_by_one_and_then_those_of_earlier_runs(tmp_path):
    before = session(tmp_path)
    say(before, 3, tab="before")
    say(session(tmp_path, "ben"), 2, tab="ben")
    work = session(tmp_path)
    say(work, 0, tab="1")
    say(work, 1, tab="2")
    say(work, 0, "none", tab="1")
    view = ask(work, "undo")
    assert (view["undone"], items(view)) == (0, [0])
    assert outcomes(work)["0.png"] == ("label", ("cat",))
    assert ask(work, "undo")["undone"] == 0
    assert ask(work, "undo")["undone"] == 3
    assert ask(work, "undo")["undone"] is None
    assert outcomes(work) == {"1.png": ("label", ("cat",)), "2.png": ("label", ("cat",))}


def test_two_tabs_get_different_images_and_keep_both_answers(tmp_path):
    work = session(tmp_path)
    assert items(ask(work, tab="1", count=2)) == [0, 1]
    assert items(ask(work, tab="2", count=2)) == [2, 3]
    say(work, 0, tab="1")
    say(work, 2, labels=["dog"], tab="2")
    assert outcomes(work) == {"0.png": ("label", ("cat",)), "2.png": ("label", ("dog",))}


def test_two_people_do_not_overwrite_each_other(tmp_path):
    anna, ben = session(tmp_path), session(tmp_path, "ben")
    say(anna, 0, labels=["cat"])
    say(ben, 0, labels=["dog"], tab="2")
    say(anna, 1, labels=["cat"])
    say(ben, 1, "unsure", tab="2")
    assert items(ask(anna, count=4)) == items(ask(ben, tab="2", count=4)) == [2, 3]
    assert outcomes(anna) == {"0.png": ("label", ("dog",)), "1.png": ("label", ("cat",))}
    text = (tmp_path / "labels.csv").read_text()
    assert "anna: cat; ben: dog" in text
    assert "anna: cat; ben: unsure" in text
    assert ask(ben, "undo", tab="2")["undone"] == 1
    assert ask(ben, "undo", tab="2")["undone"] == 0
    assert outcomes(anna)["0.png"] == ("label", ("dog",))  # until anna's page reads the log
    ask(anna)
    assert outcomes(anna)["0.png"] == ("label", ("cat",))


def test_an_added_class_is_there_in_every_tab_and_run(tmp_path):
    work = session(tmp_path)
    assert ask(work, "class", name=" bird ")["classes"] == ["cat", "dog", "bird"]
    say(work, 0, labels=["bird"])
    assert ask(session(tmp_path), tab="2")["classes"] == ["cat", "dog", "bird"]


def test_skipped_images_come_again_on_request(tmp_path):
    work = session(tmp_path)
    for index, kind in enumerate(("skip", "unsure", "skip", "label")):
        view = say(work, index, kind)
    assert items(view) == []
    assert view["progress"] == {"label": 1, "none": 0, "unsure": 1, "skip": 2, "all": 4, "review": None}
    assert items(ask(work, count=4, list="skip")) == [0, 2]
    assert items(ask(work, count=4, list="unsure")) == [1]
    assert items(say(work, 0, held=[0, 2], count=4, list="skip")) == [2]


def test_several_labels_are_in_the_order_of_the_classes(tmp_path):
    work = session(tmp_path, several=True)
    say(work, 0, labels=["dog", "cat"])
    assert outcomes(work) == {"0.png": ("label", ("cat", "dog"))}
    with pytest.raises(Refused):
        ask(work, "class", name="answer")


def test_a_request_that_is_repeated_counts_once(tmp_path):
    work = session(tmp_path)
    request = {"tab": "1", "held": [], "count": 1, "answers": [{"id": "x", "index": 0, "kind": "none"}]}
    work.call("answer", request)
    work.call("answer", request)
    assert work.answered == 1
    assert ask(work, "undo")["undone"] == 0
    assert outcomes(work) == {}


def members(probabilities, thresholds=()) -> Members:
    values = np.array(probabilities, np.float32)

    def predict(files):
        rows = np.array([i for i, file in enumerate(files) if file.name != "3.png"])
        which = [int(files[i].stem) for i in rows]
        return rows, values[which], values[which]

    return Members(("cat", "dog"), thresholds, predict)


P = [(0.9, 0.1), (0.2, 0.8), (0.4, 0.6), (0.5, 0.5)]


def guessed(folder, work, choose=None, thresholds=()) -> Guesses:
    for name in NAMES:
        (folder / name).touch()
    work.images = Images(str(folder.resolve()), NAMES)
    work.guesses = Guesses(members(P, thresholds), work.images, work.queue, choose)
    return work.guesses


def test_guesses_are_shown_once_they_are_known(tmp_path):
    work = session(tmp_path)
    found = guessed(tmp_path, work)
    assert [item["guesses"] for item in ask(work, count=2)["items"]] == [None, None]
    found.predict()
    one, two, _, unreadable = ask(work, count=4)["items"]
    np.testing.assert_allclose([p for _, p in one["guesses"]], [0.9, 0.1])
    assert [one["chosen"], two["chosen"], unreadable["chosen"]] == [["cat"], ["dog"], []]
    assert unreadable["guesses"] == []


def test_several_guesses_are_those_above_their_thresholds(tmp_path):
    work = session(tmp_path, several=True)
    guessed(tmp_path, work, thresholds=(0.3, 0.7)).predict()
    assert [item["chosen"] for item in ask(work, count=4)["items"]] == [["cat"], ["dog"], ["cat"], []]


def test_the_order_follows_the_labels(tmp_path):
    """The choice is asked of all predicted images with the labelled ones; its answer comes first."""
    work, asked = session(tmp_path), []

    def choose(features, probabilities, count, labelled):
        asked.append((len(features), len(probabilities), count, labelled.tolist()))
        found.stop()
        return np.array([2, 1])

    say(work, 0)
    found = guessed(tmp_path, work, choose)
    found.predict()
    found.follow(work.done)
    assert asked == [(3, 3, 2, [0])]
    assert work.queue.order == (2, 1, 0, 3)


def test_review_shows_disagreements_suspected_errors_first(tmp_path):
    """1 is called cat where the members are sure of dog; 2 is called cat where they lean to dog; 0 agrees."""
    before = session(tmp_path)
    for index in (0, 1, 2):
        say(before, index, labels=["cat"])
    work = session(tmp_path, review=True)
    found = guessed(tmp_path, work)
    labels = work.labels()
    found.predict([*labels], lambda: setattr(work, "review", found.disagreements(labels)))
    view = ask(work, count=4)
    assert items(view) == [1, 2]
    assert view["items"][0]["said"] == [["anna", "cat"]]
    assert view["progress"]["review"] == 2
    view = say(work, 1, labels=["dog"], count=4)
    assert (items(view), view["progress"]["review"]) == ([2], 1)
    assert outcomes(work)["1.png"] == ("label", ("dog",))
    assert items(ask(work, "undo", held=[2], count=2)) == [1, 2]
    assert outcomes(work)["1.png"] == ("label", ("cat",))


def test_test_images_are_drawn_once_come_first_and_stand_in_the_table(tmp_path):
    work = session(tmp_path)
    draw(work.store, NAMES, 2, "anna")
    first = [NAMES.index(name) for name in work.store.answers.parts]
    assert len(first) == 2
    work.queue = Queue([3, 2, 1, 0], first)
    work.queue.reorder([i for i in range(4) if i not in first])
    view = ask(work, count=4)
    assert items(view)[:2] == first
    assert [item["part"] for item in view["items"]] == ["test", "test", "", ""]
    say(work, first[0])
    with (tmp_path / "labels.csv").open() as file:
        assert {(row["file"], row["part"], row["label"]) for row in csv.DictReader(file)} == {
            (NAMES[first[0]], "test", "cat"),
            (NAMES[first[1]], "test", ""),
        }
    again = session(tmp_path)
    draw(again.store, NAMES, 2, "anna")
    assert again.store.answers.parts == work.store.answers.parts


def test_what_has_an_answer_is_not_drawn_for_the_test(tmp_path):
    work = session(tmp_path)
    with pytest.raises(Refused, match="more than there are"):
        draw(work.store, NAMES, 5, "anna")
    say(work, 0)
    say(work, 1)
    draw(work.store, NAMES, 2, "anna")
    assert work.store.answers.parts == {"2.png": "test", "3.png": "test"}


def test_labels_of_chosen_images_are_known_as_such(tmp_path):
    """Those of an order or of a model, and not those that come in the order of names; a row begins with the answer."""
    work = session(tmp_path)
    draw(work.store, NAMES, 1, "anna")
    (test,) = (NAMES.index(name) for name in work.store.answers.parts)
    others = [i for i in range(4) if i != test]
    work.queue = Queue(range(4), [test], selected=[test, others[0]])
    work.queue.reorder([others[1]])
    say(work, test)
    say(work, others[1])
    say(work, others[2])
    with (tmp_path / "labels.csv").open() as file:
        parts = {row["file"]: row["part"] for row in csv.DictReader(file)}
    assert parts == {NAMES[test]: "test", NAMES[others[1]]: "selected", NAMES[others[2]]: ""}
    assert session(tmp_path).store.answers.parts == work.store.answers.parts
