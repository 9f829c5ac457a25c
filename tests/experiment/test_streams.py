"""Which images a stage may learn from."""

import numpy as np
import pytest

from efficient_jax.data.dataset import Labelling
from efficient_jax.errors import UserError
from efficient_jax.experiment.config import plan
from efficient_jax.experiment.streams import _fits, check_streams
from efficient_jax.methods import METHODS
from efficient_jax.tasks import TASKS
from tests.experiment.plans import CONFIG


def test_class_frequencies_of_selected_images_are_refused():
    corrected = {"model": {"name": "cnn"}, "method": {"name": "prior_correction"}, "init": "first"}
    checked = plan(CONFIG | {"student": corrected})
    known = Labelling(np.array([0, 1, 0, -1]), ("a", "b"), {"selected": np.array([0, 1])}, None, "classification")
    split = {"labelled": np.arange(3), "unlabelled": np.arange(3, 4)}
    with pytest.raises(UserError, match=r"^config\.student\.method: 'prior_correction' .* 2 of 3 were selected"):
        check_streams(checked, known, split)
    check_streams(checked, known._replace(fixed={}), split)


@pytest.mark.parametrize(
    ("method", "tasks"),
    [
        ("supervised", {"classification", "multi_label", "segmentation", "detection"}),
        ("fixmatch", {"classification"}),
        ("ema_teacher", {"segmentation", "detection"}),
        ("distill", {"classification", "segmentation"}),
        ("box_distill", {"detection"}),
    ],
)
def test_methods_serve_their_tasks(method, tasks):
    assert {name for name, task in TASKS.items() if _fits(METHODS[method], task)} == tasks
