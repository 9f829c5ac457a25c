"""Decoded images are found again as long as the files, and what is asked of them, are the same."""

import os

import numpy as np
import pytest
from PIL import Image

from efficient_jax.data import cache
from efficient_jax.data.framing import Framing


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "WORTH", 0.0)
    for value in (1, 2, 3):
        Image.new("L", (6, 4), value).save(tmp_path / f"{value}.png")
    (tmp_path / "3.png").write_bytes(b"broken")
    return [tmp_path / f"{value}.png" for value in (1, 2, 3)]


@pytest.fixture
def decoded(files, tmp_path):
    """Asks for the files; says which were opened, and what was found."""

    def ask(size=4, about="", folder=tmp_path / "cache", package=False):
        opened = []

        def read(row):
            opened.append(row)
            return files[0] if package and row == 2 else files[row]

        found = cache.decode_all(read, len(files), Framing(size), folder, files, about)
        np.testing.assert_array_equal(found.images[:2, 0, 0, 0], [1, 2])
        return sorted(set(opened)), found

    return ask


def test_the_second_time_only_what_could_not_be_read_is_opened(decoded):
    opened, first = decoded()
    assert opened == [0, 1, 2]
    opened, second = decoded()
    assert opened == [2]
    np.testing.assert_array_equal(second.images, first.images)
    np.testing.assert_array_equal(second.rows, [0, 1])
    assert second.unreadable == first.unreadable == {2: "not an image"}
    assert tuple(second.notes) == first.notes == ("2 of 3 images were gray: repeated in three channels",)


def test_no_folder_is_no_cache(decoded, tmp_path):
    assert decoded(folder=None)[0] == decoded(folder=None)[0] == [0, 1, 2]
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("change", ["size asked", "about", "time", "size", "mended"])
def test_what_has_changed_is_decoded_again(decoded, files, change):
    decoded()
    if change == "time":
        os.utime(files[0], ns=(0, 0))
    if change == "size":
        os.utime(files[2], ns=(0, (before := os.stat(files[2]).st_mtime_ns)))
        files[2].write_bytes(b"broken too")
        os.utime(files[2], ns=(0, before))
    asked = {"size asked": {"size": 2}, "about": {"about": "another column"}, "mended": {"package": True}}.get(
        change, {}
    )
    assert decoded(**asked)[0] == [0, 1, 2]


@pytest.mark.parametrize("damage", [lambda b: b[:-50], lambda _: b"", lambda b: b.replace(b"\1" * 48, b"\2" * 48, 1)])
def test_a_damaged_file_is_said_and_replaced(decoded, tmp_path, capsys, damage):
    decoded()
    (file,) = (tmp_path / "cache").iterdir()
    content = file.read_bytes()
    assert damage(content) != content
    file.write_bytes(damage(content))
    capsys.readouterr()
    assert decoded()[0] == [0, 1, 2]
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 2
    assert said[0].startswith(f"{file} is damaged (")
    assert file.read_bytes() == content


def test_a_folder_that_cannot_be_written_is_said(decoded, tmp_path, capsys):
    (tmp_path / "cache").write_text("a file")
    assert decoded()[0] == [0, 1, 2]
    assert "decoded images are not kept in" in capsys.readouterr().out


def test_what_takes_no_time_is_not_kept(decoded, tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "WORTH", 60.0)
    decoded()
    assert not (tmp_path / "cache").exists()
