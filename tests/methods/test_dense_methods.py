"""Losses of methods whose labels are classes of pixels, with a network that answers with the image."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efficient_jax import losses
from efficient_jax.errors import UserError
from efficient_jax.methods.base import with_targets
from efficient_jax.methods.ema_teacher import ema_teacher
from efficient_jax.methods.noisy_student import noisy_student
from efficient_jax.methods.supervised import supervised
from efficient_jax.tasks import CLASSIFICATION, DETECTION, SEGMENTATION
from tests.methods.fake import PARAMS, context

CLASSES, SIDE, LABELLED, POOL = 3, 4, 2, 4


def answer(variables, images, train, keys):
    """The image, times the parameter."""
    del train, keys
    state = {name: tree for name, tree in variables.items() if name != "params"}
    return (images * variables["params"]["scale"], {}), state


def maps(streams=("labelled", "unlabelled")):
    """(batch, keys): random logits as images, and masks in which some pixels have no class."""
    rng = np.random.default_rng(0)
    sizes = {name: {"labelled": LABELLED, "unlabelled": POOL}[name] for name in streams}
    batch = {
        name: {
            "image": jnp.asarray(2 * rng.standard_normal((n, SIDE, SIDE, CLASSES)), jnp.float32),
            "mask": jnp.asarray(rng.integers(0, CLASSES + 1, (n, SIDE, SIDE)), jnp.uint8),
            "label": jnp.zeros((n, CLASSES)),
            "index": jnp.arange(n, dtype=jnp.int32),
        }
        for name, n in sizes.items()
    }
    return batch, {name: jax.random.split(jax.random.key(0), n) for name, n in sizes.items()}


def unchanged(keys, batch, saliency=None):
    del keys, saliency
    return batch


view = with_targets(unchanged, SEGMENTATION)
METHODS = {
    "supervised": lambda **settings: supervised(answer, view, SEGMENTATION, **settings),
    "noisy_student": lambda **settings: noisy_student(answer, view, SEGMENTATION, **settings),
    "ema_teacher": lambda **settings: ema_teacher(answer, view, view, SEGMENTATION, strong_views=1, **settings),
}


def loss_of(loss_fn, streams, class_counts=None):
    batch, keys = maps(streams)
    return loss_fn(PARAMS, {}, context(ema={"params": PARAMS}, class_counts=class_counts), batch, keys)[0]


def dice_of(stream):
    return np.asarray(losses.dice(stream["image"], SEGMENTATION.view_targets(stream)))


@pytest.mark.parametrize("name", METHODS)
def test_the_dice_loss_is_added_with_its_weight(name):
    streams = ("labelled",) if name == "supervised" else ("labelled", "unlabelled")
    plain, with_dice = (loss_of(METHODS[name](**more), streams) for more in ({}, {"dice_weight": 0.5}))
    batch, _ = maps(streams)
    added = dice_of(batch["labelled"]).sum()
    if name == "noisy_student":
        added += dice_of(batch["unlabelled"]).sum()
    if name == "ema_teacher":  # of the sure pixels, for each labelled image
        guessed = batch["unlabelled"] | SEGMENTATION.guesses(batch["unlabelled"]["image"], 0.95)
        share = (np.asarray(guessed["mask"]) > 0).mean((1, 2))
        assert 0 < share.mean() < 1
        added += (share * dice_of(guessed)).mean() * LABELLED
    np.testing.assert_allclose(with_dice - plain, 0.5 * added, rtol=1e-5)


@pytest.mark.parametrize("name", METHODS)
def test_pixels_of_rare_classes_may_weigh_more(name):
    streams = ("labelled",) if name == "supervised" else ("labelled", "unlabelled")
    counts = jnp.array([15.0, 4.0, 1.0])
    plain, balanced = (loss_of(METHODS[name](class_balance=beta), streams, counts) for beta in (0.0, 0.9))
    stream = maps(streams)[0]["labelled"]
    targets = np.asarray(SEGMENTATION.view_targets(stream))
    entropy = -(targets * np.asarray(jax.nn.log_softmax(stream["image"]))).sum((1, 2)) / targets.sum((1, 2, 3))[:, None]
    weights = np.asarray(losses.class_weights(counts, 0.9))
    np.testing.assert_allclose(balanced - plain, (entropy @ (weights - 1)).sum(), rtol=1e-4)


@pytest.mark.parametrize(
    ("task", "settings", "message"),
    [
        (SEGMENTATION, {"logit_adjustment": 1.0}, "has a class for each pixel; set it to 0.0, or take class_balance"),
        (SEGMENTATION, {"gce": 0.7}, "gce: 0.7 is for one class per image; here it has a class for each pixel; set it"),
        (DETECTION, {"class_balance": 0.9}, "it has objects; set it to 0.0, and batch.balanced=True to repeat images"),
    ],
)
def test_what_does_not_weigh_parts_says_what_does(task, settings, message):
    with pytest.raises(UserError) as error:
        supervised(answer, view, task, **settings)
    assert message in str(error.value)


@pytest.mark.parametrize("task", [CLASSIFICATION, DETECTION])
def test_dice_is_for_masks(task):
    with pytest.raises(
        UserError, match=r"^method\.dice_weight: 0\.5 is for masks; here an image has .*; set it to 0\.0"
    ):
        supervised(answer, view, task, dice_weight=0.5)
    with pytest.raises(UserError, match=r"^method\.dice_weight: -0\.5 is negative"):
        supervised(answer, view, SEGMENTATION, dice_weight=-0.5)
