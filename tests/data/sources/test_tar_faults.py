"""Faults of tar shards: one line for each, and the others are listed."""

import bz2
import gzip
import lzma
from pathlib import Path

import fsspec
import pytest

from efficient_jax.data import stream
from efficient_jax.data.sources.tar_shards import tar
from efficient_jax.errors import UserError
from tests.data.sources.shards import GOOD, TWO, examples, levels, packed, write
from tests.data.sources.test_parquet_files import png

JOINED = GOOD + packed(examples([9]))
DAMAGED = GOOD[:4096] + bytes(100) + GOOD[4196:]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (GOOD[:5000], "damaged or cut after 5 members"),
        (packed([("1.png", bytes(9000))])[:5000], "is cut within member 1, '1.png': copy it again"),
        (GOOD[: TWO - 1024 - 1024], "has no end mark after 14 members"),
        (GOOD[:TWO], "has no end mark after 16 members, as if cut there: copy it again, or if it is complete add"),
        (DAMAGED, "is damaged at byte 4,096, after 4 members: pack it again"),
        (JOINED, f"goes on after its end at byte {TWO:,}, after 16 members: pack it again"),
        (b"", "is empty, 0 bytes: copy it again"),
        (b"no tar" * 300, "is no tar file, or is damaged or cut after 0 members"),
        (
            gzip.compress(GOOD),
            r"is compressed \(gzip\), but images are read from its middle: decompress it with gunzip",
        ),
        (bz2.compress(GOOD), r"is compressed \(bzip2\)"),
        (lzma.compress(GOOD), r"is compressed \(xz\)"),
        (
            packed([*examples([1, 2]), ("000001.txt", "x")]),
            "has members of 1 example apart from each other: 000001; pack",
        ),
        (packed(examples([1], "cls", ["cat"])), r"has 1 label that cannot be read: 000001 \(cls: 'cat', no integer"),
        (packed(examples([1], "json", ["{"])), r"has 1 label that cannot be read: 000001 \(json: no JSON object\)"),
        (packed(examples([1], "json", ["[1]"])), r"has 1 label that cannot be read: 000001 \(json: no JSON object\)"),
        (packed(examples([1], "json", ['{"label": [1]}'])), r"000001 \(json\.label: \[1\], no number and no name\)"),
        (packed([("1.png", png(1)), ("1.txt", b"\xff")]), r"label that cannot be read: 1 \(txt: no UTF-8\)"),
    ],
)
def test_a_shard_that_cannot_be_used_is_named_once(tmp_path, content, said):
    """Of three shards; the others are listed for the next start."""
    for number in (0, 2):
        (tmp_path / f"{number}.tar").write_bytes(GOOD)
    (tmp_path / "1.tar").write_bytes(content)
    feed = stream.Feed(folder=tmp_path / "cache")
    with pytest.raises(
        UserError, match=rf"^config\.data\.source\.path: 1 of 3 shards cannot be used: '.*1\.tar' .*({said})"
    ) as error:
        tar(path=str(tmp_path / "{0..2}.tar"), size=2, feed=feed)
    assert "\n" not in str(error.value)
    assert len(list((tmp_path / "cache").iterdir())) == 2


@pytest.mark.parametrize(
    ("test", "said"),
    [
        (
            ("txt", ["cats"]),
            r"test_path: 1 example has a label that is no class, first .*b\.tar/000003 \('cats'\); did you mean 'cat'",
        ),
        (("cls", [1]), "label: labels are names in txt, numbers in cls; want one of these"),
    ],
)
def test_test_labels_that_are_no_classes(tmp_path, test, said):
    path = write(tmp_path / "a.tar", examples([1, 2], "txt", ["cat", "dog"]))
    more = write(tmp_path / "b.tar", examples([3], *test))
    with pytest.raises(UserError, match=rf"^config\.data\.source\.{said}"):
        tar(path=path, size=2, test_path=more)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (
            [0, 2, 3],
            r"2 examples have a label that is no class, first .*/000002 \('2'\); there are 2 classes, counted fr",
        ),
        ([0, -2, 1], r"1 example has a label that is no class, first .*/000002 \('-2'\)"),
        ([1, 2, 1], r"labels of '.*' go from 1 to 2, as if counted from 1"),
    ],
)
def test_numbers_that_are_no_classes(tmp_path, labels, said):
    path = write(tmp_path / "a.tar", examples([1, 2, 3], "cls", labels))
    with pytest.raises(UserError, match=rf"^config\.data\.source\.path: {said}"):
        tar(path=path, size=2, classes=("a", "b"))


def test_shards_that_are_not_there_and_empty_ones(tmp_path):
    for number in (0, 2):
        write(tmp_path / f"{number}.tar", examples([number + 1]))
    with pytest.raises(UserError, match=r"path: 2 of 4 files are not there: '.*/1\.tar', '.*/3\.tar'$"):
        tar(path=str(tmp_path / "{0..3}.tar"), size=2)
    with pytest.raises(
        UserError, match=r"path: no file 'nowhere'; several are named with a \*, such as data/train-\*\.tar"
    ):
        tar(path="nowhere", size=2)
    empty = write(tmp_path / "1.tar", [])
    source = tar(path=str(tmp_path / "{0..2}.tar"), size=2)
    assert levels(source) == [1, 3]
    assert f"1 shard without an example: {empty}" in source.notes
    with pytest.raises(UserError, match=r"path: no examples in "):
        tar(path=empty, size=2)
    with pytest.raises(UserError, match=r"label: 'class'; want cls, txt or json\.FIELD"):
        tar(path=empty, size=2, label="class")


def test_a_shard_that_changes_while_it_is_streamed_is_named(tmp_path):
    path = write(tmp_path / "a.tar", examples(range(1, 9)))
    source = tar(path=path, size=2, feed=stream.Feed("stream"))
    assert levels(source) == [*range(1, 9)]
    with Path(path).open("r+b") as file:
        file.seek(1024 * 6 + 512)
        file.write(bytes(60))
    source.images[:3]
    with pytest.raises(UserError, match=r"a\.tar/000004 is not what it was at the start"):
        source.images[:]


def test_a_store_that_cannot_be_reached_is_said(monkeypatch):
    with pytest.raises(UserError, match=r"path: 'nostore://a/b\.tar' cannot be read \(Protocol not known: nostore\)"):
        tar(path="nostore://a/b.tar", size=2)

    def missing(_):
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
    with pytest.raises(
        UserError, match=r"path: 's3://a/b\.tar' wants pip install fsspec s3fs \(Install s3fs to access S3\)$"
    ):
        tar(path="s3://a/b.tar", size=2)
