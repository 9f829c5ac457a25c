import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from efficient_jax.augment import cutmix, mixup
from efficient_jax.augment.mixing import beta, mixup_or_cutmix, saliency_cutmix
from efficient_jax.errors import UserError

B = 2000


def black_and_white(n, side, dtype=jnp.float32):
    """Even images are black, odd ones white; a white pixel stands for class 1."""
    odd = jnp.arange(n) % 2
    white = 255 if dtype == jnp.uint8 else 1
    return {
        "image": jnp.broadcast_to((odd * white).astype(dtype)[:, None, None, None], (n, side, side, 1)),
        "label": jax.nn.one_hot(odd, 2),
    }


@pytest.mark.parametrize("mix", [mixup, cutmix, mixup_or_cutmix])
def test_several_labels_are_mixed_one_by_one(key, mix):
    """The label that both images have stays 1, that which none has stays 0, the others have the images' weights."""
    batch = black_and_white(64, 8)
    both, none = np.ones((64, 1), np.float32), np.zeros((64, 1), np.float32)
    label = np.concatenate([batch["label"], both, none], axis=1)
    several, one = (run(mix, key, batch | {"label": each})["label"] for each in (label, batch["label"]))
    np.testing.assert_allclose(several, np.concatenate([one, both, none], axis=1), atol=1e-6)
    assert ((several > 0.01) & (several < 0.99)).any()


def pasted(mixed):
    """The label's weight of the partner, in a batch of `black_and_white`."""
    return np.where(np.arange(len(mixed["label"])) % 2, mixed["label"][:, 0], mixed["label"][:, 1])


def run(mix, key, batch, **settings):
    return jax.jit(partial(mix, **settings))(jax.random.split(key, len(batch["image"])), batch)


def with_saliency(batch, key):
    return batch | {"saliency": jax.random.uniform(key, batch["image"].shape[:3]) ** 4}


@pytest.mark.parametrize("alpha", [0.1, 0.2, 1.0, 8.0])
def test_beta(key, alpha):
    law = stats.beta(alpha, alpha)
    drawn = np.asarray(beta(jax.random.uniform(key, (20_000,)), alpha, "test"))
    lower = drawn[drawn < 0.5]  # at 1 float32 is too coarse: small alphas have a fifth of their mass in 1 - 2**-25..1
    assert stats.kstest(lower, lambda x: 2 * law.cdf(x)).pvalue > 1e-3
    uniform = np.linspace(0, 0.5, 100_000)
    quantiles = np.asarray(beta(jnp.asarray(uniform, jnp.float32), alpha, "test"), np.float64)
    mirrored = np.asarray(beta(jnp.asarray(1 - uniform[1:], jnp.float32), alpha, "test"), np.float64)
    assert np.abs(law.cdf(quantiles) - uniform).max() < 1 / 4096
    np.testing.assert_allclose(mirrored, 1 - quantiles[1:], atol=2e-3 if alpha > 1 else 1e-5)
    assert abs(np.mean((quantiles - 0.5) ** 2) - 1 / (4 * (2 * alpha + 1))) < 1e-4


@pytest.mark.parametrize("dtype", [jnp.uint8, jnp.float32])
@pytest.mark.parametrize("mix", [partial(mixup, alpha=0.4), mixup_or_cutmix])
def test_labels_are_mixed_as_pixels(key, mix, dtype):
    mixed = run(mix, key, black_and_white(64, 8, dtype))
    assert mixed["image"].dtype == jnp.float32
    np.testing.assert_allclose(mixed["image"].mean((1, 2, 3)), mixed["label"][:, 1], atol=1e-6)
    np.testing.assert_allclose(mixed["label"].sum(1), 1, atol=1e-6)


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_mixup_weights_are_beta(key, alpha):
    weights = 1 - pasted(run(mixup, key, black_and_white(B, 1), alpha=alpha))
    assert stats.kstest(weights, stats.beta(alpha, alpha).cdf).statistic < 0.05
    assert abs(weights.var() - 1 / (4 * (2 * alpha + 1))) < 0.01
    assert abs(np.corrcoef(weights[::2], weights[1::2])[0, 1]) < 0.1  # partners draw their own


def test_mixup_commutes_with_normalisation(key):
    batch = {"image": jax.random.uniform(key, (4, 3, 3, 3))}
    before = run(mixup, key, {"image": (batch["image"] - 0.4) / 0.2}, alpha=1.0)["image"]
    after = (run(mixup, key, batch, alpha=1.0)["image"] - 0.4) / 0.2
    np.testing.assert_allclose(before, after, atol=1e-5)


