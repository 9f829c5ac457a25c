"""What the page asks for and gets: the images of a tab, answers, undo, new classes. Knows nothing of HTTP."""

import threading
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, TypedDict

import numpy as np

from efficient_jax.data.class_names import is_no_label, normal
from efficient_jax.data.dataset import HELD_OUT
from efficient_jax.labelling import tables
from efficient_jax.labelling.annotations import Annotated
from efficient_jax.labelling.answers import KINDS, Event, said
from efficient_jax.labelling.guesses import Guesses
from efficient_jax.labelling.images import Images
from efficient_jax.labelling.queue import Queue
from efficient_jax.labelling.store import Store, now

MOST = 64  # images that a tab holds, and answers of one request
LONGEST = 100  # characters of a class name or an id
LISTS = ("open", "skip", "unsure")


class Item(TypedDict):
    """An image of a tab."""

    index: int
    file: str
    part: str  # "test" or another that is held out, "" for others
    guesses: list[tuple[str, float]] | None  # classes and their probabilities; None: still to come
    chosen: list[str]  # classes that are chosen before anybody answers
    note: str  # how well the annotation and the prediction of masks or boxes agree; "" for classes of images
    said: list[list[str]]  # who answered, and what


class View(TypedDict, total=False):
    """What the page shows."""

    items: list[Item]  # the images of the tab
    undone: int | None  # index of the image whose answer was taken back
    classes: list[str]
    progress: dict[str, int | None]  # images with each kind of answer, "all" of them, and those left to "review"
    loading: bool  # guesses are still to come
    notice: str


class Refused(Exception):
    """A request that makes no sense; nothing was changed."""


