"""Class maps in the pixels of original images."""

import numpy as np
import pytest
from PIL import Image

from efficient_jax.data.framing import Framing
from efficient_jax.inference.class_maps import original


@pytest.mark.parametrize("fit", ["pad", "squash"])
def test_an_enlarged_map_is_pillows_nearest_one(fit):
    classes = np.random.default_rng(0).integers(0, 5, (8, 8))
    shown = classes[2:6] if fit == "pad" else classes  # of an image twice as wide as high
    enlarged = Image.fromarray(shown.astype(np.uint8)).resize((32, 16), Image.Resampling.NEAREST)
    np.testing.assert_array_equal(original(classes, 16, 32, Framing(8, fit)), np.asarray(enlarged))


def test_what_a_crop_cuts_off_has_no_class():
    found = original(np.full((8, 8), 3), 16, 32, Framing(8, "crop"))
    np.testing.assert_array_equal(found[:, 8:24], 3)
    assert (found[:, :8] == 255).all()
    assert (found[:, 24:] == 255).all()
