"""Splits a dataset into labelled, unlabelled, validation and test images."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Int, Shaped

from efficient_jax.data.stratification import NAMED, ONE_CLASS, Parts, Stratification, assigned
from efficient_jax.errors import UserError, counted, few

TEST_SEED = 0
"""Seed of the test split: the same for all runs, so no setting is chosen on images that another seed tests on."""

NOTHING: dict[str, np.ndarray] = {}


def split(
    labels: np.ndarray,
    classes: tuple[str, ...],
    stratification: Stratification = ONE_CLASS,
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
        labels: int [n], the class index, or [n classes] of 0 and 1; -1: unlabelled. With `stratification.MAPS` uint8
            [n h w], the class of each pixel: an image has the classes that it shows, and none where all pixels are 255.
        classes: name of each class.
        stratification: what the labels are, a field of the task.
        labels_per_class: labelled images of each class, at most; 0: all that validation and test leave.
        validation: number of validation images, 0 or more.
        test: number of test images, 0 or more; 0 where `fixed` has them.
        seed: of all draws but the test images, 0 or more.
        folds: number of parts that the labelled images are cut into for cross-validation; 0: none.
        fold: index of the fold that is the validation set, in 0..folds-1; the folds are the same for each.
        stratify: whether validation, test and folds have equal shares of each class.
        unlabelled: number of images that are neither labelled nor held out; 0: all of them.
        fixed: parts that the dataset fixes, as in `dataset.Source`: under "test" and "validation" the indices of all
            their images, under "selected" those of images that were chosen to be labelled: none is drawn for test,
            validation or folds, since figures on them do not hold for others.
        groups: int [n], the same for images that belong together; None: there are none.
        order: int [n], the images in an order of their content, so that folds do not depend on file names; None: as
            listed.

    Returns: int32 indices, sorted, under "labelled", "unlabelled", "validation" and "test".

    Raises: UserError for too few images, a part that is both fixed and drawn, a class without labelled images that no
        fixed test image has, or a fold that would be empty.
    """
    labels = stratification.of_images(labels, len(classes))
    (known,) = np.nonzero(_known(labels))
    sizes_asked = {"test": test, "validation": validation, "folds": folds, "labels_per_class": labels_per_class}
    if not len(known) and (len(classes) < 2 or any(sizes_asked.values())):
        wanted = [f"config.data.{name} = {size}" for name, size in sizes_asked.items() if size]
        raise UserError(
            "config.data.source: no image has a label; want some of each class"
            + (f" for {few(wanted)}, or say 0" if len(classes) > 1 else ", or the names of the classes")
        )
    by = stratification if stratify else None
    sizes = {"test": (test, TEST_SEED), "validation": (validation, seed)}
    held_out: dict[str, np.ndarray] = {}
    for name in (name for name in sizes if name in fixed):
        held_out[name] = _fixed_part(fixed[name], labels, name, sizes[name][0])
    if folds and "validation" in fixed:
        raise UserError(f"config.data.folds: {folds} asked, but the source has validation images of its own; say 0")
    rest = np.setdiff1d(known, np.concatenate([known[:0], *held_out.values()]))
    teaches = len(rest) > 0  # without a labelled image methods that need none can be trained
    for ids in held_out.values():
        rest = _of_other_groups(rest, ids, groups)
    selected = np.intersect1d(rest, fixed.get("selected", rest[:0]))
    rest = np.setdiff1d(rest, selected)
    asked = {f"config.data.{name}": size for name, (size, _) in sizes.items()} | {"config.data.folds": folds}
    for where, size in asked.items():
        if len(selected) and size and (where == "config.data.folds" or size >= len(rest)):
            raise UserError(
                f"{where}: {size} asked, but {len(selected):,} of {len(selected) + len(rest):,} labelled images were "
                "selected: no figure on them holds for others. Draw some at random with `label --test`, or say 0"
            )
    for name, (size, part_seed) in sizes.items():
        if name not in held_out:
            where = f"config.data.{name}"
            rest, held_out[name] = _part(rest, labels, size, part_seed, where, groups, classes, by)
    test_ids, validation_ids = held_out["test"], held_out["validation"]
    rest = _of_other_groups(np.concatenate([rest, selected]), np.concatenate([test_ids, validation_ids]), groups)
    if teaches:
        own_test = test_ids if "test" in fixed else rest[:0]
        _check_classes(rest, labels, classes, stratification, labels_per_class, own_test)
    for name, ids in held_out.items():
        if len(ids) and not stratification.counts(labels[ids], len(classes)).any():
            raise UserError(f"config.data.{name}: none of its {counted(len(ids), 'image')} has a label; ask for more")
    rng = np.random.default_rng(seed)
    labelled_ids = np.sort(stratification.draw(rest, labels, labels_per_class, rng))
    if folds:
        ids = labelled_ids if order is None else order[np.isin(order, labelled_ids)]
        fold_of = folds_of(
            labels[ids], folds, seed, None if groups is None else groups[ids], stratify, classes, stratification
        )
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
    labels: Shaped[np.ndarray, " n *classes"],
    classes: Sequence[str],
    labels_per_class: int,
    folds: int,
    stratification: Stratification = ONE_CLASS,
) -> tuple[str, ...]:
    """Returns notes on classes without a test or validation image, or with fewer labelled ones than `labels_per_class`.

    Args:
        parts: what `split` returns.
        labels: of all images, as for `split`.
        classes: name of each class.
        labels_per_class: as for `split`.
        folds: as for `split`; the images of the validation fold count as labelled.
        stratification: as for `split`.
    """

    labels = stratification.of_images(labels, len(classes))

    def class_counts(indices: np.ndarray) -> np.ndarray:
        return stratification.counts(labels[indices], len(classes))

    everywhere = class_counts(np.arange(len(labels)))
    lines = [
        f"{name} images show none of {few([f'{classes[k]!r} (of {everywhere[k]:,})' for k in missing], NAMED)}: its "
        f"{name} accuracy is not measured"
        for name in ("test", "validation")
        if len(parts[name])
        and (missing := np.flatnonzero((class_counts(parts[name]) == 0) & (everywhere > 0)).tolist())
    ]
    labelled = class_counts(np.concatenate([parts["labelled"], parts["validation"]] if folds else [parts["labelled"]]))
    if labelled.any() and (unlearned := np.flatnonzero((labelled == 0) & (everywhere > 0)).tolist()):
        named = few([f"{classes[k]!r} (of {everywhere[k]:,})" for k in unlearned], NAMED)
        lines.append(f"labelled images show none of {named}: it is not learned, and its test images count as wrong")
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
    stratification: Stratification = ONE_CLASS,
) -> Int[np.ndarray, " n"]:
    """Returns the fold of each image, int32 [n] in 0..folds-1; folds are of nearly equal size.

    Each class or label has equal shares in them (of labels by iterative stratification, Sechidis et al. 2011) unless
    `stratify` is False.

    Args:
        labels: int [n], the class index of each image, or [n classes] of 0 and 1, also for maps of classes.
        folds: number of folds, 2 or more.
        seed: of the draw, 0 or more.
        groups: int [n], the same for images that are in one fold; None: there are none.
        stratify: whether folds have equal shares of each class.
        classes: name of each class, for messages; empty: their indices.
        stratification: as for `split`.

    Raises: UserError where a fold would be empty, or a class has fewer images, or groups, than there are folds.
    """
    unit_count = len(labels) if groups is None else len(np.unique(groups))
    if unit_count < folds:
        units = ("image is", "images are") if groups is None else ("group of images is", "groups of images are")
        raise UserError(f"config.data.folds: {folds} asked, and {counted(unit_count, *units)} labelled; ask for fewer")
    if stratify:
        return stratification.folds(labels, folds, seed, groups, classes)
    from sklearn.model_selection import GroupKFold, KFold  # takes 0.5 s, so only where it is needed

    splitter = KFold if groups is None else GroupKFold
    return assigned(splitter(folds, shuffle=True, random_state=seed), labels, groups, folds)


