"""What is saved comes back, on any number of devices; what does not fit is said."""

import jax
import numpy as np
import pytest

from efficient_jax.errors import UserError
from efficient_jax.models.spec import ModelSpec
from efficient_jax.training import checkpoint, parallel
from tests.training.problem import losses, make

SPEC = ModelSpec("cnn", {"width": 2}, ("a", "b"), (8, 8, 1), (0.1,), (0.2,))


def tree(value: float) -> dict:
    return {
        "step": np.int32(3),
        "params": {"w": np.full((2, 3), value, np.float32)},
        "ema": {"w": np.ones(2, np.float32)},
    }


def save(folder, scores):
    """One checkpoint per score, its weights filled with the step."""
    with checkpoint.open_manager(folder) as manager:
        for step, score in enumerate(scores, 1):
            checkpoint.save(manager, step, tree(step), SPEC, score)
    return checkpoint.open_manager(folder)


@pytest.mark.versions
def test_half_a_run_restored_ends_as_the_whole_run(tmp_path):
    """k steps, save, restore, k steps == 2k steps, bit for bit; the restored half on states placed anew."""
    problem = make(2)
    _, whole = losses(problem, steps=8)
    problem = make(2)
    _, half = losses(problem, steps=4)
    with checkpoint.open_manager(tmp_path) as manager:
        checkpoint.save(manager, 4, half, SPEC, None)
        manager.wait_until_finished()
        state = checkpoint.restore(manager, 4, make(2).state, problem.devices)
    for i in range(4, 8):
        state, _ = problem.update(state, i)
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(state), jax.device_get(whole))


def test_a_restored_state_lies_on_every_device(tmp_path):
    devices = jax.local_devices()
    with save(tmp_path, [None]) as manager:
        state = checkpoint.restore(manager, 1, tree(0.0), devices)
    assert state["params"]["w"].sharding.is_equivalent_to(parallel.replicated(devices), 2)


def test_without_validation_the_newest_are_kept(tmp_path):
    with save(tmp_path, [None] * 4) as manager:
        assert list(manager.all_steps()) == [3, 4]
        assert checkpoint.best_step(manager) == 4


def test_with_validation_the_best_is_kept_too(tmp_path):
    with save(tmp_path, [0.5, 0.9, 0.7, 0.6, 0.4]) as manager:
        assert list(manager.all_steps()) == [2, 4, 5]
        assert checkpoint.best_step(manager) == 2


def test_another_architecture_is_named(tmp_path):
    other = tree(0.0) | {"params": {"w": np.zeros((2, 5), np.float32), "extra": np.zeros(1, np.float32)}}
    with save(tmp_path, [None]) as manager, pytest.raises(UserError) as error:
        checkpoint.restore(manager, 1, other, jax.local_devices()[:1])
    assert "params/w is [2, 3], here [2, 5]" in str(error.value)
    assert "params/extra is not in the checkpoint" in str(error.value)


def test_load_gives_the_average_and_the_specification(tmp_path):
    save(tmp_path, [None]).close()
    step, variables, spec = checkpoint.load(tmp_path, "here")
    np.testing.assert_array_equal(variables["w"], np.ones(2))
    assert (step, spec) == (1, SPEC)


@pytest.mark.parametrize("keep", [0.0, 0.5])
def test_a_damaged_checkpoint_is_said(tmp_path, keep):
    save(tmp_path, [None]).close()
    for file in (tmp_path / checkpoint.FOLDER).rglob("*"):
        if file.is_file():
            file.write_bytes(file.read_bytes()[: int(keep * file.stat().st_size)])
    with pytest.raises(UserError, match=r"^here: the checkpoint of .* is damaged"):
        checkpoint.load(tmp_path, "here")


def test_a_damaged_newest_checkpoint_gives_way_to_the_one_before(tmp_path):
    save(tmp_path, [None, None]).close()
    for file in (tmp_path / checkpoint.FOLDER / "2").rglob("*"):
        if file.is_file():
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    said: list[str] = []
    with checkpoint.open_manager(tmp_path) as manager:
        step, state = checkpoint.newest(manager, tree(0.0), jax.local_devices()[:1], said.append)
        assert (step, float(state["params"]["w"][0, 0])) == (1, 1.0)
        assert len(said) == 1
        assert "step 2 is damaged" in said[0]
        checkpoint.save(manager, 2, tree(2.0), SPEC, None)  # its place is free
    with checkpoint.open_manager(tmp_path) as manager:
        assert checkpoint.newest(manager, tree(0.0), jax.local_devices()[:1], said.append)[0] == 2


def test_no_checkpoint_is_said(tmp_path):
    with pytest.raises(UserError, match=r"here: .* is not a trained stage"):
        checkpoint.load(tmp_path, "here")


def test_a_fingerprint_is_of_names_shapes_and_bits():
    trees = [
        tree(1.0),
        tree(1.0) | {"step": np.int64(3)},
        tree(np.nextafter(np.float32(1), np.float32(2))),
        {"stop": np.int32(3)} | {name: tree(1.0)[name] for name in ("params", "ema")},
        tree(1.0) | {"params": {"w": np.ones((3, 2), np.float32)}},
    ]
    assert len({checkpoint.fingerprint(each) for each in trees}) == len(trees)
    placed = jax.device_put(dict(reversed(tree(1.0).items())))
    assert checkpoint.fingerprint(placed) == checkpoint.fingerprint(tree(1.0)) == "ca6099f6dddab2dd"
