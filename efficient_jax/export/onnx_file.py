"""ONNX: a file that onnxruntime and others run without JAX."""

import dataclasses
from collections.abc import Mapping

import jax
import numpy as np

from efficient_jax.export import onnx_graph
from efficient_jax.export.onnx_rules import RULES
from efficient_jax.export.program import Program
from efficient_jax.models.plain_forms import plain

IMAGES = "images"
BATCH = "b"  # as in `Program.images`


def serialized(program: Program, output: str, notes: Mapping[str, str]) -> bytes:
    """Returns a program, with its weights, for any number of images.

    It computes in float32, also where the network was trained in bfloat16, which few runtimes have on CPU.

    Args:
        program: what is exported.
        output: name of its result.
        notes: metadata of the model, as text.

    Returns: what `onnxruntime.InferenceSession` loads.

    Raises: UserError naming an operation that ONNX has not.
    """
    wide = [
        dataclasses.replace(
            spec, settings={**spec.settings, **({"dtype": "float32"} if "dtype" in spec.settings else {})}
        )
        for spec in program.specs
    ]
    program = dataclasses.replace(program, specs=tuple(wide))
    images = program.images()
    with plain():
        traced = jax.make_jaxpr(program)(program.variables, images)
    graph = onnx_graph.Graph(RULES, BATCH, IMAGES)
    shape = onnx_graph.shape_of(images)
    weights = [onnx_graph.constant(array) for array in jax.tree.leaves(program.variables)]
    fed = onnx_graph.Value(IMAGES, shape, tuple(range(len(shape))))
    (result,) = graph.run(traced.jaxpr, traced.consts, [*weights, fed])
    model = onnx_graph.model(graph, result, (IMAGES, np.dtype(np.uint8), shape), (output, result.shape), notes)
    return bytes(model.SerializeToString())
