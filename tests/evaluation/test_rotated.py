"""Turned test images."""

import numpy as np

from efficient_jax.evaluation.members import member, run_opener
from efficient_jax.evaluation.rotated import rotated
from efficient_jax.training.classifier import Classifier

OPEN = run_opener(print)


def test_images_turned_both_ways(trained):
    """A quarter turn moves pixels and changes none, so the model says of them what it says of turned images."""
    name = str(trained / "net")
    straight, quarter = rotated(name, [90.0], OPEN)
    test = member(name, OPEN).test
    classify = Classifier.open(name)
    images = OPEN(trained).source.images[test.ids]
    right = [int((classify(np.rot90(images, k, (1, 2)).copy()).argmax(1) == test.labels).sum()) for k in (0, 1, 3)]
    assert straight == (0.0, right[0], 30)
    assert quarter == (90.0, (right[1] + right[2]) / 2, 30)
