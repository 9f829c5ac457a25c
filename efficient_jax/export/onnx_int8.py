"""ONNX files with weights and activations of 8 bits: smaller, and faster where the CPU multiplies bytes."""

import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
from jaxtyping import Float, UInt8
from onnxruntime import quantization
from onnxruntime.quantization.quant_utils import add_pre_process_metadata

from efficient_jax.errors import UserError, counted
from efficient_jax.models.spec import ModelSpec
from efficient_jax.tasks import TASKS

OPERATORS = ("Conv", "MatMul", "Add", "Relu", "Clip", "MaxPool")
"""What is computed in 8 bits. Normalisation of pixels, softmax and layer norms are not: they need the precision."""
BATCH = 16  # images whose activations are in memory together
LEAST = 0.9  # share of the answers that have to stay


def quantised(content: bytes, images: UInt8[np.ndarray, "n h w c"]) -> bytes:
    """Returns an ONNX model whose convolutions and matrix products are those of bytes (arXiv 1712.05877).

    Each output channel of a weight has its own scale, each activation one, from its least and largest value on
    `images`. CPUs without VNNI add two products of bytes in 16 bits, and can exceed them. Weights of 7 bits would
    not, but changed twice as many answers of Lite0.

    Args:
        content: of the file in float32.
        images: some training images.
    """
    model = onnx.load_model_from_string(content)
    batches = iter([{model.graph.input[0].name: images[i : i + BATCH]} for i in range(0, len(images), BATCH)])
    reader = SimpleNamespace(get_next=lambda: next(batches, None))  # all that onnxruntime asks of one
    with tempfile.TemporaryDirectory() as folder:
        plain, small = Path(folder) / "plain.onnx", Path(folder) / "small.onnx"
        # Batch normalisation becomes part of the convolution before it: quantised alone, it costs all that is gained.
        # (`quant_pre_process` of onnxruntime 1.32 does the same, but moves axes out of the file and then misses them.)
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(plain)
        onnxruntime.InferenceSession(
            content,
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=["MatMulAddFusion"],  # its Gemm cannot be quantised by channel (onnxruntime 1.32)
        )
        merged = onnx.load(plain)
        add_pre_process_metadata(merged)  # else onnxruntime warns that nothing was merged
        quantization.quantize_static(
            merged,
            small,
            reader,
            op_types_to_quantize=list(OPERATORS),
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )
        result = onnx.load(small)
    used = {node.domain for node in result.graph.node}
    imports = [opset for opset in result.opset_import if opset.domain in used]
    del result.opset_import[:]
    result.opset_import.extend(imports)  # onnxruntime also lists operators of its own, which other programs refuse
    del result.metadata_props[:]
    result.metadata_props.extend(model.metadata_props)
    return bytes(result.SerializeToString())


def checked(
    content: bytes, spec: ModelSpec, images: UInt8[np.ndarray, "n h w c"], others: UInt8[np.ndarray, "m h w c"]
) -> tuple[bytes, str]:
    """Returns `quantised`, and what to say of its answers beside those of the file in float32.

    Args:
        content: of the file in float32.
        spec: of its network.
        images: some training images.
        others: on which answers are compared.

    Raises: UserError where fewer than `LEAST` of the answers are the same.
    """
    small, task = quantised(content, images), TASKS[spec.task]
    before, after = (task.answers(run(file, others), spec.thresholds) for file in (content, small))
    same = float((before == after).mean())
    about = f"{100 * same:.1f}% of the answers on {counted(len(others), 'image')} are those in float32"
    if same < LEAST:
        raise UserError(f"--int8: {about}; nothing is written")
    return small, f"{100 * len(small) / len(content):.0f}% of the size in float32; {about}"


def run(content: bytes, images: UInt8[np.ndarray, "n h w c"]) -> Float[np.ndarray, "n ..."]:
    """Returns the probabilities of images.

    Args:
        content: of a file.
        images: of its size.
    """
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    parts = [session.run(None, {name: images[i : i + BATCH]})[0] for i in range(0, len(images), BATCH)]
    return np.concatenate(parts)
