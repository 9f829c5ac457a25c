"""Patterns of file names, and parts of files."""

from pathlib import Path

import pytest

from efficient_jax.data import storage


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("a.tar", ["a.tar"]),
        ("x{08..11}", ["x08", "x09", "x10", "x11"]),
        ("x{8..11}", ["x8", "x9", "x10", "x11"]),
        ("{a,b}/{0..1}", ["a/0", "a/1", "b/0", "b/1"]),
        ("{a}{}", ["{a}{}"]),
        ("{2..1}", []),
    ],
)
def test_braces(pattern, names):
    assert storage.alternatives(pattern) == names


def test_files_are_found_once_in_the_order_of_the_pattern(tmp_path):
    for name in ("b", "a", "c{1,2}", "folder/x"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    found = storage.find(f"{tmp_path}/{{b,*}}", "key", "txt")
    assert [file.name for file in found] == [f"{tmp_path}/{name}" for name in ("b", "a", "c{1,2}")]
    assert [file.size for file in found] == [1, 1, 6]
    (literal,) = storage.find(f"{tmp_path}/c{{1,2}}", "key", "txt")
    assert literal.name == f"{tmp_path}/c{{1,2}}"


def test_parts_are_the_bytes_of_the_file(tmp_path):
    (tmp_path / "a").write_bytes(bytes(range(100)))
    files = storage.find(str(tmp_path / "a"), "key", "txt")
    parts = storage.Parts(files)
    assert parts.read(0, 10, 5) == parts.read(0, 10, 5) == bytes(range(10, 15))
    assert parts.read(0, 98, 5) == bytes([98, 99])
    assert storage.dependence(files) == ([tmp_path / "a"], "")


def test_so_many_files_stay_open_for_as_long_as_they_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "OPEN", 2)
    for number in range(5):
        (tmp_path / f"{number}").write_bytes(bytes([number]))

    def opened():
        links = [link for link in Path("/proc/self/fd").iterdir() if link.exists()]
        return sum(str(tmp_path) in str(link.resolve()) for link in links)

    parts = storage.Parts(storage.find(f"{tmp_path}/{{0..4}}", "key", "txt"))
    for _ in range(3):
        assert [parts.read(number, 0, 1)[0] for number in range(5)] == [*range(5)]
    assert opened() == 2
    del parts
    assert opened() == 0
