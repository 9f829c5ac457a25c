"""Against Pillow's JPEG, which is libjpeg's."""

import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from efficient_jax.augment.compression import compressed, doubled, jpeg, quantization
from efficient_jax.errors import UserError

compressed = jax.jit(compressed)


def random_image(height, width, channels, blur=2.0, seed=0):
    noise = np.random.default_rng(seed).normal(0, 1, (height, width, channels))
    noise = ndimage.gaussian_filter(noise, (blur, blur, 0), mode="nearest")
    return np.clip(128 + 60 * noise / noise.std(), 0, 255).astype(np.uint8)


def saved(image, quality):
    file = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[2] == 1 else image).save(file, "JPEG", quality=quality)
    return Image.open(file)


@pytest.mark.parametrize("quality", [1, 10, 49, 50, 75, 99, 100])
def test_quantization_tables(quality):
    theirs = saved(np.zeros((8, 8, 3), np.uint8), quality).quantization
    np.testing.assert_array_equal(quantization(jnp.int32(quality)), [theirs[0], theirs[1]])


def difference(shape, quality, blur):
    """Of ten images, in levels."""
    images = np.stack([random_image(*shape, blur, seed) for seed in range(10)])
    theirs = np.stack([np.asarray(saved(image, quality), int).reshape(shape) for image in images])
    return np.asarray(jax.vmap(compressed, (0, None))(images, jnp.int32(quality)), int) - theirs


@pytest.mark.versions
@pytest.mark.parametrize("shape", [(48, 64, 3), (37, 51, 3), (41, 30, 1)])
@pytest.mark.parametrize("quality", [5, 30, 75, 95])
def test_within_a_level_of_pillow_on_average(shape, quality):
    """Where a coefficient lies half way between two multiples, the two round a block differently; else they agree."""
    levels = difference(shape, quality, blur=2.0)
    assert np.abs(levels).mean() < 0.5
    assert np.abs(levels.mean(axis=(0, 1, 2))).max() < 0.1


def test_below_the_image_chroma_is_repeated():
    """As libjpeg does. Repeating the pixels instead makes a difference of two levels in noise."""
    assert np.abs(difference((40, 32, 3), 50, blur=0.0)).mean() < 1.0


def test_chroma_is_doubled_with_halves_rounded_up_and_down_in_turn():
    """0 and 2 become 0, 0.5, 1.5 and 2."""
    both = jnp.array([[0, 2]], jnp.int32) * 0x10001
    np.testing.assert_array_equal(doubled(both), np.array([[0, 0, 2, 2]] * 2) * 0x10001)


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 1, 1), (9, 17, 3), (16, 16, 1)])
@pytest.mark.parametrize("level", [0, 99, 255])  # at quality 50, 99 lies half way between two multiples
def test_one_level_is_pillows(shape, level):
    image = np.full(shape, level, np.uint8)
    for quality in (7, 50, 100):
        theirs = np.asarray(saved(image, quality)).reshape(shape)
        np.testing.assert_array_equal(compressed(image, jnp.int32(quality)), theirs)


def test_quality_is_drawn_from_its_range(key):
    image = random_image(16, 16, 3, 0.5)
    draw = jax.vmap(lambda key: jpeg(key, {"image": image}, quality_min=20, quality_max=22)["image"])
    outcomes = np.stack([compressed(image, jnp.int32(quality)) for quality in (20, 21, 22)])
    assert len(np.unique(outcomes, axis=0)) == 3
    equal = (np.asarray(jax.jit(draw)(jax.random.split(key, 90)))[:, None] == outcomes).all((2, 3, 4))
    assert (equal.sum(axis=1) == 1).all()
    assert (equal.sum(axis=0) > 15).all()


def test_floats_become_the_image_of_their_levels(key):
    image = random_image(20, 19, 3)
    op = jax.jit(lambda image: jpeg(key, {"image": image})["image"])
    np.testing.assert_array_equal(np.round(255 * op(image / np.float32(255))), op(image))


def test_two_channels_are_refused(key):
    with pytest.raises(UserError, match="1 or 3 channels"):
        jpeg(key, {"image": jnp.zeros((8, 8, 2), jnp.uint8)})


@pytest.mark.parametrize("bounds", [(0, 50), (60, 50), (50, 101)])
def test_bad_qualities_are_refused(key, bounds):
    with pytest.raises(UserError, match="quality_min"):
        jpeg(key, {"image": jnp.zeros((8, 8, 3))}, quality_min=bounds[0], quality_max=bounds[1])
