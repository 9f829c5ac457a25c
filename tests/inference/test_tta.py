"""Views have inverses, and a mean over a group is invariant."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efficient_jax.errors import UserError
from efficient_jax.inference import tta
from efficient_jax.inference.tta import IDENTITY, VIEWS, View

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (3, 14, 14, 2), np.uint8)
MASKS = RNG.integers(0, 5, (3, 14, 14, 1), np.int32)
WEIGHTS = jnp.asarray(RNG.normal(0, 0.1, (14, 14, 2, 4)), jnp.float32)
EVERY = sorted({view for views in VIEWS.values() for view in views})


def classify(images):
    return jax.nn.softmax(jnp.einsum("bhwc,hwck->bk", images.astype(jnp.float32) / 255, WEIGHTS))


def segment(images):
    return jax.nn.softmax(images.astype(jnp.float32)[..., :1] * jnp.array([0.0, 0.01, -0.01]))


@functools.cache
def there_and_back():
    """{view: (the view of `MASKS`, it restored, the pixels seen)}, all compiled together."""

    def one(view):
        shown = tta.show(MASKS, view, "nearest")
        return shown, *tta.restore(shown, view, "nearest")

    return dict(zip(EVERY, jax.jit(lambda: [one(view) for view in EVERY])(), strict=True))


@pytest.mark.parametrize("name", VIEWS)
def test_the_image_itself_is_the_first_view_and_none_comes_twice(name):
    assert VIEWS[name][0] == IDENTITY
    assert len(set(VIEWS[name])) == len(VIEWS[name])


@pytest.mark.parametrize("view", EVERY)
def test_the_inverse_of_a_view_of_a_mask_is_the_mask_where_it_was_seen(view):
    shown, mask, seen = there_and_back()[view]
    assert (shown == MASKS).all() == (view == IDENTITY)
    np.testing.assert_array_equal(mask, np.where(seen[..., None], MASKS, 0))
    hidden = {"shift": 14, "zoom": 14**2 - round(14 / view.zoom) ** 2}  # a row or column; all but the window
    assert (~seen).sum() == (hidden["shift"] if any(view.shift) else hidden["zoom"])


def test_views_are_what_they_are_called():
    np.testing.assert_array_equal(tta.show(IMAGES, View(flip=True)), IMAGES[:, :, ::-1])
    np.testing.assert_array_equal(tta.show(IMAGES, View(turns=1)), np.rot90(IMAGES, 1, (1, 2)))
    down = tta.show(IMAGES, View(shift=(1 / 14, 0.0)))
    np.testing.assert_array_equal(down, np.concatenate([IMAGES[:, :1], IMAGES[:, :-1]], axis=1))
    corner = tta.show(IMAGES, View(zoom=2.0, anchor=(1.0, 0.0)), "nearest")
    np.testing.assert_array_equal(corner, IMAGES[:, 7:, :7].repeat(2, 1).repeat(2, 2))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_views_keep_the_dtype_and_what_has_one_colour(dtype):
    image = np.full((1, 9, 9, 3), 0.25 if dtype == np.float32 else 77, dtype)
    shown = jax.jit(lambda: tta.all_views(image, EVERY))()
    assert shown.dtype == dtype
    np.testing.assert_allclose(shown, np.broadcast_to(image, (len(EVERY), *image.shape)), rtol=1e-6)


def test_over_the_symmetries_of_the_square_the_mean_is_exactly_invariant():
    predict = jax.jit(lambda images: tta.mean(tta.predictions(classify, images, VIEWS["d4"])))
    said = predict(IMAGES)
    assert np.abs(said - classify(IMAGES)).max() > 0.01
    for view in VIEWS["d4"]:
        np.testing.assert_array_equal(predict(tta.show(IMAGES, view)), said)


@pytest.mark.parametrize("name", ["d4", "shifts"])
def test_maps_of_a_classifier_of_pixels_are_those_of_the_image(name):
    """Each pixel is classified by itself, so that every view that moves whole pixels says the same of it."""

    @jax.jit
    def both(images):
        maps = tta.restored(tta.predictions(segment, images, VIEWS[name]), VIEWS[name])
        return tta.mean(*maps), tta.vote(*maps), segment(images)

    mean, vote, plain = both(IMAGES)
    np.testing.assert_allclose(mean, plain, atol=1e-6)
    np.testing.assert_array_equal(vote, plain.argmax(-1))


def test_a_pixel_counts_where_it_is_seen():
    said = jnp.array([[[[[0.75, 0.25]]]], [[[[0.0, 0.0]]]], [[[[0.25, 0.75]]]]])
    weights = jnp.array([1.0, 0.0, 1.0])[:, None, None, None]
    np.testing.assert_allclose(tta.mean(said, weights), [[[[0.5, 0.5]]]])
    np.testing.assert_array_equal(tta.vote(said.at[1].set(jnp.array([1.0, 0.0])), weights), [[[0]]])


def test_the_image_alone_is_the_plain_prediction():
    said = tta.predictions(classify, IMAGES, VIEWS["none"])
    np.testing.assert_allclose(said[0], classify(IMAGES), atol=1e-6)
    np.testing.assert_array_equal(tta.mean(said), said[0])
    np.testing.assert_array_equal(tta.vote(said), said[0].argmax(-1))


@pytest.mark.parametrize(
    ("said", "winner"),
    [
        ([[0.6, 0.4, 0.0], [0.6, 0.4, 0.0], [0.0, 1.0, 0.0]], 0),  # most views, though its mean is smaller
        ([[0.9, 0.1, 0.0], [0.0, 0.4, 0.6]], 0),  # as many: the larger mean
        ([[0.3, 0.4, 0.3], [0.5, 0.4, 0.1], [0.1, 0.4, 0.5]], 1),  # three with as many: the larger mean
        ([[0.0, 0.8, 0.2], [0.0, 0.2, 0.8]], 1),  # as many, of the same mean: the first
        ([[0.5, 0.5, 0.0]], 0),
    ],
)
def test_ties_of_a_vote(said, winner):
    assert tta.vote(jnp.array(said)[:, None]).tolist() == [winner]


def test_the_largest_share_is_the_answer_of_the_vote():
    said = jnp.asarray(RNG.dirichlet(np.ones(4), (5, 400)), jnp.float32)
    shares = tta.shares(said)
    np.testing.assert_array_equal(shares.argmax(-1), tta.vote(said))
    np.testing.assert_allclose(shares.sum(-1), 1.0, atol=1e-6)
    votes = jax.nn.one_hot(said.argmax(-1), 4).mean(0)
    np.testing.assert_allclose(shares, votes, atol=2e-4)
    assert len(np.unique(np.sort(votes, axis=-1)[:, -2:], axis=0)) > 3  # ties among them
    assert (shares > 0).all()


def test_names_of_views_and_their_vote():
    assert tta.parse_views("flips", "x") == tta.parse_views("flips:soft", "x") == (VIEWS["flips"], "soft")
    assert tta.parse_views("d4:hard", "x") == (VIEWS["d4"], "hard")
    for text, message in {
        "flip:hard": "x: unknown name 'flip'; did you mean",
        "d4:hart": "did you mean 'hard'",
    }.items():
        with pytest.raises(UserError, match=message):
            tta.parse_views(text, "x")


def test_what_cannot_be_done_is_said():
    with pytest.raises(UserError, match="the image itself"):
        tta.predictions(classify, IMAGES, (View(flip=True),))
    with pytest.raises(UserError, match=r"a quarter turn of 14 x 12 pixels; want square"):
        tta.show(IMAGES[:, :, :12], View(turns=3))
    with pytest.raises(UserError, match=r"zoom 0\.5 is below"):
        tta.show(IMAGES, View(zoom=0.5))
