"""The thresholds of classes, and what is remembered."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efficient_jax.methods.flexmatch import OUTSIDE, UNSURE, memory, remember, thresholds


@pytest.mark.parametrize(
    ("remembered", "expected"),
    [
        ([0, 1, 2, 0, 1, 2], [0.9, 0.9, 0.9]),  # even, none unsure: the threshold of FixMatch
        ([UNSURE] * 6, [0.0, 0.0, 0.0]),  # nothing seen yet: everything passes
        ([0, 0, 0, 0, 1, 1], [0.9, 0.9 * 0.5 / 1.5, 0.0]),
        ([0, 0, 1, UNSURE, UNSURE, UNSURE, UNSURE], [0.9 * 0.5 / 1.5, 0.9 * 0.25 / 1.75, 0.0]),  # over the unsure
        ([0, 0, 1, 1, OUTSIDE, OUTSIDE, OUTSIDE, 2, 2], [0.9, 0.9, 0.9]),  # other images do not count
    ],
)
def test_thresholds(remembered, expected):
    np.testing.assert_allclose(thresholds(jnp.array(remembered, jnp.int32), 3, 0.9), expected, rtol=1e-6)


def test_more_sure_images_never_lower_a_threshold():
    run = jax.jit(thresholds, static_argnums=(1, 2))
    remembered = [jnp.array([0] * 8 + [1] * n + [OUTSIDE] * (8 - n), jnp.int32) for n in range(9)]
    found = [float(run(each, 2, 0.95)[1]) for each in remembered]
    assert found == sorted(found)
    np.testing.assert_allclose(found[-1], 0.95, rtol=1e-6)


def test_only_the_pool_is_remembered():
    np.testing.assert_array_equal(
        memory({"unlabelled": np.array([1, 3, 3])}, 5, 3)["judge"], [OUTSIDE, UNSURE, OUTSIDE, UNSURE, OUTSIDE]
    )


def test_the_last_sure_class_is_kept():
    before = jnp.array([2, UNSURE, 1, OUTSIDE], jnp.int32)
    after = remember(before, jnp.array([0, 1, 1, 0]), jnp.array([0, 0, 1, UNSURE]))
    np.testing.assert_array_equal(after, [0, 1, 1, OUTSIDE])
