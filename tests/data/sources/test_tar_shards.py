"""Tar shards in the layout of webdataset: the images and labels of a folder."""

import tarfile
from unittest import mock

import fsspec
import numpy as np
import pytest
from PIL import Image

from efficient_jax.data import stream, tar_index
from efficient_jax.data.dataset import fingerprint
from efficient_jax.data.sources.image_folders import folder
from efficient_jax.data.sources.tar_shards import tar
from efficient_jax.errors import UserError
from tests.data.sources.shards import examples, levels, packed, write
from tests.data.sources.test_parquet_files import png


def test_a_folder_and_its_shards_are_the_same(tmp_path, feed):
    rng = np.random.default_rng(0)
    files = []
    for i in range(30):
        file = tmp_path / "images" / "abc"[i % 3] / f"{i:02}.{('png', 'jpg', 'webp')[i % 3]}"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (12 + i % 4, 9, 3), np.uint8)).save(file)
        files.append(file)
    for number in range(3):
        members = []
        for file in sorted(files)[10 * number : 10 * number + 10]:
            members += [(f"x/{file.name}", file.read_bytes()), (f"x/{file.stem}.txt", file.parent.name)]
        write(tmp_path / f"set-{number:03}.tar", members)
    settings = {"size": 8, "feed": feed}
    ours = tar(path=str(tmp_path / "set-{000..002}.tar"), **settings)
    theirs = folder(path=str(tmp_path / "images"), **settings)
    np.testing.assert_array_equal(ours.images[np.arange(30)], theirs.images[np.arange(30)])
    np.testing.assert_array_equal(ours.labels, theirs.labels)
    np.testing.assert_array_equal(ours.sizes, theirs.sizes)
    np.testing.assert_array_equal(ours.contents, theirs.contents)
    assert (ours.classes, fingerprint(ours)) == (theirs.classes, fingerprint(theirs))


@pytest.mark.parametrize(
    ("kind", "setting", "labels", "classes", "numbers"),
    [
        ("cls", "", ["2\n", 0, -1, None], ("0", "1", "2"), [2, 0, -1, -1]),
        ("txt", "", ["dog", " cat ", "none", None], ("cat", "dog"), [1, 0, -1, -1]),
        ("txt", "", ["10", "9", "9", ""], ("9", "10"), [1, 0, 0, -1]),
        ("json", "", ['{"label": 1}', '{"label": 0}', '{"label": null}', "{}"], ("0", "1"), [1, 0, -1, -1]),
        ("json", "json.a.b", ['{"a.b": "dog"}', '{"a.b": "cat"}', "{}", None], ("cat", "dog"), [1, 0, -1, -1]),
        ("json", "json.x", ['{"x": 2.0}', '{"x": 0}', '{"x": -1}', None], ("0", "1", "2"), [2, 0, -1, -1]),
        ("json", "json.x", ['{"x": true}', '{"x": false}', "{}", None], ("False", "True"), [1, 0, -1, -1]),
        ("left.CLS", "left.cls", [1, 0, 1, None], ("0", "1"), [1, 0, 1, -1]),
    ],
)
def test_labels(tmp_path, kind, setting, labels, classes, numbers):
    path = write(tmp_path / "a.tar", examples([1, 2, 3, 4], kind, labels))
    source = tar(path=path, size=2, label=setting)
    assert source.classes == classes
    assert source.labels.tolist() == numbers
    assert levels(source) == [1, 2, 3, 4]


def test_what_is_no_label_is_noted(tmp_path):
    path = write(tmp_path / "a.tar", examples([1, 2, 3, 4], "txt", ["cat", "nan", "nan", "unlabelled"]))
    assert tar(path=path, size=2).notes == ("3 of 4 images without a label: 'nan' (2), 'unlabelled' (1)",)


