"""Teachers that do not fit are refused."""

import pytest

from efficient_jax.errors import UserError
from tests.tiny_run import run, stage


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
