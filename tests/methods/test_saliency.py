"""The saliency of images: the gradient of their losses by the pixels, which an operation asks of the method."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efficient_jax import augment
from efficient_jax.augment.mixing import saliency_cutmix
from efficient_jax.errors import UserError
from efficient_jax.losses.labels import cross_entropy, sigmoid_cross_entropy
from efficient_jax.methods.noisy_student import noisy_student
from efficient_jax.methods.supervised import supervised
from efficient_jax.methods.views import saliency_of
from efficient_jax.tasks import CLASSIFICATION, MULTI_LABEL
from tests.methods.fake import context

N, SIDE, CHANNELS, CLASSES = 6, 4, 3, 5
RNG = np.random.default_rng(0)
KERNEL = RNG.standard_normal((SIDE * SIDE * CHANNELS, CLASSES))
BATCH = {
    "image": RNG.random((N, SIDE, SIDE, CHANNELS)).astype(np.float32),
    "label": np.eye(CLASSES, dtype=np.float32)[RNG.integers(0, CLASSES, N)],
}
VARIABLES = {"params": {"kernel": jnp.asarray(KERNEL, jnp.float32)}}


def linear(variables, images, train, keys):
    """A linear classifier whose dropout and batch statistics would show in the logits."""
    logits = images.reshape(len(images), -1) @ variables["params"]["kernel"]
    if train:
        assert keys is not None
        logits = 7.0 * (logits - logits.mean(0))
    return (logits, {}), {name: tree for name, tree in variables.items() if name != "params"}


def by_hand(images, labels, smoothing=0.0, several=False):
    """Of a linear classifier, in float64: kernel @ (probabilities - labels) in each pixel, its norm over channels."""
    logits = np.asarray(images, np.float64).reshape(len(images), -1) @ KERNEL
    if several:
        residual = (1.0 / (1.0 + np.exp(-logits)) - (1 - smoothing) * labels - smoothing / 2) / CLASSES
    else:
        powers = np.exp(logits - logits.max(1, keepdims=True))
        residual = powers / powers.sum(1, keepdims=True) - (1 - smoothing) * labels - smoothing / CLASSES
    gradient = (residual @ KERNEL.T).reshape(images.shape)
    return np.sqrt((gradient**2).sum(-1))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize(("losses", "several"), [(cross_entropy, False), (sigmoid_cross_entropy, True)])
def test_it_is_the_gradient_by_hand(losses, several, smoothing):
    found = saliency_of(linear, VARIABLES, partial(losses, label_smoothing=smoothing))(BATCH)
    expected = by_hand(BATCH["image"], BATCH["label"], smoothing, several)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_it_is_of_each_image_alone_and_of_integer_pixels_too():
    saliency = saliency_of(linear, VARIABLES, cross_entropy)
    pixels = np.round(255 * BATCH["image"]).astype(np.uint8)
    whole = saliency(BATCH | {"image": pixels})
    np.testing.assert_allclose(whole, by_hand(pixels / 255, BATCH["label"]), rtol=1e-4)
    order = RNG.permutation(N)[:3]
    some = saliency({"image": pixels[order], "label": BATCH["label"][order]})
    np.testing.assert_allclose(some, whole[order], rtol=1e-5)


def streams(names):
    keys = {name: jax.random.split(jax.random.fold_in(jax.random.key(0), i), N) for i, name in enumerate(names)}
    return {stream: {name: jnp.asarray(x) for name, x in BATCH.items()} for stream in names}, keys


METHODS = {
    "supervised": (partial(supervised, task=CLASSIFICATION, label_smoothing=0.1), 0.1, False, ("labelled",)),
    "supervised, several": (partial(supervised, task=MULTI_LABEL, label_smoothing=0.1), 0.1, True, ("labelled",)),
    "noisy_student": (partial(noisy_student, task=CLASSIFICATION), 0.0, False, ("labelled", "unlabelled")),
    "noisy_student, several": (partial(noisy_student, task=MULTI_LABEL), 0.0, True, ("labelled", "unlabelled")),
}


@pytest.mark.parametrize("name", METHODS)
def test_a_method_mixes_by_it_and_learns_through_the_mixed_images_alone(name):
    """Loss and gradient are those of a batch that has the saliency by hand as an entry."""
    method, smoothing, several, names = METHODS[name]
    batch, keys = streams(names)
    entry = jnp.asarray(by_hand(BATCH["image"], BATCH["label"], smoothing, several), jnp.float32)
    given = {stream: examples | {"saliency": entry} for stream, examples in batch.items()}

    def as_entry(keys, batch):
        return saliency_cutmix(jax.vmap(lambda key: jax.random.fold_in(key, 0))(keys), batch, blocks=2)

    asking = augment.build(("saliency_cutmix",), {"saliency_cutmix": {"blocks": 2}})

    def loss(params, view, batch):
        return method(linear, view)(params, {}, context(), batch, keys)[0]

    params = VARIABLES["params"]
    of_view = jax.jit(jax.value_and_grad(loss), static_argnums=1)
    found, expected = (of_view(params, view, of) for view, of in ((asking, batch), (as_entry, given)))
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), found, expected)
    assert abs(found[0] - of_view(params, lambda _, batch: batch, batch)[0]) > 1e-3


@pytest.mark.parametrize("probability", [1.0, 0.5])
def test_it_is_of_the_images_that_the_operation_gets(probability):
    """Behind an operation that changes their size; and of no other operation's."""
    seen = []

    def saliency(batch):
        seen.append(batch["image"].shape)
        return jnp.ones(batch["image"].shape[:3])

    blocks = {"pad": {"pixels": 2}, "saliency_cutmix": {"probability": probability}}
    keys = jax.random.split(jax.random.key(0), N)
    build = augment.build(("cutmix", "pad", "saliency_cutmix", "cutmix"), blocks)
    made = jax.eval_shape(lambda keys, batch: build(keys, batch, saliency), keys, BATCH)
    assert seen == [(N, SIDE + 4, SIDE + 4, CHANNELS)]
    assert set(made) == {"image", "label"}
    with pytest.raises(UserError, match="no entry 'saliency'"):
        augment.build(("saliency_cutmix",), {})(keys, BATCH)
