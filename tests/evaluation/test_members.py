"""Members alone, and what cannot be judged."""

import numpy as np
import pytest

from efficient_jax.commands.evaluate import evaluate
from efficient_jax.errors import UserError
from efficient_jax.evaluation.members import WHERE, by_model, member, named, run_opener
from efficient_jax.inference import predictions
from efficient_jax.training.trained import Trained

OPEN = run_opener(print)


def test_stars_stand_for_names(tmp_path):
    for name in ("b2", "b1", "c"):
        (tmp_path / name).mkdir()
    assert named(f"{tmp_path}/b*,{tmp_path}/c") == [f"{tmp_path}/{name}" for name in ("b1", "b2", "c")]
    with pytest.raises(UserError, match="there is no"):
        named(f"{tmp_path}/d*")


def test_a_finished_stage_has_left_what_its_model_predicts(trained):
    left = member(str(trained / "net"), OPEN)
    again = by_model(Trained.open(str(trained / "net"), WHERE), OPEN(trained))
    for split in predictions.FILES:
        one, other = (getattr(each, split) for each in (left, again))
        for name in one._fields:
            mine, its = (getattr(each, name) for each in (one, other))
            if name == "probabilities":  # a product of other shapes may round otherwise
                np.testing.assert_allclose(mine, its, rtol=1e-5)
            else:
                np.testing.assert_array_equal(mine, its)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"members": "{run}/net,{run}/wide", "soup": "uniform"}, r"^--soup: settings of .*wide' is .*'width': 5"),
        ({"members": "{run}/net@7"}, r"has no checkpoint of step 7; it has 3, 6, 9"),
        ({"members": "{run}/net@last"}, r"wants the number of a step behind the @"),
        ({"members": "{run}/net,{run}/wide", "weights": "1"}, r"^--weights: 1 for 2 members"),
        ({"members": "{run}/net,{run}/wide", "weights": "1,x"}, r"^--weights: '1,x'; want numbers"),
        ({"members": "{run}/net", "vote": "sofd"}, r"^--vote: unknown name 'sofd'; did you mean 'soft'"),
        ({"members": "{run}/net", "soup": "green"}, r"^--soup: unknown name 'green'"),
        ({"members": "{run}/nothing.npz"}, r"no file"),
    ],
)
def test_what_cannot_be_judged_is_said(trained, flags, message):
    with pytest.raises(UserError, match=message):
        evaluate(**{name: value.format(run=trained) for name, value in flags.items()})
