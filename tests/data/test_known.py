"""What one pass finds out about images is kept in shards, which any start completes and every start reads."""

import itertools
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from unittest import mock

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from efficient_jax import distributed
from efficient_jax.data import cache, known, stored_image
from efficient_jax.data.framing import Framing
from efficient_jax.data.identity import digest
from efficient_jax.data.thumbnails import thumbnails

COUNT = 23
BROKEN = (4, 9)


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    """Five of five images but the last."""
    monkeypatch.setattr(known, "SHARD", 5)


@pytest.fixture
def images(tmp_path):
    """Images of noise in color and gray, two of which are none; one name is not UTF-8."""
    rng = np.random.default_rng(0)
    files = [tmp_path / f"{i:02}.png" for i in range(COUNT)]
    files[7] = tmp_path / os.fsdecode(b"\xff.png")
    for i, file in enumerate(files):
        Image.fromarray(rng.integers(0, 256, (4, 3 + i % 2, 3)[: 2 + i % 2], np.uint8)).save(file, "png")
    for i in BROKEN:
        files[i].write_bytes(b"no image")
    return files


class Watched:
    """The files, and which of them were read."""

    def __init__(self, files):
        self.files, self.opened = files, []

    def __call__(self, row):
        self.opened.append(row)
        return self.files[row]


def know(files, folder, read=None):
    return known.know(read or Watched(files), len(files), Framing(4), (4, 4, 3), folder, files)


def assert_right(found, files):
    """All columns, computed anew."""
    rows = [i for i in range(len(files)) if i not in BROKEN]
    assert [*found.rows] == rows
    assert found.unreadable == dict.fromkeys(BROKEN, "not an image")
    assert found.changes == Counter({"were gray: repeated in three channels": 11})  # one of 12 is no image
    assert [*found.names] == [str(files[row]).replace("\udcff", "?") for row in rows]
    assert [found.path(row) for row in rows] == [files[row] for row in rows]
    framed = [stored_image.frame(files[row], Framing(4), (4, 4, 3)) for row in rows]
    pixels = np.stack([each.image for each in framed]).astype(int)
    np.testing.assert_array_equal(found.sums, pixels.sum((1, 2)))
    np.testing.assert_array_equal(found.squares, np.square(pixels).sum((1, 2)))
    np.testing.assert_array_equal(found.thumbnails, thumbnails(pixels.astype(np.uint8)))
    np.testing.assert_array_equal(found.sizes, [each.size for each in framed])
    assert [row.tobytes() for row in np.asarray(found.contents)] == [digest(files[row].read_bytes()) for row in rows]
    assert [row.tobytes() for row in np.asarray(found.digests)] == [digest(each.image) for each in framed]


def shards(folder):
    return sorted(folder.glob("*.arrow"))


def test_the_pass_is_made_once(images, tmp_path):
    folder, read = tmp_path / "kept", Watched(images)
    assert_right(know(images, folder, read), images)
    assert sorted(read.opened) == [*range(COUNT)]
    assert [int(file.name[:6]) for file in shards(folder)] == [0, 1, 2, 3, 4]
    assert_right(know(images, folder, again := Watched(images)), images)
    assert sorted(again.opened) == [*BROKEN]  # perhaps a package that reads them is there now


def test_without_a_folder_nothing_is_written(images, tmp_path):
    before = sorted(tmp_path.iterdir())
    assert_right(know(images, None), images)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: file.unlink(),
        lambda file: file.write_bytes(b""),
        lambda file: file.write_bytes(file.read_bytes()[:-100]),
        lambda file: file.write_bytes(file.read_bytes() + b" "),
        lambda file: file.write_bytes(
            bytes([*file.read_bytes()[:500], file.read_bytes()[500] ^ 1]) + file.read_bytes()[501:]
        ),
    ],
    ids=["gone", "empty", "cut", "longer", "one bit"],
)
def test_a_damaged_shard_alone_is_made_again(images, tmp_path, damage, capsys):
    know(images, tmp_path / "kept")
    damage(broken := shards(tmp_path / "kept")[2])
    lines = capsys.readouterr().out
    assert_right(know(images, tmp_path / "kept", read := Watched(images)), images)
    lines = capsys.readouterr().out.splitlines()
    assert lines == ([f"{broken} is damaged: its images are decoded again"] if lines else [])
    assert set(read.opened) - {*BROKEN} == {10, 11, 12, 13, 14}
    assert broken in shards(tmp_path / "kept")


@pytest.mark.parametrize(
    "damage", [lambda file: file.unlink(), lambda file: file.write_bytes(b"")], ids=["gone", "cut"]
)
def test_a_shard_whose_thumbnails_are_damaged_is_made_again(images, tmp_path, damage, capsys):
    know(images, tmp_path / "kept")
    damage((broken := shards(tmp_path / "kept")[3]).with_suffix(".thumbnails"))
    capsys.readouterr()
    assert_right(know(images, tmp_path / "kept", read := Watched(images)), images)
    assert capsys.readouterr().out == f"{broken} is damaged: its images are decoded again\n"
    assert set(read.opened) - {*BROKEN} == {15, 16, 17, 18, 19}


