"""A stage with adapters: its checkpoints hold A and B, and what it hands on is an ordinary network."""

import jax
import numpy as np
import pytest

from configs import common
from efficient_jax import models
from efficient_jax.errors import UserError
from efficient_jax.models import vit
from efficient_jax.training import checkpoint
from efficient_jax.training.trained import Trained
from tests.tiny_run import run, stage, stored, tuned

VIT = {"name": "vit", "variant": "tiny/4"}


def test_a_stage_with_lora_hands_on_an_ordinary_network(images, tmp_path, monkeypatch):
    """Only queries and values have moved, and the head; a head is then chosen on its features, and used."""
    monkeypatch.setitem(vit.SIZES, "tiny", (12, 1, 2))
    start = tuned(((".*", 0.0),), model=VIT, steps=1)
    lora = tuned(common.LORA, model=VIT, init="start", lora={"rank": 2}, steps=3)
    best = {"model": VIT, "init": "lora", "method": {"name": "linear_probe", "head": "best", "pool": "best"}}
    tuned_again = tuned(common.LN_TUNE, model=VIT, init="best", steps=1)
    results = run(images, tmp_path, {"start": start, "lora": lora, "best": best, "norms": tuned_again})
    before, after, fitted = (Trained.open(str(tmp_path / name), "test") for name in ("start", "lora", "best"))
    module, _ = after.spec.build()
    fresh = jax.eval_shape(lambda: models.init(module, jax.random.key(0), after.spec.input_shape))
    assert not checkpoint.compare(after.variables, fresh)
    one, other = (dict(tree.variables["params"]) for tree in (before, after))
    for tree in (one, other):
        tree.pop("head")
    packed = [tree["blocks"]["0"]["attn"]["qkv"].pop("kernel").reshape(12, 3, 12) for tree in (one, other)]
    jax.tree.map(np.testing.assert_array_equal, one, other)
    np.testing.assert_array_equal(*(kernel[:, 1] for kernel in packed))
    assert all((packed[0][:, part] != packed[1][:, part]).any() for part in (0, 2))
    with checkpoint.open_manager(tmp_path / "lora") as manager:
        assert set(manager.item_metadata(3)["state"]["params"]["lora"]["blocks"]["0"]["attn"]) == {"q", "v"}
    tried = results[2]["heads"]
    assert len(tried) == 12  # "cls" is what its own head takes
    assert (tried[0]["head"], tried[0]["pool"]) == (fitted.spec.head["name"], fitted.spec.head["pool"]) or (
        tried[0]["head"] in ("ridge", "logistic") and fitted.spec.head["name"] == "linear"
    )


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
