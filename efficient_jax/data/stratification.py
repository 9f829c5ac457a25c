"""How images are counted, drawn and stratified by their labels: one class, several labels, or a map of classes."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int, UInt8

from efficient_jax.data.class_names import NO_CLASS
from efficient_jax.errors import UserError, counted, few

NAMED = 20  # most classes that a message lists

Parts = tuple[np.ndarray, np.ndarray]
"""(the other indices, the indices that were taken)."""


class Stratification(NamedTuple):
    """What `split` and `folds_of` ask about labels. `labels` are of all images; all of `ids` have one."""

    counts: Callable[[np.ndarray, int], np.ndarray]
    """(labels, number of classes k) -> images of each class, int [k]."""
    draw: Callable[[np.ndarray, np.ndarray, int, np.random.Generator], np.ndarray]
    """(ids, labels, images of each class, 0 for all, generator) -> ids of labelled images, see `split`."""
    groups: Callable[[np.ndarray, np.ndarray], list[np.ndarray]]
    """(ids, labels) -> ids of the images of each class that groups must not lie in one part of."""
    part: Callable[[np.ndarray, np.ndarray, int, int, Sequence[str], str], Parts]
    """(ids, labels, size, seed, class names, key that an error names) -> `size` images with equal shares of classes;
    raises ValueError or UserError where there are too few."""
    folds: Callable[[np.ndarray, int, int, np.ndarray | None, Sequence[str]], np.ndarray]
    """(labels, folds, seed, groups or None, class names) -> fold of each image, see `folds_of`."""
    of_images: Callable[[np.ndarray, int], np.ndarray] = lambda labels, _: labels
    """(labels, number of classes) -> labels of whole images, which the functions above take; -1: unlabelled."""


def assigned(splitter: Any, labels: np.ndarray, groups: np.ndarray | None, folds: int) -> np.ndarray:
    """Returns the fold of each image, int32 [n].

    Args:
        splitter: of scikit-learn's kind.
        labels: of all images.
        groups: int [n], the same for images that are in one fold; None: there are none.
        folds: number of folds.

    Raises: UserError where a fold would be empty.
    """
    fold_of = np.empty(len(labels), np.int32)
    for index, (_, part) in enumerate(splitter.split(labels, labels, groups)):
        if not len(part):
            raise UserError(f"config.data.folds: {folds} asked, and the groups leave fold {index} empty; ask for fewer")
        fold_of[part] = index
    return fold_of


def _class_counts(labels: np.ndarray, classes: int) -> np.ndarray:
    return np.bincount(labels[labels >= 0], minlength=classes)


def _draw(ids: np.ndarray, labels: np.ndarray, labels_per_class: int, rng: np.random.Generator) -> np.ndarray:
    labelled = []
    for index in np.unique(labels[ids]):
        members = ids[labels[ids] == index]
        enough = 0 < labels_per_class <= len(members)
        labelled.append(rng.choice(members, labels_per_class, replace=False) if enough else members)
    return np.concatenate(labelled)


def _part(ids: np.ndarray, labels: np.ndarray, size: int, seed: int, classes: Sequence[str], where: str) -> Parts:
    numbers, counts = np.unique(labels[ids], return_counts=True)
    if single := [repr(classes[k]) for k in numbers[counts == 1]]:
        raise UserError(
            f"{where}: cannot take {size} stratified images of {len(ids)}: one image is left of class "
            f"{few(single, NAMED)}, and of each class want two or more; label more of them, or say "
            "config.data.stratify=False"
        )
    from sklearn.model_selection import train_test_split  # takes 0.5 s, so only where it is needed

    rest, part = train_test_split(ids, test_size=size, stratify=labels[ids], random_state=seed)
    return rest, part


def _folds(labels: np.ndarray, folds: int, seed: int, groups: np.ndarray | None, classes: Sequence[str]) -> np.ndarray:
    units = ("labelled image", "labelled images")
    units = units if groups is None else ("labelled group of images", "labelled groups of images")
    for index in range(int(labels.max(initial=0)) + 1):
        members = labels == index
        count = int(members.sum() if groups is None else len(np.unique(groups[members])))
        if 0 < count < folds:
            raise UserError(
                f"config.data.folds: {folds} asked, and class {classes[index] if classes else index!r} has "
                f"{counted(count, *units)}; ask for fewer, or say config.data.stratify=False"
            )
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    splitter = StratifiedKFold if groups is None else StratifiedGroupKFold
    return assigned(splitter(folds, shuffle=True, random_state=seed), labels, groups, folds)


def _label_counts(labels: np.ndarray, classes: int) -> np.ndarray:
    del classes
    counts: np.ndarray = (labels > 0).sum(0)
    return counts


def _draw_of_several(
    ids: np.ndarray, labels: np.ndarray, labels_per_class: int, rng: np.random.Generator
) -> np.ndarray:
    has_class = labels[ids] == 1
    if not labels_per_class:
        return ids
    drawn = np.zeros(len(ids), bool)
    for index in np.argsort(has_class.sum(0), kind="stable"):
        candidates = np.flatnonzero(has_class[:, index] & ~drawn)
        wanted = labels_per_class - (has_class[:, index] & drawn).sum()
        drawn[rng.choice(candidates, np.clip(wanted, 0, len(candidates)), replace=False)] = True
    return ids[drawn]


def _part_of_several(
    ids: np.ndarray, labels: np.ndarray, size: int, seed: int, classes: Sequence[str], where: str
) -> Parts:
    """Takes images by iterative stratification (Sechidis et al. 2011).

    With many labels that makes parts a few per cent too large or too small, whose shares are hardly better than chance.
    So images are then moved one by one that lower chi-squared the most, until none does.
    """
    del classes, where
    labels = labels[ids]
    if _is_constant(labels):
        part = _drawn(len(ids), size, seed)
        return ids[~part], ids[part]
    from iterstrat.ml_stratifiers import MultilabelStratifiedShuffleSplit

    splitter = MultilabelStratifiedShuffleSplit(n_splits=1, test_size=size, random_state=seed)
    ((_, chosen),) = splitter.split(ids, labels)
    part = np.isin(np.arange(len(ids)), chosen)
    share = labels.sum(0) * size / len(ids)

    def chi_squared(counts: np.ndarray) -> np.ndarray:
        total: np.ndarray = (np.square(counts - share) / np.maximum(share, 1e-9)).sum(-1)
        return total

    def moved(part: np.ndarray, into: bool) -> np.ndarray:
        candidates = np.flatnonzero(part != into)
        after = labels[part].sum(0) + (1 if into else -1) * labels[candidates]
        result: np.ndarray = part ^ (np.arange(len(part)) == candidates[chi_squared(after).argmin()])
        return result

    while part.sum() != size:
        part = moved(part, into=part.sum() < size)
    while chi_squared(labels[better := moved(moved(part, False), True)].sum(0)) < chi_squared(labels[part].sum(0)):
        part = better
    return ids[~part], ids[part]


def _folds_of_several(
    labels: np.ndarray, folds: int, seed: int, groups: np.ndarray | None, classes: Sequence[str]
) -> np.ndarray:
    if groups is not None:  # a group has the labels of its images
        names, member = np.unique(groups, return_inverse=True)
        of_groups = np.zeros((len(names), labels.shape[1]), labels.dtype)
        np.maximum.at(of_groups, member, labels)
        return _folds_of_several(of_groups, folds, seed, None, classes)[member]
    if _is_constant(labels):
        from sklearn.model_selection import KFold

        return assigned(KFold(folds, shuffle=True, random_state=seed), labels, None, folds)
    from iterstrat.ml_stratifiers import MultilabelStratifiedKFold

    splitter = MultilabelStratifiedKFold(n_splits=folds, shuffle=True, random_state=seed)
    return assigned(splitter, labels, None, folds)


def _is_constant(labels: np.ndarray) -> bool:
    """Returns whether there is nothing to stratify by: one class, or all images show the same ones."""
    return labels.shape[1] < 2 or bool((labels == labels[:1]).all())


def _drawn(count: int, size: int, seed: int) -> np.ndarray:
    """Returns a mask of `size` of `count` images, at random. Raises: ValueError where none would be left."""
    if size >= count:
        raise ValueError("too few are labelled")
    mask: np.ndarray = np.random.default_rng(seed).permutation(count) < size
    return mask


def shown(maps: UInt8[np.ndarray, "n h w"], classes: int) -> Int[np.ndarray, "n k"]:
    """Returns which classes images show, int32 [n k]: 0 or 1, and -1 in the row of an image without any.

    Args:
        maps: index of the class of each pixel, 255 where it has none.
        classes: number of classes k.
    """
    labels = np.full((len(maps), classes), -1, np.int32)
    for row, pixels in zip(labels, maps, strict=True):
        counts = np.bincount(pixels.ravel(), minlength=NO_CLASS + 1)[:NO_CLASS]
        if counts.any():
            row[:] = counts[:classes] > 0
    return labels


ONE_CLASS = Stratification(
    counts=_class_counts,
    draw=_draw,
    groups=lambda ids, labels: [ids[labels[ids] == k] for k in np.unique(labels[ids])],
    part=_part,
    folds=_folds,
)
"""Labels int [n], the index of the class."""

SEVERAL_LABELS = Stratification(
    counts=_label_counts,
    draw=_draw_of_several,
    groups=lambda ids, _: [ids],
    part=_part_of_several,
    folds=_folds_of_several,
)
"""Labels [n k] of 0 and 1, stratified iteratively (Sechidis et al. 2011), or drawn at random where they do not differ:
several labels for each image, and the classes of its objects."""

MAPS = SEVERAL_LABELS._replace(of_images=shown)
"""Maps uint8 [n h w] of the class of each pixel, stratified by the classes that images show."""
