"""Which images are labelled, unlabelled, for validation and for the test."""

from collections.abc import Mapping

import numpy as np
from sklearn.model_selection import train_test_split

from efficient_jax.types import UserError

TEST_SEED = 0
"""The test images are the same for every seed: settings chosen with one seed never saw another's test set."""

NOTHING: dict[str, np.ndarray] = {}


def split(
    labels: np.ndarray,
    classes: tuple[str, ...],
    *,
    labels_per_class: int,
    validation: int,
    test: int,
    seed: int,
    given: Mapping[str, np.ndarray] = NOTHING,
) -> dict[str, np.ndarray]:
    """Disjoint index arrays `labelled`, `unlabelled`, `validation`, `test`.

    Validation and test are stratified; `labels_per_class` images of each class are labelled (0: all that are left);
    the rest, and the images with label -1, are unlabelled. `given["test"]`, of a source that fixes its test images,
    takes the place of a drawn test part: `test` is then 0.

    Raises: UserError when there are too few images, or two test parts.
    """
    (known,) = np.nonzero(labels >= 0)
    if "test" in given:
        test_ids = _given_test(given["test"], labels, test)
        rest = np.setdiff1d(known, test_ids)
    else:
        rest, test_ids = _stratified(known, labels, test, TEST_SEED, "config.data.test")
    rest, validation_ids = _stratified(rest, labels, validation, seed, "config.data.validation")
    rng = np.random.default_rng(seed)
    labelled = []
    for number, name in enumerate(classes):
        members = rest[labels[rest] == number]
        if len(members) < max(labels_per_class, 1):
            raise UserError(
                f"config.data.labels_per_class: {labels_per_class or 'all'} asked, but class {name!r} has "
                f"{len(members)} images left after the test and validation images; ask for fewer"
            )
        labelled.append(rng.choice(members, labels_per_class, replace=False) if labels_per_class else members)
    labelled_ids = np.sort(np.concatenate(labelled))
    unlabelled = np.setdiff1d(np.arange(len(labels)), np.concatenate([labelled_ids, validation_ids, test_ids]))
    return {
        "labelled": labelled_ids.astype(np.int32),
        "unlabelled": unlabelled.astype(np.int32),
        "validation": np.sort(validation_ids).astype(np.int32),
        "test": np.sort(test_ids).astype(np.int32),
    }


def _given_test(ids: np.ndarray, labels: np.ndarray, size: int) -> np.ndarray:
    if size:
        raise UserError(f"config.data.test: {size} asked, but the source has {len(ids)} test images of its own; say 0")
    count = (labels[ids] >= 0).sum()
    if count == 0 or count < len(ids):
        raise UserError(
            f"config.data.source: {count} of its {len(ids)} test images have a label; take other test images, or none "
            "and say config.data.test"
        )
    return ids


def _stratified(ids: np.ndarray, labels: np.ndarray, size: int, seed: int, where: str):
    """(the others, `size` of `ids` with the same proportions of classes)."""
    if size == 0:
        return ids, ids[:0]
    try:
        return train_test_split(ids, test_size=size, stratify=labels[ids], random_state=seed)
    except ValueError as error:
        raise UserError(f"{where}: cannot take {size} stratified images of {len(ids)} ({error})") from error
