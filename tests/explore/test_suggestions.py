"""Each rule, on both sides of its number."""

import re

import numpy as np
import pytest

from efficient_jax.detection import overlap
from efficient_jax.explore.suggestions import suggestions
from efficient_jax.explore.survey import Move, survey
from tests.explore.test_survey import SOURCE, SPLIT

PLAIN = survey(SOURCE, SPLIT)
CALM = PLAIN._replace(counts=PLAIN.counts | {"labelled": np.array([90, 80])}, moves={})


def said(found, sizes=None, size=0, fit="crop"):
    return {each.what: each for each in suggestions(found, ("ant", "bee"), sizes, size, fit)}


def edges(width):
    return CALM.quality._replace(edge_width=np.linspace(width, 1.5 * width, len(CALM.ids)))


NONE = np.zeros(2, bool)
OVERLAPPING = overlap.Objects(
    np.array([2]), np.array([0.5, 0.5]), np.array([0.4, 0.4]), np.array([0.6, 0.6]), np.array([0.8, 0.8]), NONE, NONE
)
LIGHT = {"brightness": 0.2, "highlights": 0.1, "contrast": 0.3}
CASES = {
    "imbalance": (CALM._replace(counts=CALM.counts | {"labelled": np.array([80, 240])}), True, "batch.balanced", "3.0"),
    "few labels": (
        CALM._replace(counts=CALM.counts | {"labelled": np.array([80, 9])}),
        True,
        "randaugment",
        "9 labels",
    ),
    "a mirror": (CALM._replace(moves={"flip": Move(0.5, 0.45, 0.1, 0.01)}), True, "flip", "45%"),
    "a mirror of digits": (CALM._replace(moves={"flip": Move(0.76, 0.42, 0.1, 0.04)}), False, "flip", "42%"),
    "light": (CALM._replace(within=LIGHT), True, "color_jitter: brightness = 0.2", "10%"),
    "even light": (CALM._replace(within=LIGHT | {"highlights": 0.01}), False, "color_jitter", "1%"),
    "no colors": (CALM._replace(colorless=1.0, mean=(0.5, 0.5, 0.5)), False, "saturation", "100.0%"),
    "blurred images": (CALM._replace(quality=edges(2.0)), False, "gaussian_blur", "2.4 pixels"),
    "sharp images": (CALM._replace(quality=edges(0.4)), False, "gaussian_blur", "0.6 pixels"),
    "some blurred": (CALM._replace(quality=edges(1.0)), True, "gaussian_blur: sigma_max = 0.8", "1.5"),
    "hidden objects": (CALM._replace(objects=OVERLAPPING), True, "copy_paste", "100%"),
    "free objects": (CALM._replace(objects=OVERLAPPING._replace(overlaps=np.zeros(2))), False, "copy_paste", "0%"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_rule_says_what_and_why_with_its_number(name):
    found, take, what, number = CASES[name]
    (each,) = [s for said_, s in said(found).items() if what in said_ or what in s.ops]
    assert each.take == take
    assert number in each.why


@pytest.mark.parametrize(
    "move",
    [Move(0.5, 0.35, 0.1, 0.01), Move(0.12, 0.12, 0.1, 0.01)],
    ids=["in between", "neighbours that know nothing"],
)
def test_a_move_of_which_the_numbers_say_nothing_is_not_mentioned(move):
    assert not [what for what in said(CALM._replace(moves={"flip": move})) if "flip" in what]


@pytest.mark.parametrize(
    ("area", "longer", "size", "what", "why"),
    [
        # sqrt(0.5 * 0.08) = 0.2 of a side of 100 pixels, which is 4 of the object's 8%
        (0.08, 0.3, 100, "cutout: size = 20", "takes 8.0% of the image, of which this hides at most 50%; .* 100%"),
        (0.90, 1.0, 64, "cutout: size = 32", "takes 90.0% of the image, of which this hides at most 28%; .* 0%"),
        (0.0002, 0.02, 100, "cutout", "a square that leaves half of it is 1 pixels"),
    ],
)
def test_cutout_leaves_half_of_the_median_object(area, longer, size, what, why):
    objects = OVERLAPPING._replace(areas=np.array([area] * 3), longer=np.array([longer] * 3))
    found = said(CALM._replace(objects=objects), size=size)[what]
    assert found.take == (what != "cutout")
    assert re.search(why, found.why)


def test_balanced_classes_of_many_labels_suggest_nothing():
    assert not [what for what in said(CALM) if "balance" in what or "strong" in what]


def test_sizes_and_shapes_of_images():
    wide, square = np.tile([[100, 200]], (9, 1)), np.tile([[64, 64]], (9, 1))
    assert "50%" in said(CALM, wide, 64)['config.data.source.fit = "pad" or "squash"'].why
    assert "2.00" in said(CALM, wide, 64, "squash")["random_resized_crop: ratio = 2.00"].why
    assert "100%" in said(CALM, square, 96)["config.data.source.size = 64 or less"].why
    assert said(CALM, square, 64).keys() == said(CALM).keys()
