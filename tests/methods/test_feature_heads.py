"""Heads on features that are not linear: fitted on the host, applied on the devices."""

import jax
import numpy as np
import pytest
from scipy.special import softmax
from sklearn.neighbors import KNeighborsClassifier

from efficient_jax.errors import UserError
from efficient_jax.methods import feature_heads
from efficient_jax.methods.linear_probe import linear_probe, read_embeddings
from efficient_jax.models import heads
from efficient_jax.tasks import CLASSIFICATION, MULTI_LABEL

RNG = np.random.default_rng(0)
CENTRES = RNG.standard_normal((3, 12))
CLASSES = ("ant", "bee", "cat")
HEAD = CLASSIFICATION.head


def drawn(n, spread=1.0, seed=1):
    rng, labels = np.random.default_rng(seed), np.arange(n) % 3
    features = CENTRES[labels] + spread * rng.standard_normal((n, 12))
    return features.astype(np.float32), np.eye(3, dtype=np.float32)[labels]


DATA, TEST = drawn(60), drawn(90, seed=2)


def logits(name, params, x):
    tree = {key: np.float32(value) for key, value in params.items()}
    return np.asarray(jax.jit(heads.HEADS[name])(tree, np.float32(x)))


def said(head, x):
    return logits(head.name, head.params, x)


def probe(features=None, targets=DATA[1], task=CLASSIFICATION, validation=None, **settings):
    features = {"network": DATA[0]} if features is None else features
    return linear_probe(features, targets, 0, validation, task, CLASSES, **settings)


def test_neighbours_are_scikit_learns():
    """With weights that grow as exp(cosine / T), up to the vote that all classes share."""
    theirs = KNeighborsClassifier(20, metric="cosine", weights=lambda d: np.exp((1.0 - d) / 0.07)).fit(
        DATA[0].astype(np.float64), DATA[1].argmax(1)
    )
    ours = softmax(feature_heads.knn_logits(*DATA, TEST[0]), axis=1)
    np.testing.assert_allclose(ours, theirs.predict_proba(TEST[0].astype(np.float64)), atol=1e-3)
    fitted = feature_heads.knn(DATA, 0, None, HEAD)
    scaled = fitted.params["scale"] * feature_heads.knn_logits(*DATA, TEST[0])
    np.testing.assert_allclose(said(fitted, TEST[0]), scaled, rtol=1e-3, atol=1e-3)


def test_cosines_end_where_the_loss_is_flat():
    """Class weights are as good as those around them, and better than the class means with which they start."""
    fitted = feature_heads.cosine(DATA, 0, None, HEAD)
    scale = float(fitted.about.split()[-1])
    path = dict(feature_heads._cosine_path(*DATA, HEAD))
    x, kernel = heads.unit(DATA[0]), path[scale]

    def loss(kernel):
        unit = kernel / np.linalg.norm(kernel, axis=0)
        return HEAD.loss(np.float64(scale * (x @ unit)), DATA[1])[0]

    means = DATA[0].T @ DATA[1]
    assert loss(kernel) < loss(means)
    around = [loss(kernel + 0.02 * RNG.standard_normal(kernel.shape)) for _ in range(10)]
    assert loss(kernel) < min(around)


@pytest.mark.parametrize("name", ["cosine", "knn"])
def test_held_out_images_scale_the_probabilities(name):
    """Their likelihood is near the best that any other scale has on new images."""
    fitted = getattr(feature_heads, name)(drawn(150, 2.0), 0, None, HEAD)
    new = drawn(600, 2.0, seed=5)
    base = said(fitted, new[0])
    likelihoods = {s: HEAD.mean_loss(s * base, new[1]) for s in (0.25, 0.5, 1.0, 2.0, 4.0)}
    assert likelihoods[1.0] < 1.1 * min(likelihoods.values())


def test_tip_adapter_of_no_labelled_images_is_zero_shot():
    fitted = feature_heads.tip_adapter(CENTRES)((DATA[0][:0], DATA[1][:0]), 0, None, HEAD, 1)
    unit = TEST[0] / np.linalg.norm(TEST[0], axis=1, keepdims=True)
    expected = 100.0 * unit @ (CENTRES / np.linalg.norm(CENTRES, axis=1, keepdims=True)).T
    np.testing.assert_allclose(said(fitted, TEST[0]), expected, rtol=1e-4, atol=1e-3)


