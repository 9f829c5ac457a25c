"""Images of one list in another: by content, of equal ones by name, never by index; and the hash of their content."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from efficient_jax.data.identity import digests, rows_of, rows_of_names

IMAGES = st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from("uvwxyz")), max_size=12, unique=True)


@given(IMAGES, IMAGES)
def test_rows_have_equal_content_and_where_they_can_equal_names(wanted, among):
    (names, contents), (theirs, hashes) = (tuple(zip(*each, strict=True)) or ((), ()) for each in (wanted, among))
    rows = rows_of(names, contents, theirs, hashes)
    assert rows.shape == (len(wanted),)
    for image, row in zip(wanted, rows, strict=True):
        if image in among:
            assert among[row] == image
        elif image[1] in hashes:
            assert hashes[row] == image[1]
        else:
            assert row == -1


@given(IMAGES, st.randoms())
def test_renamed_images_in_any_order_are_each_found_once(images, random):
    order = random.sample(range(len(images)), len(images))
    names, contents = tuple(zip(*images, strict=True)) or ((), ())
    rows = rows_of(names, contents, [f"new {i}" for i in order], [contents[i] for i in order])
    assert sorted(rows) == [*range(len(images))]
    assert [contents[order[row]] for row in rows] == list(contents)


def test_equal_images_share_what_is_left_of_them():
    assert rows_of(("a", "b", "c"), ("x", "x", "x"), ("c", "d"), ("x", "x")).tolist() == [1, 0, 0]


def test_names_are_found_in_any_order():
    np.testing.assert_array_equal(rows_of_names(("a", "b", "c"), ("c", "a")), [1, -1, 0])


def test_equal_images_have_equal_hashes_and_one_pixel_changes_them():
    images = np.random.default_rng(0).integers(0, 256, (8, 5, 4, 3), np.uint8)
    images[6], images[7], images[3] = images[1], images[1], images[0]
    turned = digests(images[:, ::-1])  # not contiguous
    assert turned[0] == digests(images[:, ::-1].copy())[0]
    images[6, -1, -1, -1] ^= 1
    hashes = digests(images)
    assert [hashes.index(each) for each in hashes] == [0, 1, 2, 0, 4, 5, 6, 1]
    assert turned[0] not in hashes
