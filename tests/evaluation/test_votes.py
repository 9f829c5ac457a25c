"""Votes of views and of members."""

import json

import jax.numpy as jnp
import numpy as np

from efficient_jax import files
from efficient_jax.commands.evaluate import evaluate
from efficient_jax.evaluation.members import member, run_opener
from efficient_jax.inference import predictions, tta
from efficient_jax.training.classifier import Classifier

OPEN = run_opener(print)


def test_views_vote(trained, images, tmp_path):
    """Each view answers; most of them decide, and what is no probability has no likelihood."""
    evaluate(members=str(trained / "net"), tta="d4:hard", out=str(tmp_path))
    (found,) = json.loads((tmp_path / "evaluation.json").read_text())["members"].values()
    stored = predictions.read(tmp_path / "predictions.npz", "test")
    classify = Classifier.open(str(trained / "net"))
    seen = tta.all_views(jnp.asarray(np.load(images)["images"][stored.ids]), tta.VIEWS["d4"])
    said = jnp.stack([classify(np.asarray(view)) for view in seen])
    np.testing.assert_array_equal(stored.probabilities.argmax(1), tta.vote(said))
    assert found["correct"] == (np.asarray(tta.vote(said)) == stored.labels).sum()
    assert (found["negative_log_likelihood"], found["calibration_error"]) == (None, None)
    assert "temperature" not in found


def test_a_file_of_another_program_votes(trained, tmp_path):
    own = member(str(trained / "wide"), OPEN)
    predictions.write(tmp_path / "p.csv", own.test._replace(probabilities=np.eye(3, dtype=np.float32)[own.test.labels]))
    evaluate(members=f"{trained / 'wide'},{tmp_path / 'p.csv'}", vote="hard", weights="1,2.5", out=str(tmp_path / "o"))
    found = files.read_json(tmp_path / "o" / "evaluation.json")["members"]
    assert found["hard vote of 2"]["correct"] == 30
    assert {"temperature"} <= set(found[str(trained / "wide")])
