"""evaluate: what it computes, and members from the command line."""

import json
import shutil

import numpy as np
import pytest

from efficient_jax.commands.evaluate import evaluate
from efficient_jax.errors import UserError
from efficient_jax.evaluation.members import Member, figures
from efficient_jax.inference.predictions import Predictions


def test_several_labels_are_scored_at_their_thresholds():
    probabilities, labels = np.array([[0.6, 0.4], [0.4, 0.6]]), np.array([[0, 1], [0, 1]])
    found = Predictions(np.arange(2), probabilities, labels, ("a", "b"), ("0", "1"), task="multi_label")

    def score(thresholds):
        return figures(Member("", found, None, thresholds, (probabilities >= thresholds).astype(int)))

    assert score((0.7, 0.3))["correct"] == 2
    found_at_half = score((0.5, 0.5))
    assert found_at_half["correct"] == 1
    assert found_at_half["negative_log_likelihood"] == -np.log([0.4, 0.4, 0.6, 0.6]).mean()


def test_members_and_their_vote(quickstart, tmp_path, capsys):
    run, out = shutil.copytree(quickstart[0], tmp_path / "r"), tmp_path / "out"  # a name without a comma
    evaluate(members=f"{run},{run / 'supervised'}", out=str(out))
    assert "soft vote of 2" in capsys.readouterr().out
    scores = json.loads((out / "evaluation.json").read_text())["members"]
    for name, member in (("supervised", run / "supervised"), ("distilled", run)):
        saved = json.loads((run / name / "result.json").read_text())["test"]
        assert scores[str(member)]["correct"] == saved["correct"]
    losses = [s["negative_log_likelihood"] for s in scores.values()]
    assert losses[-1] <= np.mean(losses[:-1])  # Jensen
    page = (out / "evaluation.html").read_text()
    assert all(
        said in page
        for said in ("soft vote of 2", "Confusion matrix", "brightness", "r/supervised after r", "won: right with")
    )


def test_files_of_maps_vote_for_each_pixel(tmp_path):
    """Each of two is sure of one half of the image, rightly, and unsure of the other, wrongly; a pixel is unknown."""
    labels = np.array([[[0, 0, 1, 1], [0, 255, 1, 1]]], np.int32)
    right, wrong = np.eye(2)[labels % 255], np.eye(2)[1 - labels % 255]
    left = (np.arange(4) < 2)[:, None]
    for name, sure in (("a", left), ("b", ~left)):
        np.savez(
            tmp_path / f"{name}.npz",
            id=np.arange(1),
            probabilities=np.where(sure, right, 0.4 * right + 0.6 * wrong).astype(np.float32),
            label=labels,
            classes=np.array(["sky", "sea"]),
        )
    evaluate(members=f"{tmp_path}/a.npz,{tmp_path}/b.npz", out=str(tmp_path / "out"))
    scores = json.loads((tmp_path / "out" / "evaluation.json").read_text())["members"]
    one, other, vote = scores.values()
    assert one["iou"] == {"sky": 3 / 7, "sea": 0.0}
    assert (one["correct"], other["correct"], vote["correct"], vote["n"]) == (3, 4, 7, 7)
    assert vote["mean_iou"] == 1.0
    assert "mean IoU" in (tmp_path / "out" / "evaluation.html").read_text()


def test_a_file_without_labels_has_those_of_another_in_any_order(tmp_path):
    ids, labels = np.arange(4), np.array([0, 1, 1, 0])
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.6, 0.4]], np.float32)
    np.savez(tmp_path / "known.npz", id=ids, probabilities=probabilities, label=labels)
    np.savez(tmp_path / "new.npz", id=ids[::-1], probabilities=1 - probabilities[::-1])
    evaluate(members=f"{tmp_path}/new.npz,{tmp_path}/known.npz", out=str(tmp_path / "out"))
    about = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    new, known, _ = about["members"].values()
    assert (new["correct"], known["correct"]) == (1, 3)
    assert [(pair["won"], pair["lost"]) for pair in about["pairs"]] == [(3, 1)]
    with pytest.raises(UserError, match="no member has labels of the images"):
        evaluate(members=f"{tmp_path}/new.npz")


