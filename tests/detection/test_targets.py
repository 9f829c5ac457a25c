import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efficient_jax.detection import targets
from efficient_jax.errors import UserError

LOCATIONS = targets.locations((32, 48), (8, 16))  # 4 x 6 and 2 x 3


def of(*boxes, visible=None, labels=None, locations=LOCATIONS):
    n = len(boxes)
    arrays = (
        jnp.array(boxes, jnp.float32).reshape(1, n, 4),
        jnp.array([visible or [1.0] * n], jnp.float32).reshape(1, n),
        jnp.array([labels or [*range(n)]], jnp.int32).reshape(1, n),
    )
    return jax.tree.map(lambda values: np.asarray(values[0]), targets.targets(locations, *arrays))


def test_locations_are_centers_of_cells():
    assert LOCATIONS.centers.shape == (30, 2)
    np.testing.assert_array_equal(
        LOCATIONS.centers[[0, 1, 6, 23, 24, 29]], [[4, 4], [12, 4], [4, 12], [44, 28], [8, 8], [40, 24]]
    )
    np.testing.assert_array_equal(LOCATIONS.strides, [8.0] * 24 + [16.0] * 6)
    assert LOCATIONS.centers.dtype == LOCATIONS.strides.dtype == np.float32


def test_ranges_of_levels_are_those_of_the_paper():
    lowest, highest = targets.locations((128, 128), (8, 16, 32, 64, 128)).ranges()
    assert sorted({*zip(lowest.tolist(), highest.tolist(), strict=True)}) == [
        (0.0, 64.0),
        (64.0, 128.0),
        (128.0, 256.0),
        (256.0, 512.0),
        (512.0, np.inf),
    ]


def test_by_hand():
    """The center of (4, 0, 28, 16) is (16, 8): within 12 pixels and inside are the columns 12 and 20 of the rows 4 and
    12; 4 is on the edge, and 28 too. All are on the fine level, since the farthest edge is less than 64 away."""
    found = of((4, 0, 28, 16), labels=[3])
    cells = [1, 2, 7, 8]
    assert np.flatnonzero(found.labels >= 0).tolist() == cells
    assert set(found.labels[cells]) == {3}
    np.testing.assert_array_equal(
        found.distances[cells], [[8, 4, 16, 12], [16, 4, 8, 12], [8, 12, 16, 4], [16, 12, 8, 4]]
    )
    np.testing.assert_allclose(found.centerness[cells], np.sqrt(8 / 16 * 4 / 12), rtol=1e-6)
    others = np.delete(np.arange(30), cells)
    assert not found.distances[others].any()
    assert not found.centerness[others].any()


def test_locations_far_from_the_center_do_not_answer():
    found = of((0, 0, 48, 32))
    x, y = LOCATIONS.centers[found.labels >= 0].T
    assert set(zip(x.tolist(), y.tolist(), strict=True)) == {(x, y) for x in (20, 28) for y in (12, 20)}


def test_the_smallest_box_wins():
    found = of((0, 0, 48, 32), (20, 8, 32, 24))
    fine = found.labels[:24].reshape(4, 6)
    expected = np.full((4, 6), -1)
    expected[1:3, 2], expected[1:3, 3] = 0, 1  # x = 20 is on the edge of the small box, x = 28 inside of it
    np.testing.assert_array_equal(fine, expected)


def test_a_level_answers_for_boxes_of_its_range():
    locations = targets.locations((128, 128), (4, 8))  # the fine level up to 32 pixels
    centers, labels = locations.centers, of((31, 31, 97, 97), (10, 10, 40, 40), locations=locations).labels
    assert set(locations.strides[labels == 0]) == {8.0}  # at least 33 pixels to the farthest edge
    assert set(locations.strides[labels == 1]) == {4.0}
    assert np.abs(centers[labels == 0] - 64).max() < 12
    assert np.abs(centers[labels == 1] - 25).max() < 6


def test_every_box_of_at_least_two_strides_has_a_location():
    rng = np.random.default_rng(0)
    locations = targets.locations((96, 96), (4, 8, 16))
    corners, sides = rng.uniform(0, 60, (500, 1, 2)), rng.uniform(8, 36, (500, 1, 2))
    boxes = jnp.asarray(np.concatenate([corners, corners + sides], -1), jnp.float32)
    labels = targets.targets(locations, boxes, jnp.ones((500, 1)), jnp.zeros((500, 1), jnp.int32)).labels
    assert (labels >= 0).any(1).all()


def test_rows_that_are_no_boxes_change_nothing():
    box = (4, 0, 28, 16)
    alone = of(box, labels=[2])
    hidden, unknown, empty = (0, 0, 20, 20), (0, 0, 30, 20), (12, 4, 12, 4)
    padded = of(hidden, box, unknown, empty, visible=[0.0, 0.3, 1.0, 1.0], labels=[1, 2, -1, 1])
    jax.tree.map(np.testing.assert_array_equal, padded, alone)
    for nothing in (of(hidden, visible=[0.0]), of()):
        assert (nothing.labels == -1).all()
        assert not nothing.distances.any()


def test_images_of_a_batch_do_not_meet(key):
    corners = jax.random.uniform(key, (3, 4, 2), maxval=24.0)
    boxes, visible = jnp.concatenate([corners, corners + 9.0], -1), jnp.ones((3, 4))
    labels = jnp.arange(12, dtype=jnp.int32).reshape(3, 4)
    batch = jax.jit(lambda *arrays: targets.targets(LOCATIONS, *arrays))(boxes, visible, labels)
    for i in range(3):
        one = targets.targets(LOCATIONS, boxes[i : i + 1], visible[i : i + 1], labels[i : i + 1])
        np.testing.assert_array_equal(batch.labels[i], one.labels[0])
        np.testing.assert_array_equal(batch.distances[i], one.distances[0])
    assert set(np.unique(batch.labels[2])) <= {-1, 8, 9, 10, 11}


def test_centerness_is_1_in_the_center_and_0_at_an_edge():
    distances = jnp.array([[5.0, 3.0, 5.0, 3.0], [0.0, 3.0, 10.0, 3.0], [1.0, 2.0, 4.0, 2.0], [0.0, 0.0, 0.0, 0.0]])
    np.testing.assert_allclose(targets.centerness(distances), [1.0, 0.0, 0.5, 0.0])


def test_sides_that_a_stride_does_not_divide_are_refused():
    with pytest.raises(UserError, match="image of 32x40 pixels is not divided by the stride 16"):
        targets.locations((32, 40, 3), (8, 16))
