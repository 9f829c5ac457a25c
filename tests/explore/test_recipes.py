"""The decision table of `train --images`."""

import pytest

from efficient_jax.explore import recipes
from efficient_jax.explore.recipes import Data, choose

PHOTOS = Data(classes=10, labels=200, fewest=20, pool=2868, side=160, gray=False, tests=341, pretrained=True)
DIGITS = Data(classes=10, labels=100, fewest=10, pool=3900, side=28, gray=True, tests=1000, pretrained=True)
TABLE = {
    "few labels and a pool": (PHOTOS, "few_labels", ("head", "finetuned", "student")),
    "few labels alone": (PHOTOS._replace(pool=0), "finetune", None),
    "a pool smaller than the labels": (PHOTOS._replace(pool=199), "finetune", None),
    "many labels": (PHOTOS._replace(labels=3000, fewest=300, pool=9000), "finetune", None),
    "no weights": (PHOTOS._replace(pretrained=False), "small_images", ("augmented", "student", "student2")),
    "digits and a pool": (DIGITS, "small_images", ("augmented", "student", "student2")),
    "digits alone": (DIGITS._replace(pool=0), "small_images", ("augmented",)),
    "small photographs": (DIGITS._replace(gray=False), "few_labels", ("head", "finetuned", "student")),
    "large gray images": (DIGITS._replace(side=512), "few_labels", ("head", "finetuned", "student")),
}


@pytest.mark.parametrize("name", TABLE)
def test_the_decision_table(name):
    data, config, stages = TABLE[name]
    recipe = choose(data)
    assert (recipe.config, recipe.overrides.get("stages")) == (f"configs/{config}.py", stages)


def test_missing_weights_and_their_cost_are_said():
    assert choose(PHOTOS._replace(pretrained=False)).reason == recipes.WITHOUT
    assert choose(DIGITS._replace(pretrained=False)).reason != recipes.WITHOUT


def test_photographs_are_flipped_from_random_weights_too_and_digits_are_not():
    photos, digits = (choose(data).overrides for data in (PHOTOS._replace(pretrained=False), DIGITS))
    assert photos["student2.augment.flip.probability"] == 0.5
    assert not any("flip" in key for key in digits)


@pytest.mark.parametrize(
    ("data", "test"), [(PHOTOS, None), (PHOTOS._replace(tests=0), 40), (PHOTOS._replace(tests=0, labels=30), 10)]
)
def test_test_images_are_kept_where_there_are_none(data, test):
    assert choose(data).overrides.get("data.test") == test


@pytest.mark.parametrize(("images", "steps"), [(24, 100), (100, 100), (200, 200), (500, 200), (3068, 959)])
def test_steps_are_those_of_the_measured_runs(images, steps):
    assert recipes.finetuning_steps(images) == steps
