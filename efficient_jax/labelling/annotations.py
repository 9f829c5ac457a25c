"""The masks or boxes of a run beside what a network predicts: which images to review first, and what to draw."""

import os
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Int

from efficient_jax.data import objects
from efficient_jax.data.framing import Framing
from efficient_jax.errors import UserError
from efficient_jax.experiment.dataset import Data
from efficient_jax.labelling.images import Images
from efficient_jax.models.spec import ModelSpec
from efficient_jax.tasks import Task

CLASSES = ("right", "wrong")  # what an annotation can be
VIEWS = ("image", "annotation", "prediction")  # how an image is shown
CHUNK = 64  # images that are predicted together

Predict = Callable[[np.ndarray], np.ndarray]
"""Images uint8 [n h w c] as the network takes them -> probabilities, or boxes with scores."""


@dataclass(frozen=True)
class Annotated:
    """The images of a run that have annotations, and what a network predicts for them.

    Args:
        images: their files.
        pixels: indices of some of them -> uint8 [m h w c] as the network takes them.
        labels: of the task, at the size of the network's images.
        task: of the network.
        classes: class names of the network.
        framing: how files become the network's images.
        answers: index -> what is predicted, as labels; filled by `predict`.
        scores: index -> how well both agree, higher is better; filled by `predict`.
    """

    images: Images
    pixels: Callable[[Int[np.ndarray, " m"]], np.ndarray]
    labels: np.ndarray
    task: Task
    classes: tuple[str, ...]
    framing: Framing
    answers: dict[int, np.ndarray] = field(default_factory=dict)
    scores: dict[int, float] = field(default_factory=dict)

    @classmethod
    def of_run(cls, data: Data, spec: ModelSpec, where: str) -> "Annotated":
        """Returns the annotated images of a run.

        Args:
            data: its images.
            spec: of the network.
            where: the flag that names the run, for messages.

        Raises: UserError for images that are no files, and where none has annotations.
        """
        source, ids = data.source, np.sort(np.concatenate([*data.split.values()]))
        if not source.names or source.sizes is None:
            raise UserError(f"{where}: the images of this run are no files, which the page shows")
        ids = ids[data.task.known(source.labels[ids])]
        if not len(ids):
            raise UserError(f"{where}: no image of this run has annotations")
        files = [os.path.realpath(source.name(i)) for i in ids.tolist()]
        root = os.path.commonpath([os.path.dirname(file) for file in files])
        names = tuple(os.path.relpath(file, root).replace(os.sep, "/") for file in files)
        labels, framing = data.labels(ids, spec), spec.image_framing()
        return cls(
            Images(root, names), lambda rows: data.pixels(ids[rows], spec), labels, data.task, spec.classes, framing
        )

    def predict(self, network: Predict, stopped: threading.Event) -> None:
        """Predicts all images.

        Args:
            network: predicts.
            stopped: ends the work when it is set.
        """
        for start in range(0, len(self.labels), CHUNK):
            if stopped.is_set():
                return
            rows = np.arange(start, min(start + CHUNK, len(self.labels)))
            answers = self.task.answers(network(self.pixels(rows)), ())
            scores = self.task.scored(answers, self.labels[rows], len(self.classes))
            self.answers.update(zip(rows.tolist(), answers, strict=True))
            self.scores.update(zip(rows.tolist(), scores.tolist(), strict=True))

    def order(self, done: Collection[str]) -> list[int]:
        """Returns the predicted images, those first whose annotation differs most from the prediction.

        Args:
            done: names of images that are left out.
        """
        left = [index for index in self.scores if self.images.names[index] not in done]
        return sorted(left, key=lambda index: (self.scores[index], index))

    def agreement(self, index: int) -> str:
        """Returns how well annotation and prediction agree, in words; "" where that is not known yet.

        Args:
            index: of the image.
        """
        score = self.scores.get(index, float("nan"))
        name = self.task.columns[0].header.removesuffix(", %")
        return "" if np.isnan(score) else f"Agreement with the prediction: {name} {100 * score:.0f}%."

    def entries(self, index: int, view: str, width: int, height: int) -> dict[str, np.ndarray]:
        """Returns what is drawn on an image, by the names of `types.Example`, in its own pixels.

        Args:
            index: of the image.
            view: a name of `VIEWS`.
            width: of the image as it is shown, in pixels.
            height: of the image as it is shown, in pixels.

        Raises: KeyError where it is not predicted yet.
        """
        if view == "image":
            return {}
        label = self.labels[index] if view == "annotation" else self.answers[index]
        back = objects.inverse(objects.window(width, height, self.framing), width, height)
        moved = self.task.entries(label[None])
        if "mask" in moved:
            return {"mask": objects.mask(moved["mask"][0], back)}
        corners, visible = objects.boxes(moved["boxes"][0].astype(float), back)
        return {
            "boxes": corners,
            "box_visible": visible * (moved["box_visible"][0] > 0),
            "box_label": moved["box_label"][0],
        }