def _of_other_groups(ids: np.ndarray, held_out: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
    """Returns the indices whose group has no held-out image."""
    return ids if groups is None else ids[~np.isin(groups[ids], groups[held_out])]


def _known(labels: np.ndarray) -> np.ndarray:
    """Returns a mask of the labelled images."""
    mask: np.ndarray = np.all(labels >= 0, axis=tuple(range(1, labels.ndim)))
    return mask


def _fixed_part(ids: np.ndarray, labels: np.ndarray, name: str, size: int) -> np.ndarray:
    """Returns the test or validation images that the dataset fixes, which are checked."""
    if size:
        own_images = counted(len(ids), f"{name} image")
        raise UserError(f"config.data.{name}: {size} asked, but the source has {own_images} of its own; say 0")
    count = _known(labels[ids]).sum()
    if count == 0 or count < len(ids):
        raise UserError(
            f"config.data.source: {count} of its {counted(len(ids), f'{name} image has', f'{name} images have')} a "
            f"label; take other {name} images, or none and say config.data.{name}"
        )
    return ids


def _check_classes(
    rest: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
    stratification: Stratification,
    labels_per_class: int,
    fixed_test: np.ndarray,
) -> None:
    """Checks that each class has an image to learn from, unless only test images that the dataset fixes have it."""
    counts, tested = (stratification.counts(labels[ids], len(classes)) for ids in (rest, fixed_test))
    if missing := [name for name, count, test in zip(classes, counts, tested, strict=True) if not count and not test]:
        raise UserError(
            f"config.data.labels_per_class: {labels_per_class or 'all'} asked, but class {missing[0]!r} has 0 images "
            "left after the test and validation images; label more of it, or ask for fewer of those"
        )


def _part(
    ids: np.ndarray,
    labels: np.ndarray,
    size: int,
    seed: int,
    where: str,
    groups: np.ndarray | None,
    classes: Sequence[str],
    stratification: Stratification | None,
) -> Parts:
    """Returns (the other indices, `size` of `ids`); with groups about `size`. `stratification`: None without."""
    if not size:
        return ids, ids[:0]
    if groups is not None:
        by_class = stratification.groups(ids, labels) if stratification else [ids]
        parts = min(round(len(ids) / size), *(len(np.unique(groups[members])) for members in by_class))
        try:
            stratified = stratification is not None, classes, stratification or ONE_CLASS
            fold_of = folds_of(labels[ids], max(parts, 2), seed, groups[ids], *stratified)
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
    if not stratification:
        if size >= len(ids):
            raise UserError(f"{where}: cannot take {counted(size, 'image')} of {len(ids)}")
        part = np.random.default_rng(seed).permutation(len(ids)) < size
        return ids[~part], ids[part]
    try:
        return stratification.part(ids, labels, size, seed, classes, where)
    except ValueError as error:
        raise UserError(
            f"{where}: cannot take {size} stratified images of {len(ids)} ({error}); ask for another number, or say "
            "config.data.stratify=False"
        ) from error
