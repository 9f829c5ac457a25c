from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from efficient_jax.augment import color
from efficient_jax.augment.kernels import dtypes, packed, pointwise
from efficient_jax.augment.policies import engine, randaugment
from efficient_jax.errors import UserError

FEW = ("rotate", "equalize", "color")  # one of each kind


def random_images(n, side, channels):
    """Smooth enough that a larger change of geometry is a larger change of levels."""
    y, x = np.mgrid[:side, :side] / side
    waves = [np.sin(0.7 * i + 2.5 * x + i * y) * np.cos(i * x - y + c) for i in range(n) for c in range(channels)]
    planes = (128 + 90 * np.array(waves)).reshape(n, channels, side, side)
    noise = np.random.default_rng(0).integers(-20, 20, planes.shape)
    return jnp.asarray((planes + noise).astype(np.uint8).transpose(0, 2, 3, 1))


def batched(images, keys, **settings):
    return jax.jit(jax.vmap(lambda key, image: randaugment.randaugment(key, {"image": image}, **settings)["image"]))(
        keys, images
    )


def test_severity_grows_with_magnitude():
    ops = tuple(op for op in engine.OPERATIONS if op not in ("identity", "autocontrast", "equalize", "invert"))
    steps = [0.0, 2.5, 5.0, 10.0]
    table = engine.amount_table(randaugment.largest((16, 16)), ops, np.array(steps) / randaugment.MAX_LEVEL)
    image = {"image": random_images(1, 16, 3)[0]}
    run = jax.jit(jax.vmap(partial(engine.sequence, image, ops=ops, fill=0.4)))
    drawn = jnp.repeat(jnp.arange(len(ops)), len(steps))[:, None]
    for direction in (0, 1):
        out = run(drawn, jnp.asarray(table[direction].reshape(-1, 1)))["image"]
        changes = np.abs(np.asarray(out, int) - np.asarray(image["image"], int)).mean((1, 2, 3))
        for op, change in zip(ops, changes.reshape(len(ops), len(steps)), strict=True):
            assert change[0] == 0, op
            assert (np.diff(change) > 0).all(), (op, change)


@pytest.mark.usefixtures("every_platform")
def test_one_branch_for_each_image_on_cpu_and_none_on_accelerators(key):
    """vmap would turn a switch into a select over all its branches."""
    traced = jax.jit(partial(batched, ops=FEW)).trace(jnp.zeros((4, 8, 8, 3), jnp.uint8), jax.random.split(key, 4))
    cpu, cuda = (traced.lower(lowering_platforms=(name,)) for name in ("cpu", "cuda"))
    compiled = cpu.compile().as_text()
    assert compiled.count(" conditional(") == 1
    assert " conditional(" not in compiled[compiled.index("ENTRY") :]  # but in the loop over images and layers
    # Both programs have the case that chooses the platform, resolved by the compiler.
    assert cpu.as_text().count("stablehlo.case") == 1 + cuda.as_text().count("stablehlo.case")


def test_operations_are_drawn_uniformly_and_independently(key):
    ramp = jnp.arange(16, dtype=jnp.uint8).reshape(4, 4, 1) * 15 + 7
    names = ("identity", "solarize", "posterize", "autocontrast")
    images = jnp.broadcast_to(ramp, (4000, 4, 4, 1))
    out = jax.jit(partial(batched, layers=1, magnitude=10.0, ops=names))(images, jax.random.split(key, 4000))
    autocontrast = pointwise.autocontrast_tables(packed.pack(ramp), 1)[0].astype(jnp.uint8)
    expected = [ramp, 255 - ramp, ramp & 0xF0, autocontrast[ramp.astype(jnp.int32)]]
    counts = [int((out == image).all((1, 2, 3)).sum()) for image in expected]
    assert sum(counts) == 4000
    assert stats.chisquare(counts).pvalue > 1e-3


def test_no_layers_is_the_identity(key):
    images = random_images(2, 8, 3)
    np.testing.assert_array_equal(batched(images, jax.random.split(key, 2), layers=0), images)


