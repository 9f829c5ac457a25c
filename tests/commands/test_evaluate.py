"""evaluate: what it computes, and members from the command line."""

import json

import numpy as np
import pytest

from efficient_jax import judging
from efficient_jax.commands.evaluate import evaluate
from efficient_jax.predictions import Predictions
from efficient_jax.types import UserError
from tests.commands.launch import TINY, launch


def test_several_labels_are_scored_at_their_thresholds():
    probabilities, labels = np.array([[0.6, 0.4], [0.4, 0.6]]), np.array([[0, 1], [0, 1]])
    found = Predictions(np.arange(2), probabilities, labels, ("a", "b"), ("0", "1"))

    def score(thresholds):
        return judging.figures(judging.Member("", found, None, thresholds, probabilities >= thresholds))

    assert score((0.7, 0.3))["correct"] == 2
    found_at_half = score((0.5, 0.5))
    assert found_at_half["correct"] == 1
    assert found_at_half["negative_log_likelihood"] == -np.log([0.4, 0.4, 0.6, 0.6]).mean()


def test_members_and_their_vote(tmp_path):
    assert launch("train", TINY, "--config.stages=('supervised','augmented')", f"--workdir={tmp_path / 'r'}")[0] == 0
    out = tmp_path / "out"
    code, shown, err = launch("evaluate", f"--members={tmp_path / 'r'},{tmp_path / 'r' / 'supervised'}", f"--out={out}")
    assert code == 0, err
    assert "soft vote of 2" in shown
    scores = json.loads((out / "evaluation.json").read_text())["members"]
    for name in ("supervised", "augmented"):
        saved = json.loads((tmp_path / "r" / name / "result.json").read_text())["test"]
        member = str(tmp_path / "r") if name == "augmented" else str(tmp_path / "r" / name)
        assert scores[member]["correct"] == saved["correct"]
    losses = [s["negative_log_likelihood"] for s in scores.values()]
    assert losses[-1] <= np.mean(losses[:-1])  # Jensen
    page = (out / "evaluation.html").read_text()
    assert all(
        said in page for said in ("soft vote of 2", "Confusion matrix", "brightness", "r/supervised after r", "won: ")
    )


@pytest.mark.parametrize(("members", "said"), [("", "is missing"), ("nowhere", "neither a run nor a stage")])
def test_missing_members_are_said(members, said):
    with pytest.raises(UserError, match=said):
        evaluate(members=members)
