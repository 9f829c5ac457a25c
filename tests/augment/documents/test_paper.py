from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from efficient_jax.augment.documents import paper
from efficient_jax.errors import UserError

OPS = (paper.paper_tint, paper.texture, paper.folding_shadow, paper.lighting_gradient)
WHITE = np.ones((40, 60, 1), np.float32)


def batch(op, key, page, n=64, **settings):
    run = jax.jit(jax.vmap(lambda k: op(k, {"image": jnp.asarray(page)}, **settings)["image"]))
    return np.asarray(run(jax.random.split(key, n)))


def test_tint_is_a_warm_white(key):
    sheets = batch(paper.paper_tint, key, np.full((2, 3, 3), 255, np.uint8), 400, lightness=0.8, warmth=0.2)
    assert (sheets == sheets[:, :1, :1]).all()
    red, green, blue = sheets[:, 0, 0].astype(float).T
    np.testing.assert_allclose(np.quantile(red / 255, [0, 0.5, 1]), [0.8, 0.9, 1], atol=0.02)
    share = 1 - blue / red
    np.testing.assert_allclose(np.quantile(share, [0, 0.5, 1]), [0, 0.1, 0.2], atol=0.02)
    np.testing.assert_allclose(1 - green / red, share / 2.5, atol=0.01)


def test_a_gray_sheet_has_the_luma_of_the_tint(key):
    colour = batch(paper.paper_tint, key, np.full((1, 1, 3), 255, np.uint8))
    luma = [np.asarray(Image.fromarray(sheet).convert("L"))[..., None] for sheet in colour]
    np.testing.assert_array_equal(batch(paper.paper_tint, key, np.full((1, 1, 1), 255, np.uint8)), luma)


def test_texture_darkens_by_half_of_its_amount_on_average(key):
    shade = 1 - batch(paper.texture, key, WHITE, 400, strength=0.4)
    assert shade.min() >= 0
    assert 0.3 < shade.max() <= 0.4
    amounts = 2 * shade.mean((1, 2, 3))
    np.testing.assert_allclose(np.quantile(amounts, [0.1, 0.5, 0.9]), [0.04, 0.2, 0.36], atol=0.05)


def test_texture_has_two_scales(key):
    shade = 1 - batch(paper.texture, key, np.ones((96, 96, 1), np.float32), scale=24, strength=1.0)[..., 0]
    shade -= shade.mean((1, 2), keepdims=True)

    def alike(pixels):
        return (shade[:, pixels:] * shade[:, : 96 - pixels]).mean() / (shade**2).mean()

    assert alike(1) > alike(4) + 0.15  # the grain ends
    assert alike(4) > 0.4  # and the clouds go on
    assert abs(alike(60)) < 0.2


def test_a_fold_is_darkest_and_brightest_at_the_fold(key):
    gray = np.full((50, 80, 1), 0.5, np.float32)
    sheets = batch(paper.folding_shadow, key, gray, strength=0.5, reach=0.2)[..., 0]
    down = (np.ptp(sheets, axis=1) == 0).all(1)  # each column of one level: a fold down the page
    assert 16 < down.sum() < 48
    folds, shines = [], []
    for is_down, sheet in zip(down, sheets, strict=True):
        line = sheet[0] if is_down else sheet[:, 0]
        assert np.ptp(sheet, axis=0 if is_down else 1).max() == 0
        far = 16 if is_down else 10
        fold = line.argmin()
        amount = 1 - 2 * line[fold]
        assert 0 < amount <= 0.5
        folds.append(fold / len(line))
        pixel = np.arange(len(line))
        for side in (1, -1):
            ramp = amount * np.maximum(1 - abs(pixel - fold) / far, 0)
            expected = 0.5 - np.where(side * (pixel - fold) >= 0, ramp, -ramp / 2) / 2
            if abs(line - expected).max() < 1e-4:
                shines.append(side)
                break
        else:
            raise AssertionError(line)
    assert 16 < shines.count(1) < 48
    np.testing.assert_allclose(np.quantile(folds, [0.1, 0.5, 0.9]), [0.1, 0.5, 0.9], atol=0.15)


def test_folds_add_up(key):
    def mean(folds):
        return 1 - batch(paper.folding_shadow, key, WHITE, 200, strength=0.2, folds=folds).mean()

    assert mean(4) == pytest.approx(4 * mean(1), rel=0.25)


@pytest.mark.parametrize("shape", [(40, 60), (33, 7)])
def test_light_falls_off_linearly_from_corner_to_corner(key, shape):
    lit = batch(paper.lighting_gradient, key, np.ones((*shape, 1), np.float32), 200, strength=0.6)[..., 0]
    y, x = np.mgrid[: shape[0], : shape[1]]
    plane = np.stack([x.ravel(), y.ravel(), np.ones(x.size)], axis=1)
    flat = lit.reshape(200, -1).T
    slopes, *_ = np.linalg.lstsq(plane, flat, rcond=None)
    assert abs(plane @ slopes - flat).max() < 1e-4
    corners = lit[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    np.testing.assert_allclose(corners.max(1), 1, atol=1e-4)
    amount = 1 - corners.min(1)
    np.testing.assert_allclose(np.quantile(amount, [0.02, 0.5, 0.98]), [0.012, 0.3, 0.588], atol=0.05)
    angles = np.arctan2(slopes[1], slopes[0])
    assert (np.histogram(angles, 4, (-np.pi, np.pi))[0] > 30).all()


def test_levels_of_light_are_rounded(key):
    floating, integers = (
        batch(paper.lighting_gradient, key, page) for page in (WHITE, np.full((40, 60, 1), 255, np.uint8))
    )
    np.testing.assert_allclose(integers, 255 * floating, atol=1.01)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_ink_stays_black_but_for_the_shine_of_a_fold(key, op, dtype):
    out = batch(op, key, np.zeros((20, 20, 1), dtype), 16)
    if op is paper.folding_shadow:
        assert out.max() <= 0.15 * (255 if dtype == np.uint8 else 1)
    else:
        assert (out == 0).all()


@pytest.mark.parametrize(
    "nothing",
    [
        partial(paper.paper_tint, lightness=1.0, warmth=0.0),
        partial(paper.texture, strength=0.0),
        partial(paper.folding_shadow, strength=0.0),
        partial(paper.lighting_gradient, strength=0.0),
    ],
)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_no_strength_changes_nothing(key, nothing, dtype):
    page = np.random.default_rng(0).integers(0, 256, (9, 10, 3), dtype=np.uint8)
    page = page if dtype == np.uint8 else (page / 255).astype(dtype)
    np.testing.assert_array_equal(batch(nothing, key, page, 1)[0], page)


@pytest.mark.parametrize("op", OPS)
def test_one_pixel(key, op):
    out = batch(op, key, np.full((1, 1, 1), 200, np.uint8), 1)[0]
    assert 140 <= int(out[0, 0, 0]) <= 220


def test_bad_settings_are_refused(key):
    sheet = {"image": jnp.asarray(WHITE)}
    for op, settings in (
        (paper.paper_tint, {"lightness": 1.5}),
        (paper.paper_tint, {"warmth": -0.1}),
        (paper.texture, {"scale": 0}),
        (paper.texture, {"strength": 2.0}),
        (paper.folding_shadow, {"folds": 0}),
        (paper.folding_shadow, {"reach": 0.0}),
        (paper.lighting_gradient, {"strength": -1.0}),
    ):
        with pytest.raises(UserError, match=op.__name__):
            op(key, sheet, **settings)
    with pytest.raises(UserError, match="channels"):
        paper.paper_tint(key, {"image": jnp.ones((2, 2, 4))})