def test_an_image_that_can_be_read_now_is_read(images, tmp_path):
    """A package was installed: the file is the same, but what it is read as is not."""
    know(images, tmp_path / "kept")
    with mock.patch.object(cache, "mended", lambda _read, unreadable, _framing: 9 in unreadable):
        found = know(images, tmp_path / "kept", lambda row: images[8] if row == 9 else images[row])
    assert [*found.unreadable] == [4]
    assert 9 in found.rows
    later = know(images, tmp_path / "kept")  # the newer of both shards
    assert [*later.unreadable] == [4]


@pytest.mark.parametrize("fail_at", [0, 5, 6])
def test_on_a_full_disk_the_rest_stays_in_memory(images, tmp_path, fail_at, capsys, monkeypatch):
    written = itertools.count()
    whole = known.whole

    def full(file, by_each):
        if next(written) >= fail_at:
            raise OSError(28, "No space left on device")
        return whole(file, by_each)

    monkeypatch.setattr(known, "whole", full)
    assert_right(know(images, tmp_path / "kept"), images)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.endswith("kept, but in memory: No space left on device")
    assert len(shards(tmp_path / "kept")) == fail_at // 2  # two files each


def test_shards_that_may_not_be_read_are_made_in_memory(images, tmp_path, capsys, monkeypatch):
    """Those of another user."""
    know(images, tmp_path / "kept")

    def denied(_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(known, "_mapped", denied)
    capsys.readouterr()
    assert_right(know(images, tmp_path / "kept"), images)
    *lines, last = sorted(capsys.readouterr().out.splitlines(), key=lambda line: line.startswith("what"))
    assert len(lines) == 5
    assert all(line.endswith("cannot be read (Permission denied): its images are decoded again") for line in lines)
    assert last.endswith("kept, but in memory: Permission denied")


def test_each_process_makes_its_share_and_those_that_are_missing(images, tmp_path, monkeypatch):
    monkeypatch.setattr(distributed, "several", lambda: True)
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    for index in (0, 1):
        monkeypatch.setattr(jax, "process_index", lambda index=index: index)
        order = known._order(9)
        assert {number % 2 for number in order[: 5 - index]} == {index}
        assert sorted(order) == [*range(9)]
    first = know(images, tmp_path / "kept", Watched(images))
    assert_right(first, images)


def test_a_shard_that_another_makes_meanwhile_is_taken(images, tmp_path):
    """Two runs on one folder: when this one looks at its second shard, the other has made all."""
    read = Watched(images)

    def slow(row):
        if not read.opened:
            read.opened.append(row)
            know(images, tmp_path / "kept")
        return read(row)

    assert_right(know(images, tmp_path / "kept", slow), images)
    assert len(set(read.opened) - {*BROKEN}) <= 5
    assert len(shards(tmp_path / "kept")) == 5


KILLED = """
import sys, time
from pathlib import Path
from efficient_jax.data import known
from efficient_jax.data.framing import Framing
known.SHARD = 5
files = sorted(Path(sys.argv[1]).glob("*.png"))
def read(row):
    time.sleep(0.05)
    return files[row]
known.know(read, len(files), Framing(4), (4, 4, 3), Path(sys.argv[1]) / "kept", files)
"""


@pytest.mark.usefixtures("images")
def test_a_killed_pass_is_carried_on(tmp_path):
    files = sorted(tmp_path.glob("*.png"))
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)])
    while len(shards(tmp_path / "kept")) < 2:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    made = {int(file.name[:6]) for file in shards(tmp_path / "kept")}
    assert made
    found = know(files, tmp_path / "kept", read := Watched(files))
    assert {row // 5 for row in read.opened if row not in found.unreadable} == {0, 1, 2, 3, 4} - made
    assert len(found.rows) == COUNT - len(BROKEN)


INDICES = (
    st.lists(st.integers(-9, 8), max_size=12) | st.integers(-9, 8) | st.lists(st.booleans(), min_size=9, max_size=9)
)


@given(INDICES, st.lists(st.integers(0, 22), min_size=9, max_size=9))
def test_columns_are_indexed_like_arrays(ids, rows):
    array = np.arange(46).reshape(23, 2)
    parts = [array[i : i + 5] for i in range(0, 23, 5)]
    ids = np.array(ids, bool if ids and isinstance(ids, list) and isinstance(ids[0], bool) else int)
    with mock.patch.object(known, "SHARD", 5):
        column = known.Column(parts, np.array(rows))
        np.testing.assert_array_equal(column[ids], array[rows][ids])
        np.testing.assert_array_equal(column[2:7:2], array[rows][2:7:2])
        np.testing.assert_array_equal(np.concatenate([*known.chunks(column)]), array[rows])
        np.testing.assert_array_equal(known.Column(parts, range(23)), array)
        with pytest.raises(IndexError):
            column[9]


def test_no_images_are_known():
    found = known.know(Path, 0, Framing(4), (4, 4, 3), None, [])
    assert (found.contents.shape, len(found.rows), [*found.names]) == ((0, 16), 0, [])
