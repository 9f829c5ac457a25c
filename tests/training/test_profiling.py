"""Which steps are traced, and that their trace is written, also where the stage is stopped."""

import re

import jax
import jax.numpy as jnp
import pytest

from efficient_jax.errors import UserError
from efficient_jax.training import profiling


@pytest.mark.parametrize(("text", "numbers"), [("", []), ("10:2", [10, 11]), ("1:1", [1])])
def test_steps_are_counted_from_1(text, numbers):
    assert list(profiling.steps(text)) == numbers


@pytest.mark.parametrize("text", ["10", "0:5", "5:0", "5:-1", "a:b", "1:2:3"])
def test_other_values_are_refused(text):
    with pytest.raises(UserError, match=f"^--profile: {re.escape(repr(text))} is not FIRST:COUNT; 10:5 traces"):
        profiling.steps(text)


@pytest.mark.parametrize(
    ("done", "last", "numbers"), [(0, 20, [5, 6, 7]), (4, 20, [6, 7, 8]), (9, 12, [11, 12]), (0, 4, [])]
)
def test_the_step_that_compiles_is_left_out(done, last, numbers):
    assert list(profiling.after_compiling(range(5, 8), done, last)) == numbers


def steps_in(folder) -> list[int]:
    """The numbers of the steps in the only trace of a folder."""
    (path,) = folder.glob("plugins/profile/*/*.xplane.pb")
    lines = [line for plane in jax.profiler.ProfileData.from_file(str(path)).planes for line in plane.lines]
    return sorted(dict(event.stats)["step_num"] for line in lines for event in line.events if event.name == "train")


@pytest.mark.parametrize(("last", "seen"), [(9, [3, 4, 5]), (4, [3, 4])])
def test_the_trace_has_these_steps(last, seen, tmp_path):
    """Also where the stage ends before the last of them."""
    state = jnp.zeros(3)
    with profiling.traced(lambda state, _: (state + 1, {}), range(3, 6), tmp_path) as step:
        for i in range(last):
            state, _ = step(state, i)
    assert steps_in(tmp_path) == seen


def test_without_steps_nothing_is_written(tmp_path):
    with profiling.traced(len, range(0), tmp_path) as step:
        assert step is len
    assert list(tmp_path.iterdir()) == []