class Session:
    """The work on one folder.

    Args:
        images: of the folder.
        store: the answers.
        queue: the order of the images.
        who: name of the person.
        review: whether images that have a label are shown, those of `disagreements`.
        annotations: the masks or boxes that are reviewed; None: classes of images.
    """

    def __init__(
        self,
        images: Images,
        store: Store,
        queue: Queue,
        who: str,
        review: bool = False,
        annotations: Annotated | None = None,
    ) -> None:
        self.images, self.store, self.queue, self.who = images, store, queue, who
        self.annotations = annotations
        self.guesses: Guesses | None = None
        self.notice = ""  # shown on the page
        self.loading = False  # guesses are still to come
        self.review: Sequence[int] | None = () if review else None
        self.answered = 0  # in this session
        self._reviewed: set[int] = set()
        self._reopened: set[int] = set()  # whose answer was undone, also where that of somebody else stands
        self._tabs: set[str] = set()  # of this session
        self._started, self._mutex = now(), threading.Lock()
        self.index_of = {name: index for index, name in enumerate(images.names)}
        gone = (outcome.kind for file, outcome in store.answers.outcomes.items() if file not in self.index_of)
        self.gone = Counter(gone)

    def labels(self) -> dict[int, str]:
        """Returns index -> class of the images that have one class."""
        with self._mutex:
            return {
                self.index_of[file]: outcome.labels[0]
                for file, outcome in self.store.answers.outcomes.items()
                if file in self.index_of and len(outcome.labels) == 1
            }

    def done(self) -> list[int]:
        """Returns the indices of the images that have an answer."""
        with self._mutex:
            return [self.index_of[file] for file in self.store.answers.outcomes if file in self.index_of]

    def call(self, name: str, request: Mapping[str, Any]) -> View:
        """Answers a request of the page.

        Args:
            name: "next", "answer", "undo", "class", or "leave" when the page is closed.
            request: "tab", its id; "held", indices of the images that it shows or has loaded; "count", how many it
                wants; "list", a name of `LISTS`; and what `name` needs.

        Returns: what the page shows; nothing where it is closed.

        Raises: Refused for anything else; OSError where an answer cannot be written.
        """
        actions: dict[str, Callable[[str, Mapping[str, Any]], int | None]] = {
            "next": lambda _tab, _request: None,
            "answer": self._answer,
            "undo": self._undo,
            "class": self._class,
        }
        if name not in actions:
            raise Refused(f"no such request: {name[:LONGEST]!r}")
        tab = _text(request, "tab")
        if name == "leave":
            self.queue.leave(tab)
            return {}
        held = request.get("held", [])
        count = request.get("count", 1)
        if not isinstance(held, list) or len(held) > MOST or not all(map(self._is_image, held)):
            raise Refused("held: want the indices of images")
        if type(count) is not int or not 0 < count <= MOST:
            raise Refused(f"count: want 1 to {MOST}")
        if request.get("list", "open") not in LISTS:
            raise Refused(f"list: want one of {', '.join(LISTS)}")
        with self._mutex:
            self.store.catch_up()
            undone = actions[name](tab, request)
            self._tabs.add(tab)
            return self._view(tab, held, count, request.get("list", "open"), undone)

    def _is_image(self, index: Any) -> bool:
        return type(index) is int and 0 <= index < len(self.images.names)

    def _answer(self, tab: str, request: Mapping[str, Any]) -> None:
        answers = request.get("answers")
        if not isinstance(answers, list) or not 0 < len(answers) <= MOST:
            raise Refused(f"answers: want 1 to {MOST}")
        events = [self._event(tab, answer) for answer in answers]
        new = [event for event in events if event.id not in self.store.answers.seen]
        chosen = {event.file for event in events if self.index_of[event.file] in self.queue.selected}
        self.store.add(*events, *part_events(self.store, chosen, "selected", self.who))
        self.answered += len(new)
        answered = {self.index_of[event.file] for event in events}
        self._reviewed |= answered
        self._reopened -= answered
        if self.guesses:
            self.guesses.labels_changed()

    def _event(self, tab: str, answer: Any) -> Event:
        if not isinstance(answer, Mapping) or not self._is_image(answer.get("index")):
            raise Refused("answers: want the index of an image")
        kind, labels = answer.get("kind"), answer.get("labels", [])
        kinds = [known for known in KINDS if known != "none" or not self.annotations]
        if kind not in kinds:
            raise Refused(f"kind: want one of {', '.join(kinds)}")
        if not isinstance(labels, list) or any(name not in self.store.answers.classes for name in labels):
            raise Refused("labels: want names of classes")
        if (kind == "label") != bool(labels) or len(set(labels)) < len(labels):
            raise Refused("labels: want one class or more for a label, each once, and none otherwise")
        if len(labels) > 1 and not self.store.several:
            raise Refused("labels: want one class")
        ordered = tuple(name for name in self.store.answers.classes if name in labels)
        file = self.images.names[answer["index"]]
        return Event(_text(answer, "id"), now(), self.who, tab, kind, file, ordered)

    def _undo(self, tab: str, request: Mapping[str, Any]) -> int | None:
        open_tabs = self.queue.tabs()
        last = self.store.answers.last(tab, lambda answer: self._is_earlier(answer, open_tabs))
        if last is None:
            return None
        self.store.add(Event(_text(request, "id"), now(), self.who, tab, "undo", of=last.id))
        self.answered -= last.tab in self._tabs
        index = self.index_of.get(last.file)
        if index is not None:
            self._reviewed.discard(index)
            self._reopened.add(index)
        if self.guesses:
            self.guesses.labels_changed()
        return index

    def _is_earlier(self, answer: Event, open_tabs: Collection[str]) -> bool:
        """Returns whether an answer is of the same person, from before this session or a tab that was closed."""
        closed = answer.tab in self._tabs and answer.tab not in open_tabs
        return answer.who == self.who and answer.tab != "" and (answer.time < self._started or closed)

    def _class(self, tab: str, request: Mapping[str, Any]) -> None:
        if self.annotations:
            raise Refused("an annotation is right or wrong")
        name = class_name(_text(request, "name"), self.store.several)
        known = {known.casefold(): known for known in self.store.answers.classes}
        if name.casefold() in known:
            raise Refused(f"the class {known[name.casefold()]!r} is there")
        self.store.add(Event(_text(request, "id"), now(), self.who, tab, "class", labels=(name,)))

    def _view(self, tab: str, held: Sequence[int], count: int, which: str, undone: int | None) -> View:
        answers, names = self.store.answers, self.images.names
        among: Iterable[int]
        if undone is not None:
            held = [undone, *(index for index in held if index != undone)]
            count = max(count, len(held))
        if self.review is not None:
            among = self.review
        elif which == "open":  # a generator: most of a large folder may be answered, and `wanted` is slower
            closed, again = answers.outcomes, self._reopened
            among = (index for index in self.queue.order if names[index] not in closed or index in again)
        else:
            of_kind = [event.file for event in answers.standing.values() if event.kind == which]
            among = [self.index_of[file] for file in of_kind if file in self.index_of]

        def wanted(index: int) -> bool:
            outcome = answers.outcomes.get(names[index])
            if self.review is not None:
                return index not in self._reviewed
            if index in self._reopened:
                return True
            return outcome is None if which == "open" else outcome is not None and outcome.kind == which

        taken = self.queue.take(tab, held, count, wanted, among)
        counts = answers.counts - self.gone
        return {
            "items": [self._item(index) for index in taken],
            "undone": undone,
            "classes": answers.classes,
            "progress": {**{kind: counts[kind] for kind in KINDS}, "all": len(names), "review": self._left()},
            "loading": self.loading,
            "notice": self.notice,
        }

    def _left(self) -> int | None:
        return None if self.review is None else sum(index not in self._reviewed for index in self.review)

    def _item(self, index: int) -> Item:
        file = self.images.names[index]
        part = self.store.answers.parts.get(file, "")
        guesses = self.guesses.of(index) if self.guesses else None if self.loading else []
        return {
            "index": index,
            "file": file,
            "part": part if part in HELD_OUT else "",
            "guesses": guesses,
            "chosen": self.guesses.preselected(index) if self.guesses else [],
            "note": self.annotations.agreement(index) if self.annotations else "",
            "said": [[answer.who, said(answer)] for answer in self.store.answers.of(file)],
        }


