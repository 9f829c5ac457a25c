"""Pixels are promised of optimised programs, in which XLA fuses and reorders; boxes and choices of any program."""

import jax
import pytest

FOR_ANY_PROGRAM = (
    *("test_any_content", "test_build", "test_entries", "test_fused"),  # hundreds of programs
    *("test_targets", "test_pipelines", "test_combinators"),  # which boxes, which operation
)


@pytest.fixture(autouse=True)
def optimised(request):
    if request.module.__name__.rpartition(".")[2] in FOR_ANY_PROGRAM:
        yield
        return
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)