def test_tip_adapter_takes_the_alpha_and_beta_of_held_out_images():
    """By the definition, over the whole grid. Embeddings of the wrong classes leave all to the labelled images."""
    fitted = feature_heads.tip_adapter(CENTRES[::-1])(DATA, 0, TEST, HEAD, 1)

    def unit(x):
        return np.float64(x) / np.linalg.norm(x, axis=1, keepdims=True)

    def right(alpha, beta):
        affinity = np.exp(-beta * (1.0 - unit(TEST[0]) @ unit(DATA[0]).T))
        logits = 100.0 * unit(TEST[0]) @ unit(CENTRES[::-1]).T + alpha * affinity @ DATA[1]
        return (logits.argmax(1) == TEST[1].argmax(1)).mean()

    grid = max(right(a, b) for a in feature_heads.ALPHAS for b in feature_heads.BETAS)
    chosen = right(float(fitted.params["alpha"]), float(fitted.params["beta"]))
    assert fitted.score == pytest.approx(grid) == pytest.approx(chosen)
    assert (said(fitted, TEST[0]).argmax(1) == TEST[1].argmax(1)).mean() == pytest.approx(grid)
    assert fitted.params["alpha"] > 0.0


def test_the_best_head_and_features_are_chosen_on_labelled_images():
    """Features that are noise lose; equal ones are tried once."""
    noise = RNG.standard_normal(DATA[0].shape).astype(np.float32)
    features = {"network": noise, "cls": noise, "mean": DATA[0]}
    found = probe(features, head="best", pool="best")
    assert found.pool == "mean"
    assert {(row["head"], row["pool"]) for row in found.tried} == {
        (head, pool) for head in ("ridge", "logistic", "cosine", "knn") for pool in ("network", "mean")
    }
    scores = [row["score"] for row in found.tried]
    assert scores == sorted(scores, reverse=True)
    assert found.head.score == scores[0] > 0.8 > max(r["score"] for r in found.tried if r["pool"] == "network")


def test_validation_images_choose_in_place_of_folds():
    found = probe(head="knn", validation=({"network": TEST[0]}, TEST[1]))
    assert found.head.score == (said(found.head, TEST[0]).argmax(1) == TEST[1].argmax(1)).mean()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"head": "logistc"}, "method.head: unknown name 'logistc'; did you mean 'logistic'"),
        ({"head": "knn", "l2": 0.5}, "method.l2: the head 'knn' does not read it; 'ridge' and 'logistic' do"),
        ({"class_embeddings": "x.npz"}, "method.class_embeddings: the head 'logistic' does not read it"),
        ({"pool": "cls"}, "method.pool: unknown name 'cls'"),
        ({"head": "tip_adapter"}, "method.class_embeddings: 'tip_adapter' needs an"),
        ({"head": "knn", "task": MULTI_LABEL}, "method.head: 'knn' is for one class per image"),
        ({"head": "knn", "features": {"network": DATA[0][:0]}, "targets": DATA[1][:0]}, "needs labelled images"),
    ],
)
def test_what_does_not_fit_is_said(settings, message):
    with pytest.raises(UserError, match=message):
        probe(**settings)


def test_embeddings_are_found_by_the_names_of_classes(tmp_path):
    path = str(tmp_path / "classes.npz")
    vectors = dict(zip(CLASSES, CENTRES, strict=True))
    np.savez(path, wasp=CENTRES[0], **dict(reversed(vectors.items())))
    np.testing.assert_array_equal(read_embeddings(path, CLASSES), CENTRES.astype(np.float32))
    with pytest.raises(UserError, match="has no class 'bea'; did you mean 'bee'"):
        read_embeddings(path, ("ant", "bea"))
    best = probe(head="best", class_embeddings=path)
    assert "tip_adapter" in {row["head"] for row in best.tried}
    with pytest.raises(UserError, match="vectors of 12 numbers, but the features have 5"):
        probe({"network": DATA[0][:, :5]}, head="tip_adapter", class_embeddings=path)
    for content in (b"", b"PK no zip"):
        (tmp_path / "broken.npz").write_bytes(content)
        with pytest.raises(UserError, match="cannot be read as"):
            read_embeddings(str(tmp_path / "broken.npz"), CLASSES)