def class_name(text: str, several: bool) -> str:
    """Returns the name of a class, in the form in which names are compared.

    Args:
        text: as somebody has typed it.
        several: whether an image can have several labels: then the class is a column of the table.

    Raises: Refused for a name that is empty, too long, means unlabelled, or is another column of the table.
    """
    name = normal(text)
    if is_no_label(name):
        raise Refused(f"{name!r} means that an image has no label; take another name")
    if len(name) > LONGEST or not name.isprintable():
        raise Refused(f"the name of a class has at most {LONGEST} characters, on one line")
    if several and name in ("file", "label", *tables.ABOUT):
        raise Refused(f"{name!r} is a column of the table; take another name")
    return name


def start(store: Store, classes: Sequence[str], who: str) -> None:
    """Adds the classes that the log does not know yet.

    Args:
        store: the answers.
        classes: names, in the order of their keys.
        who: name of the person.

    Raises: Refused as `class_name`; OSError where they cannot be written.
    """
    names = [class_name(name, store.several) for name in classes]
    new = [name for name in dict.fromkeys(names) if name not in store.answers.classes]
    store.add(*(Event(uuid.uuid4().hex, now(), who, "", "class", labels=(name,)) for name in new))


def part_events(store: Store, names: Iterable[str], part: str, who: str) -> list[Event]:
    """Returns the events that say which part images are in, for those that are in none yet.

    Args:
        store: the answers.
        names: of the images.
        part: a name of `data.dataset.FIXED`.
        who: name of the person.
    """
    free = sorted(name for name in names if name not in store.answers.parts)
    return [Event(uuid.uuid4().hex, now(), who, "", "part", name, (part,)) for name in free]


def draw(store: Store, names: Sequence[str], count: int, who: str) -> None:
    """Draws the images of the test at random, so that there are `count`; those of an earlier run stay.

    Images that have an answer are not drawn: figures on the draw then hold for the others.

    Args:
        store: the answers.
        names: of all images.
        count: how many are wanted, 0 or more.
        who: name of the person.

    Raises: Refused where there are too few; OSError where they cannot be written.
    """
    answers = store.answers
    missing = count - sum(part == "test" for part in answers.parts.values())
    if missing <= 0:
        return
    free = [name for name in names if name not in answers.parts and name not in answers.outcomes]
    if missing > len(free):
        raise Refused(f"{count:,} images are more than there are")
    drawn = np.random.default_rng(len(answers.parts)).permutation(len(free))[:missing]
    store.add(*part_events(store, (free[i] for i in drawn), "test", who))


def _text(request: Mapping[str, Any], name: str) -> str:
    value = request.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= 4 * LONGEST:
        raise Refused(f"{name}: want text of at most {4 * LONGEST} characters")
    return value
