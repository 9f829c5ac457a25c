"""Teachers that do not fit are refused."""

import numpy as np
import pytest

from efficient_jax.errors import UserError
from efficient_jax.experiment.stage import run_stage
from efficient_jax.experiment.teachers import teachers_of
from efficient_jax.training.trained import Trained
from tests.tiny_run import prepared, run, stage


def test_a_teacher_in_the_step_sees_what_the_student_sees(images, teacher, tmp_path):
    with pytest.raises(
        UserError, match=r"^config\.s\.teacher: .* takes images \[8, 8, 1\], .* \[4, 4, 1\]; set config\.s\.size"
    ):
        run(images, tmp_path, {"s": stage("distill", teacher=str(teacher), size=4)})


def test_a_teacher_of_other_classes_is_refused(two, teacher, tmp_path):
    with pytest.raises(
        UserError,
        match=r"^config\.s\.teacher: .* has the classes \['0', '1', '2'\], the data has .* config\.s\.class_map, or",
    ):
        run(two, tmp_path, {"s": stage("distill", teacher=str(teacher))})


@pytest.mark.parametrize("method", ["distill", "noisy_student"])
def test_a_teacher_predicts_with_the_moving_average_of_its_weights(images, tmp_path, method):
    """The student has its architecture. With a decay of 0.0 the average is the last weights: those of every step, kept,
    give the average with another decay by hand."""
    kept = {"steps": 4, "save_every": 1, "keep_every": 1}
    raw, averaged = (
        prepared(
            images,
            tmp_path / str(decay),
            {"first": stage("supervised", **kept, ema_decay=decay), "s": stage(method, teacher="first")},
        )
        for decay in (0.0, 0.6)
    )
    for each in (raw, averaged):
        each.workdir.mkdir()
        run_stage(each.plan.stages[0], each)
    _, (variables,), _ = teachers_of(averaged.plan.stages[1], averaged)
    expected = 0.0
    for step in range(4):
        weights = Trained.open(f"{raw.workdir}/first@{step + 1}", "test").variables["params"]["head"]["kernel"]
        keep = min(1 - 1 / (step + 1), 0.6)
        expected = keep * expected + (1 - keep) * weights.astype(np.float64)
    np.testing.assert_allclose(variables["params"]["head"]["kernel"], expected, rtol=1e-5, atol=1e-7)
    assert np.abs(weights - expected).max() > 1e-4
