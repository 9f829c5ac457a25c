"""A teacher's classes joined to the student's: probabilities add up, what is not named is left out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efficient_jax.errors import UserError
from efficient_jax.experiment.class_map import logsumexp_by, mapped

THEIRS, OURS = ("cat", "dog", "oak", "car", "elm"), ("tree", "animal")
MAP = {"dog": "animal", "elm": "tree", "cat": "animal", "oak": "tree"}


def teacher(variables, images, train, keys):
    return (images * variables["params"], {"features": images}), (train, keys)


def test_probabilities_of_joined_classes_add_up_without_those_left_out(key):
    logits = 3.0 * jax.random.normal(key, (4, 5))
    (found, seen), state = mapped(teacher, MAP, THEIRS, OURS, "")({"params": 2.0}, logits, False, None)
    p = np.asarray(jax.nn.softmax(2.0 * logits), np.float64)
    joined = np.stack([p[:, 2] + p[:, 4], p[:, 0] + p[:, 1]], axis=1)
    np.testing.assert_allclose(jax.nn.softmax(found), joined / joined.sum(1, keepdims=True), rtol=1e-4)
    np.testing.assert_array_equal(seen["features"], logits)
    assert state == (False, None)


def test_classes_of_pixels_are_joined_as_those_of_images(key):
    logits = jax.random.normal(key, (6, 5))
    (of_images, _), _ = mapped(teacher, MAP, THEIRS, OURS, "")({"params": 2.0}, logits, False, None)
    (of_pixels, _), _ = mapped(teacher, MAP, THEIRS, OURS, "")({"params": 2.0}, logits.reshape(2, 3, 1, 5), False, None)
    np.testing.assert_array_equal(of_pixels.reshape(6, 2), of_images)


def test_a_map_of_each_class_to_itself_reorders(key):
    logits = jax.random.normal(key, (3, 2))
    (found, _), _ = mapped(teacher, {"b": "b", "a": "a"}, ("b", "a"), ("a", "b"), "")(
        {"params": 1.0}, logits, False, None
    )
    np.testing.assert_allclose(found, logits[:, ::-1], rtol=1e-6)


def test_names_are_equal_in_all_forms_of_unicode(key):
    logits = jax.random.normal(key, (3, 2))
    decomposed, composed = "cafe\u0301", "caf\u00e9"
    found, _ = mapped(teacher, {decomposed: "th\u00e9", "b": "b"}, (composed, "b"), ("b", "th\u00e9"), "")(
        {"params": 1.0}, logits, False, None
    )[0]
    np.testing.assert_allclose(found, logits[:, ::-1], rtol=1e-6)


def test_a_sum_of_classes_hardly_possible_is_finite():
    found = logsumexp_by(jnp.array([[900.0, -900.0, -900.0]]), np.array([0, 1, 1]), 2)
    np.testing.assert_allclose(found, [[900.0, -900.0 + np.log(2)]], rtol=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dgo": "animal"}, "config.s.class_map: classes of the teacher: unknown name 'dgo'; did you mean 'dog'?"),
        ({"car": "animl"}, "config.s.class_map: classes of the data: unknown name 'animl'; did you mean 'animal'?"),
        ({"oak": "animal", "elm": "animal"}, "config.s.class_map: no class of the teacher is mapped to 'tree'"),
    ],
)
def test_a_map_that_does_not_fit_is_said(changes, message):
    with pytest.raises(UserError) as error:
        mapped(teacher, MAP | changes, THEIRS, OURS, "config.s.class_map")
    assert str(error.value) == message
