"""Grad-CAM of masks and boxes: closed forms on linear networks, and images that have no gradient."""

import functools

import jax.numpy as jnp
import numpy as np
import pytest

from efficient_jax.errors import UserError
from efficient_jax.explain import evidence, gradcam

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (3, 4, 6, 2), np.uint8)
WEIGHTS = RNG.normal(size=(2, 3)).astype(np.float32)
CLASSES = jnp.array([0, 2, 1])


def of_maps(images):
    """A linear layer on each pixel of the only feature map."""
    maps = jnp.asarray(images).astype(jnp.float32) - 128
    return maps @ WEIGHTS, {"stage1": maps}


def test_the_map_of_a_linear_layer_is_its_logit():
    """Each of the P predicted pixels has the weights / P as gradient: their mean over all is the weights / all."""
    logits, _ = of_maps(IMAGES)
    assert all((np.asarray(logits[i]).argmax(-1) == label).any() for i, label in enumerate(CLASSES))
    found = gradcam.grad_cam(of_maps, IMAGES, CLASSES, evidence=evidence.of_pixels)
    of_class = np.stack([logits[i, ..., label] for i, label in enumerate(CLASSES)])
    np.testing.assert_allclose(found, np.maximum(of_class, 0) / 24, rtol=1e-4, atol=1e-6)


def test_a_class_that_no_pixel_is_predicted_as_has_no_map():

    def certain(images):
        logits, seen = of_maps(images)
        return logits + jnp.array([0.0, 0.0, 1e6]), seen

    found = gradcam.grad_cam(certain, IMAGES, CLASSES, evidence=evidence.of_pixels)
    assert not found[0].any()
    assert found[1].any()  # of class 2
    assert not found[2].any()


def of_locations(images):
    """A location for each pixel, each with a linear layer of its own; the box of the last column has no center."""
    maps = jnp.asarray(images).astype(jnp.float32) / 255
    b, h, w, d = maps.shape
    own = jnp.arange(1.0, h * w + 1).reshape(h, w)[..., None, None] / 24 * jnp.ones((d, 3))
    logits = jnp.einsum("bhwd,hwdk->bhwk", maps, own).reshape(b, h * w, 3)
    centerness = jnp.where(jnp.arange(w) == w - 1, -20.0, 5.0) * jnp.ones((b, h, 1))
    behind = jnp.zeros((b, h * w, evidence.fcos.BEHIND)).at[..., 0].set(centerness.reshape(b, -1))
    return jnp.concatenate([logits, behind], -1), {"stage1": maps}


def test_the_map_of_a_box_has_the_weights_of_its_location():
    logits, seen = of_locations(IMAGES)
    found = gradcam.grad_cam(of_locations, IMAGES, CLASSES, evidence=evidence.of_best_box)
    scores = 1 / (1 + np.exp(-np.asarray(logits[..., :3], np.float64))) / (1 + np.exp(-np.asarray(logits[..., 3:4])))
    for i, label in enumerate(CLASSES.tolist()):
        best = int(np.float32(scores[i, :, label]).argmax())
        assert best % 6 != 5
        np.testing.assert_allclose(found[i], np.asarray(seen["stage1"][i]).sum(-1) * (best + 1) / 24**2, rtol=1e-4)


def two_stages(images):
    """The decoder sees the first stage alone."""
    logits, seen = of_maps(images)
    return logits, seen | {"stage2": seen["stage1"][:, ::2] * 2}


def test_stages_that_the_decoder_does_not_see_have_no_map():
    found = gradcam.grad_cam(two_stages, IMAGES, CLASSES, evidence=evidence.of_pixels)
    assert found.shape == (3, 4, 6)
    deeper = gradcam.grad_cam(two_stages, IMAGES, CLASSES, evidence=evidence.of_pixels, deepest=2)
    np.testing.assert_array_equal(deeper, found)  # of the first stage, too
    with pytest.raises(UserError, match="layer: unknown name 'stage2'; did you mean 'stage1'"):
        gradcam.grad_cam(two_stages, IMAGES, CLASSES, "stage2", evidence.of_pixels)


def test_predictions_in_the_gray_around_an_image_do_not_count():
    """Of the one pixel inside the weights are those of its own logit / all pixels; without one there is no map."""
    inside = np.zeros((3, 4, 6), bool)
    rows, columns = np.unravel_index([np.asarray(of_maps(IMAGES)[0][0]).argmax(-1).ravel().tolist().index(0)], (4, 6))
    inside[0, rows, columns] = True
    of_inside = functools.partial(evidence.of_pixels, inside=inside)
    found = gradcam.grad_cam(of_maps, IMAGES, CLASSES, evidence=of_inside)
    whole = gradcam.grad_cam(of_maps, IMAGES, CLASSES, evidence=evidence.of_pixels)
    np.testing.assert_allclose(found[0], whole[0], rtol=1e-4, atol=1e-6)  # a linear layer: every pixel has one gradient
    assert not found[1:].any()


def test_prominence_is_the_share_of_pixels_without_the_background_or_the_highest_score():
    answers = np.array([[[0, 1], [1, 2]]])
    probabilities = np.eye(3, dtype=np.float32)[answers]
    inside = np.array([[[True, True], [True, False]]])
    shares = evidence.pixel_shares(probabilities, ("background", "a", "b"), inside)
    np.testing.assert_allclose(shares, [[0, 2 / 3, 0]])
    boxes = np.array([[[0, 0, 2, 2, 1, 0.8], [1, 1, 3, 3, 0, 0.3], [0, 0, 1, 1, 1, 0.2], [0, 0, 0, 0, -1, 0]]])
    np.testing.assert_allclose(evidence.best_scores(boxes, ("a", "b", "c"), inside), [[0.3, 0.8, 0]])
    np.testing.assert_array_equal(evidence.best_box(boxes[0], 1)[0], boxes[0, 0].astype(np.float32))
    assert not (evidence.best_box(boxes[0], 2)[:, 5] > 0).any()
