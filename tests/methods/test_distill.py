"""The student learns from a teacher that sees what it sees, and from nothing else where there is no label."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from efficient_jax import augment
from efficient_jax.errors import UserError
from efficient_jax.methods import distill as method
from efficient_jax.tasks import CLASSIFICATION, SEGMENTATION
from efficient_jax.training import parallel
from tests.methods.fake import CLASSES, PARAMS, context, cross_entropies, fake, make, noise, unchanged

TAUGHT = context(({"params": {"scale": PARAMS["scale"] * -0.5}, "batch_stats": {}},))


def distill(apply, augment, teachers, task=CLASSIFICATION, **settings):
    return method.distill(apply, augment, teachers, task, **settings)


@pytest.mark.parametrize("unlabelled", [0, 4])
def test_the_loss_is_both_means_weighted(unlabelled):
    batch, keys = make(labelled=2, unlabelled=unlabelled)
    loss_fn = distill(fake(), unchanged, (fake(),), temperature=3.0, soft_weight=0.7, hard_weight=0.4)
    loss, aux = loss_fn(PARAMS, {}, TAUGHT, batch, keys)
    logits = np.concatenate([stream["image"] for stream in batch.values()]).reshape(-1, CLASSES).astype(np.float64)
    student, teacher = log_softmax(logits / 3.0, axis=1), log_softmax(-0.5 * logits / 3.0, axis=1)
    soft = 9.0 * (np.exp(teacher) * (teacher - student)).sum(1)
    hard = cross_entropies(logits[:2], batch["labelled"]["label"])
    np.testing.assert_allclose(loss / aux.weight, 0.7 * soft.mean() + 0.4 * hard.mean(), rtol=1e-5)


def test_nobody_reads_the_labels_of_the_unlabelled():
    batch, keys = make()
    loss_fn = distill(fake(), unchanged, (fake(),))
    unknown = batch["unlabelled"] | {"label": np.full((4, CLASSES), np.nan, np.float32)}
    expected, _ = loss_fn(PARAMS, {}, TAUGHT, batch, keys)
    loss, _ = loss_fn(PARAMS, {}, TAUGHT, batch | {"unlabelled": unknown}, keys)
    assert loss == expected


def test_who_agrees_with_the_teacher_loses_nothing():
    batch, keys = make()
    loss_fn = distill(fake(), noise, (fake(),), hard_weight=0.0)
    loss, aux = loss_fn(PARAMS, {}, context(({"params": PARAMS},)), batch, keys)
    np.testing.assert_allclose(loss, 0.0, atol=1e-6)
    assert aux.metrics["agreement"][0] == aux.metrics["agreement"][1] == 6.0


def test_no_gradient_reaches_the_teacher_and_one_reaches_the_student():
    batch, keys = make()
    loss_fn = distill(fake(), unchanged, (fake(),))
    student, teacher = jax.grad(lambda p, taught: loss_fn(p, {}, taught, batch, keys)[0], argnums=(0, 1))(
        PARAMS, TAUGHT
    )
    assert teacher.teachers[0]["params"]["scale"] == 0.0
    assert abs(student["scale"]) > 0.1


def test_the_teacher_sees_the_view_of_the_student_in_evaluation_mode():
    batch, keys = make()
    student, teacher = [], []
    distill(fake(student), noise, (fake(teacher),))(PARAMS, {}, TAUGHT, batch, keys)
    ((seen, train, model_keys),), ((shown, teacher_train, teacher_keys),) = student, teacher
    np.testing.assert_array_equal(seen, shown)
    assert (train, len(model_keys)) == (True, 6)
    assert (teacher_train, teacher_keys) == (False, None)
    assert not np.allclose(seen[:2], batch["labelled"]["image"])  # a view, not the image itself


def of_scale(scale):
    return {"params": {"scale": jnp.float32(scale)}}


def test_the_target_of_several_teachers_is_their_mean_probability_at_the_temperature():
    batch, keys = make(labelled=2, unlabelled=0)
    loss_fn = distill(fake(), unchanged, (fake(), fake()), temperature=3.0, soft_weight=1.0, hard_weight=0.0)
    loss, _ = loss_fn(PARAMS, {}, context((of_scale(-0.5), of_scale(2.0))), batch, keys)
    z = np.asarray(batch["labelled"]["image"], np.float64).reshape(2, CLASSES) / 3.0
    target = (softmax(-0.5 * z, axis=1) + softmax(2.0 * z, axis=1)) / 2
    np.testing.assert_allclose(loss, 9.0 * (target * (np.log(target) - log_softmax(z, axis=1))).sum(), rtol=1e-5)


def test_equal_teachers_teach_as_one():
    batch, keys = make()
    one, three = (
        jax.grad(
            lambda p, n=n: distill(fake(), noise, (fake(),) * n)(p, {}, context((of_scale(-1.0),) * n), batch, keys)[0]
        )(PARAMS)["scale"]
        for n in (1, 3)
    )
    np.testing.assert_allclose(one, three, rtol=1e-5)


def test_the_teacher_sees_mixed_images_as_the_student_does():
    batch, keys = make(labelled=4)
    student, teacher = [], []
    mix = augment.build(("mixup",), {"mixup": {"alpha": 1.0}})
    distill(fake(student), mix, (fake(teacher),))(PARAMS, {}, TAUGHT, batch, keys)
    ((seen, _, _),), ((shown, _, _),) = student, teacher
    np.testing.assert_array_equal(seen, shown)
    assert not np.allclose(seen[:4], batch["labelled"]["image"])


def without_labels(unlabelled=4, hard_weight=0.0):
    batch, keys = make(unlabelled=unlabelled)
    loss_fn = distill(fake(), unchanged, (fake(),), soft_weight=1.0, hard_weight=hard_weight)
    return loss_fn(PARAMS, {}, TAUGHT, {"unlabelled": batch["unlabelled"]}, {"unlabelled": keys["unlabelled"]})


def test_it_can_do_without_labelled_images():
    """The loss of both streams is that of each added up."""
    batch, keys = make()
    loss_fn = distill(fake(), unchanged, (fake(),), soft_weight=1.0, hard_weight=0.0)
    alone, aux = without_labels()
    labelled, _ = loss_fn(PARAMS, {}, TAUGHT, {"labelled": batch["labelled"]}, {"labelled": keys["labelled"]})
    both, _ = loss_fn(PARAMS, {}, TAUGHT, batch, keys)
    np.testing.assert_allclose(alone + labelled, both, rtol=1e-6)
    assert (aux.weight, set(aux.metrics)) == (4.0, {"agreement"})


def test_a_weight_of_labels_that_are_not_there_is_said():
    with pytest.raises(UserError, match=r"method\.hard_weight: 0\.1 needs labels, but batch\.labelled is 0"):
        without_labels(hard_weight=0.1)


def test_permuting_the_batch_changes_nothing():
    batch, keys = make()
    order = np.array([2, 0, 3, 1])
    permuted = batch | {"unlabelled": jax.tree.map(lambda x: x[order], batch["unlabelled"])}
    permuted_keys = keys | {"unlabelled": keys["unlabelled"][order]}
    loss_fn = distill(fake(), noise, (fake(),))
    a, _ = loss_fn(PARAMS, {}, TAUGHT, batch, keys)
    b, _ = loss_fn(PARAMS, {}, TAUGHT, permuted, permuted_keys)
    np.testing.assert_allclose(a, b, rtol=1e-6)


def test_without_hard_weight_shuffled_labels_give_the_same_gradient_bit_for_bit():
    batch, keys = make(labelled=4)
    shuffled = batch | {"labelled": batch["labelled"] | {"label": batch["labelled"]["label"][::-1]}}
    assert (shuffled["labelled"]["label"] != batch["labelled"]["label"]).any()
    for weight, same in ((0.0, True), (0.1, False)):
        loss_fn = distill(fake(), noise, (fake(),), hard_weight=weight)
        grad = jax.jit(jax.grad(lambda p, b, loss_fn=loss_fn: loss_fn(p, {}, TAUGHT, b, keys)[0]))
        assert (grad(PARAMS, batch)["scale"] == grad(PARAMS, shuffled)["scale"]) == same


def test_with_standardised_logits_only_their_relations_are_learned():
    """The teacher's logits are half as large: nothing is left to learn."""
    batch, keys = make()
    loss_fn = distill(fake(), unchanged, (fake(),), loss="standardised", hard_weight=0.0)
    loss, _ = loss_fn(PARAMS, {}, context((of_scale(0.5),)), batch, keys)
    np.testing.assert_allclose(loss, 0.0, atol=1e-4)
    loss, _ = loss_fn(PARAMS, {}, TAUGHT, batch, keys)
    assert loss > 1.0


