import numpy as np
import pytest
from scipy.special import expit, softmax
from sklearn.linear_model import LogisticRegression, Ridge

from efficient_jax.data import label_errors
from efficient_jax.data.label_noise import flipped
from efficient_jax.errors import UserError
from efficient_jax.methods import held_out, linear_head
from efficient_jax.tasks import CLASSIFICATION, MULTI_LABEL

rng = np.random.default_rng(0)
FEATURES = (rng.normal(size=(60, 8)) * 3.0 + 5.0).astype(np.float32)
CLASSES = rng.integers(0, 3, 60)
TARGETS = np.eye(3, dtype=np.float32)[CLASSES]
TAGS = (rng.random((60, 3)) < 0.4).astype(np.float32)


@pytest.mark.parametrize("n", [60, 5], ids=["more examples than features", "fewer"])
@pytest.mark.parametrize("l2", [1e-3, 1.0, 1000.0])
def test_ridge_is_scikit_learns(n, l2):
    kernel, bias = linear_head.ridge(FEATURES[:n], TARGETS[:n], l2)
    theirs = Ridge(alpha=l2).fit(FEATURES[:n].astype(np.float64), TARGETS[:n])
    np.testing.assert_allclose(kernel, theirs.coef_.T, atol=1e-4)
    np.testing.assert_allclose(bias, theirs.intercept_, atol=1e-4)


def test_ridge_interpolates_with_a_vanishing_penalty():
    kernel, bias = linear_head.ridge(FEATURES[:5], TARGETS[:5], 2.0**-20)
    np.testing.assert_allclose(FEATURES[:5] @ kernel + bias, TARGETS[:5], atol=1e-4)


@pytest.mark.parametrize("kind", linear_head.KINDS)
def test_a_path_is_its_heads(kind):
    l2s = (0.5, 8.0, 2.0)
    kernels, biases = linear_head.KINDS[kind](FEATURES, TARGETS, l2s)
    for kernel, bias, l2 in zip(kernels, biases, l2s, strict=True):
        alone = {"ridge": linear_head.ridge, "logistic": linear_head.logistic}[kind](FEATURES, TARGETS, l2)
        np.testing.assert_allclose(kernel, alone[0], atol=1e-4)
        np.testing.assert_allclose(bias, alone[1], atol=1e-3)


@pytest.mark.parametrize("n", [60, 7], ids=["more examples than features", "fewer"])
@pytest.mark.parametrize("l2", [0.1, 10.0])
def test_logistic_is_scikit_learns(l2, n):
    assert set(CLASSES[:n]) == {0, 1, 2}
    kernel, bias = linear_head.logistic(FEATURES[:n], TARGETS[:n], l2)
    features = FEATURES.astype(np.float64)
    theirs = LogisticRegression(C=1.0 / l2, tol=1e-8, max_iter=10_000).fit(features[:n], CLASSES[:n])
    np.testing.assert_allclose(kernel, theirs.coef_.T, atol=1e-4)
    np.testing.assert_allclose(softmax(features @ kernel + bias, axis=1), theirs.predict_proba(features), atol=2e-4)


def test_directions_that_hardly_vary_are_learned_in_few_iterations(monkeypatch):
    monkeypatch.setattr(linear_head, "ITERATIONS", 40)
    features = (FEATURES - FEATURES.mean(0)) * np.logspace(0, -3, 8, dtype=np.float32)
    kernel, _ = linear_head.logistic(features, TARGETS, 1e-6)
    settings = {"C": 1e6, "solver": "newton-cg", "tol": 1e-10, "max_iter": 1000}
    theirs = LogisticRegression(**settings).fit(features.astype(np.float64), CLASSES)
    np.testing.assert_allclose(kernel, theirs.coef_.T, rtol=1e-2, atol=1e-2)


def test_multi_label_logistic_is_one_against_the_rest():
    kernel, bias = linear_head.logistic(FEATURES, TAGS, 2.0, head=MULTI_LABEL.head)
    for k in range(3):
        theirs = LogisticRegression(C=0.5, tol=1e-8, max_iter=10_000).fit(FEATURES.astype(np.float64), TAGS[:, k])
        np.testing.assert_allclose(kernel[:, k], theirs.coef_[0], atol=1e-4)
        np.testing.assert_allclose(bias[k], theirs.intercept_[0], atol=1e-3)


