"""Predictions of several members for the same images."""

import tracemalloc

import numpy as np
import pytest

from efficient_jax.errors import UserError
from efficient_jax.inference.matching import matched
from efficient_jax.inference.predictions import Predictions, read, write
from efficient_jax.tasks import SEGMENTATION
from tests.inference.made import predictions


def test_members_are_brought_into_one_order():
    first = predictions()
    order = np.random.default_rng(2).permutation(6)
    other = Predictions(*(np.asarray(each)[order] for each in first[:3]), first.classes, ())
    other = other._replace(probabilities=other.probabilities[:, ::-1], labels=np.full(6, -1))
    found = matched([first, other], ["x", "y"], "--members")[1]
    np.testing.assert_array_equal(found.probabilities, first.probabilities[:, ::-1])
    np.testing.assert_array_equal(found.labels, first.labels)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": ("p(b)", "a", "c,;")}, r"classes of 'y' are \['p\(b\)', 'a'"),
        ({"images": tuple("uvwxyz")}, "6 images of 'x' are not in 'y', compared by name, such as '"),
        ({"images": (), "ids": np.arange(200, 206)}, "6 images of 'x' are not in 'y', compared by id, such as ids"),
        ({"labels": np.zeros(6, np.int32)}, "labels of 'y' are not those of 'x'"),
    ],
)
def test_members_of_other_images_are_refused(change, message):
    with pytest.raises(UserError, match=message):
        matched([predictions(), predictions()._replace(**change)], ["x", "y"], "--members")


def test_maps_are_judged_without_all_of_them_in_memory(tmp_path):
    rng, classes = np.random.default_rng(0), tuple("abcdefgh")
    maps = rng.dirichlet(np.ones(8), (40, 48, 48)).astype(np.float32)
    labels = rng.integers(0, 8, maps.shape[:3]).astype(np.uint8)
    names = tuple(f"{i}.png" for i in range(40))
    write(tmp_path / "p.npz", Predictions(np.arange(40), maps, labels, classes, names, task="segmentation"))
    tracemalloc.start()
    first = read(tmp_path / "p.npz", "test")
    second = first._replace(probabilities=first.probabilities[::-1], images=names[::-1], labels=labels[::-1])
    _, second = matched([first, second], ["first", "second"], "test")
    answers, losses = (
        SEGMENTATION.answers(second.probabilities, ()),
        SEGMENTATION.severity(second.probabilities, labels),
    )
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < maps.nbytes / 3  # labels and answers, 8 bits a pixel
    assert first.labels.dtype == answers.dtype == np.uint8
    np.testing.assert_array_equal(second.probabilities, maps.astype(np.float16))
    rounded = maps.astype(np.float16).astype(np.float64)
    np.testing.assert_array_equal(answers, rounded.argmax(-1))
    expected = -np.log(np.take_along_axis(rounded, labels[..., None].astype(int), -1))[..., 0].mean((1, 2))
    np.testing.assert_allclose(losses, expected, rtol=1e-9)


def test_maps_of_different_sizes_are_said():
    def of(size):
        probabilities = np.full((1, size, size, 2), 0.5, np.float32)
        labels = np.zeros((1, size, size), np.int32)
        return Predictions(np.arange(1), probabilities, labels, ("a", "b"), ("x.png",), task="segmentation")

    with pytest.raises(UserError, match=r"^test: maps of 'small' have 4 x 4 pixels, those of 'large' 8 x 8 pixels; "):
        matched([of(8), of(4)], ["large", "small"], "test")
