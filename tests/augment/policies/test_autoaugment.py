import hashlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from efficient_jax.augment.policies import autoaugment, engine
from efficient_jax.augment.policies.autoaugment import POLICIES
from efficient_jax.errors import UserError

# sha256 of repr(pairs), made from torchvision 0.28's AutoAugment(policy)._get_policies(policy) with the operations'
# names written as ours (ShearX: shear_x, AutoContrast: autocontrast) and None as magnitude 0.
TORCHVISION = {
    "imagenet": "d0d1eac19d32ba4d",
    "cifar10": "6b4543f8fb4a1159",
    "svhn": "3e62258c3860b52a",
}


@pytest.mark.parametrize("policy", POLICIES)
def test_tables_are_torchvisions(policy):
    assert hashlib.sha256(repr(POLICIES[policy]).encode()).hexdigest()[:16] == TORCHVISION[policy]


def test_amounts_are_the_closed_forms():
    k = np.arange(10)
    ops = ("rotate", "shear_x", "translate_x", "translate_y", "brightness", "sharpness", "posterize", "solarize")
    table = engine.amount_table(autoaugment.largest((224, 200)), ops, k / 9)
    up, down = (dict(zip(ops, rows, strict=True)) for rows in table)
    np.testing.assert_array_equal(up["rotate"], np.round(32 * 30 * k / 9))
    np.testing.assert_array_equal(up["shear_x"], np.round(1024 * 0.3 * k / 9))
    np.testing.assert_array_equal(up["translate_x"], np.round(200 * 150 / 331 * k / 9))
    np.testing.assert_array_equal(up["translate_y"], np.round(224 * 150 / 331 * k / 9))
    np.testing.assert_array_equal(up["brightness"], np.round(1024 * (1 + 0.9 * k / 9)))
    np.testing.assert_array_equal(down["sharpness"], np.round(1024 * (1 - 0.9 * k / 9)))
    np.testing.assert_array_equal(up["posterize"], [8, 8, 7, 7, 6, 6, 5, 5, 4, 4])
    np.testing.assert_array_equal(up["solarize"], [255, 227, 198, 170, 142, 113, 85, 57, 28, 0])
    np.testing.assert_array_equal(down["rotate"], -up["rotate"])
    np.testing.assert_array_equal(down["solarize"], up["solarize"])


def draws(monkeypatch, policy, n):
    names = []

    def record(example, drawn, amounts, *, ops, fill):
        del fill
        names.append(ops)
        return example | {"drawn": drawn, "amounts": amounts}

    monkeypatch.setattr(engine, "sequence", record)
    keys, image = jax.random.split(jax.random.key(0), n), jnp.zeros((64, 64, 3), jnp.uint8)
    run = jax.vmap(lambda key: {**autoaugment.autoaugment(key, {"image": image}, policy=policy), "image": 0})
    out = jax.jit(run)(keys)
    return np.asarray(out["drawn"]), np.asarray(out["amounts"]), names[0]


@pytest.mark.parametrize("policy", POLICIES)
def test_pairs_are_drawn_as_the_table_says(policy, monkeypatch):
    """Counts of (first operation or none, second or none), against the table's 25 pairs and their probabilities."""
    n = 20_000
    drawn, _, ops = draws(monkeypatch, policy, n)
    expected = np.zeros((len(ops) + 1, len(ops) + 1))
    for (first, p, _), (second, q, _) in POLICIES[policy]:
        i, j = ops.index(first), ops.index(second)
        expected[[i, i, -1, -1], [j, -1, j, -1]] += np.array([p * q, p * (1 - q), (1 - p) * q, (1 - p) * (1 - q)]) / 25
    counts = np.histogram2d(*drawn.T, bins=np.arange(len(ops) + 2))[0]
    possible = expected > 0
    assert counts[~possible].sum() == 0
    assert stats.chisquare(counts[possible], n * expected[possible]).pvalue > 1e-3


def test_magnitudes_belong_to_their_operations(monkeypatch):
    drawn, amounts, ops = draws(monkeypatch, "svhn", 2000)
    angles = amounts[drawn == ops.index("rotate")]
    assert set(angles) == {-320, 320, -427, 427}  # magnitudes 3 and 4 of 30 degrees / 9, in 32nds
    assert stats.binomtest(int((angles > 0).sum()), len(angles), 0.5).pvalue > 1e-3
    assert set(amounts[drawn == ops.index("contrast")]) == {1024 + 307, 1024 - 307}


def test_most_images_change_alone_as_in_a_batch(key):
    ramp = jnp.arange(64, dtype=jnp.uint8).reshape(8, 8, 1) * 4
    keys = jax.random.split(key, 64)
    run = jax.jit(jax.vmap(lambda key: autoaugment.autoaugment(key, {"image": ramp}, policy="cifar10")["image"]))
    out = run(keys)
    assert 0.4 < (out != ramp).any((1, 2, 3)).mean() < 1
    np.testing.assert_array_equal(run(keys[:1]), out[:1])


def test_an_unknown_policy_is_refused(key):
    with pytest.raises(UserError, match="did you mean 'imagenet'"):
        autoaugment.autoaugment(key, {"image": jnp.zeros((4, 4, 3), jnp.uint8)}, policy="image_net")
