"""What more labels are worth: the learning curve of a linear head, measured on labelled images alone."""

import numpy as np
from jaxtyping import Float, Int
from threadpoolctl import threadpool_limits

from efficient_jax.data import feature_distances
from efficient_jax.errors import UserError, counted
from efficient_jax.methods import linear_head
from efficient_jax.metrics import learning_curve

FOLDS, POINTS, SHORTEST = 5, 6, 16  # the curve has six points, from a sixteenth of the labels on
FEWEST, FEWEST_PER_CLASS = 50, 5  # labels
COMPONENTS = 256  # principal components of the features: with all 1,280 the heads take minutes
FITTED = 600  # predictions of held-out images at each point, about: few labels are repeated with other folds


def forecast(
    features: Float[np.ndarray, "n d"], labels: Int[np.ndarray, " n"], seed: int = 0
) -> learning_curve.Forecast:
    """Returns the learning curve of a ridge head on features, and its continuation to four times the labels.

    Args:
        features: of the labelled images.
        labels: their classes; classes without any label do not count.
        seed: of the folds, of the subsets and of the intervals.

    Raises:
        UserError: there are fewer than 50 labels, or than 5 per class on average.
    """
    classes = len(np.unique(labels))
    least = max(FEWEST, FEWEST_PER_CLASS * classes)
    if len(labels) < least or classes < 2:
        raise UserError(
            f"{counted(len(labels), 'label')} of {counted(classes, 'class', 'classes')} are too few to say what more "
            f"would bring; {least:,} labels of two classes or more are enough"
        )
    with threadpool_limits(1):  # more are no faster on such thin matrices
        counts, correct = measured(features, np.unique(labels, return_inverse=True)[1], seed)
    return learning_curve.forecast(counts, correct, seed=seed)


def measured(
    features: Float[np.ndarray, "n d"], labels: Int[np.ndarray, " n"], seed: int
) -> tuple[Int[np.ndarray, " k"], Float[np.ndarray, "k n"]]:
    """Returns numbers of labels, and how often each image was predicted correctly with so many while it was held out.

    Every fold is predicted by heads that are fitted to growing parts of the other folds; the penalty is chosen within
    these parts.

    Args:
        features: of the labelled images.
        labels: their classes, 0..classes - 1, all of which occur.
        seed: of the folds and of the parts.
    """
    n, rng = len(labels), np.random.default_rng(seed)
    features, targets = feature_distances.scores(features, COMPONENTS), np.eye(labels.max() + 1)[labels]
    most = n - -(-n // FOLDS)
    counts = np.unique(np.geomspace(max(targets.shape[1], most / SHORTEST), most, POINTS).astype(int))
    correct, repeats = np.zeros((len(counts), n)), max(1, min(FITTED // n, 10))
    for _ in range(repeats):
        by_class = np.lexsort((rng.random(n), labels))  # each class is dealt to the folds in turn
        for fold in range(FOLDS):
            held, rest = by_class[fold::FOLDS], np.delete(by_class, np.s_[fold::FOLDS])
            rest = rest[mixed(labels[rest], rng)]
            for row, count in enumerate(counts):
                part = rest[:count]
                predicted = ridge(features[part], targets[part], features[held]).argmax(1)
                correct[row, held] += predicted == labels[held]
    return counts, correct / repeats


def ridge(
    features: Float[np.ndarray, "n d"], targets: Float[np.ndarray, "n classes"], others: Float[np.ndarray, "m d"]
) -> Float[np.ndarray, "m classes"]:
    """Returns what a ridge head predicts for other images; its penalty has the least leave-one-out error.

    That error is known in closed form for every penalty, so that one decomposition replaces many fits.

    Args:
        features: of the images to which the head is fitted.
        targets: of these, one-hot.
        others: features of the other images.
    """
    mean, mean_target = features.mean(0), targets.mean(0)
    left, scales, right = np.linalg.svd(features - mean, full_matrices=False)
    projected = left.T @ (targets - mean_target)

    def error(l2: float) -> float:
        kept = scales**2 / (scales**2 + l2)
        residual = targets - mean_target - left @ (kept[:, None] * projected)
        leverage = np.minimum(1 / len(targets) + left**2 @ kept, 1 - 1e-6)
        return float(np.square(residual / (1 - leverage)[:, None]).sum())

    l2 = min(linear_head.penalties(features, "ridge"), key=error)
    kernel = right.T @ ((scales / (scales**2 + l2))[:, None] * projected)
    predicted: np.ndarray = mean_target + (others - mean) @ kernel
    return predicted


def mixed(labels: Int[np.ndarray, " n"], rng: np.random.Generator) -> Int[np.ndarray, " n"]:
    """Returns a random order in which every beginning has the classes in about the same proportions.

    Args:
        labels: classes of the images.
        rng: draws the order.
    """
    place = np.empty(len(labels))
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        place[rows] = (np.arange(len(rows)) + rng.random(len(rows))) / len(rows)
    return np.argsort(place, kind="stable")
