"""Each image is beside what was said of it by the run that did not see it."""

import csv
import json

import numpy as np
import pytest

from efficient_jax.data.dataset import Source
from efficient_jax.errors import UserError
from efficient_jax.evaluation.out_of_fold import gather, write_csv
from efficient_jax.inference import predictions

N = 10
SOURCE = Source(
    np.zeros((N, 2, 2, 1), np.uint8), np.arange(N) % 2, ("a", "b"), names=tuple(f"{i}.png" for i in range(N))
)


@pytest.fixture
def folds(tmp_path):
    """Three runs: image i is in fold i % 3, and image i's first probability is i / 10."""
    stages = []
    for fold in range(3):
        stage = tmp_path / str(fold) / "head"
        stage.mkdir(parents=True)
        ids = np.arange(fold, N, 3)
        found = np.stack([ids / 10, 1 - ids / 10], 1).astype(np.float32)
        predictions.write(stage / predictions.FILES["validation"], predictions.gather(SOURCE, ids, found))
        about = {"data": {"fingerprint": "same", "classes": ["a", "b"]}}
        (stage.parent / "run.json").write_text(json.dumps(about))
        (stage.parent / "config.json").write_text(json.dumps({"data": {"fold": fold}}))
        stages.append(stage)
    return stages


def test_every_image_comes_once_with_its_prediction(folds, tmp_path):
    found = gather(folds[::-1])
    np.testing.assert_array_equal(found.ids, np.arange(N))
    np.testing.assert_array_equal(found.labels, SOURCE.labels)
    np.testing.assert_array_equal(found.folds, np.arange(N) % 3)
    np.testing.assert_allclose(found.probabilities[:, 0], np.arange(N) / 10, atol=1e-6)
    assert found.names == SOURCE.names
    assert found.classes == ("a", "b")
    write_csv(tmp_path / "all.csv", found)
    rows = list(csv.DictReader((tmp_path / "all.csv").read_text().splitlines()))
    assert rows[7] == {"image": "7.png", "fold": "1", "label": "b", "p(a)": "0.700000", "p(b)": "0.300000"}


def test_what_is_no_set_of_folds_is_said(folds, tmp_path):
    with pytest.raises(UserError, match=r"^0\.png was held out by two of the stages"):
        gather([*folds, folds[0]])
    with pytest.raises(UserError, match=r"has no validation\.npz"):
        gather([tmp_path / "nowhere"])
    (folds[1].parent / "run.json").write_text(json.dumps({"data": {"fingerprint": "other", "classes": []}}))
    with pytest.raises(UserError, match="saw other images"):
        gather(folds)
    with pytest.raises(UserError, match="no stages"):
        gather([])
