"""SimCLR and LeJEPA on features that are known: the images themselves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efficient_jax import keys as random_keys
from efficient_jax.errors import UserError
from efficient_jax.losses.self_supervised import nt_xent
from efficient_jax.methods import lejepa, pretraining, simclr
from efficient_jax.methods.views import one_view
from efficient_jax.training import parallel
from tests.methods.fake import CLASSES, context, make, noise, unchanged
from tests.methods.fake_steps import half

PARAMS = {"scale": jnp.float32(1.0)} | pretraining.parameters(
    jax.random.key(0), {"features": jax.ShapeDtypeStruct((1, CLASSES), jnp.float32)}, hidden=8, dim=4
)


def seen(variables, images, train, keys):
    """A network whose features are the pixels."""
    assert train
    assert len(keys) == len(images)
    features = images.reshape(len(images), -1) * variables["params"]["scale"]
    return (features, {"features": features}), {}


def stepped(loss_fn, batch, keys, count=1):
    """(mean loss, gradient, metrics) on each of `count` devices, which share the batch."""

    def one(batch, keys):
        (loss, aux), gradient = jax.value_and_grad(loss_fn, has_aux=True)(PARAMS, {}, context(), batch, keys)
        loss, gradient, weight, metrics = jax.lax.psum((loss, gradient, aux.weight, aux.metrics), parallel.AXIS)
        return loss / weight, jax.tree.map(lambda g: g / weight, gradient), metrics

    shares = jax.tree.map(lambda x: x.reshape(count, -1, *x.shape[1:]), (batch, keys))
    return jax.jit(jax.vmap(one, axis_name=parallel.AXIS))(*shares)


METHODS = {
    "simclr": lambda augment: simclr.simclr(seen, augment),
    "lejepa": lambda augment: lejepa.lejepa(seen, augment, half, directions=16, local_views=2),
}


@pytest.mark.parametrize("name", METHODS)
def test_four_devices_are_one(name):
    batch, keys = make(labelled=4, unlabelled=8)
    one, four = (stepped(METHODS[name](noise), batch, keys, count) for count in (1, 4))
    for device in range(4):
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x[device], y[0], rtol=1e-4, atol=1e-6), four, one)  # noqa: B023


@pytest.mark.parametrize("name", METHODS)
def test_labels_are_not_read(name):
    batch, keys = make(labelled=4, unlabelled=8)
    unknown = {stream: entries | {"label": jnp.nan * entries["label"]} for stream, entries in batch.items()}
    loss, gradient, _ = stepped(METHODS[name](noise), unknown, keys)
    assert np.isfinite(loss).all()
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    alone = stepped(METHODS[name](noise), {"unlabelled": batch["unlabelled"]}, {"unlabelled": keys["unlabelled"]})
    assert np.isfinite(alone[0]).all()


def test_the_loss_of_simclr_is_that_of_its_projections():
    """Of two equal views."""
    batch, keys = make(labelled=4, unlabelled=8)
    loss, _, metrics = stepped(simclr.simclr(seen, unchanged, temperature=0.5), batch, keys)
    images = jnp.concatenate([batch["labelled"]["image"], batch["unlabelled"]["image"]]).reshape(12, -1)
    z = pretraining.projected(PARAMS, images)
    np.testing.assert_allclose(loss[0], nt_xent(z, z, jnp.arange(12), 0.5).mean(), rtol=1e-5)
    np.testing.assert_array_equal(metrics["matched"], [[12.0], [12.0]])


def test_equal_views_have_no_distance():
    batch, keys = make(labelled=4, unlabelled=8)
    loss_fn = lejepa.lejepa(seen, unchanged, unchanged, directions=16, local_views=1)
    _, _, metrics = stepped(loss_fn, batch, keys)
    np.testing.assert_allclose(metrics["distance"][0], 0.0, atol=1e-6)
    assert metrics["sigreg"][0] > 0.0


def test_the_distance_is_to_the_mean_of_the_global_views():
    """The local view is half as large; features are normalised, so that only a constant tells it from the image."""
    batch, keys = make(labelled=4, unlabelled=8)
    shifted = lambda keys, batch: batch | {"image": batch["image"][..., ::-1]}  # noqa: E731, ARG005
    loss_fn = lejepa.lejepa(seen, unchanged, shifted, directions=16, local_views=1, regularisation=0.0)
    loss, _, _ = stepped(loss_fn, batch, keys)
    images = jnp.concatenate([batch["labelled"]["image"], batch["unlabelled"]["image"]])
    z, local = (pretraining.projected(PARAMS, x.reshape(12, -1)) for x in (images, images[..., ::-1]))
    np.testing.assert_allclose(loss[0], np.square(local - z).mean() / 3, rtol=1e-5)  # of three views one is away


def pooled(sizes):
    """A network for images of any size, whose features are the means of the channels; it notes each size."""

    def apply(variables, images, train, keys):
        assert train
        assert len(keys) == len(images)
        sizes.append(images.shape[:3])
        features = images.mean((1, 2)) * variables["params"]["scale"]
        return (features, {"features": features}), {}

    return apply


def small(keys, batch):
    """A crop of 2 x 1 pixels, each pixel with its own noise."""
    pixels = jax.vmap(lambda key: jax.random.normal(key, (2, 1, CLASSES)))(keys)
    return batch | {"image": batch["image"] + pixels}


def test_local_crops_of_another_size_are_those_of_the_definition():
    """In float64: all views predict the mean of the global ones, and SIGReg is the mean over all views."""
    batch, keys = make(labelled=4, unlabelled=8)
    sizes = []
    loss_fn = lejepa.lejepa(pooled(sizes), noise, small, directions=16, local_views=3, regularisation=0.3)
    loss, _, metrics = stepped(loss_fn, batch, keys)
    assert sizes == [(24, 1, 1), (36, 2, 1)]  # one pass for each size

    augments = {"": noise, "second_": noise} | {f"local{i}_": small for i in range(3)}
    views = [np.asarray(one_view(a, batch, keys, which)[0]["image"], np.float64) for which, a in augments.items()]
    p = {name: np.asarray(x, np.float64) for name, x in PARAMS["projector"].items()}
    z = []
    for view in views:
        x = view.mean((1, 2))
        x = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-6)
        z.append(np.maximum(x @ p["hidden_weight"] + p["hidden_bias"], 0.0) @ p["weight"] + p["bias"])
    distance = np.mean([((each - (z[0] + z[1]) / 2) ** 2).mean() for each in z])

    key = random_keys.named(keys["labelled"][0], "directions")
    axes = np.asarray(jax.random.normal(key, (4, 16)), np.float64)
    axes /= np.linalg.norm(axes, axis=0)
    t = np.linspace(-3.0, 3.0, 33)
    normal = np.exp(-(t**2) / 2)
    waves = [np.exp(1j * (each @ axes)[..., None] * t).mean(0) for each in z]
    regular = np.mean([12 * np.trapezoid(np.abs(wave - normal) ** 2 * normal, t).mean() for wave in waves])
    np.testing.assert_allclose(metrics["distance"][0][0] / 12, distance, rtol=1e-5)
    np.testing.assert_allclose(metrics["sigreg"][0][0] / 12, regular, rtol=1e-4)
    np.testing.assert_allclose(loss[0], 0.7 * distance + 0.3 * regular, rtol=1e-4)


@pytest.mark.parametrize(
    ("make_loss", "message"),
    [
        (lambda: simclr.simclr(seen, unchanged, temperature=0.0), "method.temperature: 0.0 is not above 0.0"),
        (lambda: lejepa.lejepa(seen, unchanged, half, regularisation=1.5), "method.regularisation: 1.5 is not in"),
        (lambda: lejepa.lejepa(seen, unchanged, half, local_views=-1), "method.local_views: -1 is negative"),
    ],
)
def test_bad_settings(make_loss, message):
    with pytest.raises(UserError, match=message):
        make_loss()
