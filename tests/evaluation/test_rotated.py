"""Turned test images."""

import io

import numpy as np
from rich.console import Console

from efficient_jax.evaluation.members import member, prepared
from efficient_jax.evaluation.rotated import rotated
from efficient_jax.training.classifier import Classifier

CONSOLE = Console(file=io.StringIO(), width=200)


def test_images_turned_both_ways(trained):
    """A quarter turn moves pixels and changes none, so the model says of them what it says of turned images."""
    name = str(trained / "net")
    straight, quarter = rotated(name, [90.0], CONSOLE)
    test = member(name, CONSOLE).test
    classify = Classifier.open(name)
    images = prepared(trained, CONSOLE).source.images[test.ids]
    right = [int((classify(np.rot90(images, k, (1, 2)).copy()).argmax(1) == test.labels).sum()) for k in (0, 1, 3)]
    assert straight == {"degrees": 0.0, "correct": right[0], "n": 30}
    assert quarter == {"degrees": 90.0, "correct": (right[1] + right[2]) / 2, "n": 30}
