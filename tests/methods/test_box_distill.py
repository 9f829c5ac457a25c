"""A detector learns its teacher's answers at every location, and nothing where it has them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efficient_jax import keys
from efficient_jax.detection import fcos
from efficient_jax.errors import UserError
from efficient_jax.losses.boxes import generalized_iou
from efficient_jax.methods.box_distill import box_distill
from efficient_jax.tasks import DETECTION
from tests.detection.test_fcos import CLASSES, PLACES, with_places
from tests.methods.fake import context, unchanged

ROWS = {"boxes": np.array([[[4, 4, 24, 20], [0, 0, 0, 0]]], np.float32), "box_visible": np.array([[1, 0]], np.float32)}
ROWS |= {"box_label": np.array([[1, -1]], np.int32)}


def answers(seed, images=2):
    outputs = jax.random.normal(jax.random.key(seed), (images, len(PLACES.strides), CLASSES + 5))
    return with_places(outputs.at[..., -4:].set(9.0 * jnp.exp(0.3 * outputs[..., -4:])))


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


distances = jax.jit(fcos.distillation)


def entropy(p, q):
    return -(q * np.log(p) + (1 - q) * np.log(1 - p))


def test_the_distance_is_its_definition():
    student, teacher = answers(0), answers(1)
    found = distances(student, teacher)
    a, b = (np.asarray(x, np.float64) for x in (student, teacher))
    p, q = sigmoid(a[..., :CLASSES]), sigmoid(b[..., :CLASSES])
    c, d = sigmoid(a[..., CLASSES]), sigmoid(b[..., CLASSES])
    sure = q.max(-1) * d
    (own, taught), centers = (x[..., CLASSES + 1 : CLASSES + 5] for x in (a, b)), PLACES.centers
    boxes = [np.concatenate([centers - x[..., :2], centers + x[..., 2:]], -1) for x in (own, taught)]
    giou = np.asarray(jax.jit(generalized_iou)(*(jnp.asarray(x, jnp.float32) for x in boxes)))
    each = ((p - q) ** 2 * entropy(p, q)).sum(-1) + sure * (giou + entropy(c, d) - entropy(d, d))
    np.testing.assert_allclose(found, each.sum(1) / sure.sum(1), rtol=1e-4)


def test_who_answers_as_the_teacher_learns_nothing():
    teacher = answers(1)
    value, gradient = jax.value_and_grad(lambda z: distances(z, teacher).sum())(teacher)
    np.testing.assert_allclose(value, 0.0, atol=1e-5)
    np.testing.assert_allclose(gradient[..., :-3], 0.0, atol=1e-6)
    other = jax.grad(lambda z: distances(teacher, z).sum())(answers(2))
    assert not other.any()  # nor does the teacher


def test_a_teacher_that_is_sure_of_nothing_says_so():
    nothing = answers(1).at[..., :CLASSES].set(-30.0)
    value, gradient = jax.value_and_grad(lambda z: distances(z, nothing).sum())(answers(0))
    assert value > 0.0
    assert (gradient[..., :CLASSES] > 0.0).all()  # towards lower class logits
    np.testing.assert_allclose(gradient[..., CLASSES:-3], 0.0, atol=1e-9)


def stream(images):
    label = np.zeros((images, CLASSES), np.float32)
    rows = {name: np.repeat(x, images, 0) for name, x in ROWS.items()}
    return {"image": jnp.zeros((images, 1, 1, 3)), "label": label, **rows}


def test_the_loss_is_both_means_weighted_and_reads_no_unlabelled_box():
    outputs, teacher = answers(0, 3), answers(1, 3)

    def fake(tree, images, train, keys):  # noqa: ARG001
        return (tree["params"]["outputs"], {}), {}

    targets = DETECTION.view_targets(stream(1))
    batch = {
        "labelled": stream(1) | {"label": targets},
        "unlabelled": stream(2) | {"label": jnp.full((2, 2, 6), jnp.nan)},
    }
    root = jax.random.key(0)
    loss_fn = box_distill(fake, unchanged, (fake,), DETECTION, soft_weight=0.5, hard_weight=2.0)
    all_keys = {name: keys.by_position(root, 0, len(each["image"])) for name, each in batch.items()}
    taught = context(({"params": {"outputs": teacher}},))
    loss, aux = jax.jit(loss_fn)({"outputs": outputs}, {}, taught, batch, all_keys)
    expected = 0.5 * distances(outputs, teacher).mean() + 2.0 * jax.jit(DETECTION.loss)(outputs[:1], targets)[0]
    np.testing.assert_allclose(loss / aux.weight, expected, rtol=1e-5)


def test_what_does_not_fit_is_said():
    with pytest.raises(UserError, match=r"^teacher: answers at 320 locations, and the network at 256; give both one"):
        fcos.distillation(answers(0)[:, :256], answers(1))
    with pytest.raises(UserError, match=r"^teachers: 2 are named, box_distill learns from one$"):
        box_distill(None, None, (None, None), DETECTION)
    with pytest.raises(UserError, match=r"^method: soft_weight 0\.0 and hard_weight 0\.0 are negative, or both 0\.0$"):
        box_distill(None, None, (None,), DETECTION, soft_weight=0.0, hard_weight=0.0)
