"""Which files are listed, and what of them is sent."""

import io
import os
import threading

import numpy as np
import pytest
from PIL import Image

from efficient_jax.errors import UserError
from efficient_jax.labelling import images
from efficient_jax.labelling.images import KEPT_BYTES, LOSSLESS, Versions, encoded, listed


def save(path, size=(8, 6), **settings):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), np.uint8)).save(path, **settings)


def test_names_are_relative_and_links_out_of_the_folder_are_left_out(tmp_path):
    folder, other = tmp_path / "images", tmp_path / "images of others"
    for path in (folder / "b ü/1.jpg", folder / "🐈.png", other / "secret.jpg"):
        save(path)
    (folder / "out.jpg").symlink_to(other / "secret.jpg")
    (folder / "folder").symlink_to(other)
    (folder / "inside.jpg").symlink_to(folder / "🐈.png")
    (folder / "control\x01.jpg").write_bytes(b"")
    os.close(os.open(os.fsencode(folder) + b"/latin\xe4.jpg", os.O_CREAT))
    found, notes = listed(str(folder), "--images")
    assert sorted(found.names) == ["b ü/1.jpg", "inside.jpg", "🐈.png"]
    assert "2 links that lead out of the folder" in notes[0]
    assert "2 with a name that is not UTF-8 text" in notes[0]


def test_a_file_that_becomes_a_link_out_of_the_folder_is_not_read(tmp_path):
    save(tmp_path / "images/1.jpg")
    save(tmp_path / "secret.jpg")
    found, _ = listed(str(tmp_path / "images"), "--images")
    assert found.file(0).name == "1.jpg"
    (tmp_path / "images/1.jpg").unlink()
    with pytest.raises(OSError, match="not there"):
        found.file(0)
    (tmp_path / "images/1.jpg").symlink_to(tmp_path / "secret.jpg")
    with pytest.raises(OSError, match="leads out of the folder"):
        found.file(0)
    (tmp_path / "images/1.jpg").unlink()
    os.mkfifo(tmp_path / "images/1.jpg")  # reading it would wait for ever
    with pytest.raises(OSError, match="not a file"):
        found.file(0)


def test_a_folder_without_images_is_an_error(tmp_path):
    with pytest.raises(UserError, match="no images"):
        listed(str(tmp_path), "--images")
    with pytest.raises(UserError, match="not there"):
        listed(str(tmp_path / "none"), "--images")


def test_small_images_are_sent_as_they_are(tmp_path):
    save(tmp_path / "1.png", (LOSSLESS, 20))
    content, kind = encoded(tmp_path / "1.png", 1200)
    assert kind == "image/png"
    np.testing.assert_array_equal(
        np.asarray(Image.open(io.BytesIO(content))), np.asarray(Image.open(tmp_path / "1.png"))
    )


def test_large_images_are_sent_small_and_without_metadata(tmp_path):
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "where somebody lives"  # turned by 90 degrees; description
    save(tmp_path / "1.jpg", (3000, 2000), exif=exif)
    content, kind = encoded(tmp_path / "1.jpg", 1200)
    shown = Image.open(io.BytesIO(content))
    assert (kind, shown.size) == ("image/jpeg", (800, 1200))
    assert b"somebody" not in content
    assert not shown.getexif()


def test_versions_are_made_once_while_they_are_kept_and_memory_stays_bounded():
    made = []

    def make(index, side):
        made.append((index, side))
        return b" " * (KEPT_BYTES // 4), "image/png"

    versions = Versions(make)
    for index in (0, 1, 2, 3, 0, 4, 0, 1):  # 4 pushes 1 out, the least recently used
        versions.get(index, 8)
    assert [index for index, _ in made] == [0, 1, 2, 3, 4, 1]


def test_few_images_are_decoded_at_once():
    running, most, mutex = [0], [0], threading.Lock()

    def make(_index, _side):
        with mutex:
            running[0] += 1
            most[0] = max(most[0], running[0])
        threading.Event().wait(0.002)
        with mutex:
            running[0] -= 1
        return b"", "image/png"

    versions = Versions(make)
    threads = [threading.Thread(target=versions.get, args=(i, 8)) for i in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most[0] <= images.decode.CORES
