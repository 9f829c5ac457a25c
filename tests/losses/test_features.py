"""Against a few lines of numpy written from the papers, and what must not change them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efficient_jax.errors import UserError
from efficient_jax.losses import features

attention, fitnet, same_size = (jax.jit(f) for f in (features.attention, features.fitnet, features.same_size))
BATCH = {name: jax.jit(f) for name, f in features.BATCH.items()}
B = 6
OWN = jnp.arange(B, dtype=jnp.int32)
RNG = np.random.default_rng(0)
STUDENT = RNG.standard_normal((B, 4, 4, 3)).astype(np.float32)
TEACHER = RNG.standard_normal((B, 4, 4, 5)).astype(np.float32)  # another width


def flat(x):
    return np.asarray(x, np.float64).reshape(len(x), -1)


def huber(x):
    return np.where(np.abs(x) <= 1, x**2 / 2, np.abs(x) - 0.5)


def paper_similarity(student, teacher):
    gs, gt = (flat(x) @ flat(x).T for x in (student, teacher))
    gs, gt = (g / np.linalg.norm(g, axis=1, keepdims=True) for g in (gs, gt))
    return np.linalg.norm(gs - gt) ** 2 / B**2


def paper_distance(student, teacher):
    def potential(x):
        d = np.array([[np.linalg.norm(a - b) for b in x] for a in x])
        return d / d[~np.eye(B, dtype=bool)].mean()

    return huber(potential(flat(student)) - potential(flat(teacher))).mean()


def paper_angle(student, teacher):
    def potential(x):
        found = np.zeros((B, B, B))
        for i, j, k in np.ndindex(B, B, B):
            if j not in (i, k):
                a, c = x[i] - x[j], x[k] - x[j]
                found[j, i, k] = a @ c / np.linalg.norm(a) / np.linalg.norm(c)
        return found

    return huber(potential(flat(student)) - potential(flat(teacher))).mean()


PAPER = {"similarity": paper_similarity, "distance": paper_distance, "angle": paper_angle}


@pytest.mark.parametrize("name", BATCH)
def test_relations_are_those_of_the_paper(name):
    found = BATCH[name](STUDENT, TEACHER, OWN)
    assert found.shape == (B,)
    np.testing.assert_allclose(found.mean(), PAPER[name](STUDENT, TEACHER), rtol=1e-4)


@pytest.mark.parametrize("name", BATCH)
def test_each_device_has_the_losses_of_its_own_images(name):
    every = BATCH[name](STUDENT, TEACHER, OWN)
    np.testing.assert_allclose(BATCH[name](STUDENT, TEACHER, OWN[2:4]), every[2:4], rtol=1e-5)


def rotation(d):
    return np.linalg.qr(np.random.default_rng(d).standard_normal((d, d)))[0].astype(np.float32)


X, Y = RNG.standard_normal((B, 8)).astype(np.float32), RNG.standard_normal((B, 3)).astype(np.float32)
TURN = rotation(8)
CHANGES = {
    "scale": (("similarity", "distance", "angle"), X * 7.0),
    "rotation": (("similarity", "distance", "angle"), X @ TURN),
    "translation": (("distance", "angle"), X + 3.0),
}


@pytest.mark.parametrize("change", CHANGES)
def test_relations_do_not_change_with(change):
    names, changed = CHANGES[change]
    for name in names:
        expected = BATCH[name](X, Y, OWN)
        np.testing.assert_allclose(BATCH[name](changed, Y, OWN), expected, rtol=1e-3, atol=1e-6)
        np.testing.assert_allclose(BATCH[name](Y, changed, OWN), BATCH[name](Y, X, OWN), rtol=1e-3, atol=1e-6)


def test_similarity_changes_with_translation():
    assert abs(BATCH["similarity"](X + 3.0, Y, OWN).mean() / BATCH["similarity"](X, Y, OWN).mean() - 1) > 0.1


@pytest.mark.parametrize("name", ["distance", "angle"])
def test_similar_triangles_cost_nothing(name):
    triangle = np.array([[0, 0], [4, 0], [0, 3]], np.float32)
    turned = np.concatenate([2.5 * triangle @ rotation(2), np.ones((3, 2), np.float32)], axis=1)
    np.testing.assert_allclose(BATCH[name](triangle, turned, OWN[:3]), 0.0, atol=1e-10)
    other = np.array([[0, 0], [4, 0], [0, 8]], np.float32)
    assert BATCH[name](triangle, other, OWN[:3]).sum() > 1e-3


@pytest.mark.parametrize("name", [*BATCH, "attention"])
@pytest.mark.parametrize(
    "x", [STUDENT, np.zeros_like(STUDENT), np.repeat(STUDENT[:1], B, 0), STUDENT[[0, 0, 1, 2, 3, 4]]]
)
def test_gradients_are_finite_where_images_are_equal_or_dark(name, x):
    """The root at 0 has no gradient; an image is at distance 0 from itself."""
    losses = {"attention": lambda s, t, _: attention(s, t), **BATCH}[name]
    gradient = jax.jit(jax.grad(lambda s: losses(s, TEACHER, OWN).sum()))(x)
    assert np.isfinite(gradient).all()
    assert losses(x, TEACHER, OWN).sum() > 0


def test_the_gradient_of_distance_is_that_of_finite_differences():
    x = jnp.asarray(X)
    direction = jnp.asarray(np.random.default_rng(1).standard_normal(X.shape), jnp.float32)

    def along(step):
        return BATCH["distance"](x + step * direction, Y, OWN).sum()

    np.testing.assert_allclose(jax.jit(jax.grad(along))(0.0), (along(1e-2) - along(-1e-2)) / 2e-2, rtol=1e-2)


def test_attention_is_that_of_the_authors():
    maps = [flat((np.asarray(x, np.float64) ** 2).sum(-1)) for x in (STUDENT, TEACHER)]
    a, b = (m / np.linalg.norm(m, axis=1, keepdims=True) for m in maps)
    np.testing.assert_allclose(attention(STUDENT, TEACHER), ((a - b) ** 2).mean(1), rtol=1e-4)


def test_attention_does_not_change_with_the_order_of_channels_or_the_scale():
    expected = attention(STUDENT, TEACHER)
    np.testing.assert_allclose(attention(5.0 * STUDENT[..., [2, 0, 1]], TEACHER), expected, rtol=1e-4)
    np.testing.assert_allclose(attention(STUDENT, 0.2 * TEACHER[..., ::-1]), expected, rtol=1e-4)


def test_fitnet_is_zero_at_its_regression_and_the_squared_error_elsewhere():
    weight, bias = RNG.standard_normal((3, 5)).astype(np.float32), RNG.standard_normal(5).astype(np.float32)
    target = STUDENT @ weight + bias
    np.testing.assert_allclose(fitnet(STUDENT, target, weight, bias), 0.0, atol=1e-9)
    np.testing.assert_allclose(fitnet(STUDENT, target + 0.5, weight, bias), 0.25, rtol=1e-4)


def test_the_larger_is_averaged_to_the_size_of_the_smaller():
    large = RNG.standard_normal((2, 6, 6, 3)).astype(np.float32)
    small = RNG.standard_normal((2, 3, 2, 4)).astype(np.float32)
    for a, b, pooled in ((large, small, 0), (small, large, 1)):
        found = same_size(a, b)
        np.testing.assert_allclose(found[pooled], large.reshape(2, 3, 2, 2, 3, 3).mean((2, 4)), rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(found[1 - pooled], small)


def test_tiles_overlap_where_the_size_is_no_multiple():
    """torch's adaptive_avg_pool: of 5 pixels in 3 tiles, 0-1, 1-3 and 3-4."""
    row = np.arange(5, dtype=np.float32).reshape(1, 1, 5, 1)
    found, _ = same_size(row, np.zeros((1, 1, 3, 1), np.float32))
    np.testing.assert_allclose(found.ravel(), [0.5, 2.0, 3.5])


@pytest.mark.parametrize("shapes", [((2, 4, 4, 3), (2, 3)), ((2, 17, 3), (2, 10, 3))])
def test_what_cannot_be_laid_on_each_other_is_said(shapes):
    with pytest.raises(UserError, match="have no common size"):
        features.same_size(*(jnp.zeros(shape) for shape in shapes))


def test_cosine_is_its_formula():
    rng = np.random.default_rng(0)
    student, teacher, weight = (rng.standard_normal(shape).astype(np.float32) for shape in ((3, 4), (3, 5), (4, 5)))
    mapped = student.astype(np.float64) @ weight
    cosines = (mapped * teacher).sum(1) / np.linalg.norm(mapped, axis=1) / np.linalg.norm(teacher, axis=1)
    gap = np.abs(mapped - teacher)
    smooth = np.where(gap < 1, gap**2 / 2, gap - 0.5).mean(1)
    found = features.cosine(student, teacher, weight, np.zeros(5, np.float32))
    np.testing.assert_allclose(found, 0.9 * (1 - cosines) + 0.1 * smooth, rtol=1e-5)
