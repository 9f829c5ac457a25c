"""Rules of configs/common.py by what they train: norms, or biases, and the head; also of convolutional networks."""

import re

import pytest
from flax.traverse_util import flatten_dict

from configs import common
from efficient_jax import models
from efficient_jax.models import MODELS
from efficient_jax.training.trained import Trained
from tests.tiny_run import run, tuned

NETWORKS = {  # every architecture, of the smallest depth
    "cnn": {},
    "resnet": {"depth": 18},
    "wide_resnet": {"depth": 10},
    "densenet": {},
    "efficientnet": {"variant": "lite0"},
    "vit": {"variant": "192x1x3/16", "pre_norm": True, "pool": "map", "class_token": False},
    "convnext": {"variant": "atto", "version": 2},
}


def trained_by(rules, name) -> tuple[set, set]:
    """(paths of parameters that `rules` train, all paths)."""
    module = MODELS[name](10, **NETWORKS[name])
    params = models.shapes(module, (64, 64, 3))["params"]
    paths = {"/".join(path) for path in flatten_dict(params)}
    factors = {path: next(factor for rule, factor in rules if re.fullmatch(rule, path)) for path in paths}
    return {path for path, factor in factors.items() if factor}, paths


@pytest.mark.parametrize("name", NETWORKS)
def test_ln_tune_trains_all_norms_and_the_head(name):
    """A layer with a scale is a norm, in every architecture."""
    trained, paths = trained_by(common.LN_TUNE, name)
    norms = {path.rpartition("/")[0] for path in paths if path.endswith("/scale") and "/grn/" not in path}
    assert trained == {path for path in paths if path.rpartition("/")[0] in norms | {"head"}}


def test_of_lite0_bitfit_is_half_of_ln_tune():
    """No convolution of it has a bias, so that the biases are those of batch normalisation."""
    (norms, _), (biases, _) = (trained_by(rules, "efficientnet") for rules in (common.LN_TUNE, common.BITFIT))
    assert biases == {path for path in norms if path.endswith("bias")} | {"head/kernel"}
    assert (len(norms), len(biases)) == (2 * 49 + 2, 49 + 2)


@pytest.mark.parametrize(("rules", "moved"), [(common.LN_TUNE, {"scale", "bias"}), (common.BITFIT, {"bias"})])
def test_presets_keep_the_convolutions_of_a_network(images, teacher, tmp_path, rules, moved):
    run(images, tmp_path, {"s": tuned(rules, init=str(teacher), steps=3)})
    before, after = (Trained.open(str(path), "test").variables for path in (teacher, tmp_path / "s"))
    changed = {}
    for path, old in flatten_dict(before["params"]).items():
        changed.setdefault(path[-1] if path[0] != "head" else "head", []).append(
            (old != flatten_dict(after["params"])[path]).any()
        )
    assert {name for name, values in changed.items() if all(values)} == moved | {"head"}
    assert {name for name, values in changed.items() if any(values)} == moved | {"head"}
    statistics = [flatten_dict(tree["batch_stats"]) for tree in (before, after)]
    assert all((statistics[0][path] != statistics[1][path]).any() for path in statistics[0])
