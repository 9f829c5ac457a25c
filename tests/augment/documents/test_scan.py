from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efficient_jax.augment.documents.ink import dithering, ink_bleed
from efficient_jax.augment.documents.paper import folding_shadow, paper_tint, texture
from efficient_jax.augment.documents.scan import OVERLAYS, document, document_scan
from efficient_jax.augment.geometry.affine import affine
from efficient_jax.augment.geometry.crop_flip import flip
from efficient_jax.errors import UserError

RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (12, 17, 3), dtype=np.uint8)
PAPER = (partial(paper_tint, lightness=0.5, warmth=0.3), texture, partial(folding_shadow, folds=2))


def sheet_of(image):
    """A `paper` phase that puts a known sheet there."""
    return (lambda _, example: example | {"image": jnp.asarray(image)},)


def page_with_a_bar(size=48):
    page = np.full((size, size, 3), 255, np.uint8)
    page[size // 3 : size // 2, size // 6 : -size // 6] = 0
    return page


@pytest.fixture(scope="module")
def scans():
    """(run, keys, run(keys)) of 64 scans of one page and a point on it."""
    page = {
        "image": jnp.asarray(page_with_a_bar()),
        "keypoints": jnp.array([[3.0, 4.0]]),
        "keypoint_visible": jnp.ones(1, bool),
    }
    run = jax.jit(jax.vmap(lambda k: document_scan(k, page)))
    keys = jax.random.split(jax.random.key(7), 64)
    return run, keys, jax.tree.map(np.asarray, run(keys))


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_no_phases_on_white_paper_is_the_identity(key, overlay, dtype):
    image = NOISE if dtype == np.uint8 else (NOISE / 255).astype(dtype)
    out = document(key, {"image": jnp.asarray(image), "label": jnp.ones(3)}, overlay=overlay)
    np.testing.assert_array_equal(out["image"], image)
    np.testing.assert_array_equal(out["label"], np.ones(3))


def test_multiplied_ink_lets_paper_through(key):
    sheet = RNG.integers(0, 256, NOISE.shape, dtype=np.uint8)
    ink = NOISE.copy()
    ink[:4], ink[4:8] = 255, 0
    out = np.asarray(document(key, {"image": jnp.asarray(ink)}, paper=sheet_of(sheet))["image"])
    assert (out <= np.minimum(ink, sheet)).all()
    np.testing.assert_array_equal(out[:4], sheet[:4])
    assert (out[4:8] == 0).all()
    np.testing.assert_allclose(out, ink.astype(float) * sheet / 255, atol=0.5 + 1e-9)


def test_other_overlays_and_opacity(key):
    sheet = RNG.integers(0, 256, NOISE.shape, dtype=np.uint8)
    run = partial(document, key, {"image": jnp.asarray(NOISE)}, paper=sheet_of(sheet))
    np.testing.assert_array_equal(run(overlay="min")["image"], np.minimum(NOISE, sheet))
    np.testing.assert_array_equal(run(overlay="normal")["image"], NOISE)
    mixed = 0.75 * NOISE + 0.25 * sheet
    np.testing.assert_allclose(run(overlay="normal", opacity=0.75)["image"], mixed, atol=0.51)
    np.testing.assert_array_equal(run(opacity=0.0)["image"], sheet)


@pytest.mark.parametrize("overlay", ["multiply", "min"])
def test_paper_leaves_black_ink_black(key, overlay):
    page = page_with_a_bar()
    run = jax.jit(jax.vmap(lambda k: document(k, {"image": jnp.asarray(page)}, paper=PAPER, overlay=overlay)["image"]))
    out = np.asarray(run(jax.random.split(key, 16)))
    assert (out[:, page == 0] == 0).all()
    assert (out[:, page == 255] < 255).any()


def test_ink_never_sees_the_paper(key):
    """Dithered after printing, tinted paper would be speckled."""
    tint = partial(paper_tint, lightness=0.5)
    page = {"image": jnp.asarray(page_with_a_bar())}
    out = np.asarray(jax.jit(lambda k: document(k, page, ink=(ink_bleed, dithering), paper=(tint,))["image"])(key))
    assert len(np.unique(out.reshape(-1, 3), axis=0)) == 2
    assert out.max() not in (0, 255)


ANNOTATED = {
    "image": jnp.asarray(RNG.integers(0, 256, (30, 40, 1), dtype=np.uint8)),
    "mask": jnp.zeros((30, 40), jnp.int32).at[5:12, 6:20].set(1),
    "boxes": jnp.array([[6.0, 5, 20, 12], [25, 10, 30, 28]]),
    "box_visible": jnp.ones(2),
    "keypoints": jnp.array([[10.0, 11], [33, 4], [2, 27]]),
    "keypoint_visible": jnp.ones(3, bool),
}
SKEW = jax.jit(partial(affine, rotate=9.0, shear=0.1, fill=1.0))
MIRROR = partial(flip, probability=1.0)


def assert_same(example, expected):
    assert example.keys() == expected.keys()
    for entry, value in expected.items():
        np.testing.assert_array_equal(example[entry], value, err_msg=entry)


@pytest.mark.parametrize("phase", ["ink", "post"])
def test_annotations_move_with_ink_and_post(key, phase):
    expected = SKEW(jax.random.fold_in(key, 0), ANNOTATED)
    assert abs(expected["keypoints"] - ANNOTATED["keypoints"]).max() > 0.5
    assert_same(document(key, ANNOTATED, **{phase: (SKEW,)}), expected)


def test_ink_moves_before_post(key):
    expected = SKEW(jax.random.fold_in(key, 1), MIRROR(key, ANNOTATED))
    assert_same(document(key, ANNOTATED, ink=(MIRROR,), post=(SKEW,)), expected)


def test_the_sheet_moves_alone(key):
    sheet = np.full((30, 40, 1), 255, np.uint8)
    sheet[:, :5] = 100
    out = document(key, ANNOTATED, paper=(*sheet_of(sheet), MIRROR), overlay="min")
    assert_same(out, ANNOTATED | {"image": jnp.minimum(ANNOTATED["image"], sheet[:, ::-1])})


def test_text_stays_darker_than_paper(scans):
    pages = scans[2]["image"]
    bar = np.median(pages[:, 19:22, 14:34], axis=(1, 2, 3))  # inside of the bar, wherever the skew moved it
    paper = np.median(pages, axis=(1, 2, 3))
    assert (bar + 30 < paper).all()
    assert (paper > 120).all()


def test_scans_are_drawn_for_each_key(scans):
    run, keys, drawn = scans
    assert_same(jax.tree.map(np.asarray, run(keys[::-1])), {name: x[::-1] for name, x in drawn.items()})
    assert len({page.tobytes() for page in drawn["image"]}) == 64


def test_half_of_the_scans_are_skewed(scans):
    moved = abs(scans[2]["keypoints"] - [3.0, 4.0]).max((1, 2)) > 0
    assert 20 <= moved.sum() <= 44
    assert abs(scans[2]["keypoints"] - [3.0, 4.0]).max() < 24 * (np.radians(2) + 0.02) * 1.5


def test_bad_settings_are_refused(key):
    page = {"image": jnp.asarray(NOISE)}
    with pytest.raises(UserError, match="did you mean 'multiply'"):
        document(key, page, overlay="multipy")
    with pytest.raises(UserError, match="opacity"):
        document(key, page, opacity=1.5)
    with pytest.raises(UserError, match="strength"):
        document_scan(key, page, strength=1.1)
