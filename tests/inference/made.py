"""Random predictions."""

import numpy as np

from efficient_jax.inference.predictions import Predictions


def predictions(several: bool = False, n: int = 6, seed: int = 0) -> Predictions:
    """Predictions for images whose names are hard to write."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, (n, 3)) if several else np.r_[-1, rng.integers(0, 3, n - 1)]
    probabilities = rng.random((n, 3)) if several else rng.dirichlet(np.ones(3), n)
    ids = np.random.default_rng(1).permutation(100)[:n]
    images = tuple(f'{i},"x\n.jpg' for i in ids)
    probabilities, labels = probabilities.astype(np.float32), labels.astype(np.int32)
    task = "multi_label" if several else "classification"
    return Predictions(ids, probabilities, labels, ("a", "p(b)", "c,;"), images, task=task)
