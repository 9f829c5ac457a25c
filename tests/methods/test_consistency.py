"""What the weak view of an unlabelled image teaches the strong one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efficient_jax.errors import UserError
from efficient_jax.methods import METHODS
from efficient_jax.methods.flexmatch import OUTSIDE, UNSURE
from efficient_jax.methods.marginals import first
from efficient_jax.methods.supervised import supervised
from efficient_jax.methods.views import two_views
from efficient_jax.tasks import CLASSIFICATION
from efficient_jax.training import parallel
from tests.methods.fake import CLASSES, PARAMS, context, cross_entropies, fake, make, noise, softmax, unchanged
from tests.methods.fake_steps import first_memory, half, stepped

THRESHOLDED = ["fixmatch", "uda"]
EVERY = ["adamatch", "debiaspl", "fixmatch", "flexmatch", "freematch", "softmatch", "uda"]


def computed(name, batch, keys, **settings):
    """(loss, gradient, metrics) of a method, for views that are the image and its half."""
    return run(name, (unchanged, half), batch, keys, **settings)


def run(name, views, batch, keys, **settings):
    method = METHODS[name]
    loss, gradient, _, metrics = stepped(method.loss(fake(), *views, **settings), first_memory(method), batch, keys)
    return loss[0], gradient[0], jax.tree.map(lambda values: values[0], metrics)


def expected(batch, targets, mask, weight):
    labelled = cross_entropies(batch["labelled"]["image"], batch["labelled"]["label"])
    unlabelled = mask * cross_entropies(batch["unlabelled"]["image"] / 2, targets)
    return labelled.mean() + weight * unlabelled.mean()


def test_fixmatch_teaches_the_sure_class():
    batch, keys = make()
    loss, _, metrics = computed("fixmatch", batch, keys, threshold=0.8, unlabelled_weight=2.0)
    p = softmax(batch["unlabelled"]["image"])
    mask = p.max(1) >= 0.8
    assert 0 < mask.sum() < 4
    np.testing.assert_allclose(loss, expected(batch, np.eye(CLASSES)[p.argmax(1)], mask, 2.0), rtol=1e-6)
    np.testing.assert_array_equal(metrics["taken"], [mask.sum(), 4.0])


def test_uda_teaches_sharpened_probabilities_of_those_sure_before():
    batch, keys = make()
    loss, _, _ = computed("uda", batch, keys, threshold=0.8, temperature=0.4, unlabelled_weight=2.0)
    p = softmax(batch["unlabelled"]["image"])
    sharp = softmax(batch["unlabelled"]["image"] / 0.4)
    np.testing.assert_allclose(loss, expected(batch, sharp, p.max(1) > 0.8, 2.0), rtol=1e-6)


def test_uda_changes_with_its_temperature():
    batch, keys = make()
    losses = [computed("uda", batch, keys, temperature=t)[0] for t in (0.4, 1.0)]
    assert abs(losses[0] - losses[1]) > 1e-3


@pytest.mark.parametrize("name", THRESHOLDED)
def test_above_one_only_the_labels_teach(name):
    """A network without BatchNorm, whose other images do not matter."""
    batch, keys = make()
    alone = {"labelled": batch["labelled"]}, {"labelled": keys["labelled"]}
    plain = supervised(fake(), noise, CLASSIFICATION)
    (plain_loss, plain_aux), plain_gradient = jax.jit(jax.value_and_grad(plain, has_aux=True))(
        PARAMS, {}, context(), *alone
    )
    loss, gradient, metrics = run(name, (noise, noise), batch, keys, threshold=1.1)
    np.testing.assert_allclose(loss, plain_loss / plain_aux.weight, rtol=1e-6)
    np.testing.assert_allclose(gradient, plain_gradient["scale"] / plain_aux.weight, rtol=1e-5)
    assert metrics["taken"][0] == 0.0


@pytest.mark.parametrize("name", EVERY)
def test_the_gradient_flows_through_the_strong_view_only(name):
    """Of a network with one parameter for each part of the forward pass."""
    batch, keys = make()
    method = METHODS[name]

    def parted(variables, images, train, keys):
        del train, keys
        scales = jnp.repeat(variables["params"]["scales"], jnp.array([2, 4, 4]), total_repeat_length=10)
        return (images.reshape(10, CLASSES) * scales[:, None], {}), {}

    settings = {"threshold": 0.5} if method.needs("threshold") else {}
    loss_fn = method.loss(parted, unchanged, half, **settings)

    def loss(params):
        return loss_fn(params, first_memory(method), context(), batch, keys)[0]

    on_a_device = jax.vmap(jax.grad(loss), in_axes=None, axis_name=parallel.AXIS, axis_size=1)
    gradient = jax.jit(on_a_device)({"scales": jnp.ones(3)})["scales"][0]
    assert gradient[1] == 0.0
    assert abs(gradient[0]) > 0.01
    assert abs(gradient[2]) > 0.01


@pytest.mark.parametrize("name", EVERY)
def test_the_order_of_the_unlabelled_does_not_matter(name):
    batch, keys = make()
    order = np.array([2, 0, 3, 1])
    shuffled = batch | {"unlabelled": {entry: value[order] for entry, value in batch["unlabelled"].items()}}
    shuffled_keys = keys | {"unlabelled": keys["unlabelled"][order]}
    losses = [run(name, (noise, noise), *both)[0] for both in ((batch, keys), (shuffled, shuffled_keys))]
    np.testing.assert_allclose(*losses, rtol=1e-6)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("alignment", ["", "labelled"])
def test_four_devices_are_one(name, alignment):
    """Losses, gradients and memory, with every part switched on."""
    batch, keys = make(labelled=4, unlabelled=8)
    method = METHODS[name]
    parts = {"fairness_weight": 0.1, "alignment": alignment, "momentum": 0.5}
    loss_fn = method.loss(fake(), noise, noise, **parts)
    one, four = (stepped(loss_fn, first_memory(method, range(8)), batch, keys, count) for count in (1, 4))
    for device in range(4):
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x[device], y[0], rtol=2e-6), four, one)  # noqa: B023


def test_views_of_an_image_are_of_the_same_image_drawn_apart():
    batch, keys = make()
    seen, model_keys, labelled = two_views(noise, noise, batch, keys)
    assert labelled == 2
    assert len(np.unique(np.asarray(jax.random.key_data(model_keys)), axis=0)) == 10
    images = [batch[stream]["image"] for stream in ("labelled", "unlabelled", "unlabelled")]
    drawn = np.asarray(seen["image"]) - np.concatenate(images)
    assert np.abs(drawn).min() > 1e-4  # each is drawn
    assert np.abs(drawn[2:6] - drawn[6:]).min() > 1e-4  # by keys of its own
    assert np.abs(drawn).max() < 6.0  # and added to its own image


def test_the_network_is_in_training_mode():
    seen, method = [], METHODS["fixmatch"]
    stepped(method.loss(fake(seen), noise, noise), first_memory(method), *make())
    ((_, train, _),) = seen
    assert train is True


def indexed(batch, index):
    return batch | {"unlabelled": batch["unlabelled"] | {"index": jnp.asarray(index, jnp.int32)}}


def test_flexmatch_lowers_the_threshold_of_rare_classes():
    """Class 0 was sure 8 times, class 1 4 times, class 2 never: 0.9, 0.9 * 0.5 / 1.5 and 0."""
    batch, keys = make(unlabelled=16)
    old = jnp.array([0] * 8 + [1] * 4 + [UNSURE] * 4 + [OUTSIDE] * 2, jnp.int32)
    state = {"memory": {"marginals": first(CLASSES), "judge": old}}
    loss_fn = METHODS["flexmatch"].loss(fake(), unchanged, half, threshold=0.9)
    loss, _, memory, _ = stepped(loss_fn, state, indexed(batch, np.arange(16)), keys)
    p = softmax(batch["unlabelled"]["image"])
    mask = p.max(1) >= np.array([0.9, 0.3, 0.0])[p.argmax(1)]
    assert mask.sum() < 16
    np.testing.assert_allclose(loss[0], expected(batch, np.eye(CLASSES)[p.argmax(1)], mask, 1.0), rtol=1e-5)
    kept = np.where(p.max(1) >= 0.9, p.argmax(1), old[:16])  # counted at the threshold of all
    np.testing.assert_array_equal(memory["judge"][0], [*kept, OUTSIDE, OUTSIDE])
    assert not np.array_equal(kept, old[:16])


@pytest.mark.parametrize("count", [1, 2, 4])
def test_flexmatch_remembers_the_same_on_all_devices(count):
    batch, keys = make(labelled=4, unlabelled=8)
    rows = [5, 1, 2, 5, 4, 0, 2, 7]  # 5 and 2 stand twice
    state = first_memory(METHODS["flexmatch"], range(8))
    loss_fn = METHODS["flexmatch"].loss(fake(), unchanged, unchanged, threshold=0.6)
    loss, _, memory, _ = stepped(loss_fn, state, indexed(batch, rows), keys, count)
    by_hand = state["memory"]["judge"].copy()
    for row, p in zip(rows, softmax(batch["unlabelled"]["image"]), strict=True):
        by_hand[row] = p.argmax() if p.max() >= 0.6 else by_hand[row]
    np.testing.assert_array_equal(memory["judge"], np.tile(by_hand, (count, 1)))
    assert len(set(np.asarray(loss).tolist())) == 1


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("fixmatch", {"threshold": -0.1}, "method.threshold: -0.1 is negative"),
        ("flexmatch", {"unlabelled_weight": -1.0}, "method.unlabelled_weight: -1.0 is negative"),
        ("uda", {"temperature": 0.0}, "method.temperature: 0.0 is not above 0.0"),
        ("softmatch", {"deviations": 0.0}, "method.deviations: 0.0 is not above 0.0"),
        ("debiaspl", {"debias": -1.0}, "method.debias: -1.0 is negative"),
        ("freematch", {"fairness_weight": -1.0}, "method.fairness_weight: -1.0 is negative"),
        ("adamatch", {"momentum": 1.0}, r"method.momentum: 1.0 is not in 0.0 .. 1.0 \(1.0 excluded\)"),
        ("fixmatch", {"alignment": "labeled"}, "method.alignment: unknown name 'labeled'; did you mean 'labelled'"),
    ],
)
def test_bad_settings(name, settings, message):
    with pytest.raises(UserError, match=message):
        METHODS[name].loss(fake(), unchanged, unchanged, **settings)
