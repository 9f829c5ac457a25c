"""Bias per class, measured on classifiers whose answers are known: they read their class off the first pixel."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import fisher_exact

from efficient_jax import augment
from efficient_jax.explore import class_bias
from efficient_jax.explore.class_bias import Accuracies, Loss, losses

CLASSES, EACH = 4, 30
LABELS = np.tile(np.arange(CLASSES), EACH)
IMAGES = np.zeros((len(LABELS), 6, 6, 1), np.uint8)
IMAGES[:, 0, 0, 0] = LABELS


def by_first_pixel(images):
    """Class 3 for whatever is not a class."""
    return np.eye(CLASSES)[np.minimum(images[:, 0, 0, 0], CLASSES - 1)]


def add(amount, least, key, example):
    """Adds to the first pixel of images whose first pixel is at least `least`."""
    del key
    image = example["image"]
    return example | {"image": jnp.where(image[0, 0, 0] >= least, image.at[0, 0, 0].add(jnp.uint8(amount)), image)}


def test_predictions_see_the_augmented_image(key):
    found = class_bias.predictions(by_first_pixel, IMAGES, partial(add, 1, 0), key)
    np.testing.assert_array_equal(found, np.minimum(LABELS + 1, 3))


def test_an_image_draws_the_same_in_every_set(key, monkeypatch):
    monkeypatch.setattr(class_bias, "BATCH", 16)

    def noise(key, example):
        return example | {"image": jax.random.bits(key, example["image"].shape, jnp.uint8) % jnp.uint8(4)}

    all_of_them = class_bias.predictions(by_first_pixel, IMAGES, noise, key)
    np.testing.assert_array_equal(class_bias.predictions(by_first_pixel, IMAGES[:21], noise, key), all_of_them[:21])
    assert len(np.unique(all_of_them)) == CLASSES


def test_accuracy_of_each_class_against_strength(key):
    steps = {"1 from 2": partial(add, 1, 2), "1 from 1": partial(add, 1, 1)}
    found = class_bias.accuracies(by_first_pixel, IMAGES, LABELS, steps, key)
    assert found.steps == ("none", "1 from 2", "1 from 1")
    right, n = found.counts()
    assert n.tolist() == [EACH] * CLASSES
    expected = [[1, 1, 1, 1], [1, 1, 0, 1], [1, 0, 0, 1]]
    np.testing.assert_array_equal(right / n, expected)
    np.testing.assert_allclose(found.per_class(), expected)
    np.testing.assert_allclose(found.slopes(), np.polyfit([0, 1, 2], expected, 1)[0], atol=1e-12)


def test_a_class_without_images_has_no_accuracy():
    found = Accuracies(("none", "some"), np.array([[True, True], [True, False]]), np.array([0, 2]))
    np.testing.assert_array_equal(found.per_class(), [[1, np.nan, 1], [1, np.nan, 0]])
    assert losses({"op": found}) == []


def test_the_class_that_loses_is_named_at_the_weakest_strength(key):
    steps = {"weak": partial(add, 0, 0), "middle": partial(add, 1, 2), "strong": partial(add, 1, 2)}
    found = class_bias.accuracies(by_first_pixel, IMAGES, LABELS, steps, key)
    assert losses({"add": found}) == [Loss("add", "middle", 2, EACH, EACH, 0, 3 * EACH)]


def test_what_all_classes_lose_alike_is_no_bias():
    right = np.ones((2, len(LABELS)), bool)
    right[1, : len(LABELS) // 2] = False
    assert losses({"op": Accuracies(("none", "some"), right, LABELS)}) == []


def test_images_that_were_wrong_before_are_not_lost():
    right = np.ones((2, len(LABELS)), bool)
    right[:, LABELS == 1] = False
    assert losses({"op": Accuracies(("none", "some"), right, LABELS)}) == []


@pytest.mark.parametrize(("lost", "others"), [(5, 3), (0, 9), (12, 40)])
def test_one_test_is_fishers(lost, others):
    test = Loss("op", "step", 0, lost, 20, others, 60)
    table = [[lost, 20 - lost], [others, 60 - others]]
    np.testing.assert_allclose(test.p_value, fisher_exact(table, alternative="greater").pvalue, rtol=1e-9)


def test_many_tests_need_more_than_one_does():
    """A loss with p = 0.019: clear alone, not among the 8 tests of two classes, two strengths, two operations."""
    labels = np.repeat([0, 1], 20)
    right = np.ones((2, 40), bool)
    right[1, :5] = False
    p = Loss("op", "some", 0, 5, 20, 0, 20).p_value
    assert 0.01 < p < 0.05 / 2
    one = Accuracies(("none", "some"), right, labels)
    assert [test.label for test in losses({"op": one})] == [0]
    nothing = Accuracies(("none", "weak", "strong"), np.ones((3, 40), bool), labels)
    assert losses({"op": one, "another": nothing}) == []


def test_false_alarms_are_as_rare_as_promised():
    """No class differs: of 400 tables with 30 tests each at most 5% (and what chance adds to that) have an alarm."""
    rng, alarms = np.random.default_rng(0), 0
    for _ in range(400):
        right = rng.random((4, len(LABELS))) < 0.7
        right[0] = True
        alarms += bool(losses({"op": Accuracies(("none", "a", "b", "c"), right, LABELS)}))
    assert alarms <= 0.05 * 400 + 3 * np.sqrt(400 * 0.05 * 0.95)


def brightens(level):
    """Takes bright images for class 2, others by their first pixel: what a network learns if only class 2 is bright."""

    def classify(images):
        found = by_first_pixel(images)
        found[images[:, 5, 5, 0] >= level] = np.eye(CLASSES)[2]
        return found

    return classify


def light(key, example):
    """Every second image, say, becomes bright where nobody looks but `brightens`."""
    bright = jax.random.bernoulli(key)
    return example | {"image": example["image"].at[5, 5, 0].set(jnp.where(bright, 200, 10).astype(jnp.uint8))}


def test_a_shortcut_is_found(key):
    found = class_bias.shortcut(brightens(200), IMAGES, LABELS, (2,), light, key, control=by_first_pixel)
    assert found.before == (0, 3 * EACH)
    assert found.control_before == found.control_after == (0, 3 * EACH)
    assert 0.3 < found.after.found / found.after.n < 0.7
    mean, low, high = found.excess
    np.testing.assert_allclose(mean, found.after.found / found.after.n)
    assert 0 < low < mean < high


def test_what_the_operation_does_to_everybody_is_no_shortcut(key):
    found = class_bias.shortcut(brightens(200), IMAGES, LABELS, (2,), light, key, control=brightens(200))
    assert found.after == found.control_after
    assert found.after.found > 0
    assert found.excess == (0.0, 0.0, 0.0)


def test_images_of_the_classes_themselves_are_left_out(key):
    found = class_bias.shortcut(by_first_pixel, IMAGES, LABELS, (1, 2), partial(add, 1, 0), key)
    assert found.before == (0, 2 * EACH)
    assert found.after == (EACH, 2 * EACH)  # class 0 is taken for class 1
    assert found.excess is None


def test_an_operation_of_the_library_is_measured(key):
    """A bar at the left edge, by which the classifier knows class 0, does not survive a flip."""
    images = np.zeros((40, 6, 6, 1), np.uint8)
    labels = np.arange(40) % 2
    images[labels == 0, :, 0] = 255
    images[labels == 1, :, 2:4] = 255

    def by_bar(seen):
        return np.eye(2)[(seen[:, 0, 0, 0] < 128).astype(int)]

    flips = {"always": partial(augment.flip, probability=1.0)}
    found = class_bias.accuracies(by_bar, images, labels, flips, key)
    np.testing.assert_array_equal(found.per_class(), [[1, 1], [0, 1]])
    assert [(loss.label, loss.lost) for loss in losses({"flip": found})] == [(0, 20)]


def test_operations_that_change_the_size_or_refuse_the_images_are_not_measured(key, monkeypatch):
    names = ("flip", "pad", "center_crop", "gaussian_blur")
    monkeypatch.setattr(class_bias, "OPS", {name: augment.OPS[name] for name in names})
    found = class_bias.of_operations(by_first_pixel, IMAGES[:8], LABELS[:8], key)
    assert list(found) == ["flip"]  # a blur is not what a label depends on
    assert found["flip"].steps == ("none", "probability 1.0")
    assert found["flip"].right[0].all()


def test_every_block_by_class_is_probed_for_each_group_of_classes(key):
    blocks = {
        "ops": ("flips", "turns"),
        "flips": {"op": "by_class", "of": "flip", "probability": (1.0, 0.0, 1.0, 0.5)},
        "turns": {"op": "by_class", "of": "rotate", "degrees": (5.0,) * 4, "fill": 1.0},
        "flip": {"probability": 1.0},
    }
    found = class_bias.shortcuts(by_first_pixel, IMAGES, LABELS, blocks, "here", key, control=by_first_pixel)
    assert [(applied, classes) for applied, classes, _ in found] == [
        ("flip, probability 1.0", [0, 2]),
        ("flip, probability 0.0", [1]),
        ("flip, probability 0.5", [3]),
    ]
    (_, _, always), (_, _, never), _ = found
    # A flip moves the first pixel away: all are taken for class 0.
    assert (always.before, always.after) == ((0, 2 * EACH), (2 * EACH, 2 * EACH))
    assert always.control_after == always.after
    assert never.before == never.after == (0, 3 * EACH)
    assert all(probe.excess == (0.0, 0.0, 0.0) for _, _, probe in found)


def test_the_level_of_probes_holds_for_all_of_them_together(key, monkeypatch):
    levels = []
    none = class_bias.Shortcut(class_bias.Rate(0, 1), class_bias.Rate(0, 1))
    monkeypatch.setattr(class_bias, "shortcut", lambda *_, level, **__: levels.append(level) or none)
    blocks = {"turns": {"op": "by_class", "of": "rotate", "degrees": (1.0, 2.0, 3.0, 4.0)}}
    class_bias.shortcuts(by_first_pixel, IMAGES, LABELS, blocks, "here", key)
    np.testing.assert_allclose(levels, [1 - 0.05 / 4] * 4)
