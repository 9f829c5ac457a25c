"""Every config says what it wants in full form, and trains two updates of each stage in its `:tiny` form."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from efficient_jax import experiment, preparation
from efficient_jax.commands.files import load_config
from efficient_jax.plan import plan

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
    assert plan(load_config(f"configs/{name}.py", "--config").to_dict()).stages


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
