"""The unlabelled images of a stage, and the pseudo-labels that are made of them, however they are stored."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from efficient_jax.data.dataset import Source
from efficient_jax.errors import UserError
from efficient_jax.files import Json
from efficient_jax.training.labels import Labels

ABOUT = "pseudo_labels.json"
PREDICTED_BY = ("teacher", "teacher_hash", "class_map", "vote")  # what the predictions of images follow from
COLUMNS = ("id", "image", "label", "confidence", "copies", "hidden")  # then p(class) for each class

Predict = Callable[[np.ndarray], np.ndarray]
"""Returns the probabilities of images by their indices, float32 [n classes]."""


class Pool(NamedTuple):
    """The unlabelled images of a stage."""

    folder: Path  # of the stage
    source: Source
    labelled: Int[np.ndarray, " m"]  # indices of the labelled images
    ids: Int[np.ndarray, " n"]  # indices of the unlabelled images
    batch: int  # pseudo-labelled images of one step
    soft_classes: int  # of the stage, see `training.labels.soft`
    where: str  # the key of the stage, for errors
    steps: tuple[int | None, ...]  # after which each teacher was saved


class PseudoLabels(NamedTuple):
    """Pseudo-labels of a pool."""

    ids: Int[np.ndarray, " m"]  # indices of images with a label, all that are kept and maybe others
    labels: Labels  # of these images
    copies: Int[np.ndarray, " m"]  # of each, 0 where it is not kept
    about: Json  # what is in `pseudo_labels.json`


def predicted_by(origin: Json) -> Json:
    """Returns what the predictions follow from: other settings make other pseudo-labels of the same predictions.

    Args:
        origin: what the pseudo-labels follow from.
    """
    return {name: origin[name] for name in PREDICTED_BY}


@contextlib.contextmanager
def naming(where: str) -> Iterator[None]:
    """Within, a UserError on a setting names the whole key.

    Args:
        where: the key of the block.
    """
    try:
        yield
    except UserError as error:
        raise UserError(f"{where}.{error}") from error
