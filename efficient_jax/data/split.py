"""Which images are labelled, unlabelled, for validation and for the test."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from iterstrat.ml_stratifiers import MultilabelStratifiedKFold, MultilabelStratifiedShuffleSplit
from jaxtyping import Int
from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold, train_test_split

from efficient_jax.errors import UserError, counted, few

TEST_SEED = 0
"""The test images are the same for every seed: settings chosen with one seed never saw another's test set."""

NAMED = 20  # classes that a note lists

NOTHING: dict[str, np.ndarray] = {}


def split(
    labels: np.ndarray,
    classes: tuple[str, ...],
    *,
    labels_per_class: int,
    validation: int,
    test: int,
    seed: int,
    folds: int = 0,
    fold: int = 0,
    stratify: bool = True,
    unlabelled: int = 0,
    given: Mapping[str, np.ndarray] = NOTHING,
    groups: Int[np.ndarray, " n"] | None = None,
    order: Int[np.ndarray, " n"] | None = None,
) -> dict[str, np.ndarray]:
    """Disjoint index arrays `labelled`, `unlabelled`, `validation`, `test`.

    Validation and test are stratified, unless `stratify` is False; up to `labels_per_class` images of each class are
    labelled (0: all that are left); of the rest, and the images with label -1, `unlabelled` (0: all) are that.
    `given["test"]`, of a source that fixes its test images, takes the place of a drawn test part: `test` is then 0.

    Where images have several labels (`labels` [n classes] of 0/1, -1 for none known), validation and test are
    stratified iteratively, and images are drawn until each class is seen in `labels_per_class` of them, or in as many
    as show it: the rarest class first, so that images of rare ones count for the others too.

    With `folds` the labelled images are cut into so many parts, the same for each `fold`: fold number `fold` is the
    validation part, the others stay labelled. `order` are the images in an order that their content gives: with it
    the folds of the same labelled images do not depend on how these are named or listed.

    Images of one of `groups` come into one part, of test, validation and folds, which then have only nearly the size
    asked for; those of a group that is held out are not in any other part, also without a label.

    Raises: UserError when there are too few images, two test parts, a class without any to learn from, or a fold would
    be empty.
    """
    (known,) = np.nonzero(_known(labels))
    if not len(known):
        raise UserError("config.data.source: no image has a label; want some of each class")
    if "test" in given:
        test_ids = _given_test(given["test"], labels, test)
        rest = _of_other_groups(np.setdiff1d(known, test_ids), test_ids, groups)
    else:
        rest, test_ids = _part(known, labels, test, TEST_SEED, "config.data.test", groups, stratify, classes)
    rest, validation_ids = _part(rest, labels, validation, seed, "config.data.validation", groups, stratify, classes)
    for name, ids in (("test", test_ids), ("validation", validation_ids)):
        if labels.ndim == 2 and len(ids) and not labels[ids].any():
            raise UserError(f"config.data.{name}: none of its {counted(len(ids), 'image')} has a label; ask for more")
    rng = np.random.default_rng(seed)
    draw = _drawn if labels.ndim == 1 else _drawn_of_several
    labelled_ids = np.sort(draw(rest, labels, classes, labels_per_class, rng))
    if folds:
        ids = labelled_ids if order is None else order[np.isin(order, labelled_ids)]
        number = folds_of(labels[ids], folds, seed, None if groups is None else groups[ids], stratify, classes)
        labelled_ids, validation_ids = np.sort(ids[number != fold]), ids[number == fold]
    pool = np.setdiff1d(np.arange(len(labels)), np.concatenate([labelled_ids, validation_ids, test_ids]))
    pool = _of_other_groups(pool, np.concatenate([validation_ids, test_ids]), groups)
    if unlabelled > len(pool):
        left = counted(len(pool), "image is", "images are")
        raise UserError(f"config.data.unlabelled: {unlabelled} asked, but {left} left; ask for fewer")
    pool = np.sort(rng.choice(pool, unlabelled, replace=False)) if unlabelled else pool
    return {
        "labelled": labelled_ids.astype(np.int32),
        "unlabelled": pool.astype(np.int32),
        "validation": np.sort(validation_ids).astype(np.int32),
        "test": np.sort(test_ids).astype(np.int32),
    }


