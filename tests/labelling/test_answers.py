"""What events amount to, compared with going through all of them."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from efficient_jax.labelling.answers import DECIDED, Answers, Event, event

FILES, PEOPLE, TABS = ("a", "b", "c"), ("anna", "ben"), ("1", "2")


def answer(number, kind="label", file="a", who="anna", tab="1", labels=("cat",)):
    return Event(str(number), f"time {number}", who, tab, kind, file, labels if kind == "label" else ())


answers = st.tuples(
    st.sampled_from(("label", "none", "unsure", "skip")),
    st.sampled_from(FILES),
    st.sampled_from(PEOPLE),
    st.sampled_from(TABS),
    st.sampled_from((("cat",), ("dog",), ("cat", "dog"))),
)
steps = st.lists(answers | st.sampled_from(TABS), max_size=30)  # a tab: undo there


def played(steps) -> tuple[Answers, list[Event]]:
    """The state after the steps, and the answers that stand by going through the history of each tab."""
    state, standing = Answers(), []
    for number, step in enumerate(steps):
        if isinstance(step, str):
            last = state.last(step, lambda _: False)
            mine = [each for each in standing if each.tab == step]
            assert last == (mine[-1] if mine else None)
            if last:
                state.apply(Event(str(number), "", "", step, "undo", of=last.id))
                standing.remove(last)
        else:
            state.apply(answer(number, *step))
            standing.append(answer(number, *step))
    return state, standing


@given(steps)
def test_the_newest_decided_answer_counts_of_those_that_are_each_persons_newest(steps):
    state, standing = played(steps)
    assert list(state.standing.values()) == standing
    for file in FILES:
        newest = [[e for e in standing if e.file == file and e.who == who][-1:] for who in PEOPLE]
        newest = sorted((e for each in newest for e in each), key=standing.index, reverse=True)
        assert state.of(file) == newest
        decided = [e for e in newest if e.kind in DECIDED]
        assert state.outcomes.get(file) == next(iter(decided + newest), None)
    assert +state.counts == Counter(outcome.kind for outcome in state.outcomes.values())


@given(steps)
def test_undoing_everything_leaves_nothing(steps):
    state, _ = played(steps)
    for number in range(100, 200):
        for tab in TABS:
            if last := state.last(tab, lambda _: False):
                state.apply(Event(f"{number} {tab}", "", "", tab, "undo", of=last.id))
    assert not state.standing
    assert not state.outcomes
    assert not +state.counts


@given(steps)
def test_repeated_events_change_nothing(steps):
    state, _ = played(steps)
    before = dict(state.outcomes), dict(state.standing)
    for number, step in enumerate(steps):
        if not isinstance(step, str):
            assert state.apply(answer(number, *step)) == ""
    assert (state.outcomes, state.standing) == before


def test_an_event_survives_its_record():
    for each in (answer(1), answer(2, "skip"), Event("3", "t", "anna", "1", "undo", of="1")):
        assert event(each.record(), "here") == each


def test_classes_are_those_added_and_those_of_answers_in_order():
    state = Answers()
    for each in (Event("1", "", "", "", "class", labels=("dog",)), answer(2), answer(3, labels=("bird", "dog"))):
        state.apply(each)
    assert state.classes == ["dog", "cat", "bird"]
