"""Images of every mode are decoded; what cannot be read is listed, what was changed is counted."""

import io
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from efficient_jax.data import decode
from efficient_jax.data.decode import decode_all
from efficient_jax.data.framing import Framing
from efficient_jax.errors import UserError

SMOOTH = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 13, 3), np.uint8)).resize((130, 90))
UPRIGHT = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3) * 14


def encoded(image, kind="PNG", **settings):
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    image.save(content := io.BytesIO(), kind, **settings)
    return content.getvalue()


def one(content, channels=3):
    """(the pixels, the notes) of one image that can be read."""
    found = decode_all([content].__getitem__, 1, Framing(0, channels=channels))
    assert found.unreadable == {}
    return found.images[0], found.notes


def with_palette(transparent):
    image = Image.new("P", (1, 1), 1)
    image.putpalette([0, 0, 0, 200, 40, 60])
    return encoded(image, transparency=1) if transparent else encoded(image)


WHITE = "1 of 1 image has transparency: they were put on white"
GREY = "1 of 1 image was gray: repeated in three channels"


@pytest.mark.parametrize(
    ("content", "expected", "notes"),
    [
        (encoded(Image.new("RGB", (1, 1), (1, 2, 3))), (1, 2, 3), ()),
        (encoded(Image.new("L", (1, 1), 77)), (77, 77, 77), (GREY,)),
        (encoded(Image.new("1", (1, 1), 1)), (255, 255, 255), (GREY,)),
        (encoded(Image.new("RGBA", (1, 1), (250, 0, 100, 51))), (254, 204, 224), (WHITE,)),
        (encoded(Image.new("LA", (1, 1), (0, 51))), (204, 204, 204), (WHITE, GREY)),
        (encoded(Image.new("RGB", (1, 1), (1, 2, 3)), transparency=(1, 2, 3)), (255, 255, 255), (WHITE,)),
        (with_palette(False), (200, 40, 60), ()),
        (with_palette(True), (255, 255, 255), (WHITE,)),
        (encoded(Image.new("CMYK", (1, 1), (255, 0, 0, 0)), "TIFF"), (0, 255, 255), ("1 of 1 image was CMYK: ",)),
        (encoded(np.full((1, 1), 65535, np.uint16)), (255, 255, 255), ("1 of 1 image had 16 bits: ", GREY)),
    ],
    ids=["RGB", "L", "1", "RGBA", "LA", "RGB transparent", "P", "P transparent", "CMYK", "16 bits"],
)
def test_every_mode_becomes_rgb_and_is_counted(content, expected, notes):
    pixels, said = one(content)
    np.testing.assert_array_equal(pixels, [[expected]])
    assert len(said) == len(notes)
    assert all(line.startswith(start) for line, start in zip(said, notes, strict=True))


def test_colours_become_grey_where_one_channel_is_wanted():
    pixels, notes = one(encoded(Image.new("RGB", (1, 1), (0, 255, 0))), channels=1)
    np.testing.assert_array_equal(pixels, [[[150]]])  # the luma of ITU-R 601: 0.587 green
    assert notes == ("1 of 1 image had colors: made gray",)
    assert one(encoded(Image.new("L", (1, 1), 77)), channels=1)[1] == ()


@pytest.mark.parametrize(
    ("orientation", "stored"),
    [
        (1, UPRIGHT),
        (2, UPRIGHT[:, ::-1]),
        (3, UPRIGHT[::-1, ::-1]),
        (4, UPRIGHT[::-1]),
        (5, UPRIGHT.transpose(1, 0, 2)),
        (6, np.rot90(UPRIGHT)),  # shown after a quarter turn clockwise
        (7, UPRIGHT[::-1, ::-1].transpose(1, 0, 2)),
        (8, np.rot90(UPRIGHT, -1)),
    ],
)
def test_images_stand_as_their_exif_says(orientation, stored):
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels, notes = one(encoded(np.ascontiguousarray(stored), exif=exif))
    np.testing.assert_array_equal(pixels, UPRIGHT)
    assert notes == (("1 of 1 image was turned as their EXIF orientation says",) if orientation > 1 else ())


