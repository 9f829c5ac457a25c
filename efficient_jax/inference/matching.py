"""Brings predictions of several members for the same images into one order."""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Int

from efficient_jax import files
from efficient_jax.data import identity
from efficient_jax.errors import UserError, counted
from efficient_jax.inference.predictions import PIXEL_AXES, Predictions, numbered

NAMED = 3  # images that a message names


def rows_of(wanted: Predictions, among: Predictions) -> tuple[Int[np.ndarray, " n"], str]:
    """Finds the images of one set of predictions in another.

    Images are identified by content; without content hashes by name; in files of other programs that have neither by
    their index.

    Args:
        wanted: predictions for the images to find.
        among: predictions for the images among which they are searched.

    Returns: (for each image of `wanted` its row in `among`, -1 where there is none; what identified the images:
        "content", "name" or "id").
    """
    if wanted.contents and among.contents:
        return identity.rows_of(wanted.images, wanted.contents, among.images, among.contents), "content"
    if _named(wanted) and _named(among):
        return identity.rows_of_names(wanted.images, among.images), "name"
    return identity.rows_of_names([str(i) for i in wanted.ids], [str(i) for i in among.ids]), "id"


def same_images(members: Sequence[Predictions]) -> bool:
    """Returns whether all predictions are for the same images, in any order.

    Args:
        members: one or more.
    """
    first = members[0]
    pairs = ((rows_of(first, other)[0], rows_of(other, first)[0]) for other in members)
    return all((there >= 0).all() and (back >= 0).all() for there, back in pairs)


def _named(predictions: Predictions) -> bool:
    return predictions.images not in ((), numbered(predictions.ids))


def matched(
    members: Sequence[Predictions], names: Sequence[str], where: str, more: Callable[[str], None] | None = None
) -> list[Predictions]:
    """Returns all predictions in the order of the first, with its indices, names and labels.

    Args:
        members: predictions for the same images, see `rows_of`.
        names: name of each member for messages.
        where: what an error names.
        more: shows a line on images that the first member does not have, which are left out; None: they are an error.

    Raises: UserError where images, labels or classes are not the same.
    """
    first = members[0]
    result = []
    for name, other in zip(names, members, strict=True):
        if other.classes != first.classes:
            raise UserError(
                f"{where}: classes of {name!r} are {list(other.classes)}, those of {names[0]!r} {list(first.classes)}"
            )
        if other.probabilities.shape[1:-1] != first.probabilities.shape[1:-1]:
            sizes = ["{} x {} pixels".format(*one.probabilities.shape[1:-1]) for one in (other, first)]
            raise UserError(
                f"{where}: maps of {name!r} have {sizes[0]}, those of {names[0]!r} {sizes[1]}; compare folders of "
                "maps, which `predict` writes in the pixels of the images"
            )
        order, by = rows_of(first, other)
        back, _ = rows_of(other, first)
        if (missing := np.flatnonzero(order < 0)).size:
            raise UserError(_apart(first, names[0], missing, other, name, by, where))
        if (additional := np.flatnonzero(back < 0)).size and more is None:
            raise UserError(_apart(other, name, additional, first, names[0], by, where))
        if additional.size and more:
            more(f"{name}: left out {counted(len(additional), 'image')} that {names[0]!r} does not have")
        labels = other.labels[order]
        known = labels if (labels >= 0).any() else first.labels  # a file of another program may have none
        if not np.array_equal(known, first.labels):
            row = np.flatnonzero((known != first.labels).reshape(len(known), -1).any(1))[0]
            raise UserError(
                f"{where}: labels of {name!r} are not those of {names[0]!r}, first for {first.images[row]!r} "
                f"(id {first.ids[row]})"
            )
        result.append(first._replace(probabilities=_taken(other.probabilities, order), shares=other.shares))
    return result


def _taken(probabilities: np.ndarray, order: Int[np.ndarray, " n"]) -> np.ndarray:
    """Returns the probabilities of images in an order; those of pixels stay outside of the memory."""
    if np.array_equal(order, np.arange(len(probabilities))):
        return probabilities
    if probabilities.ndim != PIXEL_AXES:
        return np.asarray(probabilities[order])
    taken = files.scratch((len(order), *probabilities.shape[1:]), probabilities.dtype)
    for i, row in enumerate(order):
        taken[i] = probabilities[row]
        files.release(taken)
        files.release(probabilities)
    return taken


def _apart(
    predictions: Predictions,
    name: str,
    rows: Int[np.ndarray, " m"],
    other: Predictions,
    other_name: str,
    by: str,
    where: str,
) -> str:
    """Returns the message on images that are in one file only, compared by "content", "name" or "id"."""
    if by == "id":
        shown = f"such as ids {predictions.ids[rows[:NAMED]].tolist()}"
    else:
        changed = by == "content" and predictions.images[rows[0]] in set(other.images)
        shown = "such as " + ", ".join(repr(predictions.images[row]) for row in rows[:NAMED])
        shown += ", whose file is another one there" if changed else ""
    which = counted(len(rows), f"image of {name!r} is", f"images of {name!r} are")
    return f"{where}: {which} not in {other_name!r}, compared by {by}, {shown}"