def test_soft_targets_are_hard_ones_repeated():
    """Targets (0.75, 0.25, 0) are four copies of the image, three of the first class and one of the second."""
    soft = 0.75 * TARGETS + 0.25 * np.roll(TARGETS, 1, axis=1)
    kernel, bias = linear_head.logistic(FEATURES, soft, 1.0)
    copies = np.concatenate([TARGETS, TARGETS, TARGETS, np.roll(TARGETS, 1, axis=1)])
    repeated = linear_head.logistic(np.tile(FEATURES, (4, 1)), copies, 4.0)
    np.testing.assert_allclose(kernel, repeated[0], atol=1e-4)
    np.testing.assert_allclose(bias, repeated[1], atol=1e-3)


def test_images_without_a_target_do_not_count():
    kernel, bias = linear_head.logistic(FEATURES[:40], TARGETS[:40], 1.0)
    padded = linear_head.logistic(FEATURES, np.concatenate([TARGETS[:40], np.zeros((20, 3))]), 1.0)
    np.testing.assert_allclose(padded[0], kernel, atol=1e-4)
    np.testing.assert_allclose(padded[1], bias, atol=1e-3)


def test_without_features_the_bias_knows_the_frequencies():
    constant = np.full((60, 2), 7.0, np.float32)
    _, bias = linear_head.logistic(constant, TARGETS, 1.0)
    np.testing.assert_allclose(softmax(bias), TARGETS.mean(0), atol=1e-5)
    _, bias = linear_head.logistic(constant, TAGS, 1.0, head=MULTI_LABEL.head)
    np.testing.assert_allclose(expit(bias), TAGS.mean(0), atol=1e-5)


def clusters(per_class, spread=1.0, classes=4, seed=1):
    """Images around the mean of their class, in 16 dimensions."""
    draw = np.random.default_rng(seed)
    centres = np.random.default_rng(0).normal(size=(classes, 16))
    labels = np.repeat(np.arange(classes), per_class)
    features = centres[labels] + spread * draw.normal(size=(len(labels), 16))
    return features.astype(np.float32), np.eye(classes, dtype=np.float32)[labels]


@pytest.mark.parametrize("kind", linear_head.KINDS)
def test_the_choice_is_good_on_new_images(kind):
    chosen = linear_head.choose(*clusters(10), kind=kind, seed=0)
    features, targets = clusters(200, seed=2)
    accuracy = ((features @ chosen.kernel + chosen.bias).argmax(1) == targets.argmax(1)).mean()
    paths = linear_head.KINDS[kind](*clusters(10), linear_head.penalties(clusters(10)[0], kind))
    every = [((features @ k + b).argmax(1) == targets.argmax(1)).mean() for k, b in zip(*paths, strict=True)]
    assert max(every) - 0.03 < accuracy <= max(every) + 0.01
    assert abs(chosen.score - accuracy) < 0.15


@pytest.mark.parametrize("kind", linear_head.KINDS)
def test_the_head_is_trained_on_all_labels_with_the_chosen_penalty(kind):
    features, targets = clusters(5)
    chosen = linear_head.choose(features, targets, kind=kind, seed=0)
    fit = {"ridge": linear_head.ridge, "logistic": linear_head.logistic}[kind]
    np.testing.assert_allclose(chosen.kernel, fit(features, targets, chosen.l2)[0], atol=1e-6)


def test_the_unit_of_the_penalties():
    for features in (FEATURES, FEATURES[:5]):  # more examples than features, and fewer
        eigenvalues = np.linalg.svd(features - features.mean(0), compute_uv=False) ** 2
        one = linear_head.penalties(features, "ridge")[20]  # 2 to the power of 0
        np.testing.assert_allclose(one, eigenvalues.mean(), rtol=1e-4)