def test_classes_are_listed_or_beside_the_shards(tmp_path):
    path = write(tmp_path / "a.tar", examples([1, 2, 3, 4]))
    assert tar(path=path, size=2, classes=("cat", "dog", "eel")).classes == ("cat", "dog", "eel")
    (tmp_path / "classes.txt").write_text("ape\n\nbee\n")
    assert tar(path=path, size=2).classes == ("ape", "bee")
    names = write(tmp_path / "b.tar", examples([1, 2], "txt", ["bee", "ape"]))
    assert tar(path=names, size=2).labels.tolist() == [1, 0]


def test_shards_without_labels_and_test_shards(tmp_path):
    for number in (0, 1):
        write(tmp_path / f"train-{number}.tar", examples([4 * number + 1, 4 * number + 2], "txt", ["cat", "dog"]))
    test = write(tmp_path / "test.tar", examples([21], "txt", ["dog"]))
    more = write(tmp_path / "more.tar", examples([30, 31], "txt", ["read", "by nobody"]))
    source = tar(path=str(tmp_path / "train-*.tar"), size=2, test_path=test, unlabelled_path=more)
    assert levels(source) == [1, 2, 5, 6, 30, 31, 21]
    assert source.labels.tolist() == [0, 1, 0, 1, -1, -1, 1]
    assert source.fixed["test"].tolist() == [6]
    assert source.classes == ("cat", "dog")


def test_an_example_is_named_by_its_shard_and_its_key(tmp_path, feed):
    path = write(tmp_path / "a.tar", [*examples([1]), ("2.png", b"no"), ("2.cls", "0"), ("x/3.png", png(3))])
    source = tar(path=path, size=2, unreadable=1, feed=feed)
    assert [*source.names] == [f"{path}/000001", f"{path}/x/3"]
    assert source.name(1) == f"{path}/x/3"


def test_no_label_at_all(tmp_path):
    path = write(tmp_path / "a.tar", [("1.png", png(1)), ("1.meta", "x"), ("2.png", png(2))])
    assert tar(path=path, size=2, classes=("a", "b")).labels.tolist() == [-1, -1]
    with pytest.raises(UserError, match=r"label: no example of '.*' has cls, txt, json\.label; it has png, meta$"):
        tar(path=path, size=2)


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_and_other_members(tmp_path, form):
    long = "é" * 40 + "/" + "b" * 90
    members = [(f"{long}.png", png(1)), (f"{long}.cls", "0"), ("._2.png", "x"), ("2.x.png", png(2)), ("2.cls", "1")]
    path = write(tmp_path / "a.tar", members, form=form)
    with tarfile.open(path, "a", format=form) as archive:
        link, below = tarfile.TarInfo("3.png"), tarfile.TarInfo("below")
        link.type, link.linkname, below.type = tarfile.SYMTYPE, "2.png", tarfile.DIRTYPE
        archive.addfile(link)
        archive.addfile(below)
    source = tar(path=path, size=2)
    assert (levels(source), source.labels.tolist()) == ([1, 2], [0, 1])
    assert source.notes == ("files and folders that were passed over: 1 hidden, 1 no plain files",)
    with pytest.raises(UserError, match=f"{long} \\(no image among its members\\), .*a.tar/2 \\(no image"):
        tar(path=path, size=2, image="jpg")


def test_one_of_several_images_is_chosen(tmp_path):
    members = [("1.left.png", png(1)), ("1.right.png", png(2)), ("1.cls", "0"), ("2.left.png", png(3)), ("2.cls", "1")]
    path = write(tmp_path / "a.tar", members)
    assert levels(tar(path=path, size=2, image="left.png")) == [1, 3]
    with pytest.raises(UserError) as error:
        tar(path=path, size=2)
    assert str(error.value) == (
        f"config.data.source: 1 example without one image: {path}/1 (several images); members are left.png, "
        "right.png, cls: choose one with config.data.source.image, or leave out up to so many examples with "
        "config.data.source.unreadable"
    )
    source = tar(path=path, size=2, unreadable=1)
    assert (levels(source), source.labels.tolist()) == ([3], [1])
    assert source.notes == (f"left out 1 unreadable image: {path}/1 (several images)",)