def notes(
    parts: Mapping[str, np.ndarray],
    labels: Int[np.ndarray, " n *classes"],
    classes: Sequence[str],
    labels_per_class: int,
    folds: int,
) -> tuple[str, ...]:
    """Lines about classes without a test or validation image, or with fewer labelled ones than `labels_per_class`.

    Args:
        parts: what `split` returns.
        labels: of all images, as for `split`.
        classes: their names.
        labels_per_class: as for `split`.
        folds: as for `split`; the images of the validation fold count as labelled.
    """

    def counted(ids: np.ndarray) -> np.ndarray:
        of = labels[ids]
        return (of > 0).sum(0) if of.ndim == 2 else np.bincount(of[of >= 0], minlength=len(classes))

    everywhere = counted(np.arange(len(labels)))
    lines = [
        f"{name} images show none of {few([f'{classes[k]!r} (of {everywhere[k]:,})' for k in missing], NAMED)}: its "
        f"{name} accuracy is not measured"
        for name in ("test", "validation")
        if len(parts[name]) and (missing := np.flatnonzero((counted(parts[name]) == 0) & (everywhere > 0)).tolist())
    ]
    labelled = counted(np.concatenate([parts["labelled"], parts["validation"]] if folds else [parts["labelled"]]))
    if fewer := np.flatnonzero(labelled < labels_per_class).tolist():
        listed = few([f"{classes[k]!r} has {labelled[k]:,}" for k in fewer], NAMED)
        lines.append(f"config.data.labels_per_class: {labels_per_class} asked, but of labelled images {listed}")
    return tuple(lines)


def folds_of(
    labels: Int[np.ndarray, " n *classes"],
    folds: int,
    seed: int,
    groups: Int[np.ndarray, " n"] | None = None,
    stratify: bool = True,
    classes: Sequence[str] = (),
) -> Int[np.ndarray, " n"]:
    """The fold, from 0 on, of each image: `folds` parts of nearly equal size, with equal shares of each class or
    label (iterative stratification, Sechidis et al. 2011) unless `stratify` is False, and each group in one of them.

    Raises: UserError where a fold would be empty, or a class has fewer images, or groups, than there are folds.
    """
    if groups is not None and labels.ndim == 2 and stratify:
        names, member = np.unique(groups, return_inverse=True)
        shown = np.zeros((len(names), labels.shape[1]), labels.dtype)
        np.maximum.at(shown, member, labels)
        return folds_of(shown, folds, seed, None, True, classes)[member]
    units = len(labels) if groups is None else len(np.unique(groups))
    one, many = ("image", "images") if groups is None else ("group of images", "groups of images")
    if units < folds:
        known = counted(units, f"{one} is", f"{many} are")
        raise UserError(f"config.data.folds: {folds} asked, and {known} labelled; ask for fewer")
    for number in range(int(labels.max(initial=0)) + 1 if stratify and labels.ndim == 1 else 0):
        members = labels == number
        count = int(members.sum() if groups is None else len(np.unique(groups[members])))
        if 0 < count < folds:
            raise UserError(
                f"config.data.folds: {folds} asked, and class {classes[number] if classes else number!r} has "
                f"{counted(count, f'labelled {one}', f'labelled {many}')}; ask for fewer, or say "
                "config.data.stratify=False"
            )
    several = labels.ndim == 2 and stratify
    splitter: Any
    if groups is not None:
        splitter = (StratifiedGroupKFold if stratify else GroupKFold)(folds, shuffle=True, random_state=seed)
    else:
        kind = MultilabelStratifiedKFold if several else StratifiedKFold if stratify else KFold
        splitter = kind(n_splits=folds, shuffle=True, random_state=seed)
    found = np.empty(len(labels), np.int32)
    for number, (_, part) in enumerate(splitter.split(labels, labels, groups)):
        if not len(part):
            raise UserError(
                f"config.data.folds: {folds} asked, and the groups leave fold {number} empty; ask for fewer"
            )
        found[part] = number
    return found


def _drawn(
    rest: np.ndarray, labels: np.ndarray, classes: tuple[str, ...], labels_per_class: int, rng: np.random.Generator
) -> np.ndarray:
    labelled = []
    for number, name in enumerate(classes):
        members = rest[labels[rest] == number]
        if not len(members):
            raise UserError(
                f"config.data.labels_per_class: {labels_per_class or 'all'} asked, but class {name!r} has 0 images "
                "left after the test and validation images; label more of it, or ask for fewer of those"
            )
        enough = 0 < labels_per_class <= len(members)
        labelled.append(rng.choice(members, labels_per_class, replace=False) if enough else members)
    return np.concatenate(labelled)


def _drawn_of_several(
    rest: np.ndarray, labels: np.ndarray, classes: tuple[str, ...], labels_per_class: int, rng: np.random.Generator
) -> np.ndarray:
    shows = labels[rest] == 1
    for name, count in zip(classes, shows.sum(0), strict=True):
        if not count:
            raise UserError(
                f"config.data.labels_per_class: no image of class {name!r} is left after the test and validation "
                "images; ask for fewer of those"
            )
    if not labels_per_class:
        return rest
    drawn = np.zeros(len(rest), bool)
    for number in np.argsort(shows.sum(0), kind="stable"):
        others = np.flatnonzero(shows[:, number] & ~drawn)
        wanted = labels_per_class - (shows[:, number] & drawn).sum()
        drawn[rng.choice(others, np.clip(wanted, 0, len(others)), replace=False)] = True
    return rest[drawn]