@pytest.mark.parametrize("kind", linear_head.KINDS)
def test_the_scale_of_the_features_does_not_matter(kind):
    features, targets = clusters(5)
    one, large = (linear_head.choose(scale * features, targets, kind=kind, seed=0) for scale in (1.0, 256.0))
    np.testing.assert_allclose(large.l2, 256.0**2 * one.l2, rtol=1e-5)
    np.testing.assert_allclose(256.0 * large.kernel, one.kernel, atol=1e-4)


def test_pure_noise_scores_at_chance():
    """Within the labelled images nothing that is scored was trained on."""
    features = np.random.default_rng(3).normal(size=(200, 400)).astype(np.float32)
    targets = np.eye(4, dtype=np.float32)[np.random.default_rng(4).integers(0, 4, 200)]
    assert linear_head.choose(features, targets, kind="ridge", seed=0).score < 0.40


def test_validation_images_choose_when_given():
    """By the right ones, and among equals by the squared error."""
    features, targets = clusters(5)
    held = clusters(5, seed=10)
    chosen = linear_head.choose(features, targets, kind="ridge", seed=0, validation=held)
    l2s = np.array(linear_head.penalties(features, "ridge"))
    outputs = [held[0] @ k + b for k, b in (linear_head.ridge(features, targets, l2) for l2 in l2s)]
    scores = np.array([(each.argmax(1) == held[1].argmax(1)).mean() for each in outputs])
    errors = np.array([np.square(each - held[1]).mean() for each in outputs])
    best = np.flatnonzero(scores == scores.max())
    assert errors[best].argmin() not in (0, len(best) - 1)
    assert chosen.score == scores.max()
    np.testing.assert_allclose(chosen.l2, l2s[best[errors[best].argmin()]], rtol=1e-6)


@pytest.mark.parametrize("kind", linear_head.KINDS)
def test_equal_scores_are_told_apart_by_the_error(kind):
    """Every penalty gets easy images right; a strong one would leave the predictions near the frequencies."""
    features, targets = clusters(10, spread=0.1)
    chosen = linear_head.choose(features, targets, kind=kind, seed=0)
    logits = features @ chosen.kernel + chosen.bias
    predicted = logits if kind == "ridge" else softmax(logits, axis=1)
    assert chosen.score == 1.0
    assert (predicted * targets).sum(1).min() > 0.8


@pytest.mark.parametrize("kind", linear_head.KINDS)
@pytest.mark.parametrize("counts", [(1, 1, 1, 1), (1, 2, 1, 1), (2, 3, 1, 9), (0, 6, 0, 6)])
def test_classes_with_few_images_or_none(kind, counts):
    features, targets = clusters(10)
    rows = np.concatenate([10 * label + np.arange(count) for label, count in enumerate(counts)])
    chosen = linear_head.choose(features[rows], targets[rows], kind=kind, seed=0)
    assert np.isfinite(chosen.kernel).all()
    assert np.isnan(chosen.score) == (max(counts) <= 2)
    right = (features[rows] @ chosen.kernel + chosen.bias).argmax(1) == targets[rows].argmax(1)
    assert right.mean() > 0.9


def test_no_class_is_held_out_as_a_whole():
    labels = np.repeat(np.arange(4), (1, 2, 3, 9))
    folds = held_out.folds(np.eye(4)[labels], 0, CLASSIFICATION.head)
    assert folds[0] == -1
    for label in (1, 2, 3):
        counts = np.bincount(folds[labels == label], minlength=5)
        assert counts.max() - counts.min() <= 1
        assert len(set(folds[labels == label])) > 1


