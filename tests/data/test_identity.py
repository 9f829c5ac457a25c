"""Images of one list in another: by content, of equal ones by name, never by index; and the hash of their content."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from efficient_jax.data.identity import DIGEST, comparable, digests, rows_of, rows_of_names

IMAGES = st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from("uvwxyz")), max_size=12, unique=True)


def hashes(most: int) -> st.SearchStrategy[np.ndarray]:
    """Few different ones, most of zeros."""
    row = st.lists(st.sampled_from([0, 0, 0, 1, 255]), min_size=2, max_size=2).map(
        lambda row: [*row, *[0] * 13, row[0]]
    )
    return st.lists(row, max_size=most).map(lambda rows: np.array(rows, np.uint8).reshape(-1, DIGEST))


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
    turned = comparable(digests(images[:, ::-1])).tolist()  # not contiguous
    assert turned[0] == comparable(digests(images[:, ::-1].copy()))[0]
    images[6, -1, -1, -1] ^= 1
    found = comparable(digests(images)).tolist()
    assert [found.index(each) for each in found] == [0, 1, 2, 0, 4, 5, 6, 1]
    assert turned[0] not in found


@given(hashes(most=30))
def test_hashes_are_sorted_and_compared_as_bytes(rows):
    """Also those that end in zeros, which numpy's bytes leave out."""
    texts = [row.tobytes() for row in rows]
    keys = comparable(rows)
    assert np.argsort(keys, kind="stable").tolist() == sorted(range(len(texts)), key=texts.__getitem__)
    assert (keys[:, None] == keys).ravel().tolist() == [one == other for one in texts for other in texts]


def straightforward(names, contents, among_names, among_contents):
    """What `rows_of` says, image by image."""
    pairs = [*zip(among_names, among_contents, strict=True)]
    rows = [pairs.index(pair) if pair in pairs else -1 for pair in zip(names, contents, strict=True)]
    taken = set(rows)
    for i, content in enumerate(contents):
        alike = [row for row, other in enumerate(among_contents) if other == content]
        if rows[i] < 0 and alike:
            spare = [row for row in alike if row not in taken]
            rows[i] = spare[0] if spare else alike[0]
            taken |= {rows[i]} if spare else set()
    return rows


LISTS = st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("uvw")), max_size=14)


@given(LISTS, LISTS)
def test_rows_are_those_of_the_straightforward_search(wanted, among):
    """With images of one name and content, and more equal ones than there are to find."""
    (names, contents), (theirs, hashed) = (tuple(zip(*each, strict=True)) or ((), ()) for each in (wanted, among))
    assert rows_of(names, contents, theirs, hashed).tolist() == straightforward(names, contents, theirs, hashed)
