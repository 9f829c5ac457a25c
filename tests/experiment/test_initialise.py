"""What a stage may begin with, and what is said of what it may not."""

import re

import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from efficient_jax.errors import UserError
from efficient_jax.experiment import initialise
from efficient_jax.experiment.config import plan
from efficient_jax.models.spec import ModelSpec
from efficient_jax.training import checkpoint

CLASSES = ("a", "b")


def stage(init, **model):
    """The stage "s" that begins with `init`."""
    optim = {"learning_rate": 1e-3, "weight_decay": 0.0, "clip": 0.0, "rules": ((".*", 1.0),)}
    block = {"model": model, "method": {"name": "supervised"}, "batch": {"labelled": 8}, "optim": optim, "steps": 2}
    config = {"seed": 0, "data": {"source": {"name": "mnist5k"}, "test": 10}, "stages": ("s",)}
    return plan(config | {"s": block | {"init": str(init)}}).stages[0]


def positions(rows, columns):
    """The variables of an encoder that has nothing but places: a ramp from the upper row to the lower."""
    ramp = jnp.broadcast_to(jnp.linspace(0.0, 1.0, rows)[:, None, None], (rows, columns, 2))
    return {
        "params": {
            "cls_token": jnp.zeros((1, 1, 2)),
            "pos_embed": jnp.concatenate([jnp.full((1, 1, 2), 9.0), ramp.reshape(1, -1, 2)], axis=1),
            "patch_embed": {"proj": {"kernel": jnp.ones((16, 16, 3, 2))}},
            "head": {"kernel": jnp.zeros((2, 2)), "bias": jnp.zeros(2)},
        }
    }


def save(folder, variables, size, name="vit", **settings):
    spec = ModelSpec(name, settings, CLASSES, (size, size, 3), (0.5,) * 3, (0.5,) * 3)
    with checkpoint.open_manager(folder) as manager:
        checkpoint.save(manager, 1, {"ema": variables}, spec, None)
    return folder


VIT = {"variant": "S/16", "pool": "token", "dropout": 0.0, "stochastic_depth": 0.0, "gelu": "exact"}
VIT |= {"dtype": "float32"}


def test_our_own_position_embedding_is_resampled_too(tmp_path):
    """A ramp stays one: its middle row is the mean of the two outer ones."""
    init = save(tmp_path, positions(4, 4), 64, **VIT)
    found, said = initialise.variables(stage(init, name="vit"), positions(5, 3), CLASSES, (80, 48, 3))
    table = found["params"]["pos_embed"]
    np.testing.assert_array_equal(table[0, 0], 9.0)
    rows = table[0, 1:].reshape(5, 3, 2)
    np.testing.assert_allclose(rows[2], 0.5, atol=1e-6)
    np.testing.assert_allclose(rows[0] + rows[4], 1.0, atol=1e-6)
    assert said == ["pos_embed: 4x4 patches resampled to 5x3"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gelu": "tanh"}, "model.gelu is 'exact' there, 'tanh' here"),
        ({"pool": "mean"}, "model.pool is 'token' there, 'mean' here"),
        ({"name": "cnn"}, "model.name is 'vit' there, 'cnn' here"),
    ],
)
def test_the_same_shapes_may_be_another_function(tmp_path, settings, message):
    init = save(tmp_path, positions(4, 4), 64, **VIT)
    with pytest.raises(UserError, match=r"^config\.s\.init: .* is a checkpoint of another architecture: ") as error:
        initialise.variables(stage(init, **({"name": "vit"} | settings)), positions(4, 4), CLASSES, (64, 64, 3))
    assert str(error.value).endswith(message)


def test_what_acts_in_training_only_may_differ(tmp_path):
    init = save(tmp_path, positions(4, 4), 64, **VIT)
    block = stage(init, name="vit", dropout=0.1, stochastic_depth=0.2, dtype="bfloat16")
    assert initialise.variables(block, positions(4, 4), CLASSES, (64, 64, 3))[1] == []


def weights(tmp_path, name="conv_stem.weight"):
    """(a file with one convolution and a head, the variables of a network that has nothing else)."""
    arrays = {name: np.ones((4, 3, 3, 3), np.float32), "classifier.weight": np.ones((2, 4), np.float32)}
    safetensors.numpy.save_file(arrays | {"classifier.bias": np.ones(2, np.float32)}, tmp_path / "w.safetensors")
    head = {"kernel": np.zeros((4, 2)), "bias": np.zeros(2)}
    return tmp_path / "w.safetensors", {"params": {"conv_stem": {"kernel": np.zeros((3, 3, 3, 4))}, "head": head}}


@pytest.mark.parametrize(("name", "tensorflow"), [("_conv_stem.weight", True), ("features.0.0.weight", False)])
def test_the_padding_that_the_names_tell_is_asked_for(tmp_path, name, tensorflow):
    init, fresh = weights(tmp_path, name)
    there = stage(init, name="efficientnet", tensorflow=tensorflow)
    assert initialise.variables(there, fresh, CLASSES, (32, 32, 3))[1] == ["loaded 3 arrays"]
    message = rf"^config\.s\.init: .* was trained with config\.s\.model\.tensorflow = {tensorflow}; set it$"
    other = stage(init, name="efficientnet", tensorflow=not tensorflow)
    with pytest.raises(UserError, match=message):
        initialise.variables(other, fresh, CLASSES, (32, 32, 3))


def test_padding_that_nothing_tells_is_said(tmp_path):
    init, fresh = weights(tmp_path)
    _, said = initialise.variables(stage(init, name="efficientnet"), fresh, CLASSES, (32, 32, 3))
    assert said[-1] == "padding and eps are not in the file: taken as model.tensorflow = True"


def test_a_file_that_cannot_be_read_is_named_with_its_key(tmp_path):
    (tmp_path / "w.pth").write_bytes(b"<html>")
    message = re.escape(f"config.s.init: {tmp_path}/w.pth: not a file of torch.save")
    block = stage(tmp_path / "w.pth", name="vit")
    with pytest.raises(UserError, match=message):
        initialise.normalisation(block, {}, ((), ()))
    with pytest.raises(UserError, match=message):
        initialise.variables(block, {}, CLASSES, (32, 32, 3))
