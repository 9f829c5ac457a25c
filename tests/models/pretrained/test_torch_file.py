import argparse
import collections
import copyreg
import datetime
import decimal
import enum
import functools
import io
import os
import pickle
import re
import runpy
import subprocess
import sys
import types
import zipfile
from pathlib import Path, PureWindowsPath

import jax.numpy as jnp
import numpy as np
import pytest

from efficient_jax.errors import UserError
from efficient_jax.models.pretrained import torch_file

GOLDENS = Path(__file__).parents[1] / "goldens"  # saved by torch: tests/benchmarks/peers/make_goldens.py
FORMS = ("zip", "legacy")
NUMBERS = np.arange(12, dtype=np.float32)
SAVED = {
    "matrix": NUMBERS.reshape(3, 4),
    "transposed": NUMBERS.reshape(3, 4).T,
    "shared": NUMBERS,
    "part": NUMBERS[5:11].reshape(2, 3),
    "scalar": np.float32(7.0),
    "empty": np.zeros((0, 3), np.float32),
    "parameter": np.full(2, 0.5, np.float32),
    "half": np.array([0.5, -2.0], np.float16),
    "brain": np.array([0.5, -3.0], jnp.bfloat16),
    "double": np.array([1e300]),
    "long": np.array([-1, 2**40]),
    "bool": np.array([True, False]),
}


def assert_saved(state):
    assert list(state) == list(SAVED)
    for name, value in SAVED.items():
        assert state[name].dtype == value.dtype, name
        np.testing.assert_array_equal(state[name], value, err_msg=name)


@pytest.mark.parametrize("form", FORMS)
def test_every_kind_of_tensor_comes_back(form):
    assert_saved(torch_file.read(GOLDENS / f"torch_{form}.pth"))


def test_dicts_within_dicts_become_dotted_names_and_what_is_no_array_is_left_out():
    state = torch_file.read(GOLDENS / "torch_wrapped.pth")
    assert_saved({name.removeprefix("state_dict.module."): value for name, value in state.items()})
    assert all(name.startswith("state_dict.module.") for name in state)


def test_a_modules_state_dict_with_its_metadata():
    state = torch_file.read(GOLDENS / "torch_module.pth")
    assert list(state) == ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
    assert state["num_batches_tracked"].shape == ()


def test_shared_storage_is_not_copied():
    state = torch_file.read(GOLDENS / "torch_zip.pth")
    assert np.shares_memory(state["shared"], state["part"])
    assert not state["shared"].flags.writeable


class Saver(pickle.Pickler):
    """Writes the names of torch's functions and storages without torch."""

    def persistent_id(self, value):
        return tuple(value) if isinstance(value, Stored) else None


class Stored(list):
    """("storage", type, key, location, size, view)"""


class Call:
    """Pickled as a call of `function`."""

    def __init__(self, function, *args):
        self.reduced = (function, args)

    def __reduce_ex__(self, _):
        return self.reduced


@pytest.fixture
def torch(monkeypatch):
    """What a pickle must be able to name."""
    modules = {name: types.ModuleType(name) for name in ("torch", "torch._utils", "torch.nn", "torch.nn.parameter")}
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(modules[parent], child, module)
    places = {"FloatStorage": "torch", "_rebuild_tensor": "torch._utils", "_rebuild_tensor_v2": "torch._utils"}
    for name, place in (places | {"Parameter": "torch.nn.parameter"}).items():
        setattr(modules[place], name, type(name, (), {"__module__": place, "__qualname__": name}))
    return modules["torch"]


