"""The walk through folders finds every image, and says which folder it cannot read."""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from efficient_jax.data.image_files import check_folder, walk
from efficient_jax.errors import UserError


@settings(deadline=None, max_examples=30)
@given(
    st.sets(
        st.lists(st.sampled_from(["a", "b", "a.b", "B", "é", "a-"]), min_size=1, max_size=4).map("/".join), max_size=8
    )
)
def test_the_walk_finds_what_the_standard_library_finds(tmp_path_factory, names):
    root = tmp_path_factory.mktemp("walk")
    for name in names:
        (root / name).mkdir(parents=True, exist_ok=True)
        for file in ("x.png", "y.JPG", "z.txt"):
            (root / name / file).touch()
    expected = sorted(p for p in root.rglob("*") if p.suffix.lower() in (".png", ".jpg"))
    found = walk(root, "")
    assert found.files == expected
    assert found.passed_over[".txt"] == len(expected) // 2


def test_a_folder_that_cannot_be_read_is_said(tmp_path, monkeypatch):
    def scandir(_):
        raise PermissionError(13, "Permission denied", "x/closed")

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(UserError, match=r"^key: cannot read 'x/closed': Permission denied$"):
        walk(tmp_path, "key")


def test_a_folder_of_a_store_is_said():
    with pytest.raises(
        UserError, match=r"^key: 's3://b/images' is in a store, where tar shards are read: pack the fol"
    ):
        check_folder("s3://b/images", "key")
