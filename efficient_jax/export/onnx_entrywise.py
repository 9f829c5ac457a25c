"""What operations of JAX on entries are in ONNX: arithmetic, comparisons, choices and casts."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from onnx import helper

from efficient_jax.errors import UserError
from efficient_jax.export.onnx_graph import Graph, Rule, Value, constant, shape_of


def full(graph: Graph, eqn: Any, values: Sequence[Value]) -> list[Value]:
    """Returns the operands of an operation, expanded to the shapes that JAX knows of them.

    Args:
        graph: gets the nodes.
        eqn: the operation.
        values: its operands.
    """
    return [graph.expanded(v, shape_of(var.aval)) for v, var in zip(values, eqn.invars, strict=True)]


def refuse(eqn: Any) -> UserError:
    """Returns the error for a form of an operation that has no rule.

    Args:
        eqn: the operation.
    """
    name = eqn.params.get("name", eqn.primitive.name)
    return UserError(f"--format: this form of {name!r} has no rule for ONNX; take --format=stablehlo")


def elementwise(op: str) -> Rule:
    """Returns the rule of an operation on entries; ONNX broadcasts.

    Args:
        op: operator of ONNX.
    """

    def rule(graph: Graph, eqn: Any, values: list[Value]) -> Value:
        del eqn
        return entries(graph, op, values)

    return rule


def entries(graph: Graph, op: str, values: Sequence[Value]) -> Value:
    """Returns the result of an operator on entries, in the order of axes that most of its operands are stored in.

    Args:
        graph: gets the node.
        op: operator of ONNX, which broadcasts.
        values: its operands.
    """
    rank = max(len(v.shape) for v in values)
    moved = [v.order for v in values if isinstance(v.source, str) and len(v.shape) == rank]
    order = max(moved, key=lambda order: order != tuple(range(rank)), default=tuple(range(rank)))
    sources = [graph.stored(v, order) if len(v.shape) == rank else graph.plain(v) for v in values]
    aligned = [(1,) * (rank - len(v.shape)) + v.shape for v in values]
    shape = tuple(next((size for size in sizes if size != 1), 1) for sizes in zip(*aligned, strict=True))
    return graph.made(op, sources, shape, order)


def chain(*ops: str) -> Rule:
    """Returns the rule of an operation on entries that is several of ONNX.

    Args:
        ops: operators, the first of all operands, the others of the result before.
    """

    def rule(graph: Graph, eqn: Any, values: list[Value]) -> Value:
        del eqn
        for op in ops:
            values = [entries(graph, op, values)]
        return values[0]

    return rule


def _same(graph: Graph, eqn: Any, values: list[Value]) -> Value:
    del graph, eqn
    return values[0]


def _max(graph: Graph, eqn: Any, values: list[Value]) -> Value:
    """Relu where it is one: runtimes compute it together with the convolution before."""
    x, bound = values
    if not isinstance(bound.source, str) and not bound.shape and bound.source == np.float32(0.0):
        return entries(graph, "Relu", [x])
    return entries(graph, "Max", values)


def _min(graph: Graph, eqn: Any, values: list[Value]) -> Value:
    x, bound = values
    if isinstance(bound.source, str) or bound.shape:
        return entries(graph, "Min", values)
    return graph.made("Clip", [graph.stored(x, x.order), "", bound.source], x.shape, x.order)


def _integer_pow(graph: Graph, eqn: Any, values: list[Value]) -> Value:
    (x,) = values
    if eqn.params["y"] == 2:
        return entries(graph, "Mul", [x, x])
    return entries(graph, "Pow", [x, constant(np.float32(eqn.params["y"]))])


def _erfc(graph: Graph, eqn: Any, values: list[Value]) -> Value:
    return entries(graph, "Sub", [constant(np.float32(1.0)), entries(graph, "Erf", values)])


def _rem(graph: Graph, eqn: Any, values: list[Value]) -> Value:
    x, divisor = full(graph, eqn, values)
    return graph.made("Mod", [graph.plain(x), graph.plain(divisor)], x.shape, fmod=1)  # of the sign of x, as in C


def _square(graph: Graph, eqn: Any, values: list[Value]) -> Value:
    return entries(graph, "Mul", [values[0], values[0]])


def _round(graph: Graph, eqn: Any, values: list[Value]) -> Value:
    if eqn.params["rounding_method"] != jax.lax.RoundingMethod.TO_NEAREST_EVEN:
        raise refuse(eqn)
    return entries(graph, "Round", values)


def _select(graph: Graph, eqn: Any, values: list[Value]) -> Value:
    which, *cases = values
    if len(cases) != 2 or eqn.invars[0].aval.dtype != np.bool_:
        raise refuse(eqn)
    return entries(graph, "Where", [which, cases[1], cases[0]])


def _clamp(graph: Graph, eqn: Any, values: list[Value]) -> Value:
    low, x, high = values
    return entries(graph, "Min", [entries(graph, "Max", [x, low]), high])


def _cast(graph: Graph, eqn: Any, values: list[Value]) -> Value:
    (x,) = values
    if eqn.invars[0].aval.dtype == eqn.params["new_dtype"]:
        return x
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(eqn.params["new_dtype"]))
    return graph.made("Cast", [graph.stored(x, x.order)], x.shape, x.order, to=kind)


DIRECT = {
    "abs": "Abs",
    "add": "Add",
    "add_any": "Add",
    "and": "And",
    "ceil": "Ceil",
    "cos": "Cos",
    "div": "Div",
    "eq": "Equal",
    "erf": "Erf",
    "exp": "Exp",
    "floor": "Floor",
    "ge": "GreaterOrEqual",
    "gt": "Greater",
    "le": "LessOrEqual",
    "log": "Log",
    "logistic": "Sigmoid",
    "lt": "Less",
    "mul": "Mul",
    "neg": "Neg",
    "not": "Not",
    "or": "Or",
    "pow": "Pow",
    "sign": "Sign",
    "sin": "Sin",
    "sqrt": "Sqrt",
    "sub": "Sub",
    "tanh": "Tanh",
}
ENTRYWISE: dict[str, Rule] = {
    **{name: elementwise(op) for name, op in DIRECT.items()},
    **dict.fromkeys(("copy", "copy_p", "stop_gradient", "optimization_barrier"), _same),
    "clamp": _clamp,
    "convert_element_type": _cast,
    "erfc": _erfc,
    "integer_pow": _integer_pow,
    "max": _max,
    "min": _min,
    "ne": chain("Equal", "Not"),
    "rem": _rem,
    "round": _round,
    "rsqrt": chain("Sqrt", "Reciprocal"),
    "select_n": _select,
    "square": _square,
}
"""Operation of JAX on entries -> what it becomes."""
