"""What trained members say of the images, computed in the background, and the order that follows from it."""

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from efficient_jax.data import decode, label_errors
from efficient_jax.errors import UserError
from efficient_jax.labelling.images import Images
from efficient_jax.labelling.queue import Queue
from efficient_jax.training.classifier import network
from efficient_jax.training.trained import Trained

CHUNK = 64  # images that are predicted together: the first guesses are there soon
SHOWN = 3  # classes of a guess
AHEAD = 64  # images that are chosen anew when labels arrive
POOL = 2000  # images among which they are chosen, drawn at random, so that it takes milliseconds
UNSHOWN = 0.005  # a guess that is less probable is not shown

Choose = Callable[
    [Float[np.ndarray, "n d"], Float[np.ndarray, "n classes"], int, Int[np.ndarray, " m"]], Int[np.ndarray, " k"]
]
"""(features, probabilities, count, indices of the labelled images) -> indices of the images to label next."""


class Members(NamedTuple):
    """Trained members as one function of files."""

    classes: tuple[str, ...]
    thresholds: tuple[float, ...]  # from which probability on a class is present; empty: one class for each image
    predict: Callable[[Sequence[Path]], tuple[np.ndarray, np.ndarray, np.ndarray]]
    """files -> (indices of those that can be read [m], mean probabilities [m classes], features [m d])"""


def opened(names: str, where: str) -> Members:
    """Reads trained members.

    Args:
        names: RUN or RUN/STAGE, separated by commas; their probabilities are averaged.
        where: the flag that names them, for messages.

    Raises: UserError for a member that does not exist, or has other classes than the first.
    """
    trained = [Trained.open(name, where) for name in names.split(",")]
    first = trained[0].spec
    for member in trained[1:]:
        if (member.spec.classes, member.spec.task) != (first.classes, first.task):
            raise UserError(f"{where}: {member.name!r} has other classes than {trained[0].name!r}; want the same")
    networks = [network(member, CHUNK) for member in trained]
    framings = [member.spec.image_framing() for member in networks]

    def predict(files: Sequence[Path]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        decoded = {framing: decode.decode_all(files.__getitem__, len(files), framing) for framing in set(framings)}
        rows = decoded[framings[0]].rows
        for other in decoded.values():
            rows = np.intersect1d(rows, other.rows)
        images = [decoded[f].images[np.searchsorted(decoded[f].rows, rows)] for f in framings]
        results = [member.predict(part) for member, part in zip(networks, images, strict=True)]
        return rows, np.mean([probabilities for probabilities, _ in results], 0), results[0][1]

    return Members(first.classes, first.thresholds, predict)


class Guesses:
    """Predictions of the images of a folder, the first of the queue first.

    Args:
        members: what predicts.
        images: of the folder.
        queue: whose order is followed, and changed when labels arrive.
        choose: which images come next; None: the order stays.
    """

    def __init__(self, members: Members, images: Images, queue: Queue, choose: Choose | None = None) -> None:
        self.members, self._images, self._queue, self._choose = members, images, queue, choose
        self._probabilities: dict[int, np.ndarray] = {}  # index -> [classes]
        self._features: dict[int, np.ndarray] = {}
        self._seen: set[int] = set()  # also those that cannot be read
        self._labels_changed, self._stopped = threading.Event(), threading.Event()

    def of(self, index: int) -> list[tuple[str, float]] | None:
        """Returns the most probable classes of an image with their probabilities; None: not known yet.

        Args:
            index: of the image.
        """
        if index not in self._seen:
            return None
        values = self._probabilities.get(index)
        if values is None:
            return []
        best = np.argsort(-values, kind="stable")
        shown = best if self.members.thresholds else best[:SHOWN]
        return [(self.members.classes[k], float(values[k])) for k in shown if values[k] >= UNSHOWN]

    def preselected(self, index: int) -> list[str]:
        """Returns the classes that are selected when an image is shown.

        Args:
            index: of the image.
        """
        values = self._probabilities.get(index)
        if values is None:
            return []
        if not self.members.thresholds:
            return [self.members.classes[values.argmax()]]
        return [self.members.classes[k] for k in np.flatnonzero(values >= self.members.thresholds)]

    def disagreements(self, labels: Mapping[int, str]) -> list[int]:
        """Returns the images whose label is not what the members predict, suspected label errors first.

        Args:
            labels: index of an image -> its class.
        """
        index_of = {name: k for k, name in enumerate(self.members.classes)}
        known = [i for i, name in labels.items() if name in index_of and i in self._probabilities]
        if not known:
            return []
        images, given_labels = np.array(known), np.array([index_of[labels[i]] for i in known])
        probabilities = np.stack([self._probabilities[i] for i in known])
        suspects, _ = label_errors.suspects(given_labels, probabilities)
        margin = probabilities.max(1) - probabilities[np.arange(len(given_labels)), given_labels]
        others = [row for row in np.argsort(-margin, kind="stable") if margin[row] > 0 and row not in set(suspects)]
        ordered: list[int] = images[[*suspects, *others]].tolist()
        return ordered

    def predict(self, first: Sequence[int] = (), finished: Callable[[], None] = lambda: None) -> None:
        """Predicts all images; runs in a thread of its own.

        Args:
            first: indices of images that come before those of the queue.
            finished: called when these are predicted.
        """
        waiting = [index for index in dict.fromkeys(first) if index not in self._seen]
        while waiting and not self._stopped.is_set():
            self._chunk(waiting[:CHUNK])
            waiting = waiting[CHUNK:]
        finished()
        while not self._stopped.is_set():
            rest = [index for index in self._queue.order if index not in self._seen]
            if not rest:
                return self.labels_changed()
            self._chunk(rest[:CHUNK])

    def _chunk(self, indices: Sequence[int]) -> None:
        files, known = [], []
        for index in indices:
            try:
                files.append(self._images.file(index))
                known.append(index)
            except OSError:
                continue
        if files:
            rows, probabilities, features = self.members.predict(files)
            for row, values, vector in zip(rows.tolist(), probabilities, features, strict=True):
                self._probabilities[known[row]], self._features[known[row]] = values, vector
        self._seen.update(indices)

    def labels_changed(self) -> None:
        """Asks `follow` for a new order."""
        self._labels_changed.set()

    def follow(self, labelled: Callable[[], Sequence[int]]) -> None:
        """Orders the queue anew when labels have arrived; runs in a thread of its own.

        Args:
            labelled: returns the indices of the images that are labelled by now. Those that come first in the queue are
                neither counted nor chosen: they are a random draw.
        """
        while self._choose and not self._stopped.is_set():
            self._labels_changed.wait()
            self._labels_changed.clear()
            known = self._features.keys() - self._queue.first
            done = known.intersection(labelled())
            free = np.array(sorted(known - done), np.int64)
            if not len(free) or self._stopped.is_set():
                continue
            pool = np.sort(np.random.default_rng(0).permutation(free)[:POOL]).tolist()
            images = [*sorted(done), *pool]
            features = np.stack([self._features[i] for i in images])
            probabilities = np.stack([self._probabilities[i] for i in images])
            chosen = self._choose(features, probabilities, min(AHEAD, len(pool)), np.arange(len(done)))
            self._queue.reorder([images[k] for k in chosen])

    def stop(self) -> None:
        """Ends the threads."""
        self._stopped.set()
        self._labels_changed.set()
