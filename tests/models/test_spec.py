"""What rebuilds a network survives JSON, and builds what it says."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from efficient_jax import models
from efficient_jax.errors import UserError
from efficient_jax.models.spec import ModelSpec

SPEC = ModelSpec(
    "cnn",
    {"width": 2},
    ("a", "b", "c"),
    (8, 8, 1),
    (0.1, 0.2, 0.3),
    (0.4, 0.5, 0.6),
    {"fit": "pad", "crop": 0.5, "interpolation": "bilinear"},
    "multi_label",
    (0.5, 0.25, 0.75),
)


def test_a_specification_comes_back_from_json():
    record = json.loads(json.dumps(SPEC.to_json()))
    assert ModelSpec.from_json(record) == SPEC
    other = dataclasses.replace(SPEC, head={"name": "knn", "pool": "mean"})
    assert ModelSpec.from_json(json.loads(json.dumps(other.to_json()))) == other != SPEC
    assert record["model"] == "cnn"
    assert record["task"] == "multi_label"


def test_a_record_without_a_task_is_refused():
    record = SPEC.to_json()
    del record["task"]
    with pytest.raises(KeyError, match="task"):
        ModelSpec.from_json(record)


def test_gray_images_have_the_channels_of_the_weights_in_the_network():
    assert SPEC.input_shape == (8, 8, 3)
    module, apply = SPEC.build()
    variables = models.init(module, jax.random.key(0), SPEC.input_shape)
    (logits, _), _ = jax.eval_shape(lambda x: apply(variables, x, False, None), np.zeros((2, 8, 8, 1), np.uint8))
    assert logits.shape == (2, 3)


def test_images_become_images_of_the_network():
    framing = SPEC.image_framing()
    assert (framing.size, framing.channels, framing.fit) == (8, 1, "pad")
    oblong = ModelSpec("cnn", {}, ("a", "b"), (8, 6, 1), (0.1,), (0.2,))
    with pytest.raises(UserError, match="8 x 6 pixels"):
        oblong.image_framing()
