from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from efficient_jax.augment import color, kernels, policy, randaugment
from efficient_jax.types import UserError

FEW = ("rotate", "equalize", "color")  # one of each kind


def pictures(n, side, channels):
    """Smooth enough that a larger change of geometry is a larger change of levels."""
    y, x = np.mgrid[:side, :side] / side
    waves = [np.sin(0.7 * i + 2.5 * x + i * y) * np.cos(i * x - y + c) for i in range(n) for c in range(channels)]
    planes = (128 + 90 * np.array(waves)).reshape(n, channels, side, side)
    noise = np.random.default_rng(0).integers(-20, 20, planes.shape)
    return jnp.asarray((planes + noise).astype(np.uint8).transpose(0, 2, 3, 1))


def batched(images, keys, **settings):
    return jax.vmap(lambda key, image: randaugment(key, {"image": image}, **settings)["image"])(keys, images)


def dispatched(dispatcher, images, drawn, strength, fill=99):
    """Images through the chosen operations (indices into policy.OPS) at the chosen strengths, both [n layers]."""
    _, height, width, channels = images.shape
    settings = {"ops": policy.OPS, "fill": kernels.gray_pixel(fill, channels), "channels": channels}
    select = jax.vmap(jax.vmap(lambda op, amount: policy._matrix(policy.OPS, op, amount, height, width)))
    arguments = (jax.vmap(kernels.pack)(images), drawn, strength, select(drawn, strength))
    out = dispatcher(arguments, **settings)
    return jax.vmap(lambda pixels: kernels.unpack(pixels, channels))(out)


def switch(arguments, **settings):
    return jax.lax.map(lambda each: policy._switch(*each, **settings), arguments)


def branchless(arguments, **settings):
    return jax.vmap(partial(policy._branchless, **settings))(*arguments)


@pytest.mark.parametrize("shape", [(12, 1), (10, 3)])
def test_both_dispatchers_give_the_same_pixels(key, shape):
    n, images = 56, pictures(56, *shape)
    drawn = jnp.stack([jnp.arange(n) % 14, jax.random.randint(key, (n,), 0, 14)], axis=1).astype(jnp.int32)
    strength = jax.random.randint(key, (n, 2), -policy.FULL, policy.FULL + 1)
    by_switch, by_mask = (jax.jit(partial(dispatched, d))(images, drawn, strength) for d in (switch, branchless))
    np.testing.assert_array_equal(by_switch, by_mask)
    assert (np.asarray(by_switch) != np.asarray(images)).any((1, 2, 3)).mean() > 0.8


def test_severity_grows_with_strength():
    ops = [op for op in policy.OPS if op not in ("identity", "autocontrast", "equalize")]
    steps = [0, 256, 512, 1024]
    drawn = jnp.array([policy.OPS.index(op) for op in ops for _ in steps], jnp.int32)[:, None]
    images = jnp.broadcast_to(pictures(1, 16, 3), (len(drawn), 16, 16, 3))
    for sign in (1, -1):
        strength = sign * jnp.array(steps * len(ops), jnp.int32)[:, None]
        out = jax.jit(partial(dispatched, branchless))(images, drawn, strength)
        changes = np.abs(np.asarray(out, int) - np.asarray(images, int)).mean((1, 2, 3)).reshape(len(ops), len(steps))
        for op, change in zip(ops, changes, strict=True):
            assert change[0] == 0, op
            assert (np.diff(change) > 0).all(), (op, change)


def test_one_branch_for_each_image_on_cpu_and_none_on_accelerators(key):
    """vmap would turn a switch into a select over all its branches."""
    traced = jax.jit(partial(batched, ops=FEW)).trace(jnp.zeros((4, 8, 8, 3), jnp.uint8), jax.random.split(key, 4))
    cpu, cuda = (traced.lower(lowering_platforms=(name,)) for name in ("cpu", "cuda"))
    compiled = cpu.compile().as_text()
    assert compiled.count(" conditional(") == 2  # one in each layer
    assert " conditional(" not in compiled[compiled.index("ENTRY") :]  # but in the loop over images
    # Both programs have the cases that choose the platform, resolved by the compiler.
    assert cpu.as_text().count("stablehlo.case") == 2 + cuda.as_text().count("stablehlo.case")


def test_operations_are_drawn_uniformly_and_independently(key):
    ramp = jnp.arange(16, dtype=jnp.uint8).reshape(4, 4, 1) * 15 + 7
    names = ("identity", "solarize", "posterize", "autocontrast")
    images = jnp.broadcast_to(ramp, (4000, 4, 4, 1))
    out = jax.jit(partial(batched, layers=1, magnitude=10.0, ops=names))(images, jax.random.split(key, 4000))
    autocontrast = color.autocontrast_tables(kernels.pack(ramp), 1)[0].astype(jnp.uint8)
    expected = [ramp, 255 - ramp, ramp & 0xF0, autocontrast[ramp.astype(jnp.int32)]]
    counts = [int((out == picture).all((1, 2, 3)).sum()) for picture in expected]
    assert sum(counts) == 4000
    assert stats.chisquare(counts).pvalue > 1e-3


def test_no_layers_is_the_identity(key):
    images = pictures(2, 8, 3)
    np.testing.assert_array_equal(batched(images, jax.random.split(key, 2), layers=0), images)


def test_color_leaves_one_channel_alone(key):
    images = pictures(4, 8, 1)
    np.testing.assert_array_equal(batched(images, jax.random.split(key, 4), ops=("color",)), images)


def test_magnitude_noise_varies_the_strength(key):
    image = jnp.full((200, 1, 1, 1), 100, jnp.uint8)
    run = partial(batched, image, jax.random.split(key, 200), layers=1, ops=("brightness",), magnitude=5.0)
    fixed, noisy = np.asarray(run()), np.asarray(run(magnitude_std=1.0))
    assert len(np.unique(fixed)) == 2  # up and down
    assert 7 < np.abs(noisy - 100.0).std() < 11  # one step of the magnitude is 9 of 100 levels


def test_float_images_are_what_uint8_images_are(key):
    images, keys = pictures(8, 10, 3), jax.random.split(key, 8)
    run = jax.jit(partial(batched, ops=FEW))
    np.testing.assert_allclose(run(kernels.to_float(images), keys), kernels.to_float(run(images, keys)), atol=1e-6)


def test_nested_vmap_and_pmap_give_the_same_pixels(key):
    images, keys = pictures(8, 10, 3), jax.random.split(key, 8)
    run = partial(batched, ops=FEW)
    flat = jax.jit(run)(images, keys)
    nested = jax.jit(jax.vmap(run))(images.reshape(4, 2, 10, 10, 3), keys.reshape(4, 2))
    on_devices = jax.pmap(run)(images.reshape(4, 2, 10, 10, 3), keys.reshape(4, 2))
    np.testing.assert_array_equal(nested.reshape(flat.shape), flat)
    np.testing.assert_array_equal(on_devices.reshape(flat.shape), flat)


def test_bad_settings_are_refused(key):
    example = {"image": pictures(1, 8, 3)[0]}
    with pytest.raises(UserError, match=r"0\.\.10"):
        randaugment(key, example, magnitude=27.0)
    with pytest.raises(UserError, match="did you mean 'shear_x'"):
        randaugment(key, example, ops=("shearx",))
    with pytest.raises(UserError, match="layers"):
        randaugment(key, example, layers=-1)
    with pytest.raises(UserError, match="empty"):
        randaugment(key, example, ops=())
