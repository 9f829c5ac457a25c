"""What people have answered: events, and what they amount to for each image."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from efficient_jax.errors import UserError

KINDS = ("label", "none", "unsure", "skip")
"""A class or several; none of the classes; not sure; later."""

DECIDED = ("label", "none")


class Event(NamedTuple):
    """One line of the log: an answer, an undo, an added class, or the part of an image."""

    id: str  # chosen by the page, so that a repeated request changes nothing
    time: str  # UTC, ISO 8601
    who: str
    tab: str  # the tab of a browser; "": read from a table
    kind: str  # a name of `KINDS`, "undo", "class" or "part"
    file: str = ""  # of an answer or a part: the image, relative to the folder
    labels: tuple[str, ...] = ()  # of "label": the classes; of "class": the added one; of "part": its name
    of: str = ""  # of "undo": the id of the answer that is taken back

    def record(self) -> dict[str, str | tuple[str, ...]]:
        """Returns the record that `event` reads, without fields that are empty by default."""
        return {name: value for name, value in self._asdict().items() if value or name not in self._field_defaults}


def event(record: Mapping[str, Any], where: str) -> Event:
    """Returns the event of a record.

    Args:
        record: as `Event.record` returns it, also after a way through JSON.
        where: the file and line, for messages.

    Raises: UserError for a record that is no event.
    """
    try:
        read = Event(**{**record, "labels": tuple(record.get("labels", ()))})
    except TypeError as error:
        raise UserError(f"{where} is no answer of the labelling page; give another --out") from error
    if read.kind not in (*KINDS, "undo", "class", "part"):
        raise UserError(f"{where} has an answer of the unknown kind {read.kind!r}; a newer version wrote it")
    return read


class Answers:
    """What a sequence of events amounts to.

    Of each person the newest answer to an image stands that is not undone. The outcome of an image is the newest of
    these that decides ("label" or "none"), else the newest of them: a later "unsure" of somebody else decides nothing.
    """

    def __init__(self) -> None:
        self.classes: list[str] = []  # in the order in which they were added
        self.parts: dict[str, str] = {}  # file -> a name of `data.dataset.FIXED`
        self.seen: set[str] = set()  # ids of all events
        self.standing: dict[str, Event] = {}  # id -> answer that is not undone, in the order of the log
        self.outcomes: dict[str, Event] = {}  # file -> the answer that counts
        self.counts: Counter[str] = Counter()  # kind -> number of outcomes
        self.times: dict[str, set[str]] = {}  # file -> times of all answers, also of those that are undone
        self._of_file: dict[str, list[Event]] = {}  # standing, in the order of the log

    def apply(self, event: Event) -> str:
        """Takes one more event into account, and returns the file whose row may have changed, or "".

        Args:
            event: the next one of the log; one whose id was seen before changes nothing.
        """
        if event.id in self.seen:
            return ""
        self.seen.add(event.id)
        if event.kind == "class":
            self.classes += [name for name in event.labels if name not in self.classes]
            return ""
        if event.kind == "part":
            self.parts[event.file] = event.labels[0]
            return event.file
        if event.kind == "undo":
            undone = self.standing.pop(event.of, None)
            if undone is None:
                return ""
            self._of_file[undone.file].remove(undone)
            return self._settled(undone.file)
        self.classes += [name for name in event.labels if name not in self.classes]
        self.standing[event.id] = event
        self.times.setdefault(event.file, set()).add(event.time)
        self._of_file.setdefault(event.file, []).append(event)
        return self._settled(event.file)

    def _settled(self, file: str) -> str:
        if before := self.outcomes.pop(file, None):
            self.counts[before.kind] -= 1
        if newest := self.of(file):
            outcome = next((event for event in newest if event.kind in DECIDED), newest[0])
            self.outcomes[file] = outcome
            self.counts[outcome.kind] += 1
        return file

    def of(self, file: str) -> list[Event]:
        """Returns the answer of each person to an image, the newest first.

        Args:
            file: relative to the folder.
        """
        newest: dict[str, Event] = {}
        for answer in reversed(self._of_file.get(file, [])):
            newest.setdefault(answer.who, answer)
        return list(newest.values())

    def last(self, tab: str, earlier: Callable[[Event], bool]) -> Event | None:
        """Returns the answer that an undo takes back: the newest of a tab, else the newest of others.

        Args:
            tab: where undo was asked for.
            earlier: whether an answer of another tab may be taken back.
        """
        other = None
        for answer in reversed(self.standing.values()):
            if answer.tab == tab:
                return answer
            if other is None and earlier(answer):
                other = answer
        return other


def said(event: Event) -> str:
    """Returns an answer in words: the classes, or the kind.

    Args:
        event: an answer.
    """
    return ", ".join(event.labels) if event.kind == "label" else event.kind
