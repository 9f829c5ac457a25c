"""Checkpoints of ViTs as .npz files."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict

from efficient_jax.errors import UserError
from efficient_jax.models import vit
from efficient_jax.models.pretrained import npz_file
from tests.models.tiny_vit import CLASSES, SIDE, drawn, jitted


@pytest.fixture(autouse=True, scope="module")
def tiny():
    """A size that compiles quickly: "tiny/8" has 2x2 patches, 2 blocks, 3 heads."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(vit.SIZES, "tiny", (24, 2, 3))
        patch.setitem(vit.SIZES, "odd", (6, 1, 2))
        yield


@pytest.fixture
def images(key):
    return jax.random.normal(key, (4, SIDE, SIDE, 3))


class MlpBlock(nn.Module):
    tanh: bool

    @nn.compact
    def __call__(self, x):
        x = nn.gelu(nn.Dense(4 * x.shape[-1])(x), approximate=self.tanh)
        return nn.Dense(x.shape[-1] // 4)(x)


class EncoderBlock(nn.Module):
    tanh: bool

    @nn.compact
    def __call__(self, x):
        x = x + nn.MultiHeadDotProductAttention(3)(nn.LayerNorm()(x))
        return x + MlpBlock(self.tanh)(nn.LayerNorm()(x))


class Transformer(nn.Module):
    tanh: bool

    @nn.compact
    def __call__(self, x):
        for i in range(2):
            x = EncoderBlock(self.tanh, name=f"encoderblock_{i}")(x)
        return nn.LayerNorm(name="encoder_norm")(x)


class Linen(nn.Module):
    """The tiny ViT of linen's own attention, its parameters named as in big_vision's checkpoints."""

    pool: str
    tanh: bool

    @nn.compact
    def __call__(self, x, train=False):
        del train
        x = nn.Conv(24, (8, 8), (8, 8), "VALID", name="embedding")(x).reshape(len(x), -1, 24)
        x = x + self.param("pos_embedding", nn.initializers.normal(), (1, 4, 24))
        if self.pool == "token":
            token = self.param("cls", nn.initializers.normal(), (1, 1, 24))
            x = jnp.concatenate([jnp.tile(token, (len(x), 1, 1)), x], axis=1)
        x = Transformer(self.tanh, name="Transformer")(x)
        return nn.Dense(CLASSES, name="head")(x[:, 0] if self.pool == "token" else x.mean(1))


@functools.cache
def checkpoint(pool="token", tanh=True):
    """(logits of `Linen`, its parameters as an .npz of big_vision holds them)."""
    images = jax.random.normal(jax.random.key(0), (4, SIDE, SIDE, 3))
    peer = Linen(pool, tanh)
    variables = drawn(peer)
    arrays = {"/".join(path): np.asarray(leaf) for path, leaf in flatten_dict(variables).items()}
    return jax.jit(peer.apply)(variables, images), arrays


def older(arrays):
    """The same function in vision_transformer's names: there the class token has a position too."""
    renamed = {
        name.removeprefix("params/")
        .replace("pos_embedding", "Transformer/posembed_input/pos_embedding")
        .replace("Attention_0", "Attention_1")
        .replace("LayerNorm_1", "LayerNorm_2")
        .replace("MlpBlock_0", "MlpBlock_3"): value
        for name, value in arrays.items()
    }
    position = np.full((1, 1, 24), 0.5, np.float32)
    table = renamed["Transformer/posembed_input/pos_embedding"]
    return renamed | {
        "cls": renamed["cls"] - position,
        "Transformer/posembed_input/pos_embedding": np.concatenate([position, table], axis=1),
    }


def from_state(state, params):
    """`params` with the values of a state dict in torch's layout, all of which is used."""
    values = {}
    for path in flatten_dict(params):
        name = ".".join(path).replace("kernel", "weight").replace("scale", "weight")
        value = state.pop(name)
        if path[-1] == "kernel":
            value = value.transpose(2, 3, 1, 0) if value.ndim == 4 else value.T
        values[path] = jnp.asarray(value)
    assert not state
    return unflatten_dict(values)


@pytest.mark.parametrize(
    ("pool", "tanh", "layout"),
    [("token", True, dict), ("token", True, older), ("mean", True, dict), ("token", False, dict)],
)
def test_an_npz_checkpoint_gives_the_logits_of_its_model(images, pool, tanh, layout):
    expected, arrays = checkpoint(pool, tanh)
    run, variables = jitted(pool=pool, gelu="tanh" if tanh else "exact")
    params = from_state(npz_file.from_npz(layout(arrays)), variables["params"])
    logits, _ = run({"params": params}, images, False, None)
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-5)


def test_an_npz_of_another_model_is_refused():
    _, arrays = checkpoint()
    with pytest.raises(UserError, match="no 'embedding/kernel'"):
        npz_file.from_npz({"conv_init/kernel": np.zeros((7, 7, 3, 64))})
    with pytest.raises(UserError, match="'MAPHead_0/probe'"):
        npz_file.from_npz(arrays | {"params/MAPHead_0/probe": np.zeros((1, 1, 24))})
    with pytest.raises(UserError, match="no position embedding"):
        npz_file.from_npz({name: value for name, value in arrays.items() if "pos_embedding" not in name})


def test_parameters_are_found_beside_the_state_of_an_optimizer():
    _, arrays = checkpoint()
    saved = {name.replace("params/", "opt/target/"): value for name, value in arrays.items()}
    state, expected = npz_file.from_npz(saved | {"opt/state/step": np.zeros(())}), npz_file.from_npz(arrays)
    assert state.keys() == expected.keys()
    np.testing.assert_array_equal(state["head.weight"], expected["head.weight"])
