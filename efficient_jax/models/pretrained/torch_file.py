"""Reads the arrays of a file of `torch.save`, without torch and without running code from the file.

Such a file is a pickle, and a pickle is a program: it calls whatever it names. Here every name becomes a `Record`,
which is not imported or called and only keeps its arguments. Records of tensors, arrays, dicts and modules are
interpreted after the file has been read; all others (settings, dates, paths, schedulers) are ignored.
"""

import functools
import io
import math
import pickle
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from efficient_jax.errors import UserError, counted

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # first pickle in a file of torch before 1.6

DTYPES = {
    "torch.BFloat16Storage": jnp.bfloat16,
    "torch.BoolStorage": np.bool_,
    "torch.ByteStorage": np.uint8,
    "torch.CharStorage": np.int8,
    "torch.ComplexDoubleStorage": np.complex128,
    "torch.ComplexFloatStorage": np.complex64,
    "torch.DoubleStorage": np.float64,
    "torch.FloatStorage": np.float32,
    "torch.HalfStorage": np.float16,
    "torch.IntStorage": np.int32,
    "torch.LongStorage": np.int64,
    "torch.ShortStorage": np.int16,
}

# Weights never need these. They are not run here either, but the owner of such a file should know.
PROGRAMS = {"ctypes", "importlib", "nt", "os", "posix", "pty", "runpy", "shutil", "socket", "subprocess", "sys"}
PROGRAMS |= {"commands"}  # subprocess in the protocol of torch.save
BUILTINS = {"__import__", "breakpoint", "compile", "eval", "exec", "input", "open"}

TENSORS = {"torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2"}
PARAMETERS = {  # their first argument is the tensor; the last one is of torch before 0.4
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_parameter_with_state",
    "torch.nn.parameter.Parameter",
}
NUMPY_ARRAYS = {f"numpy.{core}.multiarray._reconstruct" for core in ("core", "_core")}
NUMPY_BUFFERS = {f"numpy.{core}.numeric._frombuffer" for core in ("core", "_core")}  # of pickle's protocol 5


class Storage(NamedTuple):
    """A flat buffer, which several tensors may share."""

    key: str  # its name in the file
    dtype: np.dtype
    size: int  # number of elements


class Tensor(NamedTuple):
    """A view of a storage; `offset` and `strides` count elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class Record:
    """Placeholder for an object, or for the result of a call, that a file describes by name and arguments.

    Every name in a file gets its own subclass, so that a file cannot change how another one is read.
    """

    name = ""  # such as "argparse.Namespace"
    args: tuple[Any, ...]
    items: dict[Any, Any]  # the items of a dict
    state: Any  # the attributes of another object

    def __new__(cls, *args: Any, **_: Any) -> "Record":  # a pickle creates instances without __init__
        self = super().__new__(cls)
        self.args, self.items, self.state = args, {}, None
        return self

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        self.items[key] = value

    def append(self, _: Any) -> None:
        """Ignores an element of a list or a set."""

    add = extend = append

    def __call__(self, *_: Any) -> "Record":
        return Record()


def read(path: str | Path) -> dict[str, np.ndarray]:
    """Returns the arrays of a .pth, .pt or .bin file, of torch 1.6 and later (zip) or before (legacy).

    Args:
        path: the file.

    Returns: names -> arrays, which are read-only views, strided as they were saved. Keys of nested dicts are joined by
        ".": {"state_dict": {"fc.bias": ...}} gives "state_dict.fc.bias"; a module that was saved whole counts as the
        dict of its parameters, buffers and modules. Other values (an epoch, settings) are left out.

    Raises: UserError for a file that is missing, damaged, without arrays, not of torch, or made to run a program.
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
    named = _named(Unpickler(io.BytesIO(archive.read(pickles[0]))).load())
    return _arrays(named, functools.cache(lambda key: (archive.read(f"{root}data/{key}"), 0)))


def _read_legacy(data: bytes) -> dict[str, np.ndarray]:
    """Reads five pickles (magic number, version, machine, saved object, storage keys), then the storages in order."""
    file = io.BytesIO(data)
    if Unpickler(file).load() != LEGACY_MAGIC:
        raise UserError("a pickle, but not one of torch.save")
    Unpickler(file).load(), Unpickler(file).load()
    content = Unpickler(file)
    named = _named(content.load())
    offsets = {}
    for key in Unpickler(file).load():
        count = int.from_bytes(file.read(8), "little")
        offsets[key] = file.tell()
        file.seek(count * content.dtypes[key].itemsize, io.SEEK_CUR)
    return _arrays(named, lambda key: (data, offsets[key]))


