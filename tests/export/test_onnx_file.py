"""onnxruntime computes our probabilities."""

import jax
import numpy as np
import pytest

from efficient_jax.errors import UserError
from efficient_jax.export.formats import FORMATS
from efficient_jax.export.program import Program, program
from efficient_jax.inference.tta import VIEWS
from efficient_jax.tasks import TASKS
from tests.export import stages

onnx = pytest.importorskip("onnx", reason="onnx is not installed (extra export)")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra export)")
from efficient_jax.export import onnx_graph, onnx_rules  # noqa: E402

FORMAT = FORMATS["onnx"]
NETWORKS = [
    ("cnn", {}, (9, 8, 1)),
    ("mlp", {"width": 8}, (4, 4, 1)),
    ("resnet", {"depth": 18}, (33, 32, 3)),
    ("wide_resnet", {"depth": 10}, (12, 12, 3)),
    pytest.param("densenet", {}, (32, 32, 3), marks=pytest.mark.slow),
    ("efficientnet", {"variant": "lite0"}, (32, 32, 3)),
    pytest.param("efficientnet", {"tensorflow": False, "dtype": "bfloat16"}, (32, 32, 3), marks=pytest.mark.slow),
    ("vit", {"variant": "Ti/16"}, (32, 32, 3)),
    pytest.param(
        "vit",
        {"variant": "Ti/16", "pool": "mean", "class_token": False, "gelu": "tanh"},
        (32, 32, 3),
        marks=pytest.mark.slow,
    ),
]
MASKS, BOXES = {"name": "masks", "width": 8}, {"name": "boxes", "width": 8, "strides": (4, 8), "tower": 1}
DENSE = [
    ("cnn", {"width": 4}, BOXES),
    pytest.param("resnet", {"depth": 18}, MASKS, marks=pytest.mark.slow),
    ("vit", {"variant": "Ti/16"}, MASKS),
    pytest.param("resnet", {"depth": 18}, BOXES, marks=pytest.mark.slow),
    pytest.param("efficientnet", {"variant": "lite0"}, MASKS, marks=pytest.mark.slow),
    pytest.param("convnext", {}, MASKS, marks=pytest.mark.slow),
    pytest.param("vit", {"variant": "Ti/16"}, BOXES, marks=pytest.mark.slow),
]


def assert_same(made: Program, wanted: Program | None = None) -> None:
    images = stages.images(made.spec)
    theirs = FORMAT.run(FORMAT.content(made), images)
    reference = wanted or made
    ours = jax.jit(reference)(reference.variables, images)
    assert np.ptp(np.log(theirs), 0).max() > 1e-2  # the images decide
    np.testing.assert_allclose(theirs, ours, atol=1e-5, rtol=0)
    np.testing.assert_allclose(np.log(theirs), np.log(ours), atol=1e-3)


@pytest.mark.parametrize(("name", "settings", "shape"), NETWORKS)
def test_a_network_has_our_probabilities(name, settings, shape):
    one = stages.trained(stages.spec_of(name, settings, shape))
    wide = stages.spec_of(name, {k: v for k, v in settings.items() if k != "dtype"}, shape)
    assert_same(program([one], "none", 1.5), program([stages.trained(wide)], "none", 1.5))


@pytest.mark.parametrize(("name", "settings", "decoder"), DENSE)
def test_a_network_with_a_decoder_has_our_maps_and_boxes(name, settings, decoder):
    task = {"masks": "segmentation", "boxes": "detection"}[decoder["name"]]
    spec = stages.spec_of(name, settings, (32, 32, 3), task=task, decoder=decoder)
    made = program([stages.trained(spec)], "none", 1.0)
    images = stages.images(spec)
    theirs, ours = FORMAT.run(FORMAT.content(made), images), jax.jit(made)(made.variables, images)
    assert theirs.shape == ours.shape
    if task == "segmentation":
        return np.testing.assert_allclose(theirs, ours, atol=1e-5)
    assert (theirs[..., 5] > 0).sum() > 30
    assert TASKS[task].apart(theirs, np.asarray(ours)) < 1e-5
    np.testing.assert_allclose(theirs[..., 5], ours[..., 5], atol=1e-5)  # in the same order


@pytest.mark.parametrize("views", [name for name in VIEWS if name != "none"])
def test_views_are_in_the_file(views):
    assert_same(program([stages.trained(stages.spec_of("mlp", {"width": 8}, (16, 16, 1)))], views, 1.0))


def test_several_networks_are_one_program():
    spec = stages.spec_of("cnn", {"width": 4}, (8, 8, 1), task="multi_label", thresholds=(0.2, 0.5, 0.7))
    assert_same(program([stages.trained(spec, seed) for seed in (0, 1)], "none", 1.0))


def test_the_file_says_what_it_takes_and_gives():
    spec = stages.spec_of("cnn", {"width": 4}, (8, 8, 1))
    model = onnx.load_model_from_string(FORMAT.content(program([stages.trained(spec)], "flips", 1.0)))
    onnx.checker.check_model(model, full_check=True)
    (given,), (returned,) = model.graph.input, model.graph.output
    sizes = [[d.dim_param or d.dim_value for d in each.type.tensor_type.shape.dim] for each in (given, returned)]
    assert sizes == [["b", 8, 8, 1], ["b", 3]]
    assert given.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert {p.key: p.value for p in model.metadata_props}["classes"] == "dark\ngrey\nbright"
    kernels = [c for c in model.graph.initializer if list(c.dims) == [4, 1, 3, 3]]
    assert len(kernels) == 1  # both views share the weights


def test_an_operation_without_a_rule_is_named(monkeypatch):
    monkeypatch.delitem(onnx_rules.RULES, "conv_general_dilated")
    spec = stages.spec_of("cnn", {"width": 4}, (8, 8, 1))
    with pytest.raises(UserError, match=r"^--format: ONNX has no operation for 'conv_general_dilated' of JAX"):
        FORMAT.content(program([stages.trained(spec)], "none", 1.0))


def test_constants_are_computed_now():
    graph = onnx_graph.Graph(onnx_rules.RULES, "b", "x")
    traced = jax.make_jaxpr(lambda x: jax.numpy.cos(x).sum() * 2.0)(np.ones(3, np.float32))
    (result,) = graph.run(traced.jaxpr, traced.consts, [onnx_graph.constant(np.ones(3, np.float32))])
    assert not graph.nodes
    np.testing.assert_allclose(result.source, 6 * np.cos(1.0), rtol=1e-6)
