"""Members predict files as a classifier does."""

import numpy as np
import pytest
from PIL import Image

from efficient_jax.errors import UserError
from efficient_jax.labelling.guesses import opened
from efficient_jax.training.classifier import Classifier


def test_probabilities_are_the_mean_of_the_members_and_unreadable_files_are_left_out(teacher, tmp_path):
    rng = np.random.default_rng(0)
    files = [tmp_path / f"{i}.png" for i in range(4)]
    for file in files:
        Image.fromarray(rng.integers(0, 256, (20, 16, 3), np.uint8)).save(file)
    files[1].write_bytes(b"no image")
    members = opened(f"{teacher},{teacher.parent}", "--members")
    rows, probabilities, features = members.predict(files)
    assert rows.tolist() == [0, 2, 3]
    assert len(features) == 3
    classify = Classifier.open(str(teacher))
    assert members.classes == classify.classes
    np.testing.assert_allclose(probabilities, classify([files[i] for i in rows]), rtol=1e-5)


def test_members_of_other_classes_are_refused(teacher):
    with pytest.raises(UserError, match="other classes than"):
        opened(f"{teacher},efficientnet-lite0", "--members")
    with pytest.raises(UserError, match="--members"):
        opened(f"{teacher}x", "--members")
