"""Arrays out of a file that `torch.save` wrote, without torch and without running anything that the file holds.

Such a file is a pickle, and a pickle is a program: it calls whatever function it names. Here it can name the few
functions that rebuild tensors, which are replaced by records; every other name is refused.
"""

import io
import math
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from efficient_jax.types import UserError

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # the first of the pickles in a file of torch before 1.6

DTYPES = {
    "BFloat16Storage": jnp.bfloat16,
    "BoolStorage": np.bool_,
    "ByteStorage": np.uint8,
    "CharStorage": np.int8,
    "DoubleStorage": np.float64,
    "FloatStorage": np.float32,
    "HalfStorage": np.float16,
    "IntStorage": np.int32,
    "LongStorage": np.int64,
    "ShortStorage": np.int16,
}


class Storage(NamedTuple):
    """A flat buffer, which several tensors may share."""

    key: str
    dtype: np.dtype
    size: int


class Tensor(NamedTuple):
    """A view of a storage; `offset` and `strides` count elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class Parameter:
    """What torch before 0.4 pickled in place of a tensor."""

    tensor: Tensor

    def __new__(cls, tensor: Tensor, *_: Any) -> "Parameter":  # a pickle makes instances without __init__
        self = super().__new__(cls)
        self.tensor = tensor
        return self

    def __setstate__(self, _: Any) -> None:
        """Whether it wants a gradient, which is of no use here."""


def read(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays of a .pth, .pt or .bin file, of torch 1.6 and later (zip) or before (legacy).

    Dicts within dicts become names joined by ".": {"state_dict": {"fc.bias": ...}} gives "state_dict.fc.bias".
    What is not an array (an epoch, settings) is left out. The arrays are read-only views, strided as they were saved.

    Raises: UserError for a file that is missing, damaged, not of torch, or that would run code.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    if not data:
        raise UserError(f"{path}: the file is empty; download it again")
    is_zip = data.startswith(b"PK\x03\x04")
    if not is_zip and not data.startswith(b"\x80"):  # the first opcode of a pickle
        raise UserError(f"{path}: not a file of torch.save: it begins with {data[:12]!r}")
    try:
        return (_read_zip if is_zip else _read_legacy)(data)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except Exception as error:  # what a damaged pickle raises can be anything
        why = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"{path}: damaged, or cut short ({why}); download it again") from None


def _read_zip(data: bytes) -> dict[str, np.ndarray]:
    archive = zipfile.ZipFile(io.BytesIO(data))
    pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise UserError("a zip archive, but not one of torch.save: there is no data.pkl")
    root = pickles[0].removesuffix("data.pkl")
    if f"{root}byteorder" in archive.namelist() and archive.read(f"{root}byteorder") != b"little":
        raise UserError("saved on a big-endian machine, which is not supported")
    tensors = _tensors(Unpickler(io.BytesIO(archive.read(pickles[0]))).load())
    keys = {tensor.storage.key for tensor in tensors.values()}
    buffers = {key: archive.read(f"{root}data/{key}") for key in keys}
    return {name: _array(tensor, buffers[tensor.storage.key], 0) for name, tensor in tensors.items()}


def _read_legacy(data: bytes) -> dict[str, np.ndarray]:
    """Five pickles (magic number, version, machine, what was saved, storage keys), then the storages in that order."""
    file = io.BytesIO(data)
    if Unpickler(file).load() != LEGACY_MAGIC:
        raise UserError("a pickle, but not one of torch.save")
    Unpickler(file).load(), Unpickler(file).load()
    content = Unpickler(file)
    tensors = _tensors(content.load())
    offsets = {}
    for key in Unpickler(file).load():
        count = int.from_bytes(file.read(8), "little")
        offsets[key] = file.tell()
        file.seek(count * content.dtypes[key].itemsize, io.SEEK_CUR)
    return {name: _array(tensor, data, offsets[tensor.storage.key]) for name, tensor in tensors.items()}


class Unpickler(pickle.Unpickler):
    """Knows the names in `ALLOWED` and no other."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, encoding="utf-8")  # Python 2 wrote str as bytes
        self.dtypes: dict[str, np.dtype] = {}  # of every storage, by key

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in DTYPES:
            return name
        if (module, name) not in ALLOWED:
            raise UserError(
                f"refused: reading it would run {module}.{name} (it was not run). Weights are arrays and nothing "
                "else: save them by torch.save(model.state_dict(), ...) or as .safetensors"
            )
        return ALLOWED[module, name]

    def persistent_load(self, pid: Any) -> Storage:
        kind, dtype, key, _, size, *view = pid
        if kind != "storage" or any(part is not None for part in view):
            raise UserError(f"refers to a {kind} of an unknown form; save the state dict again with a newer torch")
        self.dtypes[key] = np.dtype(DTYPES[dtype])
        return Storage(key, self.dtypes[key], size)


def _rebuild_tensor(storage: Storage, offset: int, shape: tuple, strides: tuple, *_: Any) -> Tensor:
    return Tensor(storage, offset, tuple(shape), tuple(strides))


def _rebuild_parameter(tensor: Tensor, *_: Any) -> Tensor:
    return tensor


ALLOWED: dict[tuple[str, str], Callable] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch.nn.parameter", "Parameter"): Parameter,
}


def _tensors(saved: Any) -> dict[str, Tensor]:
    """The tensors in nested dicts by their names."""
    if not isinstance(saved, Mapping):
        raise UserError(f"holds a {type(saved).__name__}, not a state dict (names and arrays)")
    tensors: dict[str, Tensor] = {}
    for key, value in saved.items():
        if isinstance(value, Mapping):
            tensors |= {f"{key}.{name}": tensor for name, tensor in _tensors(value).items()}
        elif isinstance(value, Parameter):
            tensors[str(key)] = value.tensor
        elif isinstance(value, Tensor):
            tensors[str(key)] = value
    return tensors


def _array(tensor: Tensor, buffer: bytes, start: int) -> np.ndarray:
    """The view of its storage, which begins at byte `start` of `buffer`. Copies nothing."""
    storage, offset, shape, strides = tensor
    numbers = (storage.size, offset, *shape, *strides)
    if len(shape) != len(strides) or not all(isinstance(n, int) and n >= 0 for n in numbers):
        raise UserError(f"a tensor of shape {shape} and strides {strides}")
    flat = np.frombuffer(buffer, storage.dtype, storage.size, start)
    last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    if math.prod(shape) and last >= storage.size:  # as_strided would read beyond the buffer
        raise UserError(f"a tensor of shape {shape} reaches beyond its storage of {storage.size} numbers")
    steps = tuple(stride * flat.itemsize for stride in strides)
    return np.lib.stride_tricks.as_strided(flat[offset:], shape, steps, writeable=False)
