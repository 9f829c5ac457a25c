"""linear_probe: which head it takes for one class and for several labels."""

import numpy as np
import pytest
from scipy import special

from efficient_jax.errors import UserError
from efficient_jax.methods import linear_head
from efficient_jax.metrics import accuracy, calibration
from efficient_jax.tasks import CLASSIFICATION, MULTI_LABEL

RNG = np.random.default_rng(0)
FEATURES = RNG.standard_normal((40, 5))
TAGS = (FEATURES[:, :3] + 0.3 * RNG.standard_normal((40, 3)) > 0.4).astype(float)


@pytest.mark.parametrize("l2", [0.0, 1.5])
def test_of_several_labels_each_has_a_head_by_itself(l2):
    both = linear_head.calibrated(FEATURES, TAGS, 0, None, MULTI_LABEL.head, kind="logistic", l2=l2)
    alone = linear_head.logistic(FEATURES, TAGS[:, 1:2], both.l2, MULTI_LABEL.head)
    np.testing.assert_allclose(both.kernel[:, 1:2], alone[0], atol=1e-3)
    np.testing.assert_allclose(both.bias[1], alone[1][0], atol=1e-3)


@pytest.mark.parametrize("l2", [0.0, 1.5])
def test_half_way_is_the_threshold_of_ridge(l2):
    """A sigmoid of 0.5 belongs to a prediction of 0.5."""
    choice = linear_head.calibrated(FEATURES, TAGS, 0, None, MULTI_LABEL.head, kind="ridge", l2=l2)
    kernel, bias = linear_head.ridge(FEATURES, TAGS, choice.l2)
    scaled = choice.scale * (FEATURES @ kernel + bias - 0.5)
    np.testing.assert_allclose(FEATURES @ choice.kernel + choice.bias, scaled, atol=1e-9)


@pytest.mark.parametrize("validation", [None, (FEATURES[::2], np.eye(3)[TAGS.argmax(1)][::2])])
def test_one_class_is_ridges_answer(validation):
    classes = np.eye(3)[TAGS.argmax(1)]
    choice = linear_head.calibrated(FEATURES, classes, 0, validation, CLASSIFICATION.head, kind="ridge", l2=1.5)
    kernel, bias = linear_head.ridge(FEATURES, classes, 1.5)
    np.testing.assert_allclose(choice.kernel, choice.scale * kernel)
    np.testing.assert_allclose(choice.bias, choice.scale * bias)
    assert choice.scale > 1.0  # a softmax of 0 .. 1 hardly differs from class to class


@pytest.mark.parametrize(("spread", "task"), [(s, task) for task in (CLASSIFICATION, MULTI_LABEL) for s in (0.3, 1.5)])
def test_probabilities_of_ridge_are_calibrated(spread, task):
    """On new images; without the scale the error was 0.73 of ten classes at 100% accuracy."""
    rng, classes = np.random.default_rng(0), 10
    centres = np.random.default_rng(1).normal(size=(classes, 32))

    def drawn(n):
        labels = np.arange(n) % classes
        features = centres[labels] + spread * rng.normal(size=(n, 32))
        targets = np.eye(classes)[labels]
        return features, np.maximum(targets, np.roll(targets, 1, 1)) if task is MULTI_LABEL else targets

    choice = linear_head.calibrated(*drawn(200), 0, None, task.head, kind="ridge")
    features, targets = drawn(2000)
    logits = features @ choice.kernel + choice.bias
    if task is MULTI_LABEL:
        yes = special.expit(logits).ravel()
        said, right = np.stack([1 - yes, yes], 1), targets.ravel().astype(int)
    else:
        said, right = special.softmax(logits, axis=1), targets.argmax(1)
    assert calibration.expected_calibration_error(said, right) < 0.05
    best = calibration.tempered(said, calibration.temperature(said, right))  # of these images
    likelihoods = [accuracy.negative_log_likelihood(each, right) for each in (said, best)]
    assert likelihoods[0] < 1.05 * likelihoods[1] + 0.01


def test_the_scale_by_hand():
    """9 of 10 are right by a margin of 0.5: one more is half right, so the odds are 9.5 to 1.5."""
    predicted = np.where(np.arange(10)[:, None] == 3, [[0.25, 0.75]], [[0.75, 0.25]])
    for task, margin in ((CLASSIFICATION, 0.5), (MULTI_LABEL, 0.25)):
        found = linear_head.ridge_scale(predicted, np.eye(2)[np.zeros(10, int)], task.head)
        assert found == pytest.approx(np.log(9.5 / 1.5) / margin, rel=1e-4)


@pytest.mark.parametrize("l2", [0.0, 1.5])
def test_what_cannot_be_held_out_is_not_calibrated(l2):
    choice = linear_head.calibrated(FEATURES[:3], np.eye(3), 0, None, CLASSIFICATION.head, kind="ridge", l2=l2)
    assert (np.isnan(choice.score), choice.scale) == (True, 1.0)


@pytest.mark.parametrize("l2", [0.0, 1.5])
def test_an_unknown_head_is_said(l2):
    with pytest.raises(UserError, match="unknown name 'rigde'; did you mean 'ridge'"):
        linear_head.calibrated(FEATURES, TAGS, 0, None, MULTI_LABEL.head, kind="rigde", l2=l2)
