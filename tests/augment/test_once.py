"""A program for a few images has the results of an optimised one."""

import jax
import numpy as np
import pytest

from efficient_jax import augment
from efficient_jax.augment import once


@pytest.mark.versions
def test_the_views_are_those_of_a_training_step(key):
    names = ("flip", "rotate", "randaugment")
    pipeline = augment.build(names, {"randaugment": {"ops": ("brightness", "posterize")}})
    batch = {"image": np.random.default_rng(0).integers(0, 256, (4, 12, 12, 3), np.uint8)}
    keys = jax.random.split(key, 4)
    found, expected = once.run_once(pipeline, keys, batch), jax.jit(pipeline)(keys, batch)
    assert isinstance(found["image"], np.ndarray)
    np.testing.assert_array_equal(found["image"], expected["image"])
