"""Which image comes next: an order that may change while several tabs follow it."""

import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence

HELD = 600  # seconds for which the images of a silent tab are kept for it


class Queue:
    """Hands images to tabs, each to one tab at a time.

    Args:
        order: indices of the images, the first to be labelled first.
        first: indices that come before all others, whatever the order becomes.
        selected: indices of images that were chosen to be labelled.
        clock: seconds, from any zero.
    """

    def __init__(
        self,
        order: Sequence[int],
        first: Sequence[int] = (),
        selected: Iterable[int] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.first, self.selected = tuple(first), set(selected)
        self._order, self._clock, self._mutex = tuple(dict.fromkeys([*first, *order])), clock, threading.Lock()
        self._held: dict[str, tuple[float, frozenset[int]]] = {}  # tab -> (when it was last seen, its images)

    @property
    def order(self) -> tuple[int, ...]:
        """Indices of the images, the first to be labelled first."""
        return self._order

    def reorder(self, order: Sequence[int]) -> None:
        """Replaces the order; images that a tab holds stay with it.

        Args:
            order: indices of the images that were chosen; the others follow in the order of before.
        """
        self.selected.update(order)
        first = dict.fromkeys([*self.first, *order])
        self._order = (*first, *(index for index in self._order if index not in first))

    def tabs(self) -> set[str]:
        """Returns the tabs that were seen within `HELD` seconds."""
        with self._mutex:
            return {tab for tab, (seen, _) in self._held.items() if self._clock() - seen < HELD}

    def leave(self, tab: str) -> None:
        """Gives the images of a tab to others.

        Args:
            tab: its id.
        """
        with self._mutex:
            self._held.pop(tab, None)

    def take(
        self,
        tab: str,
        held: Collection[int],
        count: int,
        wanted: Callable[[int], bool],
        among: Iterable[int],
    ) -> list[int]:
        """Returns the images of a tab: those it holds that are still wanted, then further ones.

        Args:
            tab: its id.
            held: what it shows or has loaded, in order.
            count: how many it wants in all.
            wanted: whether an image is to be shown.
            among: indices to choose from, in order.
        """
        with self._mutex:
            now = self._clock()
            self._held = {name: entry for name, entry in self._held.items() if now - entry[0] < HELD}
            others = frozenset().union(*(images for name, (_, images) in self._held.items() if name != tab))
            taken = [index for index in dict.fromkeys(held) if wanted(index)]
            mine = {*taken, *others}
            for index in among:
                if len(taken) >= count:
                    break
                if index not in mine and wanted(index):
                    taken.append(index)
                    mine.add(index)
            self._held[tab] = now, frozenset(taken)
            return taken
