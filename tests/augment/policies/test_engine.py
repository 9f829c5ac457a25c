from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from efficient_jax.augment.kernels import matrices, packed, positions, resample, targets
from efficient_jax.augment.policies import engine

OPS = tuple(engine.OPERATIONS)
SIZE = (10, 13)
LIMITS = engine.ranges(
    rotate=140, shear=0.99, translate=(15, 15), factor=0.99, posterize=(8, 2), solarize=(256, 0)
)  # wide, and beyond the image
TABLE = engine.amount_table(LIMITS, OPS, np.arange(9) / 8)


def random_images(n, channels, size=SIZE):
    return jnp.asarray(np.random.default_rng(0).integers(0, 256, (n, *size, channels), dtype=np.uint8))


def every_amount():
    """Index and amount of each operation at each of nine magnitudes, either way."""
    which, level, sign = (axis.reshape(-1) for axis in np.mgrid[: len(OPS), :9, :2])
    return jnp.asarray(which, jnp.int32), jnp.asarray(TABLE[sign, which, level])


@partial(jax.jit, static_argnames="layer")
def through(images, drawn, amounts, layer):
    """Images through layers of operations, one layer after the other; drawn and amounts [n layers]."""
    channels = images.shape[-1]
    settings = {"ops": OPS, "fill": packed.gray_pixel(99, channels), "channels": channels}
    matrices = jax.vmap(partial(engine.matrix_of_each, ops=OPS, size=images.shape[1:3]))(drawn, amounts)

    def one(arguments):
        image, drawn, amounts, matrices = arguments
        layers = (drawn, amounts, matrices)
        scanned = jax.lax.scan(lambda x, each: (layer(x, *each, **settings), None), packed.pack(image), layers)
        return packed.unpack(scanned[0], channels)

    arguments = (images, drawn, amounts, matrices)
    return jax.lax.map(one, arguments) if layer is engine.switch else jax.vmap(one)(arguments)


@pytest.mark.parametrize("channels", [1, 3])
def test_both_forms_give_the_same_pixels(channels, key):
    which, amounts = every_amount()
    second = jax.random.permutation(key, len(which))
    images = random_images(len(which), channels)
    layers = jnp.stack([which, which[second]], 1), jnp.stack([amounts, amounts[second]], 1)
    by_switch, by_mask = (through(images, *layers, layer) for layer in (engine.switch, engine.branchless))
    np.testing.assert_array_equal(by_switch, by_mask)
    assert (np.asarray(by_switch) != np.asarray(images)).any((1, 2, 3)).mean() > 0.8


@pytest.mark.parametrize("size", [(9, 14), (8, 8), (1, 1), (40, 3)])
@pytest.mark.parametrize("name", ["shear_x", "shear_y", "translate_x", "translate_y"])
def test_shears_and_shifts_are_what_the_resampler_does(name, size):
    steps = engine.OPERATIONS[name].steps
    amounts = (
        np.unique(np.linspace(-1.2 * steps, 1.2 * steps, 41).astype(np.int32)) if steps > 1 else np.arange(-45, 46)
    )
    matrices = jax.vmap(lambda amount: engine.MATRICES[name](amount, size))(jnp.asarray(amounts, jnp.int32))
    pixels = packed.pack(random_images(1, 3, size)[0])
    special, general = (
        jax.jit(jax.vmap(partial(f, pixels, fill=0x123456, channels=3)))(matrices)
        for f in (engine.RESAMPLERS[name], resample.resample)
    )
    np.testing.assert_array_equal(special, general)


@pytest.mark.parametrize(
    ("name", "value", "inverse"),
    [
        ("rotate", 20.0, matrices.rotation(20.0)),
        ("rotate", -135.0, matrices.rotation(-135.0)),
        ("shear_x", 0.25, matrices.shearing(0.25, 0.0)),
        ("shear_y", -0.25, matrices.shearing(0.0, -0.25)),
        ("translate_x", 3, matrices.translation(3.0, 0.0)),
        ("translate_y", -2, matrices.translation(0.0, -2.0)),
    ],
)
def test_matrices_are_those_of_geometry(name, value, inverse):
    amount = jnp.int32(round(value * engine.OPERATIONS[name].steps))
    matrix = engine.MATRICES[name](amount, SIZE) / (1 << positions.fraction_bits(SIZE))
    np.testing.assert_allclose(matrix, inverse[:2], atol=3e-5)


def solarize_add(image, amount):
    levels = np.asarray(image).astype(int)
    return np.where(levels < 128, np.minimum(levels + amount, 255), levels)


