"""Classes of pixels and objects as tasks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efficient_jax import augment
from efficient_jax.data.dataset import Source
from efficient_jax.detection.rows import NOTHING, VISIBLE
from efficient_jax.detection.targets import locations
from efficient_jax.errors import UserError
from efficient_jax.tasks import DETECTION, SEGMENTATION, detection, segmentation, targets

MAPS = np.array([[[0, 1], [2, 255]], [[255, 255], [255, 255]]], np.uint8)
BOXES = np.array(
    [[[1, 2, 5, 6, 0, 1.0], [0, 0, 4, 8, 2, 0.5], [0, 0, 0, 0, -1, 0]], [[-1] * 6] * 3, [[0, 0, 0, 0, -1, 0]] * 3],
    np.float32,
)


def test_images_without_a_label_are_known():
    np.testing.assert_array_equal(SEGMENTATION.known(MAPS), [True, False])
    np.testing.assert_array_equal(DETECTION.known(BOXES), [True, False, True])  # the last one shows no object


def test_what_images_show():
    np.testing.assert_array_equal(SEGMENTATION.members(MAPS, 3), [[True] * 3, [False] * 3])
    np.testing.assert_array_equal(DETECTION.members(BOXES, 3), [[True, False, True], [False] * 3, [False] * 3])
    np.testing.assert_array_equal(detection.image_labels(BOXES, 3), [[1, 0, 1], [-1, -1, -1], [0, 0, 0]])


def test_targets_of_unchanged_views_are_those_of_the_labels():
    view = {"mask": SEGMENTATION.entries(MAPS)["mask"], "label": np.zeros((2, 3), np.float32)}
    np.testing.assert_array_equal(SEGMENTATION.view_targets(view), SEGMENTATION.targets(MAPS, 3))
    seen = np.asarray(DETECTION.view_targets(DETECTION.entries(BOXES)))
    np.testing.assert_array_equal(seen[[0, 2]], BOXES[[0, 2]])


def test_what_a_warp_brings_in_has_no_class(key):
    """Pixels from outside of the image count neither in the loss nor among the right ones."""
    example = {"image": jnp.full((8, 8, 3), 9, jnp.uint8), "mask": jnp.ones((8, 8), jnp.uint8)}
    moved = augment.affine(key, example, translate=0.9)
    targets = segmentation.view_targets({"mask": moved["mask"][None], "label": jnp.zeros((1, 2))})
    inside = np.asarray(targets.sum(-1)[0])
    assert 0 < inside.sum() < 64
    logits = jax.random.normal(key, (1, 8, 8, 2))
    outside_changed = jnp.where(targets.sum(-1, keepdims=True) > 0, logits, 7.0)
    assert SEGMENTATION.loss(logits, targets) == SEGMENTATION.loss(outside_changed, targets)


def test_pixels_without_a_class_and_images_without_objects_have_finite_gradients(key):
    maps, locations = jax.random.normal(key, (2, 4, 4, 3)), located(key)
    losses = {
        lambda z: SEGMENTATION.loss(z, jnp.zeros_like(z)).sum(): maps,
        lambda z: DETECTION.loss(z, jnp.asarray(BOXES[[2, 2]])).sum(): locations,
    }
    for loss, logits in losses.items():
        value, gradient = jax.value_and_grad(loss)(logits)
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()
        assert np.isnan(loss(logits.at[0, 0].set(jnp.nan)))  # never hidden by what does not count


def located(key):
    """What a detector of two classes answers for two images of 16 pixels at stride 4."""
    there = locations((16, 16), (4,))
    where = jnp.concatenate([jnp.asarray(there.centers), jnp.asarray(there.strides)[:, None]], -1)
    answers = jnp.abs(jax.random.normal(key, (2, len(where), 2 + 5)))
    return jnp.concatenate([answers, jnp.broadcast_to(where, (2, *where.shape))], -1)


def test_the_loss_of_one_pixel_is_that_of_a_class(key):
    logits = jax.random.normal(key, (4, 1, 1, 3))
    targets = jax.nn.one_hot(jnp.array([0, 1, 2, 1]), 3)[:, None, None]
    expected = -(jax.nn.log_softmax(logits[:, 0, 0]) * targets[:, 0, 0]).sum(-1)
    np.testing.assert_allclose(SEGMENTATION.loss(logits, targets), expected, rtol=1e-6)


def test_cross_entropy_and_dice_of_even_probabilities():
    """p is 1/2 in all of four pixels, of which two have class 0, one class 1 and one no class."""
    targets = SEGMENTATION.targets(np.array([[[0, 0], [1, 255]]], np.uint8), 2)
    dice = 1 - ((2 * 1.0 + 1) / (3.5 + 1) + (2 * 0.5 + 1) / (2.5 + 1)) / 2
    loss = segmentation.loss(jnp.zeros((1, 2, 2, 2)), targets, dice_weight=2.0)
    np.testing.assert_allclose(loss, np.log(2) + 2 * dice, rtol=1e-6)


def test_images_count_for_classes_by_their_pixels():
    np.testing.assert_allclose(segmentation.class_counts(MAPS, 4), [1 / 3, 1 / 3, 1 / 3, 0.0])
    halves = np.array([[[0, 0], [3, 255]], [[0, 0], [0, 0]]], np.uint8)
    np.testing.assert_allclose(segmentation.class_counts(halves, 4), [5 / 3, 0, 0, 1 / 3], rtol=1e-6)


def test_guesses_are_the_sure_pixels():
    logits = jnp.log(jnp.array([[[[0.9, 0.1], [0.45, 0.55]]]]))
    np.testing.assert_array_equal(SEGMENTATION.guesses(logits, 0.8)["mask"], [[[1, 0]]])
    np.testing.assert_array_equal(SEGMENTATION.guesses(logits, 0.5)["mask"], [[[1, 2]]])
    labels, kept = segmentation.pseudo_labels(np.exp(np.asarray(logits)), 0, threshold=0.8)
    np.testing.assert_array_equal(labels, [[[0, 255]]])
    np.testing.assert_array_equal(kept, [1])


def test_guessed_boxes_are_those_of_a_sure_class_whatever_their_centerness():
    """Two locations far apart: the first has the lower score, and the surer class."""
    logit = jax.scipy.special.logit
    places = np.array([[8.0, 8.0, 16.0], [40.0, 40.0, 16.0]])
    of_class, centerness = logit(np.array([[0.01, 0.9], [0.4, 0.01]])), logit(np.array([[0.2], [0.95]]))
    outputs = jnp.asarray(np.concatenate([of_class, centerness, np.full((2, 4), 4.0), places], 1)[None], jnp.float32)
    predicted = np.asarray(DETECTION.probabilities(outputs))[0]
    np.testing.assert_allclose(predicted[:2, VISIBLE], np.sqrt([0.4 * 0.95, 0.9 * 0.2]), rtol=1e-5)
    guessed = {name: np.asarray(x[0]) for name, x in detection.guesses(outputs, 0.5).items()}
    np.testing.assert_array_equal(guessed["box_visible"].nonzero()[0], [0])
    np.testing.assert_allclose(guessed["boxes"][0], [4, 4, 12, 12], rtol=1e-5)
    assert guessed["box_label"].tolist() == [1] + [-1] * 99


def test_true_boxes_as_predictions_are_precise():
    predicted = BOXES.copy()
    predicted[..., VISIBLE] = np.minimum(predicted[..., VISIBLE], 0.9).clip(0)
    counts = DETECTION.counts(predicted[[0, 2]], BOXES[[0, 2]], predicted[[0, 2]])
    assert counts == {"ap": 1.0, "ap50": 1.0, "ap75": 1.0, "objects": 2, "n": 2}
    np.testing.assert_array_equal(DETECTION.severity(predicted[[0, 2]], BOXES[[0, 2]]), 0.0)


def test_sizes_of_objects_are_those_in_the_original_image():
    """The boxes have 16 and 32 pixels; of an image that was 8 times as high and as wide the second is medium."""
    predicted = BOXES[[0, 2]].clip(0)
    names, known = ("a", "b", "c"), ("ap_small", "ap_medium", "ap_large")
    as_they_are = detection.test_figures(predicted, BOXES[[0, 2]], predicted, names, None)
    np.testing.assert_array_equal([as_they_are[name] for name in known], [1.0, np.nan, np.nan])
    enlarged = detection.test_figures(predicted, BOXES[[0, 2]], predicted, names, np.array([64.0, 1.0]))
    assert [enlarged[name] for name in known[:2]] == [1.0, 1.0]
    assert enlarged["class_ap"] == {"a": 1.0, "b": None, "c": 1.0}


def test_no_object_has_no_precision():
    counts = DETECTION.counts(BOXES[2:], BOXES[2:], BOXES[2:])
    assert detection.test_figures(BOXES[2:], BOXES[2:], BOXES[2:], ("a",), None) == {"class_ap": {"a": None}}
    assert np.isnan(counts["ap"])
    assert counts["objects"] == 0
    assert DETECTION.scores(counts) == {}  # so that no checkpoint is called the best


def test_boxes_move_with_a_resize():
    moved = DETECTION.resized(BOXES, (8, 16), 32)
    np.testing.assert_array_equal(moved[0, 0], [2, 8, 10, 24, 0, 1])  # twice along x, four times along y
    np.testing.assert_array_equal(moved[1:], BOXES[1:])


def test_images_get_labels_of_another_number():
    made = np.tile(np.array([3, 3, 6, 6, 1, 1], np.float32), (1, 5, 1))
    labels = DETECTION.replaced(BOXES, np.array([1]), made)
    assert labels.shape == (3, 5, 6)
    np.testing.assert_array_equal(labels[1], made[0])
    np.testing.assert_array_equal(DETECTION.trimmed(labels[0]), DETECTION.trimmed(BOXES[0]))
    np.testing.assert_array_equal(DETECTION.known(labels), True)
    assert not DETECTION.known(DETECTION.replaced(BOXES, np.array([0]), made))[1]


def test_predictions_below_the_threshold_are_no_labels():
    predicted = np.array([[[0, 0, 4, 4, 1, 0.7], [1, 1, 5, 5, 0, 0.4]]], np.float32)
    labels, kept = detection.pseudo_labels(predicted, 0, threshold=0.5)
    np.testing.assert_array_equal(labels, [[[0, 0, 4, 4, 1, 1.0], NOTHING]])
    np.testing.assert_array_equal(kept, [1])
    with pytest.raises(UserError, match=r"threshold: 1\.5 is not in"):
        detection.pseudo_labels(predicted, 0, threshold=1.5)


def test_the_vector_of_an_image_has_the_classes_of_its_pixels():
    """Not those of every pixel: `omit` leaves out the images that show a class."""
    source = Source(
        np.zeros((2, 2, 2, 1), np.uint8), np.array([[[0, 2], [255, 0]], [[1, 1], [1, 1]]], np.uint8), tuple("abc")
    )
    found = targets(source._replace(task="segmentation"), np.array([1, 0]))
    assert (found.tolist(), found.dtype) == ([[0, 1, 0], [1, 0, 1]], np.float32)
