"""Labels that may be wrong, by what held-out predictions say of them."""

import numpy as np
from jaxtyping import Float, Int


def suspects(
    labels: Int[np.ndarray, " n"], probabilities: Float[np.ndarray, "n classes"]
) -> tuple[Int[np.ndarray, " m"], Int[np.ndarray, " m"]]:
    """(rows whose label may be wrong, the surest first; the classes that they seem to be) by confident learning (arXiv
    1911.00068): rows where another class is at least as probable as it is, on average, in its own images.

    `probabilities` must be of networks that were not trained on the row: of folds. Of those trained on it, they say
    what was learned by heart.
    """
    own = probabilities[np.arange(len(labels)), labels]
    counts = np.bincount(labels, minlength=probabilities.shape[1])
    totals = np.bincount(labels, weights=own, minlength=probabilities.shape[1])
    thresholds = np.where(counts > 0, totals / np.maximum(counts, 1), np.inf)  # of each class, its mean self-confidence
    confident = np.where(probabilities >= thresholds, probabilities, -1.0)
    seems = confident.argmax(1)
    rows = np.flatnonzero((confident.max(1) >= 0) & (seems != labels))
    margin = own[rows] - probabilities[rows, seems[rows]]
    rows = rows[np.argsort(margin, kind="stable")]
    return rows, seems[rows]
