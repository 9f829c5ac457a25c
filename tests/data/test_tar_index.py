"""What the headers of a tar shard say."""

import io
import tarfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from efficient_jax.data import tar_index
from efficient_jax.errors import UserError
from tests.data.sources.shards import GOOD, TWO, examples, packed


def read(content, image="", label=""):
    return tar_index.read(io.BytesIO(content), len(content), image, label)


def test_what_it_keeps_is_small_and_says_where_the_images_are():
    shard = read(GOOD)
    assert sum(array.nbytes for array in shard if isinstance(array, np.ndarray)) == 8 * (20 + len("000001"))
    with tarfile.open(fileobj=io.BytesIO(GOOD)) as archive:
        for row, member in enumerate(archive.getmembers()[::2]):
            assert (shard.offsets[row], shard.sizes[row]) == (member.offset_data, member.size)
            assert f"{shard.key(row)}.png" == member.name
    assert [shard.texts[i] for i in shard.labels] == ["1", "0"] * 4
    assert (shard.origins, shard.kinds, shard.passed_over) == (("numbers in cls",), ("png", "cls"), {})


@pytest.mark.parametrize("length", range(1, len(GOOD), 777))
def test_a_shard_that_is_cut_anywhere_is_never_taken_for_a_whole_one(length):
    if length > TWO:  # the end mark is there, if perhaps not all of the padding
        assert len(read(GOOD[:length]).sizes) == 8
    else:
        with pytest.raises(ValueError, match="cut"):
            read(GOOD[:length])


@settings(deadline=None)
@given(st.integers(0, TWO - 1), st.integers(1, 255))
def test_a_changed_byte_is_an_error_or_changes_no_more_than_one_example(position, change):
    damaged = bytearray(GOOD)
    damaged[position] ^= change
    try:
        shard = read(bytes(damaged))
    except ValueError:
        return
    assert shard.sizes.tolist() == read(GOOD).sizes.tolist()
    before, after = ([each.texts[i] for i in each.labels] for each in (read(GOOD), shard))
    assert sum(old != new for old, new in zip(before, after, strict=True)) <= 1


def test_labels_that_are_not_asked_for_are_not_read():
    shard = read(packed(examples([1], "cls", ["no integer"])), label=None)
    assert (shard.labels.tolist(), shard.texts) == ([-1], ())


@pytest.mark.parametrize(
    ("label", "parts"),
    [
        ("cls", ("cls", "")),
        ("left.txt", ("left.txt", "")),
        ("json.label", ("json", "label")),
        ("json.a.json.b", ("json", "a.json.b")),
        ("meta.json.label", ("meta.json", "label")),
    ],
)
def test_where_labels_are(label, parts):
    assert tar_index.parts_of(label) == parts


@pytest.mark.parametrize("label", ["json", "json.", "cls.label", "label", "jpg"])
def test_where_no_label_is(label):
    with pytest.raises(UserError, match=r"^config\.data\.source\.label: '.*'; want cls, txt or json\.FIELD"):
        tar_index.parts_of(label)
