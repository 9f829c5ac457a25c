import numpy as np

from efficient_jax.data import boxes


def test_objects_are_counted_where_they_are_visible():
    here = np.array([[[0.0, 0, 4, 4], [2, 0, 6, 4], [0, 0, 4, 4]], [[0, 0, 8, 8], [0, 0, 0, 0], [0, 0, 0, 0]]])
    visible = np.array([[1.0, 0.5, 0.0], [1.0, 0.0, 0.0]])
    found = boxes.objects(here, visible, (8, 8))
    assert found.counts.tolist() == [2, 1]
    np.testing.assert_allclose(found.areas, [1 / 4, 1 / 4, 1])
    np.testing.assert_allclose(found.overlaps, [1 / 3, 1 / 3, 0])
    none = boxes.objects(np.zeros((3, 0, 4)), np.zeros((3, 0)), (8, 8))
    assert none.counts.tolist() == [0, 0, 0]
    assert len(none.areas) == len(none.overlaps) == 0