@pytest.mark.versions
@pytest.mark.parametrize(
    ("name", "amount", "expected"),
    [
        ("invert", 0, ImageOps.invert),
        ("equalize", 0, ImageOps.equalize),
        ("posterize", 3, lambda image: ImageOps.posterize(image, 3)),
        ("solarize", 77, lambda image: ImageOps.solarize(image, 77)),
        ("solarize_add", 110, lambda image: solarize_add(image, 110)),
        ("brightness", 1500, lambda image: ImageEnhance.Brightness(image).enhance(1500 / 1024)),
        ("contrast", 300, lambda image: ImageEnhance.Contrast(image).enhance(300 / 1024)),
        ("color", 1900, lambda image: ImageEnhance.Color(image).enhance(1900 / 1024)),
        ("sharpness", 1900, lambda image: ImageEnhance.Sharpness(image).enhance(1900 / 1024)),
    ],
)
def test_levels_are_those_of_pillow(name, amount, expected):
    image = random_images(1, 3)
    layers = jnp.array([[OPS.index(name)]], jnp.int32), jnp.array([[amount]], jnp.int32)
    out = through(image, *layers, engine.branchless)[0]
    np.testing.assert_array_equal(out, expected(Image.fromarray(np.asarray(image[0]))))


def test_amounts_count_steps_of_the_unit():
    limits = {"rotate": (0, 30), "brightness": (1, 1.5), "posterize": (8, 4)}
    table = engine.amount_table(limits, ("rotate", "brightness", "posterize", "invert"), np.array([0, 0.5, 1]))
    assert table[0].tolist() == [[0, 480, 960], [1024, 1280, 1536], [8, 6, 4], [0, 0, 0]]
    assert table[1].tolist() == [[0, -480, -960], [1024, 768, 512], [8, 6, 4], [0, 0, 0]]


def test_an_index_beyond_the_operations_does_nothing():
    image = random_images(1, 3)[0]
    run = jax.jit(partial(engine.sequence, ops=("invert",), fill=0.0))
    out = run({"image": image}, jnp.array([1, 0, 1]), jnp.zeros(3, jnp.int32))
    np.testing.assert_array_equal(out["image"], 255 - image)


def test_an_operation_may_be_there_twice():
    image = {"image": random_images(1, 3)[0]}
    for name, amount in (("rotate", 500), ("invert", 0), ("color", 300)):
        once, twice = (
            jax.jit(partial(engine.sequence, ops=ops, fill=0.0))(image, jnp.array([drawn]), jnp.array([amount]))
            for drawn, ops in ((0, (name,)), (2, (name, "identity", name)))
        )
        assert (once["image"] != image["image"]).any()
        np.testing.assert_array_equal(twice["image"], once["image"])


def test_masks_boxes_and_keypoints_move_with_the_image():
    ops = ("invert", "translate_x", "translate_y")
    image = jnp.full((8, 8, 1), 255, jnp.uint8)
    example = {
        "image": image.at[2, 3].set(0),
        "mask": jnp.zeros((8, 8), jnp.int32).at[2, 3].set(7),
        "boxes": jnp.array([[3.0, 2.0, 4.0, 3.0]]),
        "box_visible": jnp.ones(1),
        "keypoints": jnp.array([[3.0, 2.0]]),
        "keypoint_visible": jnp.ones(1, bool),
        "label": jnp.ones(3),
    }
    # To the right by 2 (what comes in is white too), inverted, up by 1 (what comes in is white).
    out = jax.jit(partial(engine.sequence, ops=ops, fill=1.0))(example, jnp.array([1, 0, 2]), jnp.array([2, 0, -1]))
    assert np.argwhere(np.asarray(out["image"][:7, :, 0]) == 255).tolist() == [[1, 5]]
    assert np.argwhere(np.asarray(out["mask"]) == 7).tolist() == [[1, 5]]
    np.testing.assert_allclose(out["boxes"], [[5.0, 1.0, 6.0, 2.0]], atol=1e-4)
    np.testing.assert_allclose(out["keypoints"], [[5.0, 1.0]], atol=1e-4)
    np.testing.assert_array_equal(out["label"], example["label"])


def test_images_alone_need_no_targets(monkeypatch):
    monkeypatch.setattr(targets, "move", None)  # not called
    example = {"image": random_images(1, 1)[0], "label": jnp.ones(3)}
    jax.eval_shape(partial(engine.sequence, ops=("rotate",), fill=0.0), example, jnp.array([0]), jnp.array([9]))
