"""Which devices share a batch, and how arrays lie on them."""

import jax
import numpy as np
import pytest

from efficient_jax.errors import UserError
from efficient_jax.training import parallel


@pytest.mark.parametrize(
    ("batches", "count"),
    [({"a": 64}, 4), ({"a": 64, "b": 96}, 4), ({"a": 12}, 3), ({"a": 10}, 1), ({"a": 7}, 1), ({"a": 4, "b": 64}, 2)],
)
def test_as_many_devices_as_share_every_batch_in_pairs(batches, count):
    assert len(parallel.pick_devices(batches, 0)) == count


def test_devices_asked_for_must_divide_the_batch():
    with pytest.raises(UserError, match=r"config\.b\.batch: 10 images do not divide .* multiple of 8"):
        parallel.pick_devices({"config.a.batch": 64, "config.b.batch": 10}, 4)


def test_devices_asked_for_must_exist():
    with pytest.raises(UserError, match="8 asked, but there are 4"):
        parallel.pick_devices({"a": 64}, 8)


def test_a_replicated_argument_is_not_copied_again():
    devices = jax.local_devices()[:2]
    placed = parallel.replicate({"w": np.zeros(3, np.float32)}, devices)
    keep = parallel.pmap(lambda x, i: (x, i), devices, in_axes=(None, 0), out_axes=(None, 0))
    kept, _ = keep(placed, np.zeros((2, 1), np.int32))
    assert kept["w"].sharding.is_equivalent_to(placed["w"].sharding, 1)


def test_keys_of_shares_are_the_keys_of_the_global_batch():
    key = jax.random.key(0)

    def keys_on(count: int) -> np.ndarray:
        devices = jax.local_devices()[:count]
        share = parallel.pmap(
            lambda key, x: jax.random.key_data(parallel.keys_of_share(key, len(x))),
            devices,
            in_axes=(None, 0),
            out_axes=0,
        )
        return np.asarray(share(parallel.replicate(key, devices), np.zeros((count, 8 // count)))).reshape(8, -1)

    np.testing.assert_array_equal(keys_on(1), keys_on(4))
