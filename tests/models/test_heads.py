"""Heads on features: by their definitions in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efficient_jax import models
from efficient_jax.models import heads, vit

RNG = np.random.default_rng(0)
X, FEATURES = RNG.standard_normal((7, 6)), RNG.standard_normal((40, 6))
LABELS = np.eye(3)[RNG.integers(0, 3, 40)]
SCALE = 0.5


def normal(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def computed(name, params):
    tree = {key: np.float32(value) for key, value in params.items()}
    return jax.jit(heads.HEADS[name])(tree, np.float32(X))


def test_neighbours_vote_by_their_cosine():
    params = {"features": normal(FEATURES), "labels": LABELS, "scale": SCALE, "bias": np.array([0.0, 0.0, 0.1])}
    expected = []
    for x in normal(X):
        similarity = normal(FEATURES) @ x
        nearest = np.argsort(-similarity)[:20]
        votes = sum(np.exp(similarity[i] / 0.07) * LABELS[i] for i in nearest)
        expected.append(SCALE * np.log(votes + 1 / 3) + params["bias"])
    np.testing.assert_allclose(computed("knn", params), expected, rtol=1e-4)


def test_fewer_images_than_neighbours_all_vote():
    params = {"features": normal(FEATURES[:2]), "labels": LABELS[:2], "scale": 1.0, "bias": np.zeros(3)}
    votes = np.exp(normal(X) @ normal(FEATURES[:2]).T / 0.07) @ LABELS[:2]
    np.testing.assert_allclose(computed("knn", params), np.log(votes + 1 / 3), rtol=1e-4)


def test_cosines_do_not_depend_on_lengths():
    kernel = RNG.standard_normal((6, 3))
    params = {"kernel": 7.0 * kernel, "scale": 4.0, "bias": np.zeros(3)}
    expected = 4.0 * normal(X) @ (kernel / np.linalg.norm(kernel, axis=0))
    np.testing.assert_allclose(computed("cosine", params), expected, atol=1e-5)


def test_tip_adapter_adds_similar_images_to_zero_shot_logits():
    kernel = normal(RNG.standard_normal((3, 6))).T
    params = {"kernel": kernel, "features": normal(FEATURES), "labels": LABELS, "alpha": 2.0, "beta": 5.5}
    affinity = np.exp(-5.5 * (1.0 - normal(X) @ normal(FEATURES).T))
    expected = 100.0 * normal(X) @ kernel + 2.0 * affinity @ LABELS
    np.testing.assert_allclose(computed("tip_adapter", params | {"bias": np.zeros(3)}), expected, rtol=1e-4, atol=1e-3)


def test_features_of_tokens_leave_out_those_in_front():
    tokens = jnp.arange(24.0).reshape(1, 4, 6)
    seen = {"features": tokens[:, 0], "tokens": tokens}
    found = heads.features(seen, 2)
    np.testing.assert_array_equal(found["cls"][0], tokens[0, 0])
    np.testing.assert_array_equal(found["mean"][0], tokens[0, 2:].mean(0))
    np.testing.assert_array_equal(found["cls_mean"][0], np.concatenate([found["cls"][0], found["mean"][0]]))
    assert set(heads.features(seen, 0)) == {"network", "mean"}
    assert set(heads.features({"features": tokens[:, 0]}, 0)) == {"network"}


@pytest.mark.parametrize("train", [False, True])
def test_another_head_takes_the_place_of_the_models_own(monkeypatch, train):
    monkeypatch.setitem(vit.SIZES, "narrow", (6, 1, 2))
    module = models.ViT(3, "narrow/8")
    variables = models.init(module, jax.random.key(0), (16, 16, 1))
    head = {"kernel": np.float32(RNG.standard_normal((12, 3))), "bias": np.float32([0.0, 1.0, 2.0])}
    variables = {"params": variables["params"] | {"head": head}}
    images = RNG.integers(0, 256, (2, 16, 16, 1), np.uint8)
    apply = models.make_apply(module, (0.5,), (0.25,), head={"name": "linear", "pool": "cls_mean"})
    (logits, seen), _ = jax.jit(lambda v: apply(v, images, train, None))(variables)
    tokens = np.float64(seen["tokens"])
    taken = np.concatenate([tokens[:, 0], tokens[:, 1:].mean(1)], 1)
    np.testing.assert_allclose(logits, taken @ head["kernel"] + head["bias"], atol=1e-5)
    np.testing.assert_array_equal(logits, seen["logits"])
    np.testing.assert_allclose(seen["features"], taken, atol=1e-6)
