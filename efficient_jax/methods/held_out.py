"""What heads predict for images that they were not fitted to, by which they are chosen: folds, or validation images."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int

from efficient_jax.tasks import Head

Data = tuple[Float[np.ndarray, "_ d"], Float[np.ndarray, "_ classes"]]
"""Features and targets of examples, any number of them."""
FOLDS = 5


def held_out(
    predict: Callable[[Data, Float[np.ndarray, "m d"]], Float[np.ndarray, "candidates m classes"]],
    data: Data,
    seed: int,
    validation: Data | None,
    head: Head,
    views: int = 1,
) -> tuple[Float[np.ndarray, "h classes"], Float[np.ndarray, "candidates h classes"]]:
    """Returns the targets of the held-out examples, and what heads predict for them that were fitted to the others.

    Args:
        predict: (training examples, features of others) -> predictions of each candidate.
        data: features and targets of the examples, `views` copies one behind the other.
        seed: seed of the folds.
        validation: examples that are held out in place of folds; None: folds.
        head: functions of the task.
        views: number of copies, 1 or more.
    """
    if validation:
        return validation[1], predict(data, validation[0])
    features, targets = data
    fold = np.tile(folds(targets[: len(targets) // views], seed, head), views)
    inside = np.flatnonzero(fold >= 0)
    if not len(inside):
        return targets[:0], predict(data, features[:1])[:, :0]
    parts = [predict((features[fold != k], targets[fold != k]), features[fold == k]) for k in range(fold.max() + 1)]
    order = np.argsort(np.concatenate([np.flatnonzero(fold == k) for k in range(fold.max() + 1)]))
    return targets[inside], np.concatenate(parts, 1)[:, order]


def best_of(
    predictions: Float[np.ndarray, "candidates h classes"], truth: Float[np.ndarray, "h classes"], head: Head
) -> tuple[int, float, float]:
    """Returns the candidate with the highest score, of equal ones that with the smallest squared error, and both.

    Args:
        predictions: of each candidate for the held-out examples.
        truth: targets of the same examples.
        head: functions of the task.
    """
    scores = [head.score(predicted, truth) for predicted in predictions]
    errors = [float(np.square(predicted - truth).mean()) for predicted in predictions]
    best = max(range(len(predictions)), key=lambda i: (scores[i], -errors[i]))
    return best, scores[best], errors[best]


def folds(targets: Float[np.ndarray, "n classes"], seed: int, head: Head) -> Int[np.ndarray, " n"]:
    """Returns the fold of each example, -1 for those that are always trained on.

    The examples of a class are distributed over the folds in turn, so that no class is held out as a whole. Always
    trained on is the only example of a class; and all, where most are the only ones of their class: the others would
    favour penalties with which only their class is predicted. (scikit-learn wants an example of every class per fold.)

    Args:
        targets: of n examples.
        seed: of the order within a class, 0 or more.
        head: what the targets are.
    """
    labels, alone = head.strata(targets)
    order = np.lexsort((np.random.default_rng(seed).random(len(labels)), labels, alone))
    fold = np.empty(len(labels), int)
    fold[order] = np.arange(len(labels)) % min(FOLDS, len(labels))
    return np.where(alone | (len(labels) == 1) | (alone.mean() > 0.5), -1, fold)