def test_what_cannot_be_read_is_left_out_and_counted(tmp_path, feed):
    members = [*examples([1]), ("2.cls", "0"), *examples([3]), ("4.png", b"no"), ("4.cls", "0"), ("5.png", b"")]
    path = write(tmp_path / "a.tar", members)
    source = tar(path=path, size=2, unreadable=3, feed=feed)
    assert (levels(source), source.labels.tolist()) == ([1, 3], [1, 1])
    assert (
        f"left out 3 unreadable images: {path}/2 (no image among its members), {path}/4 (not an image), {path}/5 "
        "(not an image)"
    ) in source.notes
    with pytest.raises(UserError, match=r"a\.tar': 3 unreadable images: .*config\.data\.source\.unreadable$"):
        tar(path=path, size=2, unreadable=2, feed=feed)


def test_headers_are_read_once_and_again_after_a_change(tmp_path, monkeypatch, capsys):
    for number in (0, 1):
        write(tmp_path / f"{number}.tar", examples([2 * number + 1, 2 * number + 2]))
    settings = {"path": str(tmp_path / "*.tar"), "size": 2, "feed": stream.Feed(folder=tmp_path / "cache")}
    first = tar(**settings)
    read = mock.Mock(wraps=tar_index.read)
    monkeypatch.setattr(tar_index, "read", read)
    again = tar(**settings)
    assert read.call_count == 0
    assert fingerprint(again) == fingerprint(first)
    write(tmp_path / "1.tar", examples([7, 8, 9]))
    assert levels(tar(**settings)) == [1, 2, 7, 8, 9]
    assert read.call_count == 1
    assert "1.tar has changed since it was listed: it is listed again" in capsys.readouterr().out.replace("\n", "")
    for table in (tmp_path / "cache").iterdir():
        table.write_bytes(b"half")
    assert levels(tar(**settings)) == [1, 2, 7, 8, 9]
    assert read.call_count == 3


@pytest.fixture
def store():
    """An empty file system in memory."""
    store = fsspec.filesystem("memory")
    store.store.clear()
    yield store
    store.store.clear()


def test_shards_of_a_store(store, tmp_path, feed):
    for number in (0, 1):
        store.pipe_file(f"/set/{number}.tar", packed(examples([2 * number + 1, 2 * number + 2], "txt", ["b", "a"])))
    store.pipe_file("/set/classes.txt", b"b\na\n")
    feed = feed._replace(folder=tmp_path)
    for pattern in ("{0..1}.tar", "*.tar"):
        source = tar(path=f"memory://set/{pattern}", size=2, feed=feed)
        assert (levels(source), source.labels.tolist(), source.classes) == ([1, 2, 3, 4], [0, 1, 0, 1], ("b", "a"))
    store.pipe_file("/set/1.tar", packed(examples([5], "txt", ["b"])))
    assert levels(tar(path="memory://set/*.tar", size=2, feed=feed)) == [1, 2, 5]
    with pytest.raises(UserError, match=r"path: 1 of 3 files are not there: 'memory://set/2\.tar'$"):
        tar(path="memory://set/{0..2}.tar", size=2, feed=feed)
    with pytest.raises(UserError, match=r"path: no file 'memory://set/x\*'"):
        tar(path="memory://set/x*", size=2, feed=feed)


def test_an_image_of_a_store_is_one_request_for_its_bytes(store, monkeypatch):
    store.pipe_file("/a.tar", packed(examples(range(1, 9))))
    source = tar(path="memory://a.tar", size=2, feed=stream.Feed("stream"))
    asked, cat = [], type(store).cat_file

    def counted(self, name, start, end):
        asked.append(end - start)
        return cat(self, name, start, end)

    monkeypatch.setattr(type(store), "cat_file", counted)
    assert source.images[[6, 1]][:, 0, 0, 0].tolist() == [7, 2]
    assert sorted(asked) == sorted([len(png(7)), len(png(2))])
