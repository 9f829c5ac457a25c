"""StableHLO: a file that `jax.export` loads without this package."""

from functools import partial

import jax

from efficient_jax.export.program import Program

PLATFORMS = ("cpu", "cuda", "tpu")


def serialized(program: Program) -> bytes:
    """Returns a program, with its weights, for any number of images on `PLATFORMS`.

    On CPU, probabilities of classes are equal to the bit to `jax.jit` of the program with its weights as constants;
    maps and boxes agree within 1e-5. `predict` passes weights as arguments, and XLA then rounds some products otherwise
    (by 5e-7 for EfficientNet-Lite0).

    Args:
        program: what is exported.

    Returns: what `jax.export.deserialize` reads.
    """
    exported = jax.export.export(jax.jit(partial(program, program.variables)), platforms=PLATFORMS)(program.images())
    return bytes(exported.serialize())
