"""A traced function as an ONNX graph: the nodes, and the values between them."""

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from jax.extend import core
from onnx import helper, numpy_helper

from efficient_jax.errors import UserError

OPSET, IR = 18, 10
"""Of runtimes from 2023 on (onnxruntime 1.15)."""
INLINED = ("jaxpr", "call_jaxpr", "fun_jaxpr")
"""Parameters in which an operation holds the function that it calls."""

Shape = tuple[int | str, ...]
"""Sizes; the number of images is a text."""
Rule = Callable[["Graph", Any, list["Value"]], "Value | list[Value]"]
"""(graph, operation of the jaxpr, its operands) -> its results."""


@dataclasses.dataclass(frozen=True)
class Value:
    """An operand: `source`, transposed.

    Nodes that want another order of axes, as convolutions do, leave their results in it; most of the transpositions in
    a network then cancel each other.

    Args:
        source: name of a tensor in the graph, or a constant.
        shape: of the value; 1 where an axis is broadcast, and no node has expanded it yet.
        order: axis i of the value is axis order[i] of the source.
    """

    source: str | np.ndarray
    shape: Shape
    order: tuple[int, ...]


def constant(array: Any) -> Value:
    """Returns an array as a value.

    Args:
        array: anything that numpy takes.
    """
    array = np.asarray(array)
    return Value(array, array.shape, tuple(range(array.ndim)))


def shape_of(aval: Any) -> Shape:
    """Returns the shape of an abstract value of JAX.

    Args:
        aval: with a `shape`, of which sizes may be symbolic.
    """
    return tuple(size if isinstance(size, int) else str(size) for size in aval.shape)


def inverse(order: Sequence[int]) -> tuple[int, ...]:
    """Returns the transposition that undoes another.

    Args:
        order: a permutation.
    """
    return tuple(int(i) for i in np.argsort(order))


