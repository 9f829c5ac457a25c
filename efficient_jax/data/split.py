"""Splits a dataset into labelled, unlabelled, validation and test images."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from efficient_jax.errors import UserError, counted, few

TEST_SEED = 0
"""Seed of the test split: the same for all runs, so no setting is chosen on images that another seed tests on."""

NAMED = 20  # most classes that a note lists

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
    fixed: Mapping[str, np.ndarray] = NOTHING,
    groups: Int[np.ndarray, " n"] | None = None,
    order: Int[np.ndarray, " n"] | None = None,
) -> dict[str, np.ndarray]:
    """Returns disjoint index arrays of the labelled, unlabelled, validation and test images.

    Where images have several labels (`labels` [n classes]), validation and test are stratified iteratively. Images are
    then drawn until each class has `labels_per_class` of them, the rarest class first: its images count for the others
    too.

    Images of a group are in one part only: of test, validation and folds, which then have about the size asked for.
    Other images of a held-out group are in no part, not even the unlabelled one.

    Args:
        labels: int [n], the class index, or [n classes] of 0 and 1; -1: unlabelled.
        classes: name of each class.
        labels_per_class: labelled images of each class, at most; 0: all that validation and test leave.
        validation: number of validation images, 0 or more.
        test: number of test images, 0 or more; 0 where `fixed` has them.
        seed: of all draws but the test images, 0 or more.
        folds: number of parts that the labelled images are cut into for cross-validation; 0: none.
        fold: index of the fold that is the validation set, in 0..folds-1; the folds are the same for each.
        stratify: whether validation, test and folds have equal shares of each class.
        unlabelled: number of images that are neither labelled nor held out; 0: all of them.
        fixed: indices [t] of the test images under "test", where the dataset fixes them; else empty.
        groups: int [n], the same for images that belong together; None: there are none.
        order: int [n], the images in an order of their content, so that folds do not depend on file names; None: as
            listed.

    Returns: int32 indices, sorted, under "labelled", "unlabelled", "validation" and "test".

    Raises: UserError for too few images, two test sets, a class without labelled images, or a fold that would be empty.
    """
    (known,) = np.nonzero(_known(labels))
    if not len(known):
        raise UserError("config.data.source: no image has a label; want some of each class")
    if "test" in fixed:
        test_ids = _given_test(fixed["test"], labels, test)
        rest = _of_other_groups(np.setdiff1d(known, test_ids), test_ids, groups)
    else:
        rest, test_ids = _part(known, labels, test, TEST_SEED, "config.data.test", groups, stratify, classes)
    rest, validation_ids = _part(rest, labels, validation, seed, "config.data.validation", groups, stratify, classes)
    for name, ids in (("test", test_ids), ("validation", validation_ids)):
        if labels.ndim == 2 and len(ids) and not labels[ids].any():
            raise UserError(f"config.data.{name}: none of its {counted(len(ids), 'image')} has a label; ask for more")
    rng = np.random.default_rng(seed)
    draw_labelled = _drawn if labels.ndim == 1 else _drawn_of_several
    labelled_ids = np.sort(draw_labelled(rest, labels, classes, labels_per_class, rng))
    if folds:
        ids = labelled_ids if order is None else order[np.isin(order, labelled_ids)]
        fold_of = folds_of(labels[ids], folds, seed, None if groups is None else groups[ids], stratify, classes)
        labelled_ids, validation_ids = np.sort(ids[fold_of != fold]), ids[fold_of == fold]
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
    """Returns notes on classes without a test or validation image, or with fewer labelled ones than `labels_per_class`.

    Args:
        parts: what `split` returns.
        labels: of all images, as for `split`.
        classes: name of each class.
        labels_per_class: as for `split`.
        folds: as for `split`; the images of the validation fold count as labelled.
    """

    def class_counts(indices: np.ndarray) -> np.ndarray:
        part = labels[indices]
        return (part > 0).sum(0) if part.ndim == 2 else np.bincount(part[part >= 0], minlength=len(classes))

    everywhere = class_counts(np.arange(len(labels)))
    lines = [
        f"{name} images show none of {few([f'{classes[k]!r} (of {everywhere[k]:,})' for k in missing], NAMED)}: its "
        f"{name} accuracy is not measured"
        for name in ("test", "validation")
        if len(parts[name])
        and (missing := np.flatnonzero((class_counts(parts[name]) == 0) & (everywhere > 0)).tolist())
    ]
    labelled = class_counts(np.concatenate([parts["labelled"], parts["validation"]] if folds else [parts["labelled"]]))
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
    """Returns the fold of each image, int32 [n] in 0..folds-1; folds are of nearly equal size.

    Each class or label has equal shares in them (of labels by iterative stratification, Sechidis et al. 2011) unless
    `stratify` is False.

    Args:
        labels: int [n], the class index of each image, or [n classes] of 0 and 1.
        folds: number of folds, 2 or more.
        seed: of the draw, 0 or more.
        groups: int [n], the same for images that are in one fold; None: there are none.
        stratify: whether folds have equal shares of each class.
        classes: name of each class, for messages; empty: their indices.

    Raises: UserError where a fold would be empty, or a class has fewer images, or groups, than there are folds.
    """
    if groups is not None and labels.ndim == 2 and stratify:
        names, member = np.unique(groups, return_inverse=True)
        shown = np.zeros((len(names), labels.shape[1]), labels.dtype)
        np.maximum.at(shown, member, labels)
        return folds_of(shown, folds, seed, None, True, classes)[member]
    unit_count = len(labels) if groups is None else len(np.unique(groups))
    singular, plural = ("image", "images") if groups is None else ("group of images", "groups of images")
    if unit_count < folds:
        known = counted(unit_count, f"{singular} is", f"{plural} are")
        raise UserError(f"config.data.folds: {folds} asked, and {known} labelled; ask for fewer")
    for index in range(int(labels.max(initial=0)) + 1 if stratify and labels.ndim == 1 else 0):
        members = labels == index
        count = int(members.sum() if groups is None else len(np.unique(groups[members])))
        if 0 < count < folds:
            raise UserError(
                f"config.data.folds: {folds} asked, and class {classes[index] if classes else index!r} has "
                f"{counted(count, f'labelled {singular}', f'labelled {plural}')}; ask for fewer, or say "
                "config.data.stratify=False"
            )
    multi_label = labels.ndim == 2 and stratify
    splitter: Any
    if groups is not None:
        from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

        splitter = (StratifiedGroupKFold if stratify else GroupKFold)(folds, shuffle=True, random_state=seed)
    else:
        from iterstrat.ml_stratifiers import MultilabelStratifiedKFold
        from sklearn.model_selection import KFold, StratifiedKFold

        kind = MultilabelStratifiedKFold if multi_label else StratifiedKFold if stratify else KFold
        splitter = kind(n_splits=folds, shuffle=True, random_state=seed)
    fold_of = np.empty(len(labels), np.int32)
    for index, (_, part) in enumerate(splitter.split(labels, labels, groups)):
        if not len(part):
            raise UserError(f"config.data.folds: {folds} asked, and the groups leave fold {index} empty; ask for fewer")
        fold_of[part] = index
    return fold_of


def _drawn(
    rest: np.ndarray, labels: np.ndarray, classes: tuple[str, ...], labels_per_class: int, rng: np.random.Generator
) -> np.ndarray:
    """Returns the indices of labelled images: `labels_per_class` of each class, or all that are left."""
    labelled = []
    for index, name in enumerate(classes):
        members = rest[labels[rest] == index]
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
    """Returns the indices of labelled images that have several labels, drawn as `split` describes."""
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
    for index in np.argsort(shows.sum(0), kind="stable"):
        candidates = np.flatnonzero(shows[:, index] & ~drawn)
        wanted = labels_per_class - (shows[:, index] & drawn).sum()
        drawn[rng.choice(candidates, np.clip(wanted, 0, len(candidates)), replace=False)] = True
    return rest[drawn]


def _of_other_groups(ids: np.ndarray, held_out: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
    """Returns the indices whose group has no held-out image."""
    return ids if groups is None else ids[~np.isin(groups[ids], groups[held_out])]


def _known(labels: np.ndarray) -> np.ndarray:
    """Returns a mask of the labelled images."""
    mask: np.ndarray = np.all(labels >= 0, axis=tuple(range(1, labels.ndim)))
    return mask


def _given_test(ids: np.ndarray, labels: np.ndarray, size: int) -> np.ndarray:
    """Returns the test images that the dataset fixes, which are checked."""
    if size:
        own_images = counted(len(ids), "test image")
        raise UserError(f"config.data.test: {size} asked, but the source has {own_images} of its own; say 0")
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
    """Returns (the other indices, `size` of `ids`); with groups about `size`."""
    if size and groups is not None:
        by_class = [ids[labels[ids] == k] for k in np.unique(labels[ids])] if stratify and labels.ndim == 1 else [ids]
        parts = min(round(len(ids) / size), *(len(np.unique(groups[members])) for members in by_class))
        try:
            fold_of = folds_of(labels[ids], max(parts, 2), seed, groups[ids], stratify, classes)
        except UserError as error:
            lone = [members for members in by_class if len(by_class) > 1 and len(np.unique(groups[members])) < 2]
            single = [repr(classes[labels[members[0]]]) for members in lone]
            raise UserError(
                f"{where}: {size} asked, of {len(ids)} images; their groups do not allow it: each class wants two or "
                f"more{f' ({few(single, NAMED)} has one)' if single else ''}, or say config.data.stratify=False"
            ) from error
        part = fold_of == 0
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


def _stratified(ids: np.ndarray, labels: np.ndarray, size: int, seed: int, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns (the other indices, `size` of `ids` with the same shares of classes)."""
    if size == 0:
        return ids, ids[:0]
    from sklearn.model_selection import train_test_split  # takes 0.5 s, so only where it is needed

    try:
        if labels.ndim == 2:
            return _stratified_of_several(ids, labels[ids], size, seed)
        rest, part = train_test_split(ids, test_size=size, stratify=labels[ids], random_state=seed)
        return rest, part
    except ValueError as error:
        raise UserError(
            f"{where}: cannot take {size} stratified images of {len(ids)} ({error}); ask for another number, or say "
            "config.data.stratify=False"
        ) from error


def _stratified_of_several(ids: np.ndarray, labels: np.ndarray, size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns (the other indices, `size` of `ids`) by iterative stratification (Sechidis et al. 2011).

    With many labels that makes parts a few per cent too large or too small, whose shares are hardly better than chance.
    So images are then moved one by one that lower chi-squared the most, until none does.
    """
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
