"""Complementary dropout of channels, alone and in the loss of `ema_teacher`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efficient_jax import models
from efficient_jax.errors import UserError
from efficient_jax.methods.channel_dropout import complementary
from efficient_jax.methods.ema_teacher import ema_teacher
from efficient_jax.models.dense import changing_maps, dense_masks
from efficient_jax.tasks import SEGMENTATION
from tests.methods.fake import context
from tests.methods.test_dense_methods import maps, view

IMAGES, CHANNELS = 200, 16


def factors(views, share, labelled=3):
    """Of maps of ones of strides 4 and 8: [labelled channels], [views images channels] of each."""
    keys = jax.random.split(jax.random.key(0), IMAGES)
    ones = jnp.ones((labelled + views * IMAGES, 1, 1, CHANNELS), jnp.bfloat16)
    made = jax.jit(complementary(keys, labelled, views, share))({4: ones, 8: ones})
    assert {x.dtype for x in made.values()} == {jnp.dtype("bfloat16")}
    flat = [np.asarray(made[stride][:, 0, 0], np.float32) for stride in (4, 8)]
    return [(x[:labelled], x[labelled:].reshape(views, IMAGES, CHANNELS)) for x in flat]


def test_two_views_keep_all_channels_together():
    (labelled, (first, second)), _ = factors(2, 0.5)
    np.testing.assert_array_equal(labelled, 1.0)
    np.testing.assert_array_equal(first + second, 2.0)
    dropped = (first != 1.0).all(1)
    assert ((first == 1.0).all(1) | dropped).all()
    assert set(first[dropped].ravel()) == {0.0, 2.0}
    assert abs(dropped.mean() - 0.5) < 4 * 0.5 / np.sqrt(IMAGES)
    assert abs(first[dropped].mean() - 1.0) < 4 / np.sqrt(dropped.sum() * CHANNELS)


def test_an_image_loses_channels_of_all_maps_or_of_none():
    (_, (fine, *_)), (_, (coarse, *_)) = factors(1, 0.5)
    np.testing.assert_array_equal((fine == 1.0).all(1), (coarse == 1.0).all(1))
    assert (fine != coarse).any()


def test_a_third_view_is_alone():
    (_, (first, _, third)), _ = factors(3, 1.0)
    assert not (first == 1.0).any()
    agreement = (first == third).mean()
    assert abs(agreement - 0.5) < 4 * 0.5 / np.sqrt(first.size)


@pytest.fixture(scope="module")
def network():
    """(apply, variables) of a tiny network."""
    module = dense_masks(models.CNN(classes=0, width=4), 3, width=4, strides=(2, 4))
    return models.make_apply(module, (0.5,) * 3, (0.25,) * 3), models.init(module, jax.random.key(0), (8, 8, 3))


def test_the_decoder_sees_the_changed_maps(network):
    apply, variables = network
    images = jax.random.uniform(jax.random.key(1), (2, 8, 8, 3))
    (plain, _), _ = apply(variables, images, False, None)
    seen = {}

    def halve_the_finest(maps):
        seen.update(maps)
        return maps | {2: maps[2] / 2}

    (changed, _), _ = changing_maps(apply, halve_the_finest)(variables, images, False, None)
    assert {stride: x.shape[1:3] for stride, x in seen.items() if stride in (2, 4)} == {2: (4, 4), 4: (2, 2)}
    assert (changed != plain).any()
    (same, _), _ = changing_maps(apply, lambda maps: maps)(variables, images, False, None)
    np.testing.assert_array_equal(same, plain)


def test_without_images_that_lose_channels_the_loss_is_the_same_to_the_bit(network):
    apply, variables = network
    batch, keys = maps()
    batch = jax.tree.map(lambda x: jnp.repeat(jnp.repeat(x, 2, 1), 2, 2) if x.ndim > 2 else x, batch)  # of 8 pixels
    state = {name: tree for name, tree in variables.items() if name != "params"}

    def loss(share):
        loss_fn = ema_teacher(apply, view, view, SEGMENTATION, threshold=0.3, channel_dropout=share)

        def of_params(params):
            return loss_fn(params, state, context(ema=variables), batch, keys)[0]

        return jax.jit(jax.value_and_grad(of_params))(variables["params"])

    none, hardly_any, all_of_them = (loss(share) for share in (0.0, 1e-30, 1.0))
    jax.tree.map(np.testing.assert_array_equal, none, hardly_any)
    assert none[0] != all_of_them[0]


def test_a_share_beyond_one_is_refused(network):
    with pytest.raises(UserError, match=r"^method\.channel_dropout: 1\.5 is not in 0\.0 \.\. 1\.0"):
        ema_teacher(network[0], view, view, SEGMENTATION, channel_dropout=1.5)