class Graph:
    """Nodes in the order of execution, and constants; `rules` says what an operation becomes."""

    def __init__(self, rules: Mapping[str, Rule], batch: str, images: str) -> None:
        self.rules, self.batch, self.images = rules, batch, images
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, np.ndarray] = {}
        self.transposed: dict[tuple[str, tuple[int, ...]], str] = {}
        self.sizes = ""  # name of the tensor that holds the number of images

    def node(self, op: str, inputs: Sequence[str | np.ndarray], unused: int = 0, **attributes: Any) -> str:
        """Adds a node and returns the name of its first result.

        Args:
            op: operator of ONNX.
            inputs: names of tensors, "" for one that is left out, and constants.
            unused: number of its other results.
            **attributes: of the operator.
        """
        names = [source if isinstance(source, str) else self._constant(source) for source in inputs]
        result = f"{op.lower()}_{len(self.nodes)}"
        others = [f"{result}_{i}" for i in range(1, unused + 1)]
        self.nodes.append(helper.make_node(op, names, [result, *others], **attributes))
        return result

    def _constant(self, array: np.ndarray) -> str:
        array = np.asarray(array, order="C")
        digest = hashlib.sha256(f"{array.dtype} {array.shape}".encode() + array.tobytes()).hexdigest()
        self.constants.setdefault(f"constant_{digest}", array)  # the views of an image share the weights
        return f"constant_{digest}"

    def stored(self, value: Value, order: Sequence[int]) -> str | np.ndarray:
        """Returns the tensor of which a value is the transpose by `order`.

        Args:
            value: any.
            order: axis i of the value is axis order[i] of the tensor.
        """
        axes = tuple(value.order[i] for i in inverse(order))
        if axes == tuple(range(len(axes))):
            return value.source
        if not isinstance(value.source, str):
            return value.source.transpose(axes)
        key = value.source, axes
        if key not in self.transposed:
            self.transposed[key] = self.node("Transpose", [value.source], perm=axes)
        return self.transposed[key]

    def plain(self, value: Value) -> str | np.ndarray:
        """Returns the tensor that a value is.

        Args:
            value: any.
        """
        return self.stored(value, range(len(value.shape)))

    def expanded(self, value: Value, shape: Shape) -> Value:
        """Returns a value with its broadcast axes expanded.

        Args:
            value: any.
            shape: that it should have.
        """
        if value.shape == shape:
            return value
        plain = self.plain(value)
        if not isinstance(plain, str) and all(isinstance(size, int) for size in shape):
            return constant(np.broadcast_to(plain, [int(size) for size in shape]))
        return self.made("Expand", [plain, self.target(shape)], shape)

    def target(self, shape: Shape) -> str | np.ndarray:
        """Returns a shape as a tensor.

        Args:
            shape: sizes; of symbolic ones only the number of images.
        """
        if all(isinstance(size, int) for size in shape):
            return np.array(shape, np.int64)
        if any(size != self.batch for size in shape if isinstance(size, str)):
            raise UserError(f"--format: a shape {list(shape)} cannot be computed in ONNX")
        self.sizes = self.sizes or self.node("Shape", [self.images], start=0, end=1)
        parts = [self.sizes if isinstance(size, str) else np.array([size], np.int64) for size in shape]
        return self.node("Concat", parts, axis=0)

    def made(
        self,
        op: str,
        inputs: Sequence[str | np.ndarray],
        shape: Shape,
        order: Sequence[int] | None = None,
        **attributes: Any,
    ) -> Value:
        """Adds a node and returns its result as a value.

        Args:
            op: operator of ONNX.
            inputs: as for `node`.
            shape: of the value.
            order: axis i of the value is axis order[i] of the node's result; None: they are the same.
            **attributes: of the operator.
        """
        return Value(self.node(op, inputs, **attributes), shape, tuple(range(len(shape)) if order is None else order))

    def run(self, jaxpr: core.Jaxpr, constants: Sequence[Any], operands: Sequence[Value]) -> list[Value]:
        """Adds the nodes of a function and returns its results.

        Args:
            jaxpr: the function.
            constants: its constants.
            operands: its arguments.

        Raises: UserError naming an operation that has no rule.
        """
        known: dict[Any, Value] = dict(zip(jaxpr.invars, operands, strict=True))
        known |= dict(zip(jaxpr.constvars, map(constant, constants), strict=True))

        def read(atom: Any) -> Value:
            if not isinstance(atom, core.Literal):
                return known[atom]
            aval: Any = atom.aval
            return constant(np.asarray(atom.val, aval.dtype))

        for eqn in jaxpr.eqns:
            results = self._equation(eqn, [read(atom) for atom in eqn.invars])
            known |= zip(eqn.outvars, results if isinstance(results, list) else [results], strict=True)
        return [self.expanded(read(atom), shape_of(atom.aval)) for atom in jaxpr.outvars]

    def _equation(self, eqn: Any, operands: list[Value]) -> "Value | list[Value]":
        name = eqn.primitive.name
        inner = next((eqn.params[key] for key in INLINED if key in eqn.params), None)
        if inner is not None and f"{eqn.params.get('name')}()" in self.rules:
            name = f"{eqn.params['name']}()"
        if inner is not None and name not in self.rules:
            return self.run(getattr(inner, "jaxpr", inner), getattr(inner, "consts", ()), operands)
        shapes = [shape_of(var.aval) for var in (*eqn.invars, *eqn.outvars)]
        if all(isinstance(size, int) for shape in shapes for size in shape) and not any(
            isinstance(operand.source, str) for operand in operands
        ):  # what does not depend on the images is computed now
            pairs = zip(operands, shapes, strict=False)
            results = eqn.primitive.bind(*(self.plain(self.expanded(v, shape)) for v, shape in pairs), **eqn.params)
            return [constant(result) for result in (results if eqn.primitive.multiple_results else [results])]
        if name not in self.rules:
            raise UserError(f"--format: ONNX has no operation for {name!r} of JAX; take --format=stablehlo")
        return self.rules[name](self, eqn, operands)


def model(
    graph: Graph,
    result: Value,
    images: tuple[str, np.dtype[Any], Shape],
    output: tuple[str, Shape],
    notes: Mapping[str, str],
) -> onnx.ModelProto:
    """Returns the model of a graph.

    Args:
        graph: all nodes.
        result: what the model returns.
        images: (name, dtype, shape) of its input.
        output: (name, shape) of its output, float32.
        notes: metadata of the model, as text.
    """
    graph.node("Identity", [graph.plain(result)])
    graph.nodes[-1].output[0] = output[0]
    name, dtype, shape = images
    made = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "efficient_jax",
            [helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)],
            [helper.make_tensor_value_info(output[0], onnx.TensorProto.FLOAT, output[1])],
            [numpy_helper.from_array(array, name) for name, array in graph.constants.items()],
        ),
        producer_name="efficient_jax",
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR,
    )
    helper.set_model_props(made, dict(notes))
    return made
