"""Each stage beside its teacher and its start."""

import numpy as np
import pytest

from efficient_jax.inference import predictions
from tests.tiny_run import run, shades, stage


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return shades(tmp_path_factory.mktemp("images") / "shades.npz", np.arange(240) % 3)


def test_a_student_is_compared_with_teacher_and_start_in_its_run(images, tmp_path):
    student = stage("distill", teacher="first", init="second")
    blocks = {"first": stage("supervised", steps=6), "second": stage("supervised"), "student": student}
    first, second, found = run(images, tmp_path, blocks)
    assert first["compared"] == second["compared"] == []
    assert [pair["stage"] for pair in found["compared"]] == ["first", "second"]
    for pair in found["compared"]:
        right = []
        for name in ("student", pair["stage"]):
            stored = predictions.read(tmp_path / name / "predictions.npz", "test")
            right.append(stored.probabilities.argmax(1) == stored.labels)
        assert pair["won"] == (right[0] & ~right[1]).sum()
        assert pair["lost"] == (right[1] & ~right[0]).sum()
        assert pair["n"] == 30
