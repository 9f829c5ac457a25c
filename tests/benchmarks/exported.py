"""How fast exported networks run beside ours, on CPU: `python -m tests.benchmarks.exported`.

Needs `pip install -e '.[export,pretrained]'`. All programs run in one process, in turn; a time is the median.
"""

import statistics
import time
from collections.abc import Callable

import jax
import numpy as np

from efficient_jax.export import onnx_file, onnx_int8, stablehlo
from efficient_jax.export.program import Program, program
from efficient_jax.training.classifier import network
from efficient_jax.training.trained import Trained
from tests.export import stages

NETWORKS = {
    "Lite0, 224 pixels": ("efficientnet", {"variant": "lite0"}, (224, 224, 3)),
    "ResNet-18, 224 pixels": ("resnet", {"depth": 18}, (224, 224, 3)),
    "ViT-S/16, 224 pixels": ("vit", {"variant": "S/16"}, (224, 224, 3)),
    "CNN, 28 pixels": ("cnn", {}, (28, 28, 1)),
}
BATCHES = (1, 32)
ROUNDS, CALLS = 7, {1: 5, 32: 1}


def medians(functions: dict[str, Callable[[], object]], calls: int) -> dict[str, float]:
    """Milliseconds of a call, the median of `ROUNDS` in which all functions run in turn."""
    for function in functions.values():
        function()
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(ROUNDS):
        for name, function in functions.items():
            start = time.perf_counter()
            for _ in range(calls):
                function()
            times[name].append(1e3 * (time.perf_counter() - start) / calls)
    return {name: statistics.median(values) for name, values in times.items()}


def session(content: bytes):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def latency(name: str, made: Program, one: Trained) -> None:
    content = onnx_file.serialized(made, {})
    onnx, int8 = session(content), session(onnx_int8.quantised(content, stages.images(one.spec, 32)))
    hlo = jax.jit(jax.export.deserialize(bytearray(stablehlo.serialized(made))).call)
    ours = network(one, max(BATCHES))
    for batch in BATCHES:
        images = stages.images(one.spec, batch)
        functions = {
            "predict": lambda images=images: ours.predict(images),
            "stablehlo": lambda images=images: np.asarray(hlo(images)),
            "onnx": lambda images=images: onnx.run(None, {"images": images}),
            "int8": lambda images=images: int8.run(None, {"images": images}),
        }
        ms = medians(functions, CALLS[batch])
        cells = [f"{ms[key]:.2f}" for key in functions]
        cells += [f"{ms[slow] / ms[fast]:.2f}" for slow, fast in (("predict", "onnx"), ("onnx", "int8"))]
        print(f"| {name} | {batch} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    print(
        "| network | batch | predict, ms | StableHLO, ms | onnxruntime, ms | int8, ms | predict / onnx | onnx / int8 |"
    )
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name, (model, settings, shape) in NETWORKS.items():
        one = stages.trained(stages.spec_of(model, settings, shape))
        latency(name, program([one], "none", 1.0), one)


if __name__ == "__main__":
    main()
