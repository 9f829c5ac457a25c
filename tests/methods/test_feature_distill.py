"""A student of other classes and sizes than its teacher; any number of devices; a regressor that ends with it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efficient_jax import models
from efficient_jax.errors import UserError
from efficient_jax.losses import features
from efficient_jax.methods.feature_distill import feature_distill, regressors
from efficient_jax.optim import optimizer
from efficient_jax.training import parallel, state, step
from efficient_jax.training.labels import soft
from tests.methods.fake import context
from tests.training.problem import unchanged

SHAPE, CLASSES, BATCH = (16, 16, 1), 4, 8
ALL = (
    ("fitnet", 1.0, "stage2", "stage1"),  # 4 x 4 and 8 x 8 pixels
    ("attention", 1000.0, "stage2", "stage1"),
    ("similarity", 3000.0, "stage3", "features"),
    ("distance", 25.0, "features", "features"),
    ("angle", 50.0, "features", "logits"),
)
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (32, *SHAPE), np.uint8)
LABELS = np.eye(CLASSES, dtype=np.float32)[RNG.integers(0, CLASSES, 32)]


def network(width, classes, seed, norm_axis=parallel.AXIS):
    module = models.CNN(classes=classes, width=width, norm_axis=norm_axis)
    return models.make_apply(module, (0.5,), (0.25,)), models.init(module, jax.random.key(seed), SHAPE)


TEACHER, TAUGHT = network(6, 7, seed=1)
STUDENT, VARIABLES = network(4, CLASSES, seed=0)


@functools.cache
def seen_of(which):
    apply, variables = {"student": (STUDENT, VARIABLES), "teacher": (TEACHER, TAUGHT)}[which]
    return jax.eval_shape(lambda v, x: apply(v, x, False, None)[0][1], variables, IMAGES[:1])


def extra(terms):
    return regressors(jax.random.key(2), seen_of("student"), seen_of("teacher"), terms=terms, hard_weight=1.0)


@functools.cache
def problem(count, terms=ALL, hard_weight=1.0, labelled=True):
    devices = jax.local_devices()[:count]
    loss_fn = feature_distill(STUDENT, unchanged, (TEACHER,), terms=terms, hard_weight=hard_weight)
    of_method = extra(terms)
    settings = {"learning_rate": 1e-2, "weight_decay": 0.0, "clip": 0.0, "rules": ((".*", 1.0),)}
    settings["algorithm"] = {"name": "sgd"}
    tx, _ = optimizer.optimizer(VARIABLES["params"] | of_method, steps=10, **settings)
    compiled = step.make_train_step(loss_fn, tx, steps=10, ema_decay=0.9, devices=devices)
    data, key, taught, counts = parallel.replicate(
        ({"image": IMAGES, "label": soft(LABELS)}, jax.random.key(1), (TAUGHT,), LABELS.sum(0)), devices
    )

    def update(current, i):
        rows = np.random.default_rng(i).permutation(32)[: 2 * BATCH].reshape(2, 1, BATCH)
        names = ("labelled", "unlabelled") if labelled else ("unlabelled",)
        given = {name: {"index": parallel.shared(r, devices)} for name, r in zip(names, rows, strict=False)}
        return compiled(current, taught, counts, data, key, given)

    return update, parallel.replicate(state.create(VARIABLES, tx, of_method), devices)


@functools.cache
def trained(count, **settings):
    """(losses of three steps, the state after them, on the host)."""
    update, _ = problem(count, **settings)
    current = jax.tree.map(jnp.copy, problem(count, **settings)[1])  # the state is donated
    found = []
    for i in range(3):
        current, metrics = update(current, i)
        total, weight = metrics["loss"]
        found.append(total.item() / weight.item())
    parallel.assert_replicas_agree(current)
    return found, jax.device_get(current)


def test_devices_change_neither_the_losses_nor_the_gradients():
    """With SGD the parameters after an update are the gradients."""
    (one, end), (many, end_of_many) = trained(1), trained(4)
    np.testing.assert_allclose(many, one, rtol=2e-5)
    for a, b in zip(jax.tree.leaves(end_of_many["params"]), jax.tree.leaves(end["params"]), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-4 * np.abs(b).max() + 1e-6)


def test_the_loss_is_the_weighted_sum_of_its_terms():
    rows = np.random.default_rng(0).permutation(32)[: 2 * BATCH]
    regressor = extra(ALL)["regressor"]["stage2-stage1"]
    student, teacher = network(4, CLASSES, 0, None)[0], network(6, 7, 1, None)[0]

    @jax.jit
    def expected():
        (logits, a), _ = student(VARIABLES, IMAGES[rows], True, None)
        (_, b), _ = teacher(TAUGHT, IMAGES[rows], False, None)
        hard = -(jax.nn.log_softmax(logits) * LABELS[rows])[:BATCH].sum() / BATCH
        own = jnp.arange(2 * BATCH)
        return hard + sum(
            losses.mean()
            for losses in (
                1.0 * features.fitnet(a["stage2"], b["stage1"], **regressor),
                1000.0 * features.attention(a["stage2"], b["stage1"]),
                3000.0 * features.similarity(a["stage3"], b["features"], own),
                25.0 * features.distance(a["features"], b["features"], own),
                50.0 * features.angle(a["features"], b["logits"], own),
            )
        )

    np.testing.assert_allclose(trained(1)[0][0], expected(), rtol=1e-4)


def test_the_regressor_learns_and_ends_with_the_method():
    _, end = trained(1)
    before = extra(ALL)["regressor"]["stage2-stage1"]
    assert before["weight"].shape == (8, 6)
    assert (end["params"]["regressor"]["stage2-stage1"]["weight"] != before["weight"]).any()
    assert jax.tree.structure(end["ema"]) == jax.tree.structure(VARIABLES)


def test_the_regressor_does_not_decay():
    rules = {"learning_rate": 1e-2, "clip": 0.0, "rules": ((".*", 1.0),)}
    _, table = optimizer.optimizer(extra(ALL), steps=10, weight_decay=0.1, **rules)
    assert [row.decayed for row in table] == [0]


def test_without_a_regression_there_is_no_regressor():
    assert extra(ALL[1:]) == {}


def test_it_can_do_without_labels():
    found, _ = trained(2, terms=ALL[1:2], hard_weight=0.0, labelled=False)
    assert np.isfinite(found).all()


def test_labels_that_are_not_there_are_said():
    with pytest.raises(UserError, match=r"method\.hard_weight: 1\.0 needs labels, but batch\.labelled is 0"):
        trained(1, terms=ALL[1:2], labelled=False)


def test_no_gradient_reaches_the_teacher():
    terms = ALL[1:3]
    loss_fn = feature_distill(STUDENT, unchanged, (TEACHER,), terms=terms)
    batch, keys = {"labelled": {"image": IMAGES[:4], "label": LABELS[:4]}}, jax.random.split(jax.random.key(0), 4)

    def loss(params, taught, keys):
        return loss_fn(params, {"batch_stats": VARIABLES["batch_stats"]}, taught, batch, {"labelled": keys})[0]

    each = parallel.pmap(
        jax.grad(loss, argnums=(0, 1)), jax.local_devices()[:1], in_axes=(None, None, 0), out_axes=None
    )
    student, teacher = each(VARIABLES["params"], context((TAUGHT,)), keys[None])
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(teacher))
    assert (student["stage1"]["conv"]["kernel"] != 0).any()


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ((), "method.terms: empty; want at least one"),
        ((("attention", 1.0, "stage1"),), "method.terms: ('attention', 1.0, 'stage1') is not (loss, weight"),
        ((("attention", 0.0, "stage1", "stage1"),), "method.terms: ('attention', 0.0, 'stage1', 'stage1') is not"),
        ((("atention", 1.0, "stage1", "stage1"),), "method.terms: unknown name 'atention'; did you mean 'attention'?"),
        ((("angle", 1.0, "stag1", "stage1"),), "method.terms: intermediates of the student: unknown name 'stag1'; did"),
        ((("angle", 1.0, "stage1", "pool"),), "method.terms: intermediates of the teacher: unknown name 'pool'; there"),
        ((("attention", 1.0, "features", "stage1"),), "features [1, 16] and [1, 8, 8, 6] have no common size"),
    ],
)
def test_terms_that_do_not_fit_are_said(terms, message):
    with pytest.raises(UserError) as error:
        extra(terms)
    assert str(error.value).startswith(message)


def test_it_learns_from_one_teacher():
    with pytest.raises(UserError, match="teachers: 2 are named, feature_distill learns from one"):
        feature_distill(STUDENT, unchanged, (TEACHER, TEACHER), terms=ALL)
