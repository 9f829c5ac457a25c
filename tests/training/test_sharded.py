"""A state that is spread over the devices trains like a copy on each, in a fraction of the memory."""

import functools
import json

import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from efficient_jax.errors import UserError
from efficient_jax.training import checkpoint, loop, parallel
from tests import tiny_run
from tests.training.problem import losses, make
from tests.training.test_checkpoint import SPEC


@functools.cache
def trained():
    """(losses, last state) of 20 steps of the problem on 4 devices, its state spread."""
    return losses(make(4, shard_state=True))


def test_the_losses_are_those_of_copies():
    """Dropout, batch statistics of all devices, and a clip by the norm of all gradients among them."""
    np.testing.assert_allclose(trained()[0], losses(make(4))[0], rtol=1e-5)


def test_an_array_is_cut_along_its_longest_axis_that_the_devices_divide():
    shapes = {"a": (3, 8, 12), "b": (4, 10), "c": (5, 7), "d": (), "e": (0, 3)}
    tree = {name: jax.ShapeDtypeStruct(shape, np.float32) for name, shape in shapes.items()}
    specs = {name: sharding.spec for name, sharding in parallel.layout(tree, jax.local_devices()[:4]).items()}
    device, copies = parallel.AXIS, PartitionSpec()
    cut = {"a": PartitionSpec(None, None, device), "b": PartitionSpec(device)}
    assert specs == {**cut, "c": copies, "d": copies, "e": copies}


def test_a_device_holds_a_quarter_of_every_array_that_is_cut_also_after_training():
    for state in (make(4, shard_state=True).state, trained()[1]):
        for array, sharding in zip(*map(jax.tree.leaves, (state, parallel.layout(state, jax.devices()))), strict=True):
            parts = 4 if sharding.spec else 1
            assert [shard.data.size for shard in array.addressable_shards] == [array.size // parts] * 4
    mu = trained()[1]["opt"][2].inner_states["1.0"].inner_state[0].mu
    assert mu["stage3"]["conv"]["kernel"].sharding.spec


def test_whole_is_a_copy_on_every_device_and_held_has_every_number_once():
    state = trained()[1]
    copies = parallel.whole(state["ema"], jax.devices())
    parallel.assert_replicas_agree(copies)
    assert copies["params"]["stage1"]["conv"]["kernel"].is_fully_replicated
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(copies), jax.device_get(state["ema"]))
    for tree in (state["ema"], copies):
        assert sum(part.size for part in parallel.held(tree)) == sum(x.size for x in jax.tree.leaves(copies))


def test_a_part_that_is_not_finite_is_found():
    state = trained()[1]
    spoilt = state | {"ema": jax.tree.map(lambda x: x.at[(-1,) * x.ndim].set(np.nan), state["ema"])}
    metrics = {"loss": (np.float32(1), np.float32(1))}
    with pytest.raises(UserError, match="the weights are not finite in step 1"):
        loop.run(
            lambda *_: (spoilt, metrics),
            state,
            first=0,
            steps=1,
            log_every=1,
            save_every=1,
            images_per_step=1,
            log=lambda *_: None,
            save=lambda *_: None,
            stop=lambda: False,
            where="s",
        )


@pytest.mark.parametrize(("count", "shard_state"), [(2, True), (2, False)])
def test_its_checkpoint_is_restored_on_another_number_of_devices(count, shard_state, tmp_path):
    state = trained()[1]
    like = make(count, shard_state=shard_state)
    with checkpoint.open_manager(tmp_path) as manager:
        checkpoint.save(manager, 20, state, SPEC, None)
        manager.wait_until_finished()
        restored = checkpoint.restore(manager, 20, like.state, like.devices)
    assert parallel.is_spread(restored) == shard_state
    for found, wanted in zip(*map(jax.tree.leaves, (restored, like.state)), strict=True):
        assert found.sharding.is_equivalent_to(wanted.sharding, found.ndim)
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(restored), jax.device_get(state))
    average = checkpoint.load(tmp_path, "here").variables
    jax.tree.map(np.testing.assert_array_equal, average, jax.device_get(state["ema"]))


def test_fixmatch_in_a_run_has_the_losses_and_the_answers_of_copies(images, tmp_path):
    block = tiny_run.stage(
        "fixmatch", steps=20, log_every=1, save_every=10, strong_augment={"ops": ("flip",)}, ema_decay=0.9
    )
    data = {"source": {"name": "npz", "path": images}, "labels_per_class": 4, "test": 30, "validation": 30}
    config = {"seed": 0, "devices": 4, "stages": ("s",), "data": data, "s": block}
    curves, results = [], []
    for shard_state in (False, True):
        workdir = tmp_path / str(shard_state)
        results += tiny_run.trained(config | {"shard_state": shard_state}, workdir)
        records = [json.loads(line) for line in (workdir / "s" / "metrics.jsonl").read_text().splitlines()]
        curves.append([record["loss"] for record in records if "loss" in record])
    np.testing.assert_allclose(curves[1], curves[0], rtol=1e-5)
    assert len(curves[0]) == 20
    assert results[0]["test"]["correct"] == results[1]["test"]["correct"]
