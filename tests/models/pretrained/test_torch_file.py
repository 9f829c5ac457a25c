import collections
import copyreg
import io
import pickle
import re
import sys
import types
import zipfile
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from efficient_jax.models.pretrained import torch_file
from efficient_jax.types import UserError

GOLDENS = Path(__file__).parents[1] / "goldens"  # saved by torch: tests/peers/make_goldens.py
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


def zipped(content, data=b""):
    pickled, file = io.BytesIO(), io.BytesIO()
    Saver(pickled, 2).dump(content)
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


@pytest.mark.parametrize("form", FORMS)
def test_a_file_that_would_run_code_is_refused_and_does_not_run(form, tmp_path):
    trace, file = tmp_path / "trace", tmp_path / "evil.pth"
    file.write_bytes(WRITERS[form]({"weight": Call(ran, str(trace))}))
    with pytest.raises(
        UserError, match=rf"evil.pth: refused: .* would run {re.escape(__name__)}\.ran \(it was not run\)"
    ):
        torch_file.read(file)
    assert not trace.exists()


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
