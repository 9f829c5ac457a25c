"""Where files of weights are found, and what is said of those that are not there."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from efficient_jax.errors import UserError
from efficient_jax.models import pretrained
from efficient_jax.models.pretrained import files

NAME = "vit_small_patch14_reg4_dinov2.lvd142m"
GATED = "vit_small_patch16_dinov3.lvd1689m"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """An empty machine: nothing in the current folder, the environment or a cache."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("EFFICIENT_JAX_WEIGHTS", raising=False)


def saved(path, **arrays):
    path.parent.mkdir(parents=True, exist_ok=True)
    safetensors.numpy.save_file({name: np.full(2, value, np.float32) for name, value in arrays.items()}, path)
    return path


@pytest.mark.parametrize(
    "place",
    [
        f"weights/{NAME}.safetensors",
        f"weights/{NAME}/model.safetensors",
        f"mine/{NAME}.safetensors",
        f"mine/{NAME}/model.safetensors",
        f"hub/models--timm--{NAME}/snapshots/0a1b/model.safetensors",
    ],
)
def test_a_name_is_looked_for_in_three_folders(tmp_path, monkeypatch, place):
    monkeypatch.setenv("EFFICIENT_JAX_WEIGHTS", str(tmp_path / "mine"))
    file = saved(tmp_path / place, a=1.0)
    assert not files.is_here(GATED)
    assert files.is_here(NAME)
    assert files.locate(NAME).samefile(file)
    assert pretrained.read(NAME)["a"][0] == 1.0


def test_the_folder_weights_comes_first(tmp_path):
    saved(tmp_path / f"hub/models--timm--{NAME}/snapshots/0a1b/model.safetensors", a=1.0)
    saved(tmp_path / f"weights/{NAME}.safetensors", a=2.0)
    assert pretrained.read(NAME)["a"][0] == 2.0


def test_a_file_that_is_not_here_has_a_place_to_come_from():
    with pytest.raises(UserError) as caught:
        pretrained.read(NAME)
    assert str(caught.value) == (
        f"{NAME}: not on this machine; get it by 'hf download timm/{NAME}', or put its model.safetensors and "
        f"config.json into weights/{NAME}"
    )
    with pytest.raises(UserError, match=r"\(accept the DINOv3 licence there first\)"):
        pretrained.read(GATED)


def test_a_name_that_is_not_known_has_a_nearest():
    with pytest.raises(UserError, match=f"did you mean '{NAME}'"):
        pretrained.read(NAME.replace("reg4", "reg"))


def test_shards_are_read_as_one_file(tmp_path):
    saved(tmp_path / "model-1.safetensors", a=1.0)
    saved(tmp_path / "model-2.safetensors", b=2.0)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}))
    for weights in (index, tmp_path):
        assert pretrained.is_weights(str(weights))
        assert {name: array[0] for name, array in pretrained.read(weights).items()} == {"a": 1.0, "b": 2.0}
    (tmp_path / "model-2.safetensors").unlink()
    with pytest.raises(UserError, match=r"index.json: model-2.safetensors of its 2 shards are not beside it"):
        pretrained.read(index)
    index.write_text("{}")
    with pytest.raises(UserError, match=r"not the index of a sharded \.safetensors file"):
        pretrained.read(index)


def test_a_folder_without_weights_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"a folder without weights; there should be one of model\.safetensors, "):
        pretrained.read(tmp_path)


@pytest.mark.parametrize("dtype", [np.float16, jnp.bfloat16])
def test_half_precision_is_read_from_safetensors(tmp_path, dtype):
    safetensors.numpy.save_file({"a": np.array([0.5, -3.0], dtype)}, tmp_path / "half.safetensors")
    np.testing.assert_array_equal(pretrained.read(tmp_path / "half.safetensors")["a"].astype(np.float32), [0.5, -3.0])
