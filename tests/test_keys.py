"""Keys follow from names and positions alone."""

import jax
import jax.numpy as jnp
import numpy as np

from efficient_jax import keys


def words(key):
    return np.asarray(jax.random.key_data(key))


def test_positions_do_not_depend_on_how_the_batch_is_shared(key):
    whole = words(keys.by_position(key, 0, 8))
    for share in (1, 2, 4):
        parts = [words(keys.by_position(key, jnp.int32(first), share)) for first in range(0, 8, share)]
        np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_positions_names_and_views_have_keys_of_their_own(key):
    batches = [keys.by_position(keys.named(key, name), 0, 4) for name in ("labelled", "unlabelled")]
    found = [words(keys.view(batch, name)) for batch in batches for name in ("augment", "model")]
    assert len(np.unique(np.concatenate(found), axis=0)) == 16


def test_a_view_of_many_is_the_name_of_each(key):
    batch = keys.by_position(key, 0, 3)
    np.testing.assert_array_equal(words(keys.view(batch, "model"))[1], words(keys.named(batch[1], "model")))
