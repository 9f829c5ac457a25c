"""Which images a stage may learn from."""

import numpy as np
import pytest

from efficient_jax.data.dataset import Labelling
from efficient_jax.errors import UserError
from efficient_jax.experiment.config import plan
from efficient_jax.experiment.streams import check_streams
from tests.experiment.plans import CONFIG


def test_class_frequencies_of_selected_images_are_refused():
    corrected = {"model": {"name": "cnn"}, "method": {"name": "prior_correction"}, "init": "first"}
    checked = plan(CONFIG | {"student": corrected})
    known = Labelling(np.array([0, 1, 0, -1]), ("a", "b"), {"selected": np.array([0, 1])}, None, "classification")
    split = {"labelled": np.arange(3), "unlabelled": np.arange(3, 4)}
    with pytest.raises(UserError, match=r"^config\.student\.method: 'prior_correction' .* 2 of 3 were selected"):
        check_streams(checked, known, split)
    check_streams(checked, known._replace(fixed={}), split)
