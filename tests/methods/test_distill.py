"""The student learns from a teacher that sees what it sees, and from nothing else where there is no label."""

import jax
import numpy as np
import pytest
from scipy.special import log_softmax

from efficient_jax.methods.distill import distill
from tests.methods.fake import CLASSES, PARAMS, cross_entropies, fake, make, noise, unchanged

FROZEN = {"teacher": {"params": {"scale": PARAMS["scale"] * -0.5}, "batch_stats": {}}}


@pytest.mark.parametrize("unlabelled", [0, 4])
def test_the_loss_is_both_means_weighted(unlabelled):
    batch, keys = make(labelled=2, unlabelled=unlabelled)
    loss_fn = distill(fake(), unchanged, fake(), temperature=3.0, soft_weight=0.7, hard_weight=0.4)
    loss, aux = loss_fn(PARAMS, {}, FROZEN, batch, keys)
    logits = np.concatenate([stream["image"] for stream in batch.values()]).reshape(-1, CLASSES).astype(np.float64)
    student, teacher = log_softmax(logits / 3.0, axis=1), log_softmax(-0.5 * logits / 3.0, axis=1)
    soft = 9.0 * (np.exp(teacher) * (teacher - student)).sum(1)
    hard = cross_entropies(logits[:2], batch["labelled"]["label"])
    np.testing.assert_allclose(loss / aux.weight, 0.7 * soft.mean() + 0.4 * hard.mean(), rtol=1e-5)


def test_nobody_reads_the_labels_of_the_unlabelled():
    batch, keys = make()
    loss_fn = distill(fake(), unchanged, fake())
    unknown = batch["unlabelled"] | {"label": np.full((4, CLASSES), np.nan, np.float32)}
    expected, _ = loss_fn(PARAMS, {}, FROZEN, batch, keys)
    loss, _ = loss_fn(PARAMS, {}, FROZEN, batch | {"unlabelled": unknown}, keys)
    assert loss == expected


def test_who_agrees_with_the_teacher_loses_nothing():
    batch, keys = make()
    loss_fn = distill(fake(), noise, fake(), hard_weight=0.0)
    loss, aux = loss_fn(PARAMS, {}, {"teacher": {"params": PARAMS}}, batch, keys)
    np.testing.assert_allclose(loss, 0.0, atol=1e-6)
    assert aux.metrics["agreement"][0] == aux.metrics["agreement"][1] == 6.0


def test_no_gradient_reaches_the_teacher_and_one_reaches_the_student():
    batch, keys = make()
    loss_fn = distill(fake(), unchanged, fake())
    student, teacher = jax.grad(lambda p, frozen: loss_fn(p, {}, frozen, batch, keys)[0], argnums=(0, 1))(
        PARAMS, FROZEN
    )
    assert teacher["teacher"]["params"]["scale"] == 0.0
    assert abs(student["scale"]) > 0.1


def test_the_teacher_sees_the_view_of_the_student_in_evaluation_mode():
    batch, keys = make()
    student, teacher = [], []
    distill(fake(student), noise, fake(teacher))(PARAMS, {}, FROZEN, batch, keys)
    ((seen, train, model_keys),), ((shown, teacher_train, teacher_keys),) = student, teacher
    np.testing.assert_array_equal(seen, shown)
    assert (train, len(model_keys)) == (True, 6)
    assert (teacher_train, teacher_keys) == (False, None)
    assert not np.allclose(seen[:2], batch["labelled"]["image"])  # a view, not the image itself
