"""Equal and nearly equal images are found, and nothing else."""

import io
from unittest import mock

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from efficient_jax.data import known, leakage
from efficient_jax.data.identity import digests
from efficient_jax.data.sources.image_folders import folder
from efficient_jax.data.stream import Feed
from tests.data.test_identity import hashes

IMAGES = np.random.default_rng(0).integers(0, 256, (8, 5, 4, 3), np.uint8)
IMAGES[6], IMAGES[7], IMAGES[3] = IMAGES[1], IMAGES[1], IMAGES[0]


def test_images_that_equal_one_of_the_test_are_found_with_it():
    rows = digests(IMAGES)
    assert leakage.of_test(rows, np.array([1, 2])) == {6: 1, 7: 1}
    assert leakage.of_test(rows, np.array([1, 6, 7])) == {}  # equal within the test
    assert leakage.of_test(rows, np.array([3])) == {0: 3}


def test_equal_images_of_different_labels_are_found():
    rows = digests(IMAGES)
    labels = np.array([0, 1, 0, 0, 0, 0, 2, 1])
    assert leakage.contradictions(rows, labels, np.arange(8)) == [(1, 6)]
    assert leakage.contradictions(rows, labels, np.array([0, 1, 3, 7])) == []
    several = np.eye(3, dtype=int)[labels]
    assert leakage.contradictions(rows, several, np.arange(8)) == [(1, 6)]


@given(hashes(most=20), st.randoms(use_true_random=False))
def test_equal_images_are_those_of_the_straightforward_search(rows, random):
    ids = random.sample(range(len(rows)), len(rows))
    test, compared = np.array(ids[: len(ids) // 3], int), np.array(ids[len(ids) // 4 :], int)
    labels = np.array([random.randrange(2) for _ in rows], int)
    texts = [row.tobytes() for row in rows]
    tested = {texts[i]: i for i in test.tolist()}
    copies = {i: tested[text] for i, text in enumerate(texts) if i not in test and text in tested}
    with mock.patch.object(known, "SHARD", 3):  # parts of a large dataset
        assert [*leakage.of_test(rows, test).items()] == [*copies.items()]
    first = {}
    pairs = [(first.setdefault(texts[i], i), i) for i in compared.tolist()]
    wanted = [(one, other) for one, other in pairs if labels[one] != labels[other]]
    assert leakage.contradictions(rows, labels, compared) == wanted


def clouds(count: int, size: int, seed: int = 0) -> np.ndarray:
    """Smooth colour images with fine detail, no two alike."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(0, 255, (count, size // 8, size // 8, 3)).repeat(8, 1).repeat(8, 2)
    fine = rng.uniform(-60, 60, (count, size // 2, size // 2, 1)).repeat(2, 1).repeat(2, 2)
    return np.clip(coarse + fine, 20, 235).astype(np.uint8)


CLOUDS = clouds(300, 40)[:, 4:36, 4:36]
MOVED = clouds(300, 40)[:, 2:34, 3:35]


def stored_anew(image: np.ndarray) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "jpeg", quality=60)
    return np.asarray(Image.open(file))


PLANTED = {
    "mirrored": CLOUDS[:20, :, ::-1],
    "stored anew": np.stack([stored_anew(image) for image in CLOUDS[20:40]]),
    "moved by 2 and 1 pixels": MOVED[40:60],
    "darker, of less contrast": (CLOUDS[60:80] * 0.6 + 40).astype(np.uint8),
    "mirrored and stored anew": np.stack([stored_anew(image[:, ::-1].copy()) for image in CLOUDS[80:100]]),
}


def test_near_duplicates_are_found_and_nothing_else():
    images = np.concatenate([CLOUDS, *PLANTED.values()])
    found = leakage.near(images)
    wanted = {(i, 300 + i) for i in range(100)}
    said = {(int(i), int(j)) for i, j in found.pairs}
    assert said == wanted
    assert (np.diff(found.distances) >= 0).all()
    assert found.distances[0] < 1e-3


def test_queries_are_looked_up_among_other_images_only():
    images = np.concatenate([CLOUDS, CLOUDS[:20, :, ::-1]])
    found = leakage.near(images, np.arange(300, 310), np.arange(5, 300))
    assert {tuple(pair) for pair in found.pairs.tolist()} == {(300 + i, i) for i in range(5, 10)}
    assert len(leakage.near(images, np.arange(0), np.arange(9)).pairs) == 0
    assert len(leakage.near(images, np.arange(9), np.arange(0)).pairs) == 0


def test_images_of_one_colour_are_near_nothing():
    flat = np.full((30, 8, 8, 1), 7, np.uint8)
    assert len(leakage.near(flat).pairs) == 0


def test_dhash_is_blind_to_brightness_and_contrast():
    grey = np.random.default_rng(0).integers(0, 100, (50, 16, 18)).astype(np.float32)
    bits = leakage.dhash(grey)
    np.testing.assert_array_equal(leakage.dhash(2 * grey + 30), bits)
    assert len(np.unique(bits)) == 50
    assert np.bitwise_count(bits ^ leakage.dhash(-grey)).mean() > 60  # a bit is turned unless neighbours are equal


def test_dhash_bits_say_what_is_brighter_to_the_right():
    ramp = np.tile(np.arange(18, dtype=np.float32), (1, 16, 1))
    assert np.bitwise_count(leakage.dhash(np.concatenate([ramp, -ramp, 0 * ramp]))).tolist() == [64, 0, 0]


def test_of_streamed_images_the_same_is_found_and_nothing_decoded(tmp_path):
    images = np.concatenate([CLOUDS[:60], *(planted[:5] for planted in PLANTED.values())])
    for i, image in enumerate(images):
        file = tmp_path / "ab"[i > 80] / f"{i:03}.png"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(image).save(file)
    kept, streamed = (folder(path=str(tmp_path), size=32, feed=Feed(kind)) for kind in ("memory", "stream"))
    expected = leakage.near(kept.images, np.arange(60, 85), np.arange(60))
    assert len(expected.pairs) > 10
    for file in tmp_path.glob("*/*.png"):
        file.unlink()
    found = leakage.near(streamed.images, np.arange(60, 85), np.arange(60))
    np.testing.assert_array_equal(found.pairs, expected.pairs)
    np.testing.assert_array_equal(found.distances, expected.distances)
