"""Images that are decoded when they are asked for are those that would have been kept, or an error."""

import os
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from PIL import Image

from efficient_jax.data import cache, decode, statistics, stream
from efficient_jax.data.dataset import digests, fingerprint
from efficient_jax.data.sources.image_folders import folder
from efficient_jax.data.sources.parquet_files import parquet
from efficient_jax.errors import UserError
from tests.data.sources.test_parquet_files import hugging, write

STREAM = stream.Feed("stream")


@pytest.fixture
def noise(tmp_path):
    """Two classes of 20 images of noise each, one of which is not an image."""
    rng = np.random.default_rng(0)
    for i in range(40):
        path = tmp_path / f"set/{'ab'[i % 2]}/{i:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (12, 9 + i % 4, 3), np.uint8)).save(path)
    (tmp_path / "set/a/07.png").write_bytes(b"no image")
    return {"path": str(tmp_path / "set"), "size": 8, "unreadable": 1}


@pytest.fixture
def both(noise):
    return folder(**noise), folder(**noise, feed=STREAM)


def test_streamed_images_are_those_of_memory(both):
    kept, streamed = both
    assert isinstance(streamed.images, stream.Streamed)
    assert streamed.images.shape == kept.images.shape == (40, 8, 8, 3)
    for ids in (np.arange(40), np.array([5, 39, 5, 0]), np.arange(6).reshape(2, 3), 7, -1, [], kept.labels == 1):
        np.testing.assert_array_equal(streamed.images[ids], kept.images[ids])
    with pytest.raises(IndexError):
        streamed.images[40]
    np.testing.assert_array_equal(streamed.labels, kept.labels)
    assert tuple(streamed.names) == kept.names
    assert streamed.notes == (
        *kept.notes[:-1],
        "images are decoded whenever they are used: 41 of 8 x 8 x 3 are 7.3e-06 GiB",
        kept.notes[-1],
    )


def test_what_is_known_of_them_is_the_same(both):
    kept, streamed = both
    np.testing.assert_array_equal(digests(kept), digests(streamed))
    assert fingerprint(kept) == fingerprint(streamed)
    np.testing.assert_array_equal(streamed.sizes, kept.sizes)
    ids = np.arange(3, 30)
    np.testing.assert_allclose(streamed.images.mean_std(ids), statistics.mean_std(kept.images[ids]), rtol=1e-13)


def test_images_of_one_colour_are_known(tmp_path):
    """Black, a colour, and white but for one level of one pixel."""
    for i, colour in enumerate([(0, 0, 0), (7, 200, 31), (255, 255, 255)]):
        (tmp_path / "ab"[i % 2]).mkdir(exist_ok=True)
        image = Image.new("RGB", (5, 4), colour)
        image.putpixel((2, 2), tuple(max(level - (i == 2), 0) for level in colour))
        image.save(tmp_path / "ab"[i % 2] / f"{i}.png")
    source = folder(path=str(tmp_path), size=0, feed=STREAM)
    np.testing.assert_array_equal(source.images.constant(), [True, False, True])


def test_resized_after_that_they_are_the_same(both):
    kept, streamed = both
    larger = streamed.images.resized(11)
    assert larger.shape == (40, 11, 11, 3)
    np.testing.assert_array_equal(larger[np.arange(40)], decode.resized(kept.images, 11))
    np.testing.assert_array_equal(larger.resized(8)[np.arange(40)], kept.images)
    assert larger.mean_std(np.arange(40)) == streamed.images.mean_std(np.arange(40))


def test_parquet_streams_too(tmp_path):
    columns = [{"image": hugging(range(10 * i, 10 * i + 3)), "label": [0, 1, 0]} for i in range(2)]
    paths = [write(tmp_path / f"{i}.parquet", each) for i, each in enumerate(columns)]
    kept, streamed = (parquet(path=paths[0], test_path=paths[1], feed=feed) for feed in (stream.IN_MEMORY, STREAM))
    np.testing.assert_array_equal(streamed.images[np.arange(6)], kept.images)
    assert fingerprint(kept) == fingerprint(streamed)


@pytest.mark.parametrize(("room", "kind"), [(40 * 8 * 8 * 3, stream.Streamed), (41 * 8 * 8 * 3, np.ndarray)])
def test_what_does_not_fit_is_streamed(noise, room, kind):
    assert isinstance(folder(**noise, feed=stream.Feed("", room)).images, kind)


def break_it(path):
    path.write_bytes(path.read_bytes()[:-30])


def replace_it(path):
    Image.new("RGB", (12, 12)).save(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (os.remove, "cannot be read any more (not there); put the image back"),
        (break_it, "is not what it was at the start; put"),
        (replace_it, "is not what it was at the start; put"),
    ],
)
def test_a_image_that_changes_later_is_named(noise, change, message):
    """Never a wrong or an empty image."""
    source = folder(**noise, feed=STREAM)
    name = source.names[3]
    change(Path(name))
    source.images[np.arange(3)]
    with pytest.raises(UserError) as error:
        source.images[np.arange(10)]
    assert str(error.value).startswith(f"config.data.source: {name} {message}")
    assert str(error.value).endswith("the same command carries on from the last checkpoint")


def test_the_first_pass_is_kept_for_as_long_as_the_files_are(noise, tmp_path, monkeypatch):
    feed = stream.Feed("stream", folder=tmp_path)
    first = folder(**noise, feed=feed)
    with monkeypatch.context() as patch:
        patch.setattr(decode, "decode_files", passed := mock.Mock(wraps=decode.decode_files))
        again = folder(**noise, feed=feed)
        assert [call.args[1] for call in passed.call_args_list] == [1]  # only the unreadable image is tried again
    assert (again.notes, fingerprint(again)) == (first.notes, fingerprint(first))
    assert [*again.names] == [*first.names]
    np.testing.assert_array_equal(again.images[np.arange(40)], first.images[np.arange(40)])
    with monkeypatch.context() as patch:  # a package is there now, with which the unreadable ones can be read
        patch.setattr(cache, "mended", lambda *_: True)
        patch.setattr(decode, "decode_files", passed := mock.Mock(wraps=decode.decode_files))
        folder(**noise, feed=feed)
        passed.assert_called_once()
    replace_it(Path(first.names[3]))
    assert fingerprint(folder(**noise, feed=feed)) != fingerprint(first)