class Unpickler(pickle.Unpickler):
    """Creates a `Record` for every name."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, encoding="utf-8", errors="surrogateescape")  # Python 2 wrote str as bytes
        self.dtypes: dict[str, np.dtype] = {}  # of every storage, by key

    def find_class(self, module: str, name: str) -> type[Record]:
        """Returns a `Record` class for a name in the file.

        Args:
            module: the module that the name is in.
            name: the class or function.

        Returns: a subclass of `Record` of this name.

        Raises: UserError for a name that no weights need and that runs programs.
        """
        if module.partition(".")[0] in PROGRAMS or (module in ("builtins", "__builtin__") and name in BUILTINS):
            raise UserError(
                f"refused: reading it with torch would run {module}.{name} (it was not run here). Weights are arrays "
                "and nothing else: take them from a source that you trust, best as .safetensors"
            )
        return type("Record", (Record,), {"name": f"{module}.{name}"})

    def persistent_load(self, pid: Any) -> Any:
        """Returns the storage, or the class of a module, that a persistent id stands for.

        Args:
            pid: ("storage", type, key, device, number of elements, None) or ("module", class, file, source).

        Returns: a `Storage`, or the `Record` class.

        Raises: UserError for an unknown kind of storage.
        """
        if pid[0] == "module":
            return pid[1]
        kind, dtype, key, _, size, *view = pid
        if kind != "storage" or dtype.name not in DTYPES or any(part is not None for part in view):
            raise UserError(f"has a {kind} of an unknown form ({dtype.name}); save the state dict again as float32")
        self.dtypes[key] = np.dtype(DTYPES[dtype.name])
        return Storage(key, self.dtypes[key], size)


def _named(saved: Any) -> dict[str, Tensor | np.ndarray]:
    """Returns the tensors and arrays in nested dicts and modules by name; UserError if there are none."""
    children = _children(saved)
    if children is None:
        raise UserError(f"holds a {_kind(saved)}, not a state dict (names and arrays)")
    named = _below(children)
    if not named:
        kinds = ", ".join(f"{key} ({_kind(value)})" for key, value in list(children.items())[:4])
        raise UserError(f"holds no arrays{kinds and f', but {kinds}'}; save model.state_dict()")
    return named


def _below(children: Mapping[Any, Any]) -> dict[str, Tensor | np.ndarray]:
    named: dict[str, Tensor | np.ndarray] = {}
    for key, value in children.items():
        if (array := _interpreted(value, str(key))) is not None:
            named[str(key)] = array
        elif below := _children(value):
            named |= {f"{key}.{name}": array for name, array in _below(below).items()}
    return named


def _children(value: Any) -> Mapping[Any, Any] | None:
    """Returns the items of a dict of any class, or the children of a module; None for anything else."""
    if not isinstance(value, Record):
        return value if isinstance(value, Mapping) else None
    if isinstance(value.state, dict) and "_modules" in value.state:
        parts = (_children(value.state.get(part)) or {} for part in ("_parameters", "_buffers", "_modules"))
        return {key: child for part in parts for key, child in part.items()}
    if value.name == "collections.OrderedDict":
        return dict(*value.args) | value.items  # Python 2 saved a list of pairs as its argument
    return value.items or None


def _kind(value: Any) -> str:
    return value.name if isinstance(value, Record) else type(value).__name__


def _interpreted(value: Any, where: str) -> Tensor | np.ndarray | None:
    """Returns the tensor or array that a record stands for; None for other records.

    Raises: UserError naming `where` for tensors that are not one dense buffer.
    """
    if not isinstance(value, Record):
        return None
    if value.name in TENSORS:
        storage, offset, shape, strides, *_ = value.args
        return Tensor(storage, offset, tuple(shape), tuple(strides))
    if value.name in PARAMETERS:
        return _interpreted(value.args[0], where)
    if value.name == "torch._tensor._rebuild_from_type_v2":  # a tensor with attributes
        rebuild, _, args, *_ = value.args
        return _interpreted(rebuild(*args), where)
    if value.name.startswith(("torch._utils._rebuild", "torch._tensor._rebuild")):
        raise UserError(f"{where}: sparse, quantized or another kind of tensor ({value.name}); save dense float32")
    if value.name in NUMPY_ARRAYS:
        _, shape, dtype, is_fortran, data = value.state
        return _numpy_array(data, dtype, shape, "F" if is_fortran else "C")
    return _numpy_array(*value.args) if value.name in NUMPY_BUFFERS else None


def _numpy_array(data: Any, dtype: Record, shape: tuple[int, ...], order: Any) -> np.ndarray | None:
    """Returns the array, or None if its elements are not numbers."""
    (code, *_), (_, endianness, *_) = dtype.args, dtype.state
    if np.dtype(code).kind not in "biufc":
        return None
    if isinstance(data, Record):  # bytes in the pickle protocol of torch.save: _codecs.encode(text, encoding)
        data = data.args[0].encode(data.args[1]) if data.args else b""
    elif isinstance(data, str):  # bytes of Python 2
        data = data.encode("utf-8", "surrogateescape")
    flat = np.frombuffer(bytes(data), np.dtype(code).newbyteorder(endianness), math.prod(shape))
    return flat.reshape(shape, order=order)


def _arrays(
    named: Mapping[str, Tensor | np.ndarray], buffer: Callable[[str], tuple[bytes, int]]
) -> dict[str, np.ndarray]:
    """Returns arrays for tensors. `buffer` maps the key of a storage to (bytes, offset of the storage in them)."""
    return {
        name: _array(value, *buffer(value.storage.key)) if isinstance(value, Tensor) else value
        for name, value in named.items()
    }


def _array(tensor: Tensor, buffer: bytes, start: int) -> np.ndarray:
    """Returns a view of the tensor's storage, which begins at byte `start` of `buffer`. Copies nothing."""
    storage, offset, shape, strides = tensor
    numbers = (storage.size, offset, *shape, *strides)
    if len(shape) != len(strides) or not all(isinstance(n, int) and n >= 0 for n in numbers):
        raise UserError(f"a tensor of shape {shape} has invalid strides {strides} or offset {offset}; save it again")
    flat = np.frombuffer(buffer, storage.dtype, storage.size, start)
    last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    if math.prod(shape) and last >= storage.size:  # as_strided would read beyond the buffer
        raise UserError(f"a tensor of shape {shape} reaches beyond its storage of {counted(storage.size, 'number')}")
    steps = tuple(stride * flat.itemsize for stride in strides)
    return np.lib.stride_tricks.as_strided(flat[offset:], shape, steps, writeable=False)
