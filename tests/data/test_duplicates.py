"""Equal images are found, and nothing else."""

import numpy as np

from efficient_jax.data import duplicates

IMAGES = np.random.default_rng(0).integers(0, 256, (8, 5, 4, 3), np.uint8)
IMAGES[6], IMAGES[7], IMAGES[3] = IMAGES[1], IMAGES[1], IMAGES[0]


def test_equal_images_have_equal_hashes_and_one_pixel_changes_them():
    images = IMAGES.copy()
    images[6, -1, -1, -1] ^= 1
    hashes = duplicates.digests(images)
    assert [hashes.index(each) for each in hashes] == [0, 1, 2, 0, 4, 5, 6, 1]
    turned = duplicates.digests(IMAGES[:, ::-1])  # not contiguous
    assert turned[0] == duplicates.digests(IMAGES[:, ::-1].copy())[0]
    assert turned[0] not in hashes


def test_images_that_equal_one_of_the_test_are_found_with_it():
    hashes = duplicates.digests(IMAGES)
    assert duplicates.of_test(hashes, np.array([1, 2])) == {6: 1, 7: 1}
    assert duplicates.of_test(hashes, np.array([1, 6, 7])) == {}  # equal within the test
    assert duplicates.of_test(hashes, np.array([3])) == {0: 3}


def test_equal_images_of_different_labels_are_found():
    hashes = duplicates.digests(IMAGES)
    labels = np.array([0, 1, 0, 0, 0, 0, 2, 1])
    assert duplicates.contradictions(hashes, labels, np.arange(8)) == [(1, 6)]
    assert duplicates.contradictions(hashes, labels, np.array([0, 1, 3, 7])) == []
    several = np.eye(3, dtype=int)[labels]
    assert duplicates.contradictions(hashes, several, np.arange(8)) == [(1, 6)]
