"""A program that JAX runs where this package is not."""

import os
import subprocess
import sys
from functools import partial

import jax
import numpy as np
import pytest

from efficient_jax.export.formats import FORMATS
from efficient_jax.export.program import program
from efficient_jax.inference import tta
from efficient_jax.training.classifier import network
from tests.export import stages

pytest.importorskip("flatbuffers", reason="flatbuffers is not installed (extra export)")
FORMAT = FORMATS["stablehlo"]
ELSEWHERE = """
import sys
sys.modules["efficient_jax"] = None  # importing it fails
import numpy as np
images = np.load("images.npy")
exec(open("code.py").read())
np.save("probabilities.npy", probabilities)
"""


@pytest.fixture(scope="module")
def one():
    return stages.trained(stages.spec_of("cnn", {"width": 4}, (8, 8, 1)))


def test_it_runs_without_this_package_and_is_ours_to_the_bit(one, tmp_path):
    made = program([one], "none", 1.0)
    (tmp_path / "model.stablehlo").write_bytes(FORMAT.content(made))
    (tmp_path / "code.py").write_text(FORMAT.code(made))
    images = stages.images(one.spec, 4)
    np.save(tmp_path / "images.npy", images)
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    subprocess.run([sys.executable, "-c", ELSEWHERE], cwd=tmp_path, env=environment, check=True, timeout=120)
    elsewhere = np.load(tmp_path / "probabilities.npy")
    np.testing.assert_array_equal(elsewhere, jax.jit(partial(made, made.variables))(images))
    np.testing.assert_allclose(elsewhere, network(one, 4).predict(images)[0], atol=1e-6)  # weights are arguments there


@pytest.mark.parametrize(
    ("task", "decoder", "views"), [("segmentation", "masks", "none"), ("detection", "boxes", "flips")]
)
def test_maps_and_boxes_are_ours(task, decoder, views):
    spec = stages.spec_of("cnn", {"width": 4}, (16, 16, 3), task=task, decoder={"name": decoder, "width": 4})
    made = program([stages.trained(spec)], views, 1.0)
    images = stages.images(spec)
    found = FORMAT.run(FORMAT.content(made), images)
    np.testing.assert_allclose(found, jax.jit(partial(made, made.variables))(images), rtol=1e-5, atol=1e-5)
    assert found.any()


def test_a_temperature_divides_the_logits(one):
    images = stages.images(one.spec)
    plain = network(one, 4).predict(images)[0]
    warm = FORMAT.run(FORMAT.content(program([one], "none", 2.0)), images)
    expected = np.sqrt(plain) / np.sqrt(plain).sum(1, keepdims=True)
    np.testing.assert_allclose(warm, expected, atol=1e-6)


def test_members_and_views_are_one_program(one):
    other = stages.trained(one.spec, seed=1)
    images = stages.images(one.spec)
    both = FORMAT.run(FORMAT.content(program([one, other], "flips", 1.0)), images)
    expected = np.mean([network(each, 4, tta.VIEWS["flips"]).predict(images)[0] for each in (one, other)], axis=0)
    np.testing.assert_allclose(both, expected, atol=1e-6)


def test_it_is_for_all_platforms_and_any_number_of_images(one):
    exported = jax.export.deserialize(bytearray(FORMAT.content(program([one], "none", 1.0))))
    assert exported.platforms == ("cpu", "cuda", "tpu")
    assert str(exported.in_avals[0].shape) == "(b, 8, 8, 1)"