def test_cross_entropy_of_mixed_labels_is_the_mix_of_cross_entropies(key):
    mixed = run(mixup, key, black_and_white(8, 2), alpha=1.0)
    own, other = jax.nn.one_hot(jnp.arange(8) % 2, 2), jax.nn.one_hot(1 - jnp.arange(8) % 2, 2)
    log_probabilities = jax.nn.log_softmax(jax.random.normal(key, (8, 2)))

    def cross_entropy(label):
        return -(label * log_probabilities).sum(1)

    weight = pasted(mixed)
    expected = (1 - weight) * cross_entropy(own) + weight * cross_entropy(other)
    np.testing.assert_allclose(cross_entropy(mixed["label"]), expected, atol=1e-5)


@pytest.mark.parametrize("dtype", [jnp.uint8, jnp.float32])
def test_cutmix_label_weight_is_the_fraction_of_pixels(key, dtype):
    mixed = run(cutmix, key, black_and_white(64, 8, dtype), alpha=1.0)
    assert mixed["image"].dtype == dtype
    np.testing.assert_allclose((mixed["image"] > 0).mean((1, 2, 3)), mixed["label"][:, 1], atol=1e-6)


def clipped(side, length):
    start = np.arange(side) - length // 2
    return (np.minimum(start + length, side) - np.maximum(start, 0)).mean() / side


@pytest.mark.parametrize("side", [8, 64])
def test_cutmix_pastes_what_the_paper_pastes(key, side):
    """Mean pasted fraction at alpha = 1: of all lengths, each for the areas that are rounded to it, and all centres."""
    lengths = np.arange(side)
    expected = sum(clipped(side, n) ** 2 * ((n + 1) ** 2 - n**2) / side**2 for n in lengths)
    fractions = pasted(run(cutmix, key, black_and_white(B, side), alpha=1.0))
    assert abs(fractions.mean() - expected) < 5 * fractions.std() / B**0.5
    if side == 64:
        assert abs(expected - 77 / 240) < 0.02  # the limit of large images