@pytest.mark.parametrize("count", [1, 4])
def test_dist_relates_the_images_of_all_devices(count):
    batch, keys = make(labelled=4, unlabelled=8)
    loss_fn = distill(fake(), unchanged, (fake(),), loss="dist", temperature=2.0, soft_weight=1.0, hard_weight=0.0)

    def one(batch, keys):
        loss, aux = loss_fn(PARAMS, {}, TAUGHT, batch, keys)
        return jax.lax.psum(loss, parallel.AXIS) / jax.lax.psum(aux.weight, parallel.AXIS)

    shares = jax.tree.map(lambda x: x.reshape(count, -1, *x.shape[1:]), (batch, keys))
    z = np.concatenate([stream["image"] for stream in batch.values()]).reshape(-1, CLASSES).astype(np.float64)
    student, teacher = softmax(z / 2, axis=1), softmax(-z / 4, axis=1)
    of_images, of_classes = (
        np.mean([1 - np.corrcoef(*rows)[0, 1] for rows in zip(x, y, strict=True)])
        for x, y in ((student, teacher), (student.T, teacher.T))
    )
    found = jax.jit(jax.vmap(one, axis_name=parallel.AXIS))(*shares)
    np.testing.assert_allclose(found, 4 * (of_images + of_classes), rtol=1e-4)