def legacy(content, data=b""):
    file = io.BytesIO()
    for value in (torch_file.LEGACY_MAGIC, 1001, {"little_endian": True}, content, ["0"] if data else []):
        Saver(file, 2).dump(value)
    return file.getvalue() + (len(data) // 4).to_bytes(8, "little") + data


def zipped(content, data=b"", protocol=2):
    pickled, file = io.BytesIO(), io.BytesIO()
    Saver(pickled, protocol).dump(content)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a/data.pkl", pickled.getvalue())
        archive.writestr("a/data/0", data)
    return file.getvalue()


WRITERS = {"zip": zipped, "legacy": legacy}


def tensor(torch, shape=(2,), strides=(1,), offset=0):
    storage = Stored(("storage", torch.FloatStorage, "0", "cpu", 2))
    return Call(torch._utils._rebuild_tensor_v2, storage, offset, shape, strides, False, collections.OrderedDict())


def test_parameters_of_torch_before_0_4(tmp_path, torch):
    storage = Stored(("storage", torch.FloatStorage, "0", "cpu", 2, None))
    old = Call(torch._utils._rebuild_tensor, storage, 0, (2,), (1,))
    kind = torch.nn.parameter.Parameter
    kind.__reduce_ex__ = lambda *_: (copyreg.__newobj__, (kind, old), (True, False, {}))
    file = tmp_path / "old.pth"
    file.write_bytes(legacy(collections.OrderedDict(weight=kind()), np.float32([3, 4]).tobytes()))
    np.testing.assert_array_equal(torch_file.read(file)["weight"], [3.0, 4.0])


def ran(path):
    Path(path).write_text("it ran")


def touched(trace):
    return f"open({str(trace)!r}, 'w')"


HARMFUL = {  # what would leave a trace: a function and its argument
    "posix.system": lambda trace: (os.system, f"touch {trace}"),
    "commands.check_output": lambda trace: (subprocess.check_output, ["touch", str(trace)]),
    "__builtin__.eval": lambda trace: (eval, touched(trace)),
    "__builtin__.exec": lambda trace: (exec, touched(trace)),
    "runpy.run_path": lambda trace: (runpy.run_path, str(trace)),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", HARMFUL)
def test_a_file_that_would_run_a_program_is_refused_and_does_not_run(name, form, tmp_path, torch):
    trace, file = tmp_path / "trace", tmp_path / "evil.pth"
    content = {"weight": tensor(torch), "extra": Call(*HARMFUL[name](trace))}
    file.write_bytes(WRITERS[form](content, bytes(8)))
    with pytest.raises(UserError, match=rf"evil.pth: refused: .* would run {name} \(it was not run here\)"):
        torch_file.read(file)
    assert not trace.exists()


@pytest.mark.parametrize("form", FORMS)
def test_any_other_function_is_not_run_either(form, tmp_path, torch):
    trace, file = tmp_path / "trace", tmp_path / "a.pth"
    calls = [Call(ran, str(trace)), Call(Path.touch, trace), Call(np.ndarray.tofile, NUMBERS, str(trace))]
    file.write_bytes(WRITERS[form]({"weight": tensor(torch), "calls": calls, "call": calls[0]}, bytes(8)))
    assert list(torch_file.read(file)) == ["weight"]
    assert not trace.exists()


@pytest.mark.parametrize("form", FORMS)
def test_a_file_of_nothing_but_a_call_is_refused(form, tmp_path):
    trace, file = tmp_path / "trace", tmp_path / "a.pth"
    file.write_bytes(WRITERS[form]({"weight": Call(ran, str(trace))}))
    named = re.escape(f"weight ({__name__}.ran)")
    with pytest.raises(UserError, match=rf"a.pth: holds no arrays, but {named}; save model.state_dict\(\)"):
        torch_file.read(file)
    assert not trace.exists()


class Color(enum.Enum):
    RED = 1


class Settings(dict):
    """As libraries have them."""


class Plain:
    def __init__(self):
        self.path, self.inner = Path("/data"), [{"a": Color.RED}]


RECORDS = {
    "args": argparse.Namespace(lr=np.float64(0.1), path=Path("/data"), model="resnet18"),
    "best": np.float32(3.5),
    "step": np.int64(3),
    "path": PureWindowsPath("c:/x"),
    "when": datetime.datetime(2024, 1, 2, tzinfo=datetime.UTC),
    "day": datetime.date(2024, 1, 2),
    "lists": collections.defaultdict(list, {"a": [1]}),
    "counter": collections.Counter("abc"),
    "deque": collections.deque([1]),
    "set": {1, Color.RED},
    "objects": np.array(["a", None], object),
    "names": np.array(["ab", "c"]),
    "partial": functools.partial(max, 1),
    "settings": Settings(a=1, b=Settings(c=Path("/x"))),
    "plain": Plain(),
    "method": Settings.get,
    "bytes": b"x",
    "decimal": decimal.Decimal("1.5"),
    "random": np.random.default_rng(0),
    "pattern": re.compile("a", 2),
    "empty": collections.OrderedDict(),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", RECORDS)
def test_records_beside_the_weights_are_ignored(name, form, tmp_path, torch):
    file = tmp_path / "a.pth"
    content = {name: RECORDS[name], "model": {"weight": tensor(torch)}, "more": [RECORDS[name]]}
    file.write_bytes(WRITERS[form](content, np.float32([3, 4]).tobytes()))
    state = torch_file.read(file)
    assert list(state) == ["model.weight"]
    np.testing.assert_array_equal(state["model.weight"], [3.0, 4.0])


@pytest.mark.parametrize("form", FORMS)
def test_classes_in_the_file_are_not_imported(form, tmp_path, torch, monkeypatch):
    module = types.ModuleType("danger")
    module.Thing = type("Thing", (), {"__module__": "danger"})
    monkeypatch.setitem(sys.modules, "danger", module)
    file = tmp_path / "a.pth"
    file.write_bytes(WRITERS[form]({"weight": tensor(torch), "thing": module.Thing()}, bytes(8)))
    monkeypatch.delitem(sys.modules, "danger")
    (tmp_path / "danger.py").write_text("raise AssertionError('it was imported')")
    monkeypatch.syspath_prepend(tmp_path)
    assert list(torch_file.read(file)) == ["weight"]
    assert "danger" not in sys.modules


@pytest.mark.parametrize("protocol", [2, 5])
@pytest.mark.parametrize(
    "array",
    [np.arange(6).reshape(2, 3), np.asfortranarray(NUMBERS.reshape(3, 4)), np.arange(3, dtype=">f8"), NUMBERS[:0]],
)
def test_numpy_arrays_are_weights_too(array, protocol, tmp_path):
    file = tmp_path / "a.pth"
    file.write_bytes(zipped({"model": Settings(weight=array)}, protocol=protocol))
    (found,) = torch_file.read(file).values()
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)
    assert not found.flags.writeable


def module_of(parameters, buffers=(), modules=()):
    """An object as torch's modules are: its class is not needed to read it."""
    found = Plain()
    found.__dict__ = {
        "training": True,
        "_parameters": collections.OrderedDict(parameters),
        "_buffers": dict(buffers),
        "_modules": collections.OrderedDict(modules),
    }
    return found


@pytest.mark.parametrize("form", FORMS)
def test_a_module_that_was_saved_whole_is_its_state_dict(form, tmp_path, torch):
    inner = module_of({"weight": tensor(torch), "bias": None}, {"running_mean": tensor(torch, (1,))})
    file = tmp_path / "a.pth"
    file.write_bytes(WRITERS[form]({"ema": module_of({}, modules={"fc": inner}), "steps": 3}, bytes(8)))
    assert list(torch_file.read(file)) == ["ema.fc.weight", "ema.fc.running_mean"]


def test_a_tensor_of_another_kind_is_named(tmp_path, torch):
    kind = type("_rebuild_sparse_tensor", (), {"__module__": "torch._utils"})
    torch._utils._rebuild_sparse_tensor = kind
    file = tmp_path / "a.pth"
    file.write_bytes(zipped({"fc.weight": Call(kind, 1)}))
    with pytest.raises(UserError, match=r"a.pth: fc.weight: sparse, .* \(torch._utils._rebuild_sparse_tensor\)"):
        torch_file.read(file)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "where", [{"shape": (3,)}, {"offset": 1}, {"strides": (2,)}, {"offset": -1}, {"strides": (-1,)}]
)
def test_a_tensor_outside_its_storage_is_refused(form, where, tmp_path, torch):
    file = tmp_path / "bad.pth"
    file.write_bytes(WRITERS[form]({"weight": tensor(torch, **where)}, bytes(8)))
    with pytest.raises(UserError, match="a tensor of shape"):
        torch_file.read(file)


@pytest.mark.parametrize("form", FORMS)
def test_a_cut_file_is_refused_wherever_it_is_cut(form, tmp_path):
    whole, file = (GOLDENS / f"torch_{form}.pth").read_bytes(), tmp_path / "cut.pth"
    for length in range(10, len(whole), 97):
        file.write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"cut.pth: damaged, or cut short \(.*\); download it again") as caught:
            torch_file.read(file)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"<!DOCTYPE html>", "not a file of torch.save: it begins with b'<!DOCTYPE ht'"),
        (b"cposix\nsystem\n(S'true'\ntR.", "not a file of torch.save"),
        (pickle.dumps({"weight": 1}), "a pickle, but not one of torch.save"),
        (legacy([1, 2]), "holds a list, not a state dict"),
    ],
)
def test_what_is_not_weights_is_refused(content, message, tmp_path):
    file = tmp_path / "x.pth"
    file.write_bytes(content)
    with pytest.raises(UserError, match=f"x.pth: .*{re.escape(message)}"):
        torch_file.read(file)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"none.pth: cannot be read \(No such file"):
        torch_file.read(tmp_path / "none.pth")


def test_another_zip_archive_is_refused(tmp_path):
    file = tmp_path / "x.pth"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("readme", "")
    with pytest.raises(UserError, match="a zip archive, but not one of"):
        torch_file.read(file)