def test_cutmix_has_the_proportions_of_the_image(key):
    image = jnp.broadcast_to((jnp.arange(400) % 2)[:, None, None, None].astype(jnp.float32), (400, 8, 32, 1))
    other = np.asarray(run(cutmix, key, {"image": image}, alpha=1.0)["image"][..., 0]) != np.asarray(image[..., 0])
    rows, columns = other.any(2).sum(1), other.any(1).sum(1)
    np.testing.assert_array_equal(other, other.any(2)[:, :, None] & other.any(1)[:, None])
    assert rows.max() == 7
    assert 27 <= columns.max() <= 31
    inner = ~other[:, [0, -1]].any((1, 2)) & ~other[:, :, [0, -1]].any((1, 2)) & (rows > 0)
    assert inner.sum() > 20
    np.testing.assert_array_equal(columns[inner] // 4, rows[inner])


@pytest.mark.parametrize("mix", [partial(cutmix, alpha=1.0), partial(saliency_cutmix, blocks=2)])
def test_pixels_and_their_classes_come_from_the_two_images(key, mix):
    image = jax.random.uniform(key, (6, 6, 8, 3))
    mask = (255 * image[..., 0]).astype(jnp.int32)  # tells where each pixel comes from
    mixed = run(mix, key, with_saliency({"image": image, "mask": mask}, key))
    after, own = np.asarray(mixed["image"]), np.asarray(image)
    other = own[np.arange(6) ^ 1]
    from_other = (after == other).all(-1)
    assert ((after == own).all(-1) | from_other).all()
    assert 0 < from_other.mean() < 1
    np.testing.assert_array_equal(mixed["mask"], (255 * after[..., 0]).astype(np.int32))


def test_mixup_or_cutmix_does_either(key):
    batch = black_and_white(B, 16)
    image = run(mixup_or_cutmix, key, batch, cutmix_share=0.25, mixup_alpha=1.0)["image"]
    cut = ((image == 0) | (image == 1)).all((1, 2, 3))
    uniform = (image == image[:, :1, :1]).all((1, 2, 3))
    assert (cut | uniform).all()
    assert abs(cut.mean() - 0.25) < 5 * (0.25 * 0.75 / B) ** 0.5


@pytest.mark.parametrize(("share", "mix"), [(0.0, partial(mixup, alpha=0.3)), (1.0, partial(cutmix, alpha=0.5))])
def test_mixup_or_cutmix_at_its_ends(key, share, mix):
    settings = {"mixup_alpha": 0.3, "cutmix_alpha": 0.5, "cutmix_share": share}
    ours = pasted(run(mixup_or_cutmix, key, black_and_white(B, 16), **settings))
    alone = pasted(run(mix, jax.random.fold_in(key, 1), black_and_white(B, 16)))
    assert stats.ks_2samp(ours, alone).pvalue > 1e-3


def kept(saliency, pastes):
    """How much of both saliencies is still to be seen; each sums to one."""
    own, other = saliency / saliency.sum((1, 2), keepdims=True), saliency[np.arange(len(saliency)) ^ 1]
    return np.where(pastes, other / other.sum((1, 2), keepdims=True), own).sum((1, 2))


def test_saliency_cutmix_keeps_the_most_of_all_choices_of_blocks(key):
    batch = with_saliency(black_and_white(32, 6), key)
    mixed = run(saliency_cutmix, key, batch, blocks=3, smoothness=0.0)
    pastes = np.asarray(mixed["image"] != batch["image"])[..., 0]
    saliency = np.asarray(batch["saliency"], np.float64)
    ours, areas = kept(saliency, pastes), pastes.mean((1, 2))
    best = np.zeros(32)
    for choice in itertools.product([False, True], repeat=9):
        blocks = np.kron(np.reshape(choice, (3, 3)), np.ones((2, 2), bool))
        best = np.maximum(best, np.where(np.isclose(blocks.mean(), areas), kept(saliency, blocks), 0))
    np.testing.assert_allclose(ours, best, atol=1e-6)
    assert len(np.unique(areas)) > 5


def test_saliency_cutmix_label_weight_is_the_fraction_of_pixels_and_uniform(key):
    batch = with_saliency(black_and_white(B, 8), key)
    mixed = run(saliency_cutmix, key, batch)
    np.testing.assert_allclose(mixed["image"].mean((1, 2, 3)), mixed["label"][:, 1], atol=1e-6)
    counts = np.bincount(np.round(16 * pasted(mixed)).astype(int), minlength=17)
    expected = np.array([0.5, *[1] * 15, 0.5]) * B / 16  # the rounding of a uniform share
    assert stats.chisquare(counts, expected).pvalue > 1e-3


def test_saliency_cutmix_of_constant_saliency_pastes_around_a_point(key):
    """As cutmix: each pasted block has another one beside it, and no place is preferred."""
    batch = black_and_white(B, 8) | {"saliency": jnp.ones((B, 8, 8))}
    mixed = run(saliency_cutmix, key, batch)
    blocks = np.asarray(mixed["image"] != batch["image"])[:, ::2, ::2, 0]
    ringed = np.pad(blocks, ((0, 0), (1, 1), (1, 1)))
    beside = ringed[:, :-2, 1:-1] | ringed[:, 2:, 1:-1] | ringed[:, 1:-1, :-2] | ringed[:, 1:-1, 2:]
    assert (blocks & ~beside)[blocks.sum((1, 2)) > 1].sum() == 0
    single = blocks[blocks.sum((1, 2)) == 1].reshape(-1, 16).sum(0)
    assert stats.chisquare(single).pvalue > 1e-3


def test_smoothness_makes_what_is_pasted_compact(key):
    batch = with_saliency(black_and_white(256, 8), key)

    def borders(smoothness):
        mixed = run(saliency_cutmix, key, batch, blocks=8, smoothness=smoothness)
        pastes = np.asarray(mixed["image"] != batch["image"])[..., 0].astype(int)
        return np.abs(np.diff(pastes, axis=1)).sum() + np.abs(np.diff(pastes, axis=2)).sum()

    assert borders(4.0) < 0.8 * borders(0.0)


def test_saliency_may_be_zero(key):
    mixed = run(saliency_cutmix, key, black_and_white(8, 8) | {"saliency": jnp.zeros((8, 8, 8))})
    np.testing.assert_allclose(mixed["image"].mean((1, 2, 3)), mixed["label"][:, 1], atol=1e-6)


@pytest.mark.parametrize("mix", [mixup, cutmix, saliency_cutmix])
def test_bad_input_is_refused(key, mix):
    batch = black_and_white(4, 4) | {"saliency": jnp.ones((4, 4, 4))}
    keys = jax.random.split(key, 4)
    odd = {name: x[:3] for name, x in batch.items()}
    with pytest.raises(UserError, match="alpha"):
        mix(keys, batch, alpha=0.0)
    with pytest.raises(UserError, match="even number"):
        mix(keys[:3], odd, alpha=1.0)
    with pytest.raises(UserError, match="distributions"):
        mix(keys, batch | {"label": jnp.array([0, 1, 0, 1])}, alpha=1.0)
    with pytest.raises(UserError, match="'boxes' cannot be mixed"):
        mix(keys, batch | {"boxes": jnp.zeros((4, 2, 4)), "box_visible": jnp.zeros((4, 2))}, alpha=1.0)


@pytest.mark.parametrize("mix", [partial(mixup, alpha=1.0), mixup_or_cutmix])
def test_classes_are_not_blended(key, mix):
    with pytest.raises(UserError, match="'mask' cannot be mixed; cutmix"):
        mix(jax.random.split(key, 2), black_and_white(2, 3) | {"mask": jnp.zeros((2, 3, 3), jnp.int32)})


def test_saliency_cutmix_needs_saliency_and_whole_blocks(key):
    batch = black_and_white(2, 6)
    with pytest.raises(UserError, match="no entry 'saliency'"):
        saliency_cutmix(jax.random.split(key, 2), batch)
    with pytest.raises(UserError, match="4 x 4 blocks do not divide images of 6 x 6"):
        saliency_cutmix(jax.random.split(key, 2), batch | {"saliency": jnp.ones((2, 6, 6))})