def test_color_leaves_one_channel_alone(key):
    images = random_images(4, 8, 1)
    np.testing.assert_array_equal(batched(images, jax.random.split(key, 4), ops=("color",)), images)


def test_magnitude_noise_varies_the_strength(key):
    image = jnp.full((200, 1, 1, 1), 100, jnp.uint8)
    run = partial(batched, image, jax.random.split(key, 200), layers=1, ops=("brightness",), magnitude=5.0)
    fixed, noisy = np.asarray(run()), np.asarray(run(magnitude_std=1.0))
    assert len(np.unique(fixed)) == 2  # up and down
    assert 7 < np.abs(noisy - 100.0).std() < 11  # one step of the magnitude is 9 of 100 levels


def test_float_images_are_what_uint8_images_are(key):
    images, keys = random_images(8, 10, 3), jax.random.split(key, 8)
    run = jax.jit(partial(batched, ops=FEW))
    np.testing.assert_allclose(run(dtypes.to_float(images), keys), dtypes.to_float(run(images, keys)), atol=1e-6)


def test_nested_vmap_and_pmap_give_the_same_pixels(key):
    images, keys = random_images(8, 10, 3), jax.random.split(key, 8)
    run = partial(batched, ops=FEW)
    flat = jax.jit(run)(images, keys)
    nested = jax.jit(jax.vmap(run))(images.reshape(4, 2, 10, 10, 3), keys.reshape(4, 2))
    on_devices = jax.pmap(run)(images.reshape(4, 2, 10, 10, 3), keys.reshape(4, 2))
    np.testing.assert_array_equal(nested.reshape(flat.shape), flat)
    np.testing.assert_array_equal(on_devices.reshape(flat.shape), flat)


def test_probability_is_that_of_each_layer(key):
    image = jnp.full((4000, 1, 1, 1), 100, jnp.uint8)
    out = batched(image, jax.random.split(key, 4000), layers=2, ops=("invert",), layer_probability=0.3)
    changed = int((out != image).sum())  # twice inverted is unchanged
    assert stats.binomtest(changed, 4000, 2 * 0.3 * 0.7).pvalue > 1e-3


def draws(op, monkeypatch, size=(64, 80), n=4000, **settings):
    """What an operation draws for n images: indices and amounts [n layers], and the names of the operations."""
    names = []

    def record(example, drawn, amounts, *, ops, fill):
        del fill
        names.append(ops)
        return example | {"drawn": drawn, "amounts": amounts}

    monkeypatch.setattr(engine, "sequence", record)
    keys, image = jax.random.split(jax.random.key(1), n), jnp.zeros((*size, 3), jnp.uint8)
    out = jax.vmap(lambda key: {**op(key, {"image": image}, **settings), "image": 0})(keys)
    return np.asarray(out["drawn"]), np.asarray(out["amounts"]), names[0]


def test_layers_and_signs_are_independent(monkeypatch):
    drawn, amounts, ops = draws(randaugment.randaugment, monkeypatch, ops=("rotate", "shear_x", "color"), layers=2)
    neutral = np.array([1024 * (op == "color") for op in ops])
    code = 2 * drawn + (amounts > neutral[drawn])
    counts = np.histogram2d(code[:, 0], code[:, 1], bins=6)[0]
    assert stats.chisquare(counts.reshape(-1)).pvalue > 1e-3


def test_trivialaugment_draws_every_operation_and_magnitude_alike(monkeypatch):
    drawn, amounts, ops = draws(randaugment.trivialaugment, monkeypatch, n=14 * 1000)
    assert drawn.shape == (14000, 1)
    assert stats.chisquare(np.bincount(drawn[:, 0], minlength=14)).pvalue > 1e-3
    shifts = amounts[drawn == ops.index("translate_x")]
    values, counts = np.unique(shifts, return_counts=True)
    # -32..32 pixels in 31 magnitudes of 16/15 pixels, rounded; 0 has both signs.
    bins = np.round(np.arange(31) * 32 / 30)
    assert set(values) == {*bins, *-bins}
    assert stats.chisquare(counts, len(shifts) / 62 * np.where(values == 0, 2, 1)).pvalue > 1e-3