@pytest.mark.parametrize("kind", linear_head.KINDS)
def test_multi_label_choice(kind):
    """Two tags, each along its own feature, one of them rare, and one that never occurs."""
    features = np.random.default_rng(6).normal(size=(100, 6)).astype(np.float32)
    tags = np.stack([features[:, 0] > 0.0, features[:, 1] > 1.3, np.zeros(100, bool)], axis=1).astype(np.float32)
    chosen = linear_head.choose(features, tags, kind=kind, seed=0, head=MULTI_LABEL.head)
    assert 0.85 < chosen.score <= 1.0
    assert linear_head.choose(features, tags[::-1], kind=kind, seed=0, head=MULTI_LABEL.head).score < 0.6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((FEATURES, TARGETS, 0.0), "must be greater than 0"),
        ((FEATURES[1:], TARGETS, 1.0), r"targets \[60, 3\] do not fit features \[59, 8\]"),
        ((FEATURES, CLASSES, 1.0), r"targets \[60\] do not fit"),
        ((FEATURES[:0], TARGETS[:0], 1.0), "n at least 1"),
    ],
)
@pytest.mark.parametrize("fit", [linear_head.ridge, linear_head.logistic])
def test_what_does_not_fit_is_said(fit, arguments, message):
    with pytest.raises(UserError, match=message):
        fit(*arguments)


def test_tags_that_nobody_has():
    with pytest.raises(UserError, match="no example that is held out has a label"):
        linear_head.choose(FEATURES, np.zeros_like(TAGS), kind="ridge", seed=0, head=MULTI_LABEL.head)


def test_an_unknown_kind():
    with pytest.raises(UserError, match="kind: unknown name 'rigde'; did you mean 'ridge'"):
        linear_head.choose(FEATURES, TARGETS, kind="rigde", seed=0)


def test_the_views_of_an_example_do_not_answer_for_each_other():
    """Noise cannot be predicted, except from its own copy: chosen with `views`, the score stays near chance."""
    rng = np.random.default_rng(0)
    features, targets = rng.normal(size=(60, 200)), np.eye(2)[np.arange(60) % 2]
    copies = np.concatenate([features, features + 0.01 * rng.normal(size=features.shape)]), np.tile(targets, (2, 1))
    honest, leaking = (linear_head.choose(*copies, kind="ridge", seed=0, views=views).score for views in (2, 1))
    assert honest < 0.7 < 0.9 < leaking


def test_out_of_fold_probabilities_are_those_of_heads_on_the_other_folds():
    """The definition in float64: normal equations of every penalty, without an eigendecomposition."""
    fold, x, y = held_out.folds(TARGETS, 3, CLASSIFICATION.head), FEATURES.astype(np.float64), TARGETS
    predictions = []
    for l2 in linear_head.penalties(FEATURES, "ridge"):
        predicted = np.empty((60, 3))
        for k in range(5):
            train, held = fold != k, fold == k
            mean, mean_target = x[train].mean(0), y[train].mean(0)
            gram = (x[train] - mean).T @ (x[train] - mean) + l2 * np.eye(8)
            kernel = np.linalg.solve(gram, (x[train] - mean).T @ (y[train] - mean_target))
            predicted[held] = mean_target + (x[held] - mean) @ kernel
        predictions.append(predicted)
    right = [(predicted.argmax(1) == CLASSES).sum() for predicted in predictions]
    best = max(range(len(right)), key=lambda i: (right[i], -np.square(predictions[i] - y).mean()))
    scale = linear_head.ridge_scale(predictions[best], y, CLASSIFICATION.head)
    found = linear_head.out_of_fold(FEATURES, TARGETS, 3)
    np.testing.assert_allclose(found, softmax(scale * predictions[best], 1), atol=1e-5)


@pytest.mark.parametrize(("share", "precision", "recall"), [(0.2, 0.95, 0.85), (0.4, 0.9, 0.85)])
def test_planted_wrong_labels_of_separable_features_are_found(share, precision, recall):
    rng = np.random.default_rng(1)
    truth = np.arange(400) % 4
    features = (4.0 * np.eye(4, 16)[truth] + rng.normal(size=(400, 16))).astype(np.float32)
    labels = flipped(truth, np.arange(400), 4, share, seed=2)
    rows, seems = label_errors.suspects(
        labels, linear_head.out_of_fold(features, np.eye(4, dtype=np.float32)[labels], 0)
    )
    wrong = labels[rows] != truth[rows]
    assert wrong.mean() >= precision
    assert wrong.sum() >= recall * share * 400
    assert (seems[wrong] == truth[rows[wrong]]).mean() >= 0.95
