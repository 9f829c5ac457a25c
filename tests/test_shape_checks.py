"""Calls of the package are checked against its annotations, in the tests and nowhere else."""

import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
from jaxtyping import Float, TypeCheckError, jaxtyped

from efficient_jax.errors import UserError, counted
from efficient_jax.losses.labels import class_weights
from efficient_jax.metrics.agreement import change
from tests.commands.launch import ROOT
from tests.shape_checks import CALLS, check

ANSWERS = np.array([0, 1, 1])


def refusal(function: Callable[..., object], *arguments: object) -> str:
    with pytest.raises(TypeCheckError) as refused:
        function(*arguments)
    return str(refused.value.__cause__)


def test_a_wrong_shape_is_caught():
    change(ANSWERS, ANSWERS, ANSWERS)
    assert "change() parameter labels=" in refusal(change, ANSWERS, ANSWERS, ANSWERS[:1])  # it would broadcast


def test_a_wrong_dtype_is_caught():
    assert "change() parameter labels=" in refusal(change, ANSWERS, ANSWERS, ANSWERS.astype(np.float32))


def test_a_wrong_type_is_caught():
    assert "counted() parameter number=1.5 violates type hint" in refusal(counted, 1.5, "image")


def test_what_a_call_returns_is_checked():
    @jaxtyped(typechecker=check)
    def mean(features: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " d"]:
        return features.mean(1)

    mean(np.zeros((2, 2)))
    assert "mean() return" in refusal(mean, np.zeros((2, 3)))


def test_a_function_is_checked_in_its_first_calls():
    for _ in range(CALLS):
        assert "number=1.5 violates" in refusal(counted, 1.5, "image")  # what is refused does not count
        counted(1, "image")
    assert counted(1.5, "image") == "1.5 images"


def test_a_function_is_checked_in_every_test():
    assert "number=1.5 violates" in refusal(counted, 1.5, "image")


def test_the_error_of_the_function_comes_first():
    with pytest.raises(UserError, match="class_balance: "):
        class_weights(np.zeros((2, 2)), 2.0)


def test_a_launched_process_is_not_checked():
    asks = "from efficient_jax.errors import counted; print(counted(1.5, 'image'))"
    done = subprocess.run([sys.executable, "-c", asks], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "1.5 images\n"
