"""linear_probe: which head it takes for one class and for several labels."""

import numpy as np
import pytest

from efficient_jax import linear_head
from efficient_jax.methods.linear_probe import linear_probe
from efficient_jax.types import UserError

RNG = np.random.default_rng(0)
FEATURES = RNG.standard_normal((40, 5))
TAGS = (FEATURES[:, :3] + 0.3 * RNG.standard_normal((40, 3)) > 0.4).astype(float)


@pytest.mark.parametrize("l2", [0.0, 1.5])
def test_of_several_labels_each_has_a_head_by_itself(l2):
    both = linear_probe(FEATURES, TAGS, 0, None, True, head="logistic", l2=l2)
    alone = linear_head.logistic(FEATURES, TAGS[:, 1:2], both.l2, multi_label=True)
    np.testing.assert_allclose(both.kernel[:, 1:2], alone[0], atol=1e-3)
    np.testing.assert_allclose(both.bias[1], alone[1][0], atol=1e-3)


@pytest.mark.parametrize("l2", [0.0, 1.5])
def test_half_way_is_the_threshold_of_ridge(l2):
    """A sigmoid of 0.5 belongs to a prediction of 0.5."""
    choice = linear_probe(FEATURES, TAGS, 0, None, True, head="ridge", l2=l2)
    kernel, bias = linear_head.ridge(FEATURES, TAGS, choice.l2)
    np.testing.assert_allclose(FEATURES @ choice.kernel + choice.bias, FEATURES @ kernel + bias - 0.5, atol=1e-9)


def test_one_class_is_as_without_labels():
    classes = np.eye(3)[TAGS.argmax(1)]
    choice = linear_probe(FEATURES, classes, 0, None, False, head="ridge", l2=1.5)
    np.testing.assert_allclose(choice.bias, linear_head.ridge(FEATURES, classes, 1.5)[1])


@pytest.mark.parametrize("l2", [0.0, 1.5])
def test_an_unknown_head_is_said(l2):
    with pytest.raises(UserError, match="unknown name 'rigde'; did you mean 'ridge'"):
        linear_probe(FEATURES, TAGS, 0, None, True, head="rigde", l2=l2)
