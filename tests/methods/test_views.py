"""One view: all streams in one forward pass, each example with its own key."""

import jax
import jax.numpy as jnp
import numpy as np

from efficient_jax.methods.views import one_view
from efficient_jax.tasks.classification import right
from tests.methods.fake import make, noise, unchanged


def words(keys):
    return np.asarray(jax.random.key_data(keys))


def test_unlabelled_images_follow_the_labelled_ones():
    batch, keys = make()
    seen, _, labelled = one_view(unchanged, dict(reversed(batch.items())), keys)
    assert labelled == 2
    for entry in ("image", "label"):
        expected = np.concatenate([batch["labelled"][entry], batch["unlabelled"][entry]])
        np.testing.assert_array_equal(seen[entry], expected)


def test_a_stream_does_not_change_the_view_of_another():
    batch, keys = make()
    both, both_keys, _ = one_view(noise, batch, keys)
    alone, alone_keys, _ = one_view(noise, {"labelled": batch["labelled"]}, keys)
    np.testing.assert_array_equal(both["image"][:2], alone["image"])
    np.testing.assert_array_equal(words(both_keys[:2]), words(alone_keys))


def test_augmentation_and_model_draw_apart():
    batch, keys = make()
    drawn = []
    _, model_keys, _ = one_view(lambda keys, batch: drawn.append(keys) or batch, batch, keys)
    every = np.concatenate([words(k) for k in (*drawn, model_keys, *keys.values())])
    assert len(np.unique(every, axis=0)) == 18


def test_right_compares_the_largest():
    logits = jnp.array([[0.1, 0.2], [3.0, -1.0]])
    np.testing.assert_array_equal(right(logits, jnp.array([[0.4, 0.6], [0.0, 1.0]])), [1.0, 0.0])