def test_a_hard_vote_has_no_likelihood_and_no_calibration(tmp_path, capsys):
    """Nor has it once it is a file; errors that are always the same have no correlation. Files hold no NaN."""
    labels = np.arange(9) % 3
    for name, wrong in {"a": [0], "b": [1], "c": []}.items():
        probabilities = np.full((9, 3), 0.2, np.float32)
        probabilities[np.arange(9), np.where(np.isin(np.arange(9), wrong), (labels + 1) % 3, labels)] = 0.6
        np.savez(tmp_path / f"{name}.npz", id=np.arange(9), probabilities=probabilities, label=labels)
    members, out = ",".join(f"{tmp_path}/{name}.npz" for name in "abc"), tmp_path / "out"
    evaluate(members=members, vote="hard", out=str(out))
    about = json.loads((out / "evaluation.json").read_text(), parse_constant=pytest.fail)
    vote = about["members"]["hard vote of 3"]
    none = ("top5", "negative_log_likelihood", "brier", "calibration_error", "calibration_floor")
    assert (vote["correct"], *(vote[name] for name in none)) == (9, *[None] * 5)
    assert "temperature" not in vote
    assert [pair["error_correlation"] for pair in about["pairs"]] == [-0.125, None, None]
    (row,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("hard vote of 3 "))
    assert row.split()[-3:] == ["–"] * 3
    page = (out / "evaluation.html").read_text()
    assert "nan" not in page.partition("<section")[2]
    evaluate(members=f"{out}/predictions.npz,{tmp_path}/a.npz", out=str(tmp_path / "again"))
    again = list(json.loads((tmp_path / "again" / "evaluation.json").read_text())["members"].values())
    assert [of["negative_log_likelihood"] is None for of in again] == [True, False, True]  # shares are in the mean


def test_several_labels_have_no_hard_vote(tmp_path):
    for name in "ab":
        labels = np.array([[0, 1], [1, 1]])
        np.savez(tmp_path / f"{name}.npz", id=np.arange(2), probabilities=labels.astype(np.float32), label=labels)
    with pytest.raises(UserError, match="--vote: hard counts one answer"):
        evaluate(members=f"{tmp_path}/a.npz,{tmp_path}/b.npz", vote="hard")


@pytest.mark.parametrize(("members", "said"), [("", "is missing"), ("nowhere", "neither a run nor a stage")])
def test_missing_members_are_said(members, said):
    with pytest.raises(UserError, match=said):
        evaluate(members=members)


def test_prediction_sets_of_files_are_measured(tmp_path, capsys):
    """A network that is right about 400 of 500 images, and always equally sure."""
    labels = np.arange(500) % 2
    p = np.where(np.arange(500) % 5 > 0, 0.7, 0.3)
    probabilities = np.stack([np.where(labels == 0, p, 1 - p), np.where(labels == 0, 1 - p, p)], 1)
    np.savez(tmp_path / "p.npz", id=np.arange(500), probabilities=probabilities, label=labels)
    evaluate(members=f"{tmp_path}/p.npz", coverage=0.9, sets="aps", out=str(tmp_path / "out"))
    assert "Prediction sets, calibrated with half" in capsys.readouterr().out
    (scores,) = json.loads((tmp_path / "out" / "evaluation.json").read_text())["members"].values()
    assert scores["sets"]["coverage"] == 1.0  # 0.9 needs both classes: one alone covers 0.8
    assert scores["sets"]["size"] == 2.0
    assert "promised" in (tmp_path / "out" / "evaluation.html").read_text()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"coverage": 0.9, "sets": "apps"}, "--sets: unknown name 'apps'; did you mean 'aps'"),
        ({"coverage": 0.9}, "--coverage: half of the test images calibrate: coverage: 2 .* cannot promise 0.9"),
    ],
)
def test_sets_that_cannot_be_measured_are_refused(tmp_path, settings, message):
    np.savez(tmp_path / "p.npz", id=np.arange(4), probabilities=np.full((4, 2), 0.5), label=np.arange(4) % 2)
    with pytest.raises(UserError, match=message):
        evaluate(members=f"{tmp_path}/p.npz", **settings)
