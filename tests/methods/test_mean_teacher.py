"""The student agrees with its average, and only the student learns."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efficient_jax.errors import UserError
from efficient_jax.methods.mean_teacher import mean_teacher
from efficient_jax.methods.supervised import supervised
from efficient_jax.tasks import CLASSIFICATION
from tests.methods.fake import PARAMS, context, cross_entropies, fake, make, noise, softmax, unchanged


def averaged(progress=1.0):
    """The teacher's parameter is half of the student's."""
    return context(ema={"params": {"scale": jnp.float32(0.5)}}, progress=progress)


@pytest.mark.parametrize(("progress", "rise"), [(1.0, 1.0), (0.25, 1.0), (0.125, np.exp(-1.25)), (0.0, np.exp(-5.0))])
def test_the_loss(progress, rise):
    batch, keys = make()
    loss_fn = mean_teacher(fake(), unchanged, unlabelled_weight=50.0, ramp=0.25)
    loss, aux = loss_fn(PARAMS, {}, averaged(progress), batch, keys)
    logits = np.concatenate([batch[name]["image"] for name in ("labelled", "unlabelled")])
    apart = np.square(softmax(logits) - softmax(logits / 2)).mean(1)
    labelled = cross_entropies(batch["labelled"]["image"], batch["labelled"]["label"])
    np.testing.assert_allclose(loss / aux.weight, labelled.mean() + 50.0 * rise * apart.mean(), rtol=1e-5)


def test_the_unlabelled_images_move_the_student_and_not_the_teacher():
    batch, keys = make()

    def loss(weight, params, average):
        return mean_teacher(fake(), noise, unlabelled_weight=weight)(params, {}, average, batch, keys)[0]

    with_them, teacher = jax.grad(loss, argnums=(1, 2))(50.0, PARAMS, averaged())
    without, _ = jax.grad(loss, argnums=(1, 2))(0.0, PARAMS, averaged())
    assert abs(with_them["scale"] - without["scale"]) > 0.01
    assert teacher.ema["params"]["scale"] == 0.0


def test_without_weight_it_is_supervised():
    batch, keys = make()
    loss, aux = mean_teacher(fake(), noise, unlabelled_weight=0.0)(PARAMS, {}, averaged(), batch, keys)
    alone = {"labelled": batch["labelled"]}
    plain, plain_aux = supervised(fake(), noise, CLASSIFICATION)(
        PARAMS, {}, context(), alone, {"labelled": keys["labelled"]}
    )
    np.testing.assert_allclose(loss / aux.weight, plain / plain_aux.weight, rtol=1e-6)


def test_views_are_drawn_apart_and_both_networks_are_noised():
    batch, keys = make()
    seen = []
    mean_teacher(fake(seen), noise)(PARAMS, {}, averaged(), batch, keys)
    (images, train, model_keys), (others, teacher_train, teacher_keys) = seen
    assert train
    assert teacher_train
    assert np.abs(np.asarray(images) - np.asarray(others)).min() > 1e-4
    words = [np.asarray(jax.random.key_data(each)) for each in (model_keys, teacher_keys)]
    assert len(np.unique(np.concatenate(words), axis=0)) == 12


@pytest.mark.parametrize("ramp", [0.0, 1.5])
def test_a_ramp_out_of_range(ramp):
    with pytest.raises(UserError, match=rf"method\.ramp: {ramp} is not in"):
        mean_teacher(fake(), unchanged, ramp=ramp)
