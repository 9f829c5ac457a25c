"""Labels that are wrong on purpose: how many, where, and which classes they become."""

import numpy as np
import pytest
from scipy import stats

from efficient_jax.data.label_noise import flipped, settings
from efficient_jax.errors import UserError

LABELS = np.arange(4000, dtype=np.int32) % 4
ROWS = np.arange(0, 4000, 2)


def test_a_share_of_the_rows_gets_another_class_and_no_other_row_changes():
    changed = np.flatnonzero(flipped(LABELS, ROWS, 4, 0.3, seed=1) != LABELS)
    assert len(changed) == 600
    assert np.isin(changed, ROWS).all()


def test_every_other_class_is_equally_probable():
    labels = flipped(LABELS, np.arange(4000), 4, 0.9, seed=0)
    changed = labels != LABELS
    steps = np.bincount((labels - LABELS)[changed] % 4, minlength=4)
    assert steps[0] == 0
    assert stats.chisquare(steps[1:]).pvalue > 1e-3


def test_the_seed_decides():
    first, same, other = (flipped(LABELS, ROWS, 4, 0.3, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, same)
    assert (first != other).any()


@pytest.mark.parametrize(("block", "key"), [({"share": 1.0}, "share"), ({"share": 0.2, "seed": -1}, "seed")])
def test_settings_out_of_range(block, key):
    with pytest.raises(UserError, match=rf"^config\.data\.label_noise\.{key}: "):
        settings(**block)
