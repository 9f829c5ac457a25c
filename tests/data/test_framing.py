"""Images become squares."""

import io

import numpy as np
import pytest
from PIL import Image

from efficient_jax.data import cache, stored_image, stream
from efficient_jax.data.framing import Framing, fit, reduced
from efficient_jax.data.sources.image_folders import folder

SMOOTH = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 13, 3), np.uint8)).resize((130, 90))


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(
    ("size", "crop", "shorter"), [(32, 1.0, 32), (56, 0.875, 64), (33, 0.9, 37), (224, 0.875, 256)]
)
def test_crop_is_a_resize_of_the_shorter_side_and_a_cut_of_the_middle(size, crop, shorter, turned, interpolation):
    image = SMOOTH.transpose(Image.Transpose.TRANSPOSE) if turned else SMOOTH
    longer = shorter * 130 // 90
    width, height = (shorter, longer) if turned else (longer, shorter)
    resized = np.asarray(image.resize((width, height), getattr(Image.Resampling, interpolation.upper())), int)
    top, left = round((height - size) / 2), round((width - size) / 2)
    expected = resized[top : top + size, left : left + size]
    assert np.abs(fit(image, size, "crop", crop, interpolation) - expected).max() <= 1


def test_crop_keeps_the_middle_squash_keeps_all_and_pad_adds_grey():
    stripes = np.repeat(np.array([10, 100, 250], np.uint8), 20)[None, :, None].repeat(20, 0).repeat(3, 2)  # 20 x 60
    np.testing.assert_array_equal(fit(stripes, 20, "crop", 1.0, "bicubic"), 100)
    squashed = fit(stripes, 60, "squash", 1.0, "bilinear")
    np.testing.assert_array_equal(squashed, stripes[:1].repeat(60, 0))
    padded = fit(stripes, 60, "pad", 1.0, "bicubic")
    np.testing.assert_array_equal(padded[20:40], stripes)
    np.testing.assert_array_equal(np.delete(padded, slice(20, 40), 0), 128)
    np.testing.assert_array_equal(fit(stripes.transpose(1, 0, 2), 60, "pad", 1.0, "bicubic"), padded.transpose(1, 0, 2))


@pytest.mark.parametrize("way", ["crop", "squash", "pad"])
def test_a_image_of_that_size_is_left_alone(way):
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    np.testing.assert_array_equal(fit(pixels, 16, way, 1.0, "bicubic"), pixels)
    np.testing.assert_array_equal(fit(pixels[..., :1], 16, way, 1.0, "bicubic"), pixels[..., :1])


@pytest.mark.parametrize("way", ["crop", "squash", "pad"])
def test_fine_patterns_become_their_mean(way):
    """A resize without antialiasing would return black and white."""
    board = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)[..., None]
    inner = fit(board, 16, way, 1.0, "bilinear")[2:-2, 2:-2].astype(int)
    assert np.abs(inner - 127.5).max() <= 2


@pytest.mark.parametrize("way", ["crop", "squash", "pad"])
@pytest.mark.parametrize("shape", [(1, 5000), (5000, 1), (1, 1)])
def test_strips_fit_too(way, shape):
    assert (fit(np.full((*shape, 3), 7, np.uint8), 8, way, 1.0, "bicubic") == 7).any()


def photograph(w, h):
    """Blobs of 24 pixels."""
    coarse = np.random.default_rng(w).integers(40, 216, (h // 24 + 2, w // 24 + 2, 3), np.uint8)
    return Image.fromarray(coarse).resize((w, h), Image.Resampling.BICUBIC)


def jpeg(image, orientation=1):
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(content := io.BytesIO(), "JPEG", quality=90, exif=exif)
    return content.getvalue()


def framed(content, draft, size=32, **settings):
    return stored_image.frame(content, Framing(size, draft=draft, **settings), (size, size, 3))


@pytest.mark.parametrize(
    ("w", "h", "size", "fit", "scale"),
    [
        (300, 200, 51, "crop", 1),  # 150 x 100 would be less than twice 76 x 51
        (300, 200, 50, "crop", 2),
        (200, 300, 25, "crop", 4),
        (207, 300, 12, "crop", 8),
        (300, 200, 64, "squash", 1),
        (300, 200, 50, "squash", 2),
        (300, 200, 75, "pad", 2),
        (300, 200, 76, "pad", 1),
    ],
)
def test_the_scale_leaves_twice_the_size(w, h, size, fit, scale):
    image = Image.open(io.BytesIO(jpeg(Image.new("RGB", (w, h)))))
    assert reduced(image, Framing(size, fit)) == scale
    assert image.size == (-(-w // scale), -(-h // scale))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("side", [(304, 200), (203, 331)], ids=["divides", "is rounded up"])
@pytest.mark.parametrize("settings", [{}, {"crop": 0.8}, {"fit": "squash"}, {"fit": "pad"}, {"channels": 1}], ids=str)
def test_a_reduced_scale_shows_the_same(side, orientation, settings):
    """Moved by a quarter of a pixel, levels would differ by two on average, and more where sides are rounded up."""
    content = jpeg(photograph(*side), orientation)
    whole, draft = framed(content, False, **settings), framed(content, True, **settings)
    assert np.abs(draft.image.astype(int) - whole.image).mean() < 0.5
    assert draft._replace(image=None) == whole._replace(image=None)
    halved = orientation == 1 or side == (304, 200)
    assert (draft.image != whole.image).any() == halved


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "small"])
def test_what_is_no_large_jpeg_is_decoded_as_it_is(kind):
    photograph(63 if kind == "small" else 256, 200).save(content := io.BytesIO(), "JPEG" if kind == "small" else kind)
    whole, draft = (framed(content.getvalue(), draft) for draft in (False, True))
    np.testing.assert_array_equal(draft.image, whole.image)


@pytest.fixture
def photographs(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "WORTH", 0.0)
    for i, side in enumerate([(300, 200), (203, 331), (256, 256)]):
        (tmp_path / f"set/{i}").mkdir(parents=True)
        (tmp_path / f"set/{i}/a.jpg").write_bytes(jpeg(photograph(*side)))

    def read(draft, kind):
        return folder(
            path=str(tmp_path / "set"), size=32, draft=draft, feed=stream.Feed(kind, folder=tmp_path / "kept")
        )

    return read


@pytest.mark.parametrize("kind", ["memory", "stream"])
def test_what_was_kept_at_another_scale_is_not_taken(photographs, kind):
    whole, draft, again = (photographs(draft, kind).images[np.arange(3)] for draft in (False, True, True))
    np.testing.assert_array_equal(again, draft)
    assert (whole != draft).any((1, 2, 3)).all()


def test_streamed_images_have_the_same_scale(photographs):
    kept, streamed = photographs(True, "memory"), photographs(True, "stream")
    np.testing.assert_array_equal(streamed.images[np.arange(3)], kept.images)
    np.testing.assert_array_equal(kept.sizes, [[200, 300], [331, 203], [256, 256]])
