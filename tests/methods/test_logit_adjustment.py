"""The bias that takes the prior out of predictions."""

import numpy as np
import pytest
from scipy.special import log_softmax

from efficient_jax.errors import UserError
from efficient_jax.methods.logit_adjustment import logit_adjustment

PRIOR = np.array([0.6, 0.3, 0.1])


def test_posteriors_become_those_of_equally_frequent_classes():
    """Bayes' rule: log p(class | x) - log prior is log p(x | class) up to a constant."""
    likelihood = np.random.default_rng(0).normal(size=(50, 3))
    posterior = log_softmax(likelihood + np.log(PRIOR), axis=1)
    np.testing.assert_allclose(
        log_softmax(posterior + logit_adjustment(PRIOR), axis=1), log_softmax(likelihood, axis=1), rtol=1e-9
    )


def test_strength_scales_the_bias():
    np.testing.assert_allclose(logit_adjustment(PRIOR, strength=0.5), 0.5 * logit_adjustment(PRIOR))
    np.testing.assert_allclose(logit_adjustment(PRIOR).mean(), 0.0, atol=1e-12)


@pytest.mark.parametrize(
    ("frequencies", "settings", "message"),
    [([0.5, 0.5, 0.0], {}, "has no labelled image"), ([0.5, 0.5], {"strength": -1.0}, "method.strength: -1.0 is neg")],
)
def test_what_cannot_be_adjusted_is_refused(frequencies, settings, message):
    with pytest.raises(UserError, match=message):
        logit_adjustment(np.array(frequencies), **settings)
