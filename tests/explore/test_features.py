"""Features before anything is trained."""

from unittest.mock import Mock

import numpy as np
from sklearn.decomposition import PCA

from efficient_jax.data.decode import resized
from efficient_jax.errors import UserError
from efficient_jax.explore import features
from efficient_jax.training.classifier import Network
from efficient_jax.training.trained import Trained
from tests.models.test_parity import needs_package

IMAGES = np.random.default_rng(0).integers(0, 256, (60, 20, 20, 1), np.uint8)


def test_components_are_those_of_scikit_learn():
    """Up to the sign of each component, which is arbitrary."""
    pixels = resized(IMAGES, 16).reshape(60, -1) / 255
    expected = PCA(40, svd_solver="full").fit_transform(pixels)
    scores = features.components(IMAGES)
    signs = np.sign((scores * expected).sum(0))
    np.testing.assert_allclose(scores * signs, expected, atol=1e-4)


def test_a_pretrained_network_is_taken_where_it_is_installed(monkeypatch):
    pretrained, member = Mock(spec=Network), Mock(spec=Network)
    monkeypatch.setattr(features, "lite0_network", lambda: pretrained)
    assert features.available() == (pretrained, "the features of EfficientNet-Lite0 at 96 x 96 pixels")
    assert features.available(member) == (member, "the features of the first member")


def test_without_one_there_are_components_of_pixels(monkeypatch):
    def absent():
        raise UserError("not installed")

    monkeypatch.setattr(features, "lite0_network", absent)
    network, about = features.available()
    assert network is None
    assert about.startswith("40 principal components of 16 x 16 pixels")


def test_features_of_lite0_are_those_of_the_pretrained_network():
    needs_package("efficientnet-lite0")
    images = IMAGES[:2].repeat(3, -1)
    found = features.lite0(images)
    _, apply = Trained.open("efficientnet-lite0", "test").spec.build()
    (_, seen), _ = apply(Trained.open("efficientnet-lite0", "test").variables, resized(images, 96), False, None)
    np.testing.assert_allclose(found, seen["features"], atol=1e-4)
    np.testing.assert_allclose(features.lite0(IMAGES[:2]), found, atol=1e-4)
