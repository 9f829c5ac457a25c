"""What the weak view of an unlabelled image teaches the strong one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efficient_jax.errors import UserError
from efficient_jax.methods.fixmatch import fixmatch
from efficient_jax.methods.flexmatch import OUTSIDE, UNSURE, flexmatch, memory
from efficient_jax.methods.supervised import supervised
from efficient_jax.methods.uda import uda
from efficient_jax.tasks import CLASSIFICATION
from efficient_jax.training import parallel
from tests.methods.fake import CLASSES, PARAMS, context, cross_entropies, fake, make, noise, softmax, unchanged

METHODS = [fixmatch, uda]


def half(keys, batch):
    """A strong view whose logits are half as large."""
    del keys
    return batch | {"image": batch["image"] / 2}


def computed(loss_fn, batch, keys):
    """(loss, aux) in one program."""
    return jax.jit(lambda batch, keys: loss_fn(PARAMS, {}, context(), batch, keys))(batch, keys)


def expected(batch, targets, mask, weight):
    labelled = cross_entropies(batch["labelled"]["image"], batch["labelled"]["label"])
    unlabelled = mask * cross_entropies(batch["unlabelled"]["image"] / 2, targets)
    return labelled.mean() + weight * unlabelled.mean()


def test_fixmatch_teaches_the_sure_class():
    batch, keys = make()
    loss, aux = computed(fixmatch(fake(), unchanged, half, threshold=0.8, unlabelled_weight=2.0), batch, keys)
    p = softmax(batch["unlabelled"]["image"])
    mask = p.max(1) >= 0.8
    assert 0 < mask.sum() < 4
    np.testing.assert_allclose(loss / aux.weight, expected(batch, np.eye(CLASSES)[p.argmax(1)], mask, 2.0), rtol=1e-6)
    assert aux.metrics["taken"] == (float(mask.sum()), 4.0)


def test_uda_teaches_sharpened_probabilities_of_those_sure_before():
    batch, keys = make()
    loss_fn = uda(fake(), unchanged, half, threshold=0.8, temperature=0.4, unlabelled_weight=2.0)
    loss, aux = computed(loss_fn, batch, keys)
    p = softmax(batch["unlabelled"]["image"])
    sharp = softmax(batch["unlabelled"]["image"] / 0.4)
    np.testing.assert_allclose(loss / aux.weight, expected(batch, sharp, p.max(1) > 0.8, 2.0), rtol=1e-6)


def test_uda_changes_with_its_temperature():
    batch, keys = make()
    losses = [computed(uda(fake(), unchanged, half, temperature=t), batch, keys)[0] for t in (0.4, 1.0)]
    assert abs(losses[0] - losses[1]) > 1e-3


@pytest.mark.parametrize("method", METHODS)
def test_above_one_only_the_labels_teach(method):
    """A network without BatchNorm, whose other images do not matter."""
    batch, keys = make()
    control = method(fake(), noise, noise, threshold=1.1)
    plain = supervised(fake(), noise, CLASSIFICATION)
    alone = {"labelled": batch["labelled"]}, {"labelled": keys["labelled"]}

    @jax.jit
    def both():
        given = (control, (batch, keys)), (plain, alone)
        return [jax.value_and_grad(loss, has_aux=True)(PARAMS, {}, context(), *of) for loss, of in given]

    ((loss, aux), gradient), ((plain_loss, plain_aux), plain_gradient) = both()
    np.testing.assert_allclose(loss / aux.weight, plain_loss / plain_aux.weight, rtol=1e-6)
    np.testing.assert_allclose(gradient["scale"] / aux.weight, plain_gradient["scale"] / plain_aux.weight, rtol=1e-5)
    assert aux.metrics["taken"][0] == 0.0


@pytest.mark.parametrize("method", METHODS)
def test_the_gradient_flows_through_the_strong_view_only(method):
    """Of a network with one parameter for each part of the forward pass."""
    batch, keys = make()

    def parted(variables, images, train, keys):
        del train, keys
        scales = jnp.repeat(variables["params"]["scales"], jnp.array([2, 4, 4]), total_repeat_length=10)
        return (images.reshape(10, CLASSES) * scales[:, None], {}), {}

    params = {"scales": jnp.ones(3)}
    loss_fn = method(parted, unchanged, half, threshold=0.5)
    gradient = jax.jit(jax.grad(lambda p: loss_fn(p, {}, context(), batch, keys)[0]))(params)["scales"]
    assert gradient[1] == 0.0
    assert abs(gradient[0]) > 0.01
    assert abs(gradient[2]) > 0.01


@pytest.mark.parametrize("method", METHODS)
def test_the_order_of_the_unlabelled_does_not_matter(method):
    batch, keys = make()
    order = np.array([2, 0, 3, 1])
    shuffled = batch | {"unlabelled": {name: value[order] for name, value in batch["unlabelled"].items()}}
    shuffled_keys = keys | {"unlabelled": keys["unlabelled"][order]}
    loss_fn = method(fake(), noise, noise, threshold=0.5)
    losses = [computed(loss_fn, *of)[0] for of in ((batch, keys), (shuffled, shuffled_keys))]
    np.testing.assert_allclose(*losses, rtol=1e-6)


def test_views_of_an_image_are_of_the_same_image_drawn_apart():
    batch, keys = make()
    seen = []
    fixmatch(fake(seen), noise, noise)(PARAMS, {}, context(), batch, keys)
    ((images, train, model_keys),) = seen
    assert train
    assert len(np.unique(np.asarray(jax.random.key_data(model_keys)), axis=0)) == 10
    drawn = np.asarray(images) - np.concatenate([batch[s]["image"] for s in ("labelled", "unlabelled", "unlabelled")])
    assert np.abs(drawn).min() > 1e-4  # each is drawn
    assert np.abs(drawn[2:6] - drawn[6:]).min() > 1e-4  # by keys of its own
    assert np.abs(drawn).max() < 6.0  # and added to its own image


def mapped(loss_fn, state, batch, keys, count):
    """The loss on `count` devices, which share the batch."""

    def cut(x):
        return x.reshape(count, -1, *x.shape[1:])

    def one(batch, keys):
        loss, aux = loss_fn(PARAMS, state, context(), batch, keys)
        return jax.lax.psum(loss, parallel.AXIS) / jax.lax.psum(aux.weight, parallel.AXIS), aux.model_state["memory"]

    shares = jax.tree.map(cut, (batch, keys))
    return jax.jit(jax.vmap(one, axis_name=parallel.AXIS))(*shares)


def indexed(batch, index):
    return batch | {"unlabelled": batch["unlabelled"] | {"index": jnp.asarray(index, jnp.int32)}}


def test_flexmatch_lowers_the_threshold_of_rare_classes():
    """Class 0 was sure 8 times, class 1 4 times, class 2 never: 0.9, 0.9 * 0.5 / 1.5 and 0."""
    batch, keys = make(unlabelled=16)
    old = jnp.array([0] * 8 + [1] * 4 + [UNSURE] * 4 + [OUTSIDE] * 2, jnp.int32)
    batch = indexed(batch, np.arange(16))
    loss, (remembered,) = mapped(flexmatch(fake(), unchanged, half, threshold=0.9), {"memory": old}, batch, keys, 1)
    p = softmax(batch["unlabelled"]["image"])
    mask = p.max(1) >= np.array([0.9, 0.3, 0.0])[p.argmax(1)]
    assert mask.sum() < 16
    np.testing.assert_allclose(loss[0], expected(batch, np.eye(CLASSES)[p.argmax(1)], mask, 1.0), rtol=1e-5)
    kept = np.where(p.max(1) >= 0.9, p.argmax(1), old[:16])  # counted at the threshold of all
    np.testing.assert_array_equal(remembered, [*kept, OUTSIDE, OUTSIDE])
    assert not np.array_equal(kept, old[:16])


@pytest.mark.parametrize("count", [1, 2, 4])
def test_flexmatch_remembers_the_same_on_all_devices(count):
    batch, keys = make(labelled=4, unlabelled=8)
    batch = indexed(batch, [5, 1, 2, 5, 4, 0, 2, 7])  # 5 and 2 stand twice
    start = memory({"unlabelled": np.arange(8)}, 9)
    loss_fn = flexmatch(fake(), unchanged, unchanged, threshold=0.6)
    loss, remembered = mapped(loss_fn, {"memory": start}, indexed(batch, batch["unlabelled"]["index"]), keys, count)
    p = softmax(batch["unlabelled"]["image"])
    by_hand = start.copy()
    for row, found in zip([5, 1, 2, 5, 4, 0, 2, 7], p, strict=True):
        by_hand[row] = found.argmax() if found.max() >= 0.6 else by_hand[row]
    np.testing.assert_array_equal(remembered, np.tile(by_hand, (count, 1)))
    assert len(set(np.asarray(loss).tolist())) == 1


@pytest.mark.parametrize(
    ("method", "settings", "message"),
    [
        (fixmatch, {"threshold": -0.1}, "method.threshold: -0.1 is negative"),
        (flexmatch, {"unlabelled_weight": -1.0}, "method.unlabelled_weight: -1.0 is negative"),
        (uda, {"temperature": 0.0}, "method.temperature: 0.0 is not above 0.0"),
    ],
)
def test_bad_settings(method, settings, message):
    with pytest.raises(UserError, match=message):
        method(fake(), unchanged, unchanged, **settings)