def test_the_first_frame_is_taken():
    frames = [Image.new("L", (2, 2), value) for value in (10, 200)]
    pixels, notes = one(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    np.testing.assert_array_equal(pixels, 10)
    assert notes[0] == "1 of 1 image has several frames: the first was taken"


def test_what_cannot_be_read_is_listed_and_the_rest_keeps_its_order(tmp_path):
    whole = [encoded(np.full((4, 4, 3), value, np.uint8)) for value in range(150)]
    bad = {
        0: b"",
        3: b"no image",
        64: encoded(SMOOTH, "JPEG")[:-200],
        70: encoded(SMOOTH)[:-200],
        100: encoded(np.zeros((1, 1), np.float32), "TIFF"),
        101: encoded(Image.new("1", (10_001, 10_000))),
        149: np.zeros((4, 4, 3), np.float32),
    }
    (tmp_path / "5.png").write_bytes(whole[5])
    stored = [bad.get(row, content) for row, content in enumerate(whole)]
    stored[5], stored[6], stored[7] = tmp_path / "5.png", np.full((4, 4, 3), 6, np.uint8), tmp_path / "no.png"
    found = decode_all(stored.__getitem__, 150, Framing(4))
    assert list(found.unreadable) == [0, 3, 7, 64, 70, 100, 101, 149]
    np.testing.assert_array_equal(found.rows, [row for row in range(150) if row not in found.unreadable])
    np.testing.assert_array_equal(
        found.images, found.rows.astype(np.uint8)[:, None, None, None].repeat(4, 1).repeat(4, 2).repeat(3, 3)
    )
    assert found.unreadable[3] == "not an image"
    assert "truncated" in found.unreadable[64]
    assert found.unreadable[101] == "10,001 x 10,000 pixels, more than 100,000,000"
    assert found.unreadable[149] == "float32 [4, 4, 3]; want uint8"
    assert all(why and "\n" not in why for why in found.unreadable.values())


HEADER_OF_HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"


def test_heic_says_what_it_wants(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)  # as if it were not installed
    found = decode_all([HEADER_OF_HEIC].__getitem__, 1, Framing(8))
    assert found.unreadable == {0: "HEIC, which wants pip install pillow-heif"}


def test_heic_is_read():
    pillow_heif = pytest.importorskip("pillow_heif")
    content = io.BytesIO()
    pillow_heif.from_pillow(Image.new("RGB", (64, 48), (200, 100, 50))).save(content, quality=90)
    pixels, notes = one(content.getvalue())
    assert pixels.shape == (48, 64, 3)
    assert np.abs(pixels.astype(int) - (200, 100, 50)).max() <= 4
    assert notes == ()


def test_as_they_are_stored_images_have_one_size():
    stored = [encoded(np.zeros(shape, np.uint8)) for shape in ((3, 5, 3), (3, 5, 3), (5, 3, 3))]
    assert decode_all(stored.__getitem__, 2, Framing(0)).images.shape == (2, 3, 5, 3)
    found = decode_all(stored.__getitem__, 3, Framing(0))
    assert found.unreadable == {2: "3 x 5 pixels, but the first has 5 x 3: say config.data.source.size"}
    assert decode_all([b""].__getitem__, 1, Framing(0)).unreadable == {0: "not an image"}


def test_as_they_are_stored_a_damaged_first_image_is_left_out_alone():
    found = decode_all([b"", b"no", encoded(UPRIGHT)].__getitem__, 3, Framing(0))
    assert found.unreadable == {0: "not an image", 1: "not an image"}
    assert found.images.shape == (1, *UPRIGHT.shape)


@pytest.mark.parametrize(
    ("framing", "message"),
    [
        (Framing(8, "squish"), "fit: unknown name 'squish'; did you mean 'squash'?"),
        (Framing(8, interpolation="cubic"), "interpolation: unknown name 'cubic'; did you mean 'bicubic'?"),
        (Framing(-1), "size: -1 is not a number of pixels"),
        (Framing(8, crop=0.0), "crop: 0.0 is not a share of the image"),
        (Framing(8, crop=1.5), "crop: 1.5 is not a share of the image"),
        (Framing(8, channels=4), "channels: 4 asked; want 3 (color) or 1 (gray)"),
        (Framing(0, draft=True), "draft: JPEGs are decoded at a reduced scale for a smaller size; say "),
    ],
)
def test_a_framing_that_does_not_exist_is_said(framing, message):
    with pytest.raises(UserError) as error:
        decode_all(lambda _: UPRIGHT, 1, framing)
    assert str(error.value).startswith(f"config.data.source.{message}")


def test_more_than_the_memory_is_said(monkeypatch):
    monkeypatch.setattr(decode, "free_memory", lambda: 2**30)
    with pytest.raises(UserError, match=r"1,000,000 images of 32 x 32 x 3 need 2\.9 GiB, and 1\.0 GiB are free"):
        decode_all(lambda _: UPRIGHT, 1_000_000, Framing(32))


@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="Linux says what is free")
def test_memory_is_in_bytes():
    assert 2**26 < decode.free_memory() < 2**46


def test_resized_images_are_pillows():
    images = np.random.default_rng(0).integers(0, 256, (3, 20, 30, 3), np.uint8)
    theirs = [np.asarray(Image.fromarray(image).resize((8, 8), Image.Resampling.BICUBIC)) for image in images]
    np.testing.assert_array_equal(decode.resized(images, 8), theirs)
    assert decode.resized(images, 0) is images


def test_sizes_are_those_of_the_upright_images_that_could_be_read():
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encoded(UPRIGHT, "JPEG", exif=exif)
    found = decode_all([encoded(UPRIGHT), b"none", turned].__getitem__, 3, Framing(8))
    assert found.rows.tolist() == [0, 2]
    assert found.sizes.tolist() == [[2, 3], [3, 2]]
