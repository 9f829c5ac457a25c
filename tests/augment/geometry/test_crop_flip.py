import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from scipy import stats

from efficient_jax.augment.geometry import crop_flip, resize
from efficient_jax.errors import UserError

NOISE = np.random.default_rng(0).integers(0, 256, (12, 12, 3), dtype=np.uint8)
WIDE = NOISE[:7]


def window_only(_example, window, _size):
    return {"image": window}


def many(op, image, key, n, **settings):
    return np.asarray(
        jax.jit(jax.vmap(lambda k: op(k, {"image": jnp.asarray(image)}, **settings)["image"]))(jax.random.split(key, n))
    )


@pytest.mark.parametrize(("op", "mirrored"), [(crop_flip.flip, WIDE[:, ::-1]), (crop_flip.flip_vertical, WIDE[::-1])])
def test_flips_mirror_half_of_the_images(key, op, mirrored):
    images = many(op, WIDE, key, 400)
    changed = (images == mirrored).all((1, 2, 3))
    assert (changed | (images == WIDE).all((1, 2, 3))).all()
    assert 160 < changed.sum() < 240


def test_quarter_turns_are_equally_likely(key):
    images = many(crop_flip.rot90, NOISE, key, 400)
    counts = [(images == np.rot90(NOISE, k)).all((1, 2, 3)).sum() for k in range(4)]
    assert sum(counts) == 400
    assert stats.chisquare(counts).pvalue > 1e-3


def test_wide_images_make_half_turns(key):
    images = many(crop_flip.rot90, WIDE, key, 100)
    counts = [(images == np.rot90(WIDE, k)).all((1, 2, 3)).sum() for k in (0, 2)]
    assert sum(counts) == 100
    assert min(counts) > 30


@pytest.mark.parametrize("border", crop_flip.BORDERS)
def test_pad_is_numpys(key, border):
    padded = crop_flip.pad(key, {"image": jnp.asarray(WIDE)}, pixels=3, border=border, fill=0.2)["image"]
    level = {"constant_values": 51} if border == "constant" else {}
    np.testing.assert_array_equal(padded, np.pad(WIDE, ((3, 3), (3, 3), (0, 0)), mode=border, **level))


def test_a_padding_with_a_level_for_each_channel(key):
    padded = np.asarray(crop_flip.pad(key, {"image": jnp.asarray(WIDE)}, pixels=2, fill=(0.0, 0.2, 1.0))["image"])
    planes = [np.pad(WIDE[..., i], 2, constant_values=level) for i, level in enumerate((0, 51, 255))]
    np.testing.assert_array_equal(padded, np.stack(planes, -1))


def test_crop_shows_every_window_equally_often(key):
    windows = many(crop_flip.crop, WIDE, key, 3000, size=(5, 11))
    expected = [WIDE[y : y + 5, x : x + 11] for y in range(3) for x in range(2)]
    counts = [(windows == window).all((1, 2, 3)).sum() for window in expected]
    assert sum(counts) == 3000
    assert stats.chisquare(counts).pvalue > 1e-3


def test_crop_with_padding_keeps_the_size(key):
    shifted = many(crop_flip.crop, NOISE, key, 50, padding=2, border="reflect")
    padded = np.pad(NOISE, ((2, 2), (2, 2), (0, 0)), mode="reflect")
    windows = [padded[y : y + 12, x : x + 12] for y in range(5) for x in range(5)]
    assert all(any((image == window).all() for window in windows) for image in shifted)


def test_center_crop_is_the_middle(key):
    middle = crop_flip.center_crop(key, {"image": jnp.asarray(WIDE)}, size=(3, 6))["image"]
    np.testing.assert_array_equal(middle, WIDE[2:5, 3:9])


@pytest.mark.versions
@pytest.mark.parametrize("size", [(16, 20), (60, 60), (33, 60), (20, 47)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_resize_is_pillows(key, size, dtype):
    image = np.random.default_rng(0).integers(0, 256, (33, 47, 3), dtype=np.uint8)
    expected = np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR), int)
    scale = 1 if dtype == np.uint8 else 255
    out = resize.resize(key, {"image": jnp.asarray((image / dtype(scale)).astype(dtype))}, size=size)["image"]
    assert out.dtype == dtype
    assert np.abs(np.asarray(out) * np.float64(scale) - expected).max() <= 2


