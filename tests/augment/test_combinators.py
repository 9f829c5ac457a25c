from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from efficient_jax.augment.combinators import nothing, one_of, some_of, with_probability
from efficient_jax.augment.geometry import affine
from efficient_jax.errors import UserError

N = 4000


def plus(amount):
    def add(key, example):
        del key
        return example | {"image": example["image"] + jnp.float32(amount)}

    return add


def double(key, example):
    del key
    return example | {"image": example["image"] * 2}


def noise(key, example):
    return example | {"image": example["image"] + jax.random.uniform(key, example["image"].shape)}


def results(augmentation, n=N, seed=0):
    """Of an image of one pixel, 0, that is one of a batch."""
    keys = jax.random.split(jax.random.key(seed), n)
    batch = {"image": jnp.zeros((n, 1, 1, 1)), "label": jnp.arange(n)}
    out = jax.jit(jax.vmap(augmentation))(keys, batch)
    np.testing.assert_array_equal(out["label"], batch["label"])
    return np.asarray(out["image"]).reshape(-1)


def agree(values, frequencies):
    """Are the values those of `frequencies`, and as frequent as they should be?"""
    counts = np.array([(values == value).sum() for value in frequencies])
    assert counts.sum() == len(values)
    expected = np.array(list(frequencies.values())) * len(values)
    assert stats.chisquare(counts, expected).pvalue > 1e-3


def test_with_probability():
    agree(results(with_probability(plus(1), 0.3)), {1: 0.3, 0: 0.7})
    assert (results(with_probability(plus(1), 0.0)) == 0).all()
    assert (results(with_probability(plus(1), 1.0)) == 1).all()


def test_one_of():
    agree(results(one_of((plus(1), plus(2), plus(3)))), {1: 1 / 3, 2: 1 / 3, 3: 1 / 3})
    agree(results(one_of((plus(1), plus(2), plus(3)), weights=(1.0, 0.5, 0.5))), {1: 0.5, 2: 0.25, 3: 0.25})


def test_two_of_three_come_in_every_order_once():
    # ((0 + a) * 2 + b) tells every order of a and b apart; so does the place of the doubling.
    chosen = some_of((plus(1), plus(10), double), n_min=2, n_max=2)
    agree(results(chosen), {11: 2 / 6, 2: 1 / 6, 1: 1 / 6, 20: 1 / 6, 10: 1 / 6})


def test_with_replacement_the_same_may_come_again():
    chosen = some_of((plus(1), plus(10)), n_min=2, n_max=2, replace=True)
    agree(results(chosen), {2: 1 / 4, 11: 2 / 4, 20: 1 / 4})
    assert (results(some_of((plus(1),), n_min=3, n_max=3, replace=True), n=8) == 3).all()


def test_the_number_is_uniform():
    agree(results(some_of((plus(1),) * 3, n_min=1, n_max=3)), {1: 1 / 3, 2: 1 / 3, 3: 1 / 3})
    assert (results(some_of((plus(1), double), n_min=0, n_max=0), n=8) == 0).all()


def test_each_layer_has_a_key_of_its_own():
    parts = results(some_of((noise, noise), n_min=2, n_max=2), n=500)
    assert 0.16 < parts.std() / np.sqrt(6) < 0.18  # of a sum of two: sqrt(2 / 12) / sqrt(6)


THREE = (plus(1), double, noise)


@pytest.mark.parametrize("chosen", [one_of(THREE), some_of(THREE, n_min=1, n_max=3)])
def test_alone_as_in_a_batch(chosen, key):
    together, keys = results(chosen, n=8), jax.random.split(key, 8)
    alone = [chosen(keys[i], {"image": jnp.zeros((1, 1, 1)), "label": jnp.int32(i)})["image"].item() for i in range(8)]
    np.testing.assert_array_equal(together, np.float32(alone))


@pytest.mark.parametrize("chosen", [one_of((plus(1), double)), some_of((plus(1), double), n_min=2, n_max=2)])
@pytest.mark.usefixtures("every_platform")
def test_one_branch_for_each_image_on_cpu_and_none_on_accelerators(chosen, key):
    batch = {"image": jnp.zeros((4, 1, 1, 1))}
    traced = jax.jit(jax.vmap(chosen)).trace(jax.random.split(key, 4), batch)
    cpu, cuda = (traced.lower(lowering_platforms=(name,)) for name in ("cpu", "cuda"))
    compiled = cpu.compile().as_text()
    assert compiled.count(" conditional(") == 1
    assert " conditional(" not in compiled[compiled.index("ENTRY") :]  # but in the loop over images
    # Both programs have the case that chooses the platform, resolved by the compiler.
    assert cpu.as_text().count("stablehlo.case") == 1 + cuda.as_text().count("stablehlo.case")


def test_choices_nest(key):
    turn = partial(affine.rotate, degrees=30.0)  # has a loop of its own
    chosen = one_of((with_probability(turn, 0.5), some_of((turn, nothing), n_min=1, n_max=2)))
    image = jax.random.randint(key, (6, 5, 5, 3), 0, 256).astype(jnp.uint8)
    keys = jax.random.split(key, 6)
    together = jax.jit(jax.vmap(chosen))(keys, {"image": image})["image"]
    np.testing.assert_array_equal(together[4], chosen(keys[4], {"image": image[4]})["image"])
    assert 0 < (together != image).any((1, 2, 3)).sum() < 6


def test_what_is_chosen_from_must_return_the_same(key):
    example = {"image": jnp.zeros((4, 4, 1))}

    def halve(key, example):
        del key
        return example | {"image": example["image"][::2]}

    def count(key, example):
        del key
        return example | {"count": jnp.int32(1)}

    with pytest.raises(UserError, match=r"halve returns 'image' as float32\[2, 4, 1\], nothing as float32\[4, 4, 1\]"):
        some_of((double, halve), n_min=1, n_max=1)(key, example)
    with pytest.raises(UserError, match="double returns 'count' not at all, count as int32"):
        one_of((count, partial(double)))(key, example)
    assert one_of((halve, halve))(key, example)["image"].shape == (2, 4, 1)


def test_bad_settings_are_refused():
    with pytest.raises(UserError, match=r"1\.5"):
        with_probability(double, 1.5)
    with pytest.raises(UserError, match="weights"):
        one_of((double, double), weights=(1.0,))
    with pytest.raises(UserError, match="weights"):
        one_of((double, double), weights=(0.0, 0.0))
    with pytest.raises(UserError, match="0 augmentations"):
        one_of(())
    with pytest.raises(UserError, match="at most 1"):
        some_of((double,), n_min=1, n_max=2)
    with pytest.raises(UserError, match="n_min"):
        some_of((double,), n_min=1, n_max=0)