def _of_other_groups(ids: np.ndarray, held_out: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
    return ids if groups is None else ids[~np.isin(groups[ids], groups[held_out])]


def _known(labels: np.ndarray) -> np.ndarray:
    """Which images somebody has labelled."""
    return np.all(labels >= 0, axis=tuple(range(1, labels.ndim)))


def _given_test(ids: np.ndarray, labels: np.ndarray, size: int) -> np.ndarray:
    if size:
        own = counted(len(ids), "test image")
        raise UserError(f"config.data.test: {size} asked, but the source has {own} of its own; say 0")
    count = _known(labels[ids]).sum()
    if count == 0 or count < len(ids):
        raise UserError(
            f"config.data.source: {count} of its {counted(len(ids), 'test image has', 'test images have')} a label; "
            "take other test images, or none and say config.data.test"
        )
    return ids


def _part(
    ids: np.ndarray,
    labels: np.ndarray,
    size: int,
    seed: int,
    where: str,
    groups: np.ndarray | None,
    stratify: bool,
    classes: Sequence[str],
) -> tuple[np.ndarray, np.ndarray]:
    """(the others, about `size` of `ids`): exactly, where there are no groups."""
    if size and groups is not None:
        each = [ids[labels[ids] == k] for k in np.unique(labels[ids])] if stratify and labels.ndim == 1 else [ids]
        parts = min(round(len(ids) / size), *(len(np.unique(groups[of])) for of in each))
        try:
            number = folds_of(labels[ids], max(parts, 2), seed, groups[ids], stratify, classes)
        except UserError as error:
            single = [repr(classes[labels[of[0]]]) for of in each if len(each) > 1 and len(np.unique(groups[of])) < 2]
            raise UserError(
                f"{where}: {size} asked, of {len(ids)} images; their groups do not allow it: each class wants two or "
                f"more{f' ({few(single, NAMED)} has one)' if single else ''}, or say config.data.stratify=False"
            ) from error
        part = number == 0
        if part.sum() > 2 * size:
            raise UserError(f"{where}: {size} asked, which with whole groups are {part.sum()}; ask for about that many")
        return ids[~part], ids[part]
    if size and not stratify:
        if size >= len(ids):
            raise UserError(f"{where}: cannot take {counted(size, 'image')} of {len(ids)}")
        part = np.random.default_rng(seed).permutation(len(ids)) < size
        return ids[~part], ids[part]
    if size and labels.ndim == 1:
        numbers, counts = np.unique(labels[ids], return_counts=True)
        if single := [repr(classes[k]) for k in numbers[counts == 1]]:
            raise UserError(
                f"{where}: cannot take {size} stratified images of {len(ids)}: one image is left of class "
                f"{few(single, NAMED)}, and of each class want two or more; label more of them, or say "
                "config.data.stratify=False"
            )
    return _stratified(ids, labels, size, seed, where)


def _stratified(ids: np.ndarray, labels: np.ndarray, size: int, seed: int, where: str):
    """(the others, `size` of `ids` with the same proportions of classes)."""
    if size == 0:
        return ids, ids[:0]
    try:
        if labels.ndim == 2:
            return _stratified_of_several(ids, labels[ids], size, seed)
        return train_test_split(ids, test_size=size, stratify=labels[ids], random_state=seed)
    except ValueError as error:
        raise UserError(
            f"{where}: cannot take {size} stratified images of {len(ids)} ({error}); ask for another number, or say "
            "config.data.stratify=False"
        ) from error


def _stratified_of_several(ids: np.ndarray, labels: np.ndarray, size: int, seed: int):
    """By iterative stratification (Sechidis et al. 2011). Of many labels it makes parts a few per cent too large or too
    small, hardly nearer to the shares than chance: then images move that lower chi-squared the most, until none does.
    """
    splitter = MultilabelStratifiedShuffleSplit(n_splits=1, test_size=size, random_state=seed)
    ((_, chosen),) = splitter.split(ids, labels)
    part = np.isin(np.arange(len(ids)), chosen)
    share = labels.sum(0) * size / len(ids)

    def chi_squared(counts: np.ndarray) -> np.ndarray:
        return (np.square(counts - share) / np.maximum(share, 1e-9)).sum(-1)

    def moved(part: np.ndarray, into: bool) -> np.ndarray:
        candidates = np.flatnonzero(part != into)
        after = labels[part].sum(0) + (1 if into else -1) * labels[candidates]
        return part ^ (np.arange(len(part)) == candidates[chi_squared(after).argmin()])

    while part.sum() != size:
        part = moved(part, into=part.sum() < size)
    while chi_squared(labels[better := moved(moved(part, False), True)].sum(0)) < chi_squared(labels[part].sum(0)):
        part = better
    return ids[~part], ids[part]
