"""Predictions and features do not depend on how images come together."""

import jax
import numpy as np

from efficient_jax import augment
from efficient_jax.tasks import CLASSIFICATION
from efficient_jax.training import batches, parallel
from efficient_jax.training.labels import soft
from efficient_jax.training.predict import extract_rows, make_extract, make_predict, predicted_batches


def test_the_network_sees_the_images_as_they_are_in_the_order_of_the_rows():
    images, rows = np.random.default_rng(0).integers(0, 9, (7, 2, 3, 1), np.uint8), np.array([5, 0, 6, 6, 2])
    devices = jax.local_devices()[:2]

    def apply(variables, images, train, keys):
        del variables, train, keys
        return (images.reshape(len(images), -1).astype(np.float32), {}), {}

    predict = make_predict(apply, devices, CLASSIFICATION)
    placed = batches.place(images, devices)
    parts = [*predicted_batches(predict, {}, placed, rows, batch=4, devices=devices)]
    assert [len(part) for part in parts] == [4, 1]
    found = np.concatenate(parts)
    np.testing.assert_allclose(found, jax.nn.softmax(images[rows].reshape(5, 6).astype(np.float32)), rtol=1e-6)


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
        extract = make_extract(apply, 0, jitter, 12, devices)
        placed, key = parallel.replicate((data, jax.random.key(0)), devices)
        return extract_rows(extract, {}, placed, np.arange(12), key=key, batch=batch, devices=devices)

    jax.tree.map(np.testing.assert_array_equal, features(1, 5), features(4, 8))