def test_an_unknown_loss_is_said():
    with pytest.raises(UserError, match=r"method\.loss: unknown name 'dits'; did you mean 'dist'"):
        distill(fake(), unchanged, (fake(),), loss="dits")


def pixels(variables, images, train, keys):
    """A network whose logits of each pixel are the pixel, times one parameter."""
    del train, keys
    return (images * variables["params"]["scale"], {}), {}


def maps(batch, h, w):
    """The examples as maps of equal pixels."""

    def wide(x):
        return jnp.tile(x.reshape(len(x), 1, 1, CLASSES), (1, h, w, 1))

    return {
        name: stream | {entry: wide(stream[entry]) for entry in ("image", "label")} for name, stream in batch.items()
    }


LOSSES = ("kl", "standardised", "dist")


def value_of(apply, task, batch, keys, loss, params=PARAMS, taught=TAUGHT):
    """(loss of a step on one device, its gradient)."""
    loss_fn = distill(apply, unchanged, (apply,), task, loss=loss)

    def one(params):
        return loss_fn(params, {}, taught, batch, keys)[0]

    on_a_device = jax.vmap(jax.value_and_grad(one), in_axes=None, axis_name=parallel.AXIS, axis_size=1)
    value, gradient = jax.jit(on_a_device)(params)
    return value.item(), gradient["scale"].item()


@pytest.mark.parametrize("loss", LOSSES)
def test_maps_of_one_pixel_have_the_loss_of_a_class_to_the_bit(loss):
    batch, keys = make()
    assert value_of(fake(), CLASSIFICATION, batch, keys, loss) == value_of(
        pixels, SEGMENTATION, maps(batch, 1, 1), keys, loss
    )


@pytest.mark.parametrize("loss", LOSSES)
def test_the_loss_of_maps_is_the_mean_over_pixels(loss):
    batch, keys = make()
    expected = value_of(fake(), CLASSIFICATION, batch, keys, loss)
    np.testing.assert_allclose(value_of(pixels, SEGMENTATION, maps(batch, 4, 2), keys, loss), expected, rtol=1e-5)


@pytest.mark.parametrize("loss", LOSSES)
def test_maps_equal_to_the_teachers_have_no_gradient(loss):
    batch, keys = make(labelled=0)
    random = {
        "image": jax.random.normal(keys["unlabelled"][0], (4, 3, 5, CLASSES)),
        "label": batch["unlabelled"]["label"],
    }
    loss_fn = distill(pixels, unchanged, (pixels,), SEGMENTATION, loss=loss, hard_weight=0.0)

    def one(params):
        given = {"unlabelled": random}, {"unlabelled": keys["unlabelled"]}
        total, aux = loss_fn(params, {}, context((of_scale(1.5),)), *given)
        return total, aux.metrics["agreement"]

    on_a_device = jax.vmap(jax.grad(one, has_aux=True), in_axes=None, axis_name=parallel.AXIS, axis_size=1)
    gradient, (agreed, of) = jax.jit(on_a_device)(of_scale(1.5)["params"])
    np.testing.assert_allclose(gradient["scale"], 0.0, atol=1e-4)
    assert agreed == of
