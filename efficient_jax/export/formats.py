"""The formats of `export`: what each holds, which packages it needs, and how it is loaded."""

import importlib.util
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from efficient_jax.errors import UserError
from efficient_jax.export import safetensors_file, stablehlo
from efficient_jax.export.program import Program
from efficient_jax.tasks import TASKS

Run = Callable[[bytes, np.ndarray], np.ndarray]
"""(content of a file, uint8 images [n h w c]) -> what its `Program` returns."""


class Format(NamedTuple):
    """A kind of file."""

    file: str  # its name
    content: Callable[[Program], bytes]
    code: Callable[[Program], str]  # lines of Python that load it
    run: Run | None = None  # None for weights alone
    packages: tuple[str, ...] = ()  # beyond those that are always installed

    def check(self) -> None:
        """Checks that the packages are installed.

        Raises: UserError naming one that is not.
        """
        for package in self.packages:
            if importlib.util.find_spec(package) is None:
                raise UserError(f"--format: {package} is not installed: pip install -e '.[export]'")


def _onnx(program: Program) -> bytes:
    from efficient_jax.export import onnx_file  # needs the extra

    spec = program.spec
    notes = {"classes": "\n".join(spec.classes), "task": spec.task, "temperature": str(program.temperature)}
    notes |= {"thresholds": str(spec.thresholds)} if spec.thresholds else {}
    return onnx_file.serialized(program, answers_of(program), notes)


def _run_onnx(content: bytes, images: np.ndarray) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (answers,) = session.run(None, {"images": images})
    return np.asarray(answers)


def _run_stablehlo(content: bytes, images: np.ndarray) -> np.ndarray:
    return np.asarray(jax.jit(jax.export.deserialize(bytearray(content)).call)(images))


def answers_of(program: Program) -> str:
    """Returns what a program returns, as text: "probabilities" or "boxes".

    Args:
        program: that is exported.
    """
    return "probabilities" if TASKS[program.spec.task].probable else "boxes"


def _shapes(program: Program) -> str:
    _, *each = jax.eval_shape(program, program.variables, program.images()).shape
    given = " ".join(map(str, program.spec.image_shape))
    return f"uint8 [n {given}] -> float32 [n {' '.join(map(str, each))}]"


def _onnx_code(program: Program) -> str:
    return (
        "import onnxruntime\n\n"
        'session = onnxruntime.InferenceSession("model.onnx")\n'
        f'({answers_of(program)},) = session.run(None, {{"images": images}})  # {_shapes(program)}'
    )


def _stablehlo_code(program: Program) -> str:
    return (
        "from pathlib import Path\n\nimport jax\nfrom jax import export  # pip install jax flatbuffers\n\n"
        'program = export.deserialize(bytearray(Path("model.stablehlo").read_bytes()))\n'
        f"{answers_of(program)} = jax.jit(program.call)(images)  # {_shapes(program)}"
    )


FORMATS = {
    "safetensors": Format("model.safetensors", safetensors_file.serialized, safetensors_file.code),
    "stablehlo": Format("model.stablehlo", stablehlo.serialized, _stablehlo_code, _run_stablehlo, ("flatbuffers",)),
    "onnx": Format("model.onnx", _onnx, _onnx_code, _run_onnx, ("onnx", "onnxruntime")),
}
SEED, IMAGES = 0, 4
TOLERANCE = 1e-4
"""Most that answers may differ from those of our own program; rounding makes about 1e-6."""


def difference(program: Program, run: Run, content: bytes) -> float:
    """Returns how much the answers of a file differ from those of our own program, on random images.

    Args:
        program: that was exported.
        run: of its format.
        content: of the file.

    Raises: UserError where they differ by more than `TOLERANCE`.
    """
    images = np.random.default_rng(SEED).integers(0, 256, (IMAGES, *program.spec.image_shape), np.uint8)
    expected = np.asarray(jax.jit(program)(program.variables, images))
    most = TASKS[program.spec.task].apart(run(content, images), expected)
    if not most <= TOLERANCE:
        what = answers_of(program)
        raise UserError(f"--format: the {what} of the file differ by {most:.2g} from ours; nothing is written")
    return most