def test_trivialaugment_has_the_wide_ranges():
    bins = np.arange(31)
    table = engine.amount_table(randaugment.WIDE, randaugment.OPS, bins / 30)
    amounts = {op: table[:, i] / engine.OPERATIONS[op].steps for i, op in enumerate(randaugment.OPS)}
    assert set(amounts) == {
        *("identity", "rotate", "shear_x", "shear_y", "translate_x", "translate_y", "autocontrast", "equalize"),
        *("brightness", "contrast", "posterize", "solarize", "color", "sharpness"),
    }
    closed = {
        "rotate": (4.5 * bins, 0.0),
        "shear_x": (0.033 * bins, 1 / 2048),
        "shear_y": (0.033 * bins, 1 / 2048),
        "translate_x": (32 / 30 * bins, 0.5),
        "translate_y": (32 / 30 * bins, 0.5),
    }
    for op, (change, rounding) in closed.items():
        np.testing.assert_allclose(amounts[op], [change, -change], atol=rounding + 1e-9)
    for op in ("brightness", "contrast", "color", "sharpness"):
        np.testing.assert_allclose(amounts[op], [1 + 0.033 * bins, 1 - 0.033 * bins], atol=1 / 2048 + 1e-9)
    np.testing.assert_array_equal(amounts["posterize"][0], 8 - np.round(bins / 5))
    np.testing.assert_allclose(amounts["solarize"][0], 256 - 256 / 30 * bins, atol=0.5)


def test_three_augment_is_one_of_three_and_jitter(key, monkeypatch):
    def same(key, example, *, brightness, contrast, saturation, hue):
        del key
        assert (brightness, contrast, saturation, hue) == (0.3, 0.3, 0.3, 0.0)
        return example

    monkeypatch.setattr(randaugment.jitter, "color_jitter", same)
    image = random_images(1, 14, 3)[0]
    keys = jax.random.split(key, 600)
    out = np.asarray(jax.jit(jax.vmap(lambda key: randaugment.three_augment(key, {"image": image})["image"]))(keys))
    gray = np.asarray(color.grayscale(key, {"image": image})["image"])
    bright = np.asarray(image) >= 128
    solarized = np.where(bright, 255 - np.asarray(image), image)
    is_gray, is_solarized = ((out == expected).all((1, 2, 3)) for expected in (gray, solarized))
    blurred = out[~is_gray & ~is_solarized]
    assert stats.chisquare([is_gray.sum(), is_solarized.sum(), len(blurred)]).pvalue > 1e-3
    # A blur draws levels together, as often a little (sigma 0.1 changes nothing) as a lot.
    spread = blurred.std((1, 2))
    assert (spread <= np.asarray(image).std((0, 1)) + 1e-6).all()
    assert spread.min() < 0.8 * np.asarray(image).std((0, 1)).min()


def test_bad_settings_are_refused(key):
    example = {"image": random_images(1, 8, 3)[0]}
    with pytest.raises(UserError, match=r"0\.\.10"):
        randaugment.randaugment(key, example, magnitude=27.0)
    with pytest.raises(UserError, match="did you mean 'shear_x'"):
        randaugment.randaugment(key, example, ops=("shearx",))
    with pytest.raises(UserError, match="layers"):
        randaugment.randaugment(key, example, layers=-1)
    with pytest.raises(UserError, match="probability"):
        randaugment.randaugment(key, example, layer_probability=1.5)
    with pytest.raises(UserError, match="magnitude"):
        randaugment.randaugment(key, example, magnitude=-1.0)
    with pytest.raises(UserError, match="empty"):
        randaugment.randaugment(key, example, ops=())


def test_a_fill_for_each_channel(key):
    white = {"image": jnp.full((12, 12, 3), 255, jnp.uint8)}
    run = jax.vmap(
        lambda k: randaugment.randaugment(k, white, magnitude=10.0, ops=("translate_x",), fill=(0.2, 0.4, 0.6))
    )
    seen = np.asarray(jax.jit(run)(jax.random.split(key, 4))["image"])
    assert {tuple(pixel) for pixel in seen.reshape(-1, 3).tolist()} == {(255, 255, 255), (51, 102, 153)}
