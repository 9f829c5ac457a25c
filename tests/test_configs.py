"""Every config says what it wants in full form, and trains two updates of each stage in its `:tiny` form."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from efficient_jax import experiment, preparation
from efficient_jax.commands import flags
from efficient_jax.commands.files import load_config
from efficient_jax.plan import plan
from efficient_jax.stages import resolved

ROOT = Path(__file__).parents[1]
CONFIGS = sorted(path.stem for path in (ROOT / "configs").glob("*.py") if path.stem != "common")
# test_readme.py runs the quickstart, own_images, finetune, linear_probe and few_labels; the others are made of stages
# that these or test_experiment.py train, and of networks that the tests of models train.
TRAINED = ("flowers102_densenet", "hinton", "noisy_student_imagenet", "puzzle_mix")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for i in range(48):
        (folder / f"{i % 2}").mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (40, 50, 3), np.uint8)).save(folder / f"{i % 2}/{i}.png")
    return str(folder)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_is_a_plan(name):
    assert plan_of(name).stages


def plan_of(name):
    return plan(load_config(f"configs/{name}.py", "--config").to_dict())


WARMUPS = {  # with so many labelled images: stage -> steps of warm-up
    "cifar10": (50_000, {"resnet18": 488}),
    "cifar10_small": (250, {"supervised": 50, "augmented": 50, "student": 50, "fixmatch": 50}),
    "flowers102_densenet": (1020, {"densenet": 32}),
    "hinton": (3000, {"teacher": 0, "alone800": 0}),
    "imagenet_resnet50": (1_281_167, {"resnet50": 6256}),
    "noisy_student_imagenet": (1_281_167, {"teacher": 3128, "student4": 3128, "fixed": 0}),
    "quickstart": (100, {"supervised": 50, "augmented": 50, "student": 50, "student2": 50, "distilled": 50}),
    "ensemble": (100, {"augmented": 50, "student5": 50, "swa": 0, "distilled": 50}),
    "speed": (3000, {"resnet50": 50, "efficientnet_b0": 50, "vit_b16": 50}),
}


@pytest.mark.parametrize("name", WARMUPS)
def test_how_long_the_warm_up_of_a_config_is(name):
    images, expected = WARMUPS[name]
    stages = {stage.name: stage for stage in plan_of(name).stages}
    assert {stage: resolved(stages[stage], images).optim["warmup"] for stage in expected} == expected


@pytest.mark.filterwarnings("ignore:the load_module")  # of ml_collections
@pytest.mark.parametrize("updates", [1, 2, 30])
@pytest.mark.parametrize("name", CONFIGS)
def test_one_flag_shortens_a_stage_of_any_config(name, updates):
    """Also one that the file measures in epochs; the warm-up is a share of what is left."""
    flags_of = [f"--config.{stage.name}.updates={updates}" for stage in plan_of(name).stages if stage.batch]
    config = flags.parse("train", [f"--config=configs/{name}.py", *flags_of])["config"]
    for stage, before in zip(plan(config.to_dict()).stages, plan_of(name).stages, strict=True):
        found, long = resolved(stage, 1000), resolved(before, 1000)
        if stage.batch:
            assert found.updates == updates
            share = found.optim["warmup"] / updates - long.optim["warmup"] / long.updates
            assert abs(share) <= 0.5 / updates + 0.5 / long.updates or found.optim["warmup"] == min(1, updates - 1)


@pytest.mark.parametrize("name", TRAINED)
def test_a_tiny_config_trains(name, pictures, tmp_path):
    config = load_config(f"configs/{name}.py:tiny", "--config")
    config.devices = 2
    if config.data.source.name == "folder":
        config.data.source.path, config.data.test = pictures, 8
    run = preparation.prepare(plan(config.to_dict()), tmp_path, Console(quiet=True))
    for stage in run.stages:
        found = experiment.run_stage(stage, run)
        assert found["updates"] == (2 if stage.batch else 0)
        assert np.isfinite(found["negative_log_likelihood"])
