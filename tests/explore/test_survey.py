"""A small set whose classes, parts and oddities are known."""

import numpy as np
import pytest

from efficient_jax.data.dataset import Source
from efficient_jax.explore.survey import MOVES, survey

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (60, 16, 16, 1), np.uint8)
IMAGES[7] = IMAGES[8] = IMAGES[50]
IMAGES[11] = 9
IMAGES[20] = IMAGES[45, :, ::-1]
LABELS = np.repeat([0, 1, 0, 1, -1], [24, 8, 10, 8, 10])
SPLIT = {
    "labelled": np.arange(32),
    "unlabelled": np.r_[32:42, 50:60],
    "validation": np.arange(0),
    "test": np.arange(42, 50),
}
SOURCE = Source(IMAGES, LABELS, ("ant", "bee"))


@pytest.fixture(scope="module")
def found():
    return survey(SOURCE, SPLIT)


def test_classes_are_counted_in_each_part(found):
    counts = {part: each.tolist() for part, each in found.counts.items()}
    assert counts == {"labelled": [24, 8], "unlabelled": [10, 0], "validation": [0, 0], "test": [0, 8]}
    assert found.unknown == {"labelled": 0, "unlabelled": 10, "validation": 0, "test": 0}
    assert found.imbalance == 3
    np.testing.assert_allclose(found.entropy, -(0.75 * np.log2(0.75) + 0.25 * np.log2(0.25)))


def test_equal_and_constant_images_are_found(found):
    assert found.equal == [[7, 8, 50]]
    assert found.constant.tolist() == [11]


def test_a_mirrored_copy_is_near_and_an_equal_one_is_not_there_twice(found):
    assert found.near.pairs.tolist() == [[20, 45]]


def test_pixels_of_held_out_images_have_no_part_in_mean_and_std(found):
    others = np.delete(IMAGES, SPLIT["test"], 0) / 255
    np.testing.assert_allclose(found.mean, others.mean((0, 1, 2)))
    np.testing.assert_allclose(found.std, others.std((0, 1, 2)))
    assert found.ids[found.held_out].tolist() == SPLIT["test"].tolist()


def test_light_that_varies_between_classes_only_does_not_vary_within():
    images = np.zeros((40, 16, 16, 1), np.uint8)
    labels = np.arange(40) % 2
    images[:] = np.where(labels, 200, 100)[:, None, None, None]
    split = {"labelled": np.arange(40)} | dict.fromkeys(("unlabelled", "validation", "test"), np.arange(0))
    source = Source(images, labels, ("dark", "light"))
    assert survey(source, split).within["brightness"] == pytest.approx(0, abs=1e-6)
    images[::4] += 20  # half of the dark ones: 120 and 100
    within = np.sqrt(20 * 10**2 / 38) / 155  # pooled over both classes
    assert survey(source, split).within["brightness"] == pytest.approx(within, rel=1e-4)


def test_a_network_sees_the_images_and_gives_the_distances():
    seen = []

    def network(images):
        seen.append(images.shape)
        return RNG.normal(size=(len(images), 5))

    found = survey(SOURCE, SPLIT, network)
    assert seen == [IMAGES.shape]
    assert found.features != survey(SOURCE, SPLIT).features
    assert set(found.moves) == set(MOVES)  # of pixels all the same: a network may have learned not to see mirrors


def test_images_with_several_labels_are_counted_for_each():
    labels = np.array([[1, 1], [1, 0], [0, 0], [-1, -1]]).repeat(15, 0)
    found = survey(SOURCE._replace(labels=labels, task="multi_label"), SPLIT | {"test": np.arange(42, 50)})
    assert found.counts["labelled"].tolist() == [30, 15]
    assert found.unknown["unlabelled"] == 10
    assert found.moves == {}


def test_boxes_are_measured_where_there_are_any(found):
    assert found.objects is None
    boxes = np.tile(np.array([[0.0, 0, 8, 8], [0, 0, 8, 16]]), (60, 1, 1))
    with_boxes = SOURCE._replace(objects={"boxes": boxes, "box_visible": np.ones((60, 2))})
    objects = survey(with_boxes, SPLIT).objects
    assert objects.counts.tolist() == [2] * 52  # without the test images
    np.testing.assert_allclose(objects.areas[:2], [1 / 4, 1 / 2])
    np.testing.assert_allclose(objects.overlaps, 1 / 2)