@pytest.mark.parametrize("shape", [(32, 32), (20, 40)])
def test_crops_have_the_law_of_drawing_until_one_fits(key, shape, monkeypatch):
    monkeypatch.setattr(resize, "_show", window_only)
    height, width = shape
    windows = many(resize.random_resized_crop, np.zeros((height, width, 1), np.uint8), key, 4000)
    rng = np.random.default_rng(0)
    area, ratio = rng.uniform(0.08, 1, 40000) * height * width, np.exp(rng.uniform(-1, 1, 40000) * np.log(4 / 3))
    rows, columns = np.sqrt(area / ratio), np.sqrt(area * ratio)
    fits = (rows <= height) & (columns <= width)
    assert stats.ks_2samp(windows[:, 2], rows[fits]).pvalue > 1e-3
    assert stats.ks_2samp(windows[:, 3], columns[fits]).pvalue > 1e-3
    place = windows[:, :2] / np.maximum(np.array(shape) - windows[:, 2:], 1e-6)
    assert stats.kstest(place[:, 0], "uniform").pvalue > 1e-3
    assert (windows[:, :2] + windows[:, 2:] <= np.array(shape) + 1e-3).all()


def test_where_no_shape_fits_the_middle_is_shown(key, monkeypatch):
    monkeypatch.setattr(resize, "_show", window_only)
    window = resize.random_resized_crop(key, {"image": jnp.zeros((4, 40, 3))}, area_min=0.5)["image"]
    np.testing.assert_allclose(window, [0, 20 - 8 / 3, 4, 16 / 3], rtol=1e-6)


def test_the_whole_image_is_the_identity(key):
    whole = resize.random_resized_crop(key, {"image": jnp.asarray(NOISE)}, area_min=1.0, ratio=1.0)["image"]
    np.testing.assert_array_equal(whole, NOISE)


def test_a_crop_of_a_ramp_is_a_ramp(key):
    """The step between neighbours tells the window's size, the middle its place."""
    ramp = jnp.broadcast_to(jnp.linspace(0, 1, 41)[None, :, None], (41, 41, 1))
    out = many(resize.random_resized_crop, ramp, key, 20, area_min=0.2, area_max=0.5)[..., 0]
    steps = np.diff(out[:, 20], axis=1)[:, 5:-5]
    np.testing.assert_allclose(steps, np.broadcast_to(steps[:, :1], steps.shape), atol=2e-5)
    assert (steps[:, 0] < 1 / 40).all()


def test_smaller_crops_average(key):
    """Stripes one pixel wide become gray when they are made smaller, not stripes of another width."""
    stripes = jnp.broadcast_to((jnp.arange(64) % 2).astype(jnp.float32)[None, :, None], (64, 64, 1))
    out = many(resize.random_resized_crop, stripes, key, 8, size=(16, 16), area_min=0.9)
    assert np.abs(out[:, :, 2:-2] - 0.5).max() < 0.1


@pytest.mark.parametrize(
    ("op", "settings", "message"),
    [
        (crop_flip.crop, {"size": (20, 20)}, "20 x 20 does not fit into an image of 7 x 12"),
        (crop_flip.center_crop, {"size": (0, 4)}, "1 or more each"),
        (resize.resize, {"size": (0, 3)}, "1 or more"),
        (crop_flip.pad, {"pixels": 1, "border": "reflct"}, "did you mean 'reflect'"),
        (crop_flip.crop, {"border": "wrap"}, "crop.border"),
        (crop_flip.center_crop, {"size": (8,)}, "1 or more each"),
        (resize.random_resized_crop, {"area_min": 0.0}, "area_min"),
        (crop_flip.flip, {"probability": 1.5}, r"not in 0\.\.1"),
    ],
)
def test_bad_settings_are_refused(key, op, settings, message):
    with pytest.raises(UserError, match=message):
        op(key, {"image": jnp.asarray(WIDE)}, **settings)
