"""Energy tells strangers from images of the classes, and keeps them out of what is learned."""

import jax
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from efficient_jax.errors import UserError
from efficient_jax.methods import METHODS
from efficient_jax.methods.energy import energy, familiar
from efficient_jax.training import parallel
from tests.methods.fake import CLASSES, cross_entropies, fake, make, softmax, unchanged
from tests.methods.fake_steps import first_memory, half, stepped

EVERY = ["adamatch", "debiaspl", "fixmatch", "flexmatch", "freematch", "softmatch", "uda"]


def mask(labelled, unlabelled, share, devices=1):
    shares = [np.float32(x).reshape(devices, -1, np.shape(x)[-1]) for x in (labelled, unlabelled)]
    return np.asarray(jax.vmap(lambda *x: familiar(*x, share), axis_name=parallel.AXIS)(*shares)).ravel()


def test_energy_in_closed_form():
    """Equal logits a of k classes: -a - log k; one that dominates: minus itself. Large logits do not overflow."""
    logits = np.array([[2.0, 2.0, 2.0], [50.0, -50.0, -50.0], [500.0, 500.0, 500.0]], np.float32)
    np.testing.assert_allclose(energy(logits), [-2.0 - np.log(3), -50.0, -500.0 - np.log(3)], rtol=1e-6)


def test_the_threshold_is_a_quantile_of_the_labelled_images():
    labelled = np.log(np.arange(1.0, 11.0))[:, None] + [[0.0, -np.inf]]  # energies -log 1 .. -log 10
    unlabelled = np.log([0.5, 1.5, 2.5, 20.0])[:, None] + [[0.0, -np.inf]]
    threshold = np.quantile(-np.log(np.arange(1.0, 11.0)), 0.9)
    expected = (-np.log([0.5, 1.5, 2.5, 20.0]) <= threshold).astype(float)
    np.testing.assert_array_equal(mask(labelled, unlabelled, 0.9), expected)
    np.testing.assert_array_equal(mask(labelled, unlabelled, 1.0), [0, 1, 1, 1])


def test_four_devices_keep_the_same_images():
    rng = np.random.default_rng(0)
    labelled, unlabelled = rng.normal(size=(8, 3)), rng.normal(size=(16, 3))
    one, four = (mask(labelled, unlabelled, 0.5, devices) for devices in (1, 4))
    assert 0 < one.sum() < 16
    np.testing.assert_array_equal(one, four)


def test_planted_strangers_are_kept_out():
    """Three classes far from the origin, and strangers around it, where a linear network has the least energy to give.

    They are kept out although many are predicted surely."""
    rng = np.random.default_rng(0)
    centers = 6.0 * np.array([[1.0, 0.0], [-0.5, 0.866], [-0.5, -0.866]])
    labels = np.arange(300) % 3
    known, others = (centers[labels] + rng.normal(size=(300, 2)) for _ in range(2))
    strangers = rng.normal(size=(300, 2))
    network = LogisticRegression().fit(known, labels).decision_function
    assert (softmax(network(strangers)).max(1) >= 0.8).mean() > 0.1
    assert mask(network(known), network(strangers), 0.95).mean() < 0.05
    assert mask(network(known), network(others), 0.95).mean() > 0.9


@pytest.mark.parametrize("name", EVERY)
def test_a_stranger_is_not_learned(name):
    """Of four unlabelled images the two with the most energy weigh nothing; without the setting they are learned."""
    batch, keys = make()
    batch["labelled"]["image"] = 10.0 * batch["labelled"]["label"].reshape(2, 1, 1, CLASSES)
    logits = np.float32([[12, 0, 0], [0, 11, 0], [-1, -9, -9], [-9, -9, -1]])  # equally sure
    batch["unlabelled"]["image"] = logits.reshape(4, 1, 1, CLASSES)
    method = METHODS[name]
    settings = {"threshold": 0.1} if name in ("fixmatch", "uda", "flexmatch") else {}
    taken = [
        stepped(method.loss(fake(), unchanged, half, energy=share, **settings), first_memory(method), batch, keys)[3][
            "taken"
        ][0][0]
        for share in (0.0, 1.0)
    ]
    assert taken[0] > 2.0
    assert 0.0 < taken[1] <= 2.0


def test_pseudo_labels_of_strangers_are_not_learned():
    batch, keys = make()
    batch["labelled"]["image"] = 4.0 * batch["labelled"]["label"].reshape(2, 1, 1, CLASSES)
    logits = np.float32([[5, 0, 0], [0, 4.5, 0], [-1, -4, -4], [-4, -4, -1]])
    batch["unlabelled"]["image"] = logits.reshape(4, 1, 1, CLASSES)
    loss_fn = METHODS["pseudo_label"].loss(fake(), unchanged, threshold=0.8, energy=1.0)

    def with_memory(params, state, context, batch, keys):
        loss, aux = loss_fn(params, {}, context._replace(progress=np.float32(1.0)), batch, keys)
        return loss, aux._replace(model_state=state)

    loss, _, _, metrics = stepped(with_memory, {"memory": {}}, batch, keys)
    own = cross_entropies(logits, np.eye(CLASSES)[logits.argmax(1)]) * [1, 1, 0, 0]
    labelled = cross_entropies(batch["labelled"]["image"], batch["labelled"]["label"])
    np.testing.assert_allclose(loss[0], labelled.mean() + own.mean(), rtol=1e-5)
    np.testing.assert_array_equal([value[0] for value in metrics["taken"]], [2.0, 4.0])


@pytest.mark.parametrize("name", [*EVERY, "pseudo_label"])
def test_a_share_out_of_range(name):
    views = (unchanged,) if name == "pseudo_label" else (unchanged, half)
    with pytest.raises(UserError, match=r"^method\.energy: 1\.5 is not in 0\.0 \.\. 1\.0"):
        METHODS[name].loss(fake(), *views, energy=1.5)
