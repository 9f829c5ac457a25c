import numpy as np

from efficient_jax.detection import overlap


def test_objects_are_counted_where_they_are_visible():
    here = np.array([[[0.0, 0, 4, 4], [2, 0, 6, 4], [0, 0, 4, 4]], [[0, 0, 8, 8], [0, 0, 0, 0], [0, 0, 0, 0]]])
    visible = np.array([[1.0, 0.5, 0.0], [1.0, 0.0, 0.0]])
    found = overlap.objects(here, visible, (8, 8))
    assert found.counts.tolist() == [2, 1]
    np.testing.assert_allclose(found.areas, [1 / 4, 1 / 4, 1])
    np.testing.assert_allclose(found.overlaps, [1 / 3, 1 / 3, 0])
    none = overlap.objects(np.zeros((3, 0, 4)), np.zeros((3, 0)), (8, 8))
    assert none.counts.tolist() == [0, 0, 0]
    assert len(none.areas) == len(none.overlaps) == len(none.covered) == len(none.longer) == len(none.cropped) == 0


def test_what_is_hidden_of_objects():
    """A small box in a large one is covered as a whole, the large one by a quarter; the third is alone."""
    here = np.array([[[10.0, 10, 30, 30], [15, 15, 25, 25], [40, 10, 64, 20]]])
    found = overlap.objects(here, np.array([[1.0, 1.0, 0.7]]), (64, 64))
    np.testing.assert_allclose(found.covered, [1 / 4, 1, 0])
    np.testing.assert_allclose(found.longer, [20 / 64, 10 / 64, 24 / 64])
    assert found.at_border.tolist() == [False, False, False]
    assert found.cropped.tolist() == [False, False, True]
    assert overlap.objects(here, np.ones((1, 3)), (64, 64)).at_border.tolist() == [False, False, True]
    framed = overlap.objects(here, np.ones((1, 3)), (64, 64), borders=np.array([[0.0, 10.4, 64, 53.6]]))
    assert framed.at_border.tolist() == [True, False, True]  # an image with grey above and below


def test_masks_say_more_of_what_is_hidden_than_boxes():
    """Two halves of one square: each takes half of the other's box."""
    masks = np.zeros((1, 3, 8, 8), bool)
    masks[0, 0, :, :4], masks[0, 1, :, 4:] = True, True
    here = np.array([[[0.0, 0, 8, 8], [0, 0, 8, 8], [0, 0, 0, 0]]])
    visible = np.array([[1.0, 1.0, 0.0]])
    assert overlap.objects(here, visible, (8, 8)).covered.tolist() == [1.0, 1.0]
    assert overlap.objects(here, visible, (8, 8), masks).covered.tolist() == [0.5, 0.5]
    masks[0, 0, :, 4:6] = True  # amodal: what both have is each one's own
    assert overlap.objects(here, visible, (8, 8), masks).covered.tolist() == [0.25, 0.5]
