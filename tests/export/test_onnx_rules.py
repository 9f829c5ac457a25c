"""Each operation of JAX, alone, in onnxruntime; and forms that have no rule."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efficient_jax.detection.boxes import nms
from efficient_jax.errors import UserError

pytest.importorskip("onnx", reason="onnx is not installed (extra export)")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra export)")
from efficient_jax.export import onnx_graph  # noqa: E402
from efficient_jax.export.onnx_rules import RULES  # noqa: E402

X = np.random.default_rng(0).normal(size=(3, 4, 6, 2)).astype(np.float32)
KERNEL = np.random.default_rng(1).normal(size=(3, 3, 1, 4)).astype(np.float32)
DIMENSIONS = ("NHWC", "HWIO", "NHWC")


def conv(x, **more):
    settings = {"window_strides": (2, 1), "padding": ((0, 1), (2, 0)), "dimension_numbers": DIMENSIONS}
    return jax.lax.conv_general_dilated(x, KERNEL, **settings, feature_group_count=2, **more)


def scanned(x):
    return jax.lax.scan(lambda carry, y: (carry + y, carry * y), x[:, 0], jnp.stack([x[:, 1], x[:, 2]]), reverse=True)[
        1
    ]


def kept(x, models=1):
    """The boxes of each image after non-maximum suppression, with their classes and scores."""
    entries = x.reshape(x.shape[0], 24, 2)
    low = 5.0 * jnp.concatenate([entries[:, ::2], entries[:, 1::2]], 1)
    detections = {
        "boxes": jnp.concatenate([low, low + 8.0], -1),
        "scores": jax.nn.sigmoid(entries[..., 0]),
        "labels": (entries[..., 1] > 0.3).astype(jnp.int32),
        "valid": entries[..., 0] > -1.0,
    }

    def of_image(one):
        of_models = {name: values.reshape(models, -1, *values.shape[1:]) for name, values in one.items()}
        return nms(of_models, jnp.ones(models), 0.3)

    found = jax.vmap(of_image)(detections)
    columns = [found[name].astype(jnp.float32)[..., None] for name in ("labels", "scores", "valid")]
    return jnp.concatenate([found["boxes"], *columns], -1)


FUNCTIONS = {
    "arithmetic": lambda x: -x * 2.0 - x / 3.0 + x**2 + jnp.abs(x) ** 1.5 + x**3,
    "functions": lambda x: jnp.exp(x) + jnp.tanh(x) + jax.nn.sigmoid(x) + jnp.sin(x) * jnp.cos(x) + jnp.sign(x),
    "roots": lambda x: (
        jnp.sqrt(jnp.square(x) + 1.0) + jax.lax.rsqrt(jnp.square(x) + 1.0) + jnp.log(jnp.square(x) + 1.0)
    ),
    "errors": lambda x: jax.lax.erf(x) + jax.lax.erfc(x),
    "rounding": lambda x: jnp.round(2.5 * jnp.round(x)) + jnp.floor(x) + jnp.ceil(x),
    "limits": lambda x: (
        jnp.clip(x, -0.5, 0.25) + jax.nn.relu6(4.0 * x) + jnp.maximum(x, 0.1) + jax.lax.clamp(-1.0, x, 1.0)
    ),
    "comparisons": lambda x: jnp.where((x > 0.5) | ~(x <= -0.5) & (x != 0.1), x, 2.0) + (x == x).astype(jnp.float32),
    "casts": lambda x: (10.0 * x).astype(jnp.int32).astype(jnp.float32),
    "reductions": lambda x: (
        x.sum((1, 3)) + x.max((1, 3)) + x.min((1, 3)) + x.argmax(2).sum((1, 2))[:, None].astype(jnp.float32)
    ),
    "conv, then a sum": lambda x: conv(x).sum((2, 3)),
    "conv, then channels": lambda x: jax.nn.relu(conv(x) * jnp.arange(4.0) + 1.0)[..., 1:3],
    "conv, joined": lambda x: jnp.concatenate([conv(x), 2.0 * conv(x)], -1),
    "conv, dilated": lambda x: conv(x, rhs_dilation=(1, 2)),
    "pooling": lambda x: jax.lax.reduce_window(
        x, -jnp.inf, jax.lax.max, (1, 3, 2, 1), (1, 2, 1, 1), ((0, 0), (1, 0), (0, 1), (0, 0))
    ),
    "products": lambda x: jnp.einsum("bhwc,bhvc->bwvh", x, x),
    "matrices": lambda x: x @ jnp.arange(6.0).reshape(2, 3),
    "two contracted": lambda x: jnp.einsum("bhwc,hcd->bwd", x, jnp.arange(24.0).reshape(4, 2, 3)),
    "parts": lambda x: sum(jnp.split(x, (1, 3), axis=1)[1:], 0.0)[..., :1],
    "strides": lambda x: jax.lax.slice_in_dim(x, 0, 4, 2, 1)[:, :, ::-1] + x[:, 1:3],
    "order": lambda x: jnp.sort(x, 2)[:, ::-1].transpose(0, 2, 1, 3),
    "edges": lambda x: jnp.pad(x, ((0, 0), (1, 2), (0, 3), (0, 0)), constant_values=7.0),
    "indices": lambda x: x[:, jnp.array([3, 0, 0])] + x[:, :, 5][:, :3, None],
    "shapes": lambda x: jnp.broadcast_to(x.reshape(x.shape[0], -1)[:, None, :], (x.shape[0], 2, 48)),
    "token": lambda x: jnp.concatenate([jnp.broadcast_to(jnp.arange(2.0), (x.shape[0], 1, 6, 2)), x], 1),
    "scan": scanned,
    "unstack": lambda x: sum(i * part for i, part in enumerate(jnp.unstack(x, axis=2), 1)),
    "division": lambda x: (jnp.abs(9.0 * x).astype(jnp.int32) // 3 + jnp.abs(9.0 * x).astype(jnp.int32) % 4).astype(
        jnp.float32
    ),
    "remainder": lambda x: jax.lax.rem((9.0 * x).astype(jnp.int32), jnp.int32(4)).astype(jnp.float32),
    "repeated": lambda x: jax.vmap(lambda y: jnp.tile(y, (1, 2, 3)))(x),
    "largest": lambda x: sum(map(jnp.float32, jax.lax.top_k(x.reshape(x.shape[0], -1), 7))),
    "rows of each image": lambda x: jax.vmap(lambda y, i: y[i])(
        x, (2.0 * jnp.abs(x[:, :2, 0, 0])).astype(jnp.int32) % 4
    ),
    "suppression": kept,
}


def exported(function, shape):
    (batch,) = jax.export.symbolic_shape("b")
    images = jax.ShapeDtypeStruct((batch, *shape[1:]), jnp.float32)
    traced = jax.make_jaxpr(function)(images)
    known = onnx_graph.shape_of(images)
    graph = onnx_graph.Graph(RULES, "b", "x")
    (result,) = graph.run(traced.jaxpr, traced.consts, [onnx_graph.Value("x", known, tuple(range(len(known))))])
    model = onnx_graph.model(graph, result, ("x", np.dtype(np.float32), known), ("y", result.shape), {})
    return onnxruntime.InferenceSession(model.SerializeToString())


@pytest.mark.versions  # names and parameters of primitives
@pytest.mark.parametrize("name", FUNCTIONS)
def test_an_operation_has_the_values_of_jax(name):
    session = exported(FUNCTIONS[name], X.shape)
    for x in (X, X[:1]):
        np.testing.assert_allclose(session.run(None, {"x": x})[0], FUNCTIONS[name](jnp.array(x)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (lambda x: jnp.cumsum(x, 1), "cumsum"),
        (lambda x: jax.lax.pad(x, 0.0, ((0, 0, 0), (0, 0, 1), (0, 0, 0), (0, 0, 0))), "pad"),
        (lambda x: conv(x, lhs_dilation=(2, 1)), "conv_general_dilated"),
        (lambda x: jax.lax.round(x), "round"),
        (lambda x: kept(x, models=2), "nms"),
    ],
)
def test_a_form_without_a_rule_is_refused_by_name(function, name):
    with pytest.raises(UserError, match=f"^--format: .*'{name}'.*take --format=stablehlo"):
        exported(function, X.shape)
