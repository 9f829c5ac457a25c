"""A stage with adapters: its checkpoints hold A and B, and what it hands on is an ordinary network."""

import jax
import numpy as np
import pytest

from configs import common
from efficient_jax import keys, models
from efficient_jax.errors import UserError
from efficient_jax.models import vit
from efficient_jax.training import checkpoint
from efficient_jax.training.trained import Trained
from tests.tiny_run import run, stage, stored, tuned

VIT = {"name": "vit", "variant": "lora/4"}


def test_a_stage_with_lora_hands_on_an_ordinary_network(images, tmp_path, monkeypatch):
    """Only queries and values have moved, and the head. Another head is fitted to its tokens, and trained further."""
    monkeypatch.setitem(vit.SIZES, "lora", (12, 1, 2))
    lora = tuned(common.LORA, model=VIT, lora={"rank": 2})
    method = {"name": "linear_probe", "head": "cosine", "pool": "cls_mean"}
    head = {"model": VIT, "init": "lora", "method": method}
    norms = tuned(common.LN_TUNE, model=VIT, init="head", steps=1)
    run(images, tmp_path, {"lora": lora, "head": head, "norms": norms})
    lora, head, norms = (Trained.open(str(tmp_path / name), "test") for name in ("lora", "head", "norms"))
    module, _ = lora.spec.build()
    key = keys.named(keys.named(jax.random.key(0), "lora"), "init")
    shape = lora.spec.input_shape
    fresh = models.completed(module, key, shape, models.shapes(module, shape))  # as the stage computes them
    assert not checkpoint.compare(lora.variables, fresh)
    before, after = ({**tree["params"], "head": None} for tree in (fresh, lora.variables))
    packed = [tree["blocks"]["0"]["attn"]["qkv"].pop("kernel").reshape(12, 3, 12) for tree in (before, after)]
    jax.tree.map(np.testing.assert_array_equal, before, after)
    np.testing.assert_array_equal(*(kernel[:, 1] for kernel in packed))
    assert all((packed[0][:, part] != packed[1][:, part]).any() for part in (0, 2))
    with checkpoint.open_manager(tmp_path / "lora") as manager:
        assert set(manager.item_metadata(2)["state"]["params"]["lora"]["blocks"]["0"]["attn"]) == {"q", "v"}
    assert head.spec.head == norms.spec.head == {"name": "cosine", "pool": "cls_mean"}
    assert norms.variables["params"]["head"]["kernel"].shape == (24, 3)
    still, moved = (tree.variables["params"]["blocks"]["0"] for tree in (head, norms))
    np.testing.assert_array_equal(still["attn"]["qkv"]["kernel"], moved["attn"]["qkv"]["kernel"])
    assert (still["norm1"]["scale"] != moved["norm1"]["scale"]).any()


def test_a_network_without_attention_is_said_before_training(images, tmp_path):
    with pytest.raises(UserError, match=r"^config\.s: lora: the model has no attention"):
        run(images, tmp_path, {"s": tuned(((".*", 1.0),), lora={"rank": 2})})
    with pytest.raises(UserError, match=r"config\.s\.lora\.rnak: no such key; did you mean 'rank'"):
        run(images, tmp_path, {"s": tuned(((".*", 1.0),), lora={"rnak": 2})})


def test_teachers_vote_with_one_answer_each(images, teacher, tmp_path):
    """Of two teachers one has never seen a class: for its images each has half of the target."""
    student = stage(
        "noisy_student", teachers=("blind", str(teacher)), vote="hard", batch={"labelled": 8, "unlabelled": 8}
    )
    student |= {"pseudo_labels": {"threshold": 0.0, "balance": False}}
    run(images, tmp_path, {"blind": stage("supervised", omit=("1",), steps=30), "student": student})
    rows = stored(tmp_path / "student")
    votes = np.array([[float(row[f"p({name})"]) for name in "012"] for row in rows])
    np.testing.assert_allclose(votes * 2, np.round(votes * 2), atol=0.01)
    assert (votes.round(1) == 0.5).any()
    assert (votes.round(1) == 1.0).any()
    with pytest.raises(UserError, match=r"config\.s\.vote: the method 'supervised' makes no pseudo-labels"):
        run(images, tmp_path, {"s": stage("supervised", vote="hard")})
