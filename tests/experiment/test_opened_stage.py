"""A stage, opened: how long it trains, what it sees, and whom its loss asks."""

import jax
import pytest

from efficient_jax.errors import UserError
from efficient_jax.experiment.opened_stage import Stage
from tests.tiny_run import SHAPE, prepared, stage


@pytest.fixture
def ready(images, tmp_path):
    first = stage("supervised", steps=0, epochs=2.0, size=16)
    student = stage("distill", teacher="first", size=16) | {"method": {"name": "distill", "hard_weight": 0.0}}
    return prepared(images, tmp_path, {"first": first, "student": student})


def test_a_stage_knows_its_steps_and_the_size_of_its_images(ready):
    opened = Stage.open(ready.plan.stages[0], ready)
    assert opened.steps == 3  # 2 epochs of 12 labelled images, 8 in a step
    assert opened.spec.image_shape == (16, 16, SHAPE[-1])
    assert opened.optim["algorithm"] == {"name": "adamw"}
    assert opened.teachers == opened.teacher_variables == ()


def test_shapes_stand_for_the_variables_of_a_teacher_that_is_not_trained_yet(ready):
    shapes = {"head": {"kernel": jax.ShapeDtypeStruct((4, 3), "float32")}}
    opened = Stage.open(ready.plan.stages[1], ready, {"first": shapes})
    assert opened.teacher_variables == (shapes,)
    assert len(opened.teachers) == 1


def test_a_teacher_that_is_not_trained_cannot_be_opened(ready):
    with pytest.raises(UserError, match=r"^config\.student\.teacher: 'first'"):
        Stage.open(ready.plan.stages[1], ready)


def test_keys_of_a_stage_differ_by_stage_and_purpose(ready):
    first, student = (Stage.open(config, ready, {"first": {}}) for config in ready.plan.stages)
    keys = [first.key("init"), first.key("train"), student.key("init")]
    assert len({tuple(jax.random.key_data(key).tolist()) for key in keys}) == 3
