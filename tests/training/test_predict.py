"""Predictions and features do not depend on how images come together."""

import jax
import numpy as np

from efficient_jax import augment
from efficient_jax.training import parallel
from efficient_jax.training.labels import soft
from efficient_jax.training.predict import extract_rows, make_extract


def test_views_of_an_image_are_the_same_in_batches_of_any_size():
    """Features of a model that sees pixels as they are."""
    rng = np.random.default_rng(0)
    data = {"image": rng.integers(0, 256, (12, 4, 4, 1), np.uint8), "label": soft(np.eye(12, dtype=np.float32))}
    jitter = augment.build(("brightness",), {"brightness": {"strength": 0.9}})

    def apply(variables, images, train, keys):
        del variables, train, keys
        return (None, {"features": images.reshape(len(images), -1)}), {}

    def features(count, batch):
        devices = jax.local_devices()[:count]
        extract = make_extract(apply, jitter, 12, devices)
        placed, key = parallel.replicate((data, jax.random.key(0)), devices)
        return extract_rows(extract, {}, placed, np.arange(12), key=key, batch=batch, devices=devices)

    for one, other in zip(features(1, 5), features(4, 8), strict=True):
        np.testing.assert_array_equal(one, other)
