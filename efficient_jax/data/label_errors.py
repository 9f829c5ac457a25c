"""Finds labels that may be wrong, from held-out predictions."""

import numpy as np
from jaxtyping import Float, Int


def suspects(
    labels: Int[np.ndarray, " n"], probabilities: Float[np.ndarray, "n classes"]
) -> tuple[Int[np.ndarray, " m"], Int[np.ndarray, " m"]]:
    """Returns rows whose label may be wrong, and the classes that they seem to be, by confident learning (arXiv
    1911.00068).

    These are rows where another class is at least as probable as it is, on average, in its own images.

    Args:
        labels: int [n], class indices.
        probabilities: float [n classes], of networks that were not trained on the row (cross-validation). Those of
            networks
            that were show what they memorised.

    Returns: (rows int [m], the surest first; class indices int [m]).
    """
    own = probabilities[np.arange(len(labels)), labels]
    counts = np.bincount(labels, minlength=probabilities.shape[1])
    totals = np.bincount(labels, weights=own, minlength=probabilities.shape[1])
    thresholds = np.where(counts > 0, totals / np.maximum(counts, 1), np.inf)  # mean confidence of each class in itself
    confident = np.where(probabilities >= thresholds, probabilities, -1.0)
    seems = confident.argmax(1)
    rows = np.flatnonzero((confident.max(1) >= 0) & (seems != labels))
    margin = own[rows] - probabilities[rows, seems[rows]]
    rows = rows[np.argsort(margin, kind="stable")]
    return rows, seems[rows]


def sparing(rows: Int[np.ndarray, " m"], labels: Int[np.ndarray, " n"], keep: int) -> Int[np.ndarray, " k"]:
    """Returns the suspects that may be given up: the surest ones, so that every class keeps some of its rows.

    Args:
        rows: suspects, the surest first.
        labels: class index of each of the n rows.
        keep: rows of each class that stay at least, where it has as many.
    """
    left = np.bincount(labels)
    spare = []
    for row in rows:
        if left[labels[row]] > keep:
            left[labels[row]] -= 1
            spare.append(row)
    return np.array(spare, int)
