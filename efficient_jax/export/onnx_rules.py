"""What each operation of JAX is in ONNX: those of the networks and of test-time augmentation."""

from typing import Any

import numpy as np
import onnx
from onnx import helper

from efficient_jax.export.onnx_boxes import nms
from efficient_jax.export.onnx_entrywise import ENTRYWISE, full, refuse
from efficient_jax.export.onnx_graph import Graph, Rule, Shape, Value, constant, inverse, shape_of

END = np.iinfo(np.int64).max


def out(eqn: Any) -> Shape:
    """Returns the shape of the result of an operation.

    Args:
        eqn: the operation.
    """
    return shape_of(eqn.outvars[0].aval)


def _broadcast(graph: Graph, eqn: Any, values: list[Value]) -> Value:
    """Adds axes of size 1; they are expanded where a node needs it."""
    x, rank, kept = values[0], len(eqn.params["shape"]), eqn.params["broadcast_dimensions"]
    if rank == len(x.shape):
        return x
    sizes = dict(zip(kept, x.shape, strict=True))
    shape: Shape = tuple(sizes.get(axis, 1) for axis in range(rank))
    added, source = [axis for axis in range(rank) if axis not in kept], graph.plain(x)
    if not isinstance(source, str):
        return constant(np.expand_dims(source, added))
    return graph.made("Unsqueeze", [source, np.array(added, np.int64)], shape)


def _reshape(graph: Graph, eqn: Any, values: list[Value]) -> Value:
    (x,), shape = full(graph, eqn, values), out(eqn)
    sizes = [size if isinstance(size, int) else -1 for size in shape]
    if eqn.params["dimensions"] is not None or sizes.count(-1) > 1:
        raise refuse(eqn)
    return graph.made("Reshape", [graph.plain(x), np.array(sizes, np.int64)], shape)


def _squeeze(graph: Graph, eqn: Any, values: list[Value]) -> Value:
    (x,), axes = full(graph, eqn, values), np.array(eqn.params["dimensions"], np.int64)
    return graph.made("Squeeze", [graph.plain(x), axes], out(eqn))


def _transpose(graph: Graph, eqn: Any, values: list[Value]) -> Value:
    (x,), axes = values, eqn.params["permutation"]
    return Value(x.source, tuple(x.shape[axis] for axis in axes), tuple(x.order[axis] for axis in axes))


def _reduce(op: str) -> Rule:
    def rule(graph: Graph, eqn: Any, values: list[Value]) -> Value:
        (x,), axes = full(graph, eqn, values), eqn.params["axes"]
        reduced = np.array([x.order[axis] for axis in axes], np.int64)
        kept = [x.order[axis] for axis in range(len(x.shape)) if axis not in axes]
        order = tuple(sorted(kept).index(axis) for axis in kept)
        return graph.made(op, [graph.stored(x, x.order), reduced], out(eqn), order, keepdims=0)

    return rule


def _argmax(graph: Graph, eqn: Any, values: list[Value]) -> Value:
    (x,), (axis,) = full(graph, eqn, values), eqn.params["axes"]
    best = graph.node("ArgMax", [graph.plain(x)], axis=axis, keepdims=0)
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(eqn.params["index_dtype"]))
    return graph.made("Cast", [best], out(eqn), to=kind)


def _convolution(graph: Graph, eqn: Any, values: list[Value]) -> Value:
    x, kernel = full(graph, eqn, values)
    params, of = eqn.params, eqn.params["dimension_numbers"]
    if any(d != 1 for d in params["lhs_dilation"]) or params["batch_group_count"] != 1:
        raise refuse(eqn)
    sources = [graph.stored(x, inverse(of.lhs_spec)), graph.stored(kernel, inverse(of.rhs_spec))]
    return graph.made(
        "Conv",
        sources,
        out(eqn),
        inverse(of.out_spec),
        strides=params["window_strides"],
        pads=[pad[end] for end in (0, 1) for pad in params["padding"]],
        dilations=params["rhs_dilation"],
        group=params["feature_group_count"],
    )


def _max_pool(graph: Graph, eqn: Any, values: list[Value]) -> Value:
    (x,), params = full(graph, eqn, values), eqn.params
    sizes = params["window_dimensions"]
    spatial = [axis for axis, size in enumerate(sizes) if size > 1]
    others = [axis for axis in range(len(sizes)) if axis not in spatial]
    dilated = any(d != 1 for d in (*params["base_dilation"], *params["window_dilation"]))
    if len(others) != 2 or dilated or any(params["window_strides"][axis] != 1 for axis in others):
        raise refuse(eqn)
    order = inverse((*others, *spatial))
    return graph.made(
        "MaxPool",
        [graph.stored(x, order)],
        out(eqn),
        order,
        kernel_shape=[sizes[axis] for axis in spatial],
        strides=[params["window_strides"][axis] for axis in spatial],
        pads=[params["padding"][axis][end] for end in (0, 1) for axis in spatial],
    )


def _dot(graph: Graph, eqn: Any, values: list[Value]) -> Value:
    left, right = full(graph, eqn, values)
    (left_sum, right_sum), (left_batch, right_batch) = eqn.params["dimension_numbers"]
    left_free = [a for a in range(len(left.shape)) if a not in (*left_sum, *left_batch)]
    right_free = [a for a in range(len(right.shape)) if a not in (*right_sum, *right_batch)]
    is_matrix = not left_batch and len(right.shape) == 2
    if len(left_sum) == 1 and len(right_free) == 1 and (is_matrix or len(left_free) == 1):
        orders = inverse((*left_batch, *left_free, *left_sum)), inverse((*right_batch, *right_sum, *right_free))
        sources = [graph.stored(v, order) for v, order in zip((left, right), orders, strict=True)]
        return graph.made("MatMul", sources, out(eqn))
    letters = iter("abcdefghijklmnopqrstuvwxyz")
    of_left = {axis: next(letters) for axis in range(len(left.shape))}
    paired = dict(zip((*right_sum, *right_batch), (*left_sum, *left_batch), strict=True))
    of_right = {a: of_left[paired[a]] if a in paired else next(letters) for a in range(len(right.shape))}
    result = [of_left[a] for a in (*left_batch, *left_free)] + [of_right[a] for a in right_free]
    equation = f"{''.join(of_left.values())},{''.join(of_right.values())}->{''.join(result)}"
    return graph.made("Einsum", [graph.plain(left), graph.plain(right)], out(eqn), equation=equation)


def _concatenate(graph: Graph, eqn: Any, values: list[Value]) -> Value:
    parts, order = full(graph, eqn, values), values[0].order
    sources = [graph.stored(part, order) for part in parts]
    return graph.made("Concat", sources, out(eqn), order, axis=order[eqn.params["dimension"]])


def _stack(graph: Graph, eqn: Any, values: list[Value]) -> Value:
    axis = eqn.params["axis"]
    parts = [graph.node("Unsqueeze", [graph.plain(x), np.array([axis])]) for x in full(graph, eqn, values)]
    return graph.made("Concat", parts, out(eqn), axis=axis)


def _slice(graph: Graph, eqn: Any, values: list[Value]) -> Value:
    (x,), params, shape = full(graph, eqn, values), eqn.params, out(eqn)
    strides = params["strides"] or (1,) * len(x.shape)
    cut = [axis for axis, size in enumerate(x.shape) if shape[axis] != size or strides[axis] != 1]
    starts, ends = ([params[name][axis] for axis in cut] for name in ("start_indices", "limit_indices"))
    if not all(isinstance(end, int) for end in ends):
        raise refuse(eqn)
    return _sliced(graph, x, shape, starts, ends, [x.order[axis] for axis in cut], [strides[axis] for axis in cut])


def _sliced(
    graph: Graph, x: Value, shape: Shape, starts: list[int], ends: list[int], axes: list[int], steps: list[int]
) -> Value:
    numbers = [np.array(values, np.int64) for values in (starts, ends, axes, steps)]
    return graph.made("Slice", [graph.stored(x, x.order), *numbers], shape, x.order)


def _split(graph: Graph, eqn: Any, values: list[Value]) -> list[Value]:
    (x,), axis = full(graph, eqn, values), eqn.params["axis"]
    ends = np.cumsum(eqn.params["sizes"]).tolist()
    shapes, starts = [shape_of(var.aval) for var in eqn.outvars], [0, *ends[:-1]]
    cuts = zip(shapes, starts, ends, strict=True)
    return [_sliced(graph, x, shape, [start], [end], [x.order[axis]], [1]) for shape, start, end in cuts]


def _rev(graph: Graph, eqn: Any, values: list[Value]) -> Value:
    (x,), axes = full(graph, eqn, values), [values[0].order[a] for a in eqn.params["dimensions"]]
    return _sliced(graph, x, out(eqn), [-1] * len(axes), [-END] * len(axes), axes, [-1] * len(axes))


def _pad(graph: Graph, eqn: Any, values: list[Value]) -> Value:
    x, fill = full(graph, eqn, values)
    edges = eqn.params["padding_config"]
    if any(low < 0 or high < 0 or inner for low, high, inner in edges):
        raise refuse(eqn)
    pads = np.array([edge[end] for end in (0, 1) for edge in edges], np.int64)
    return graph.made("Pad", [graph.plain(x), pads, graph.plain(fill)], out(eqn))


def _gather(graph: Graph, eqn: Any, values: list[Value]) -> Value:
    """Takes a window, or images along one axis, at indices that are known now; or rows of each image."""
    (x, indices), numbers = full(graph, eqn, values), eqn.params["dimension_numbers"]
    axes, sizes, at = numbers.start_index_map, eqn.params["slice_sizes"], graph.plain(indices)
    if numbers.operand_batching_dims == (0,) and axes == numbers.collapsed_slice_dims == (1,):  # of each image its own
        wide = graph.node("Cast", [at], to=onnx.TensorProto.INT64)
        return graph.made("GatherND", [graph.plain(x), wide], out(eqn), batch_dims=1)
    highest = [size - sizes[axis] for axis in axes if isinstance(size := x.shape[axis], int)]
    if isinstance(at, str) or numbers.operand_batching_dims or len(highest) != len(axes):
        raise refuse(eqn)
    at = np.clip(at, 0, highest).astype(np.int64)
    kept = [i for i in range(len(x.shape)) if i not in numbers.collapsed_slice_dims]
    if at.ndim == 1:
        window: Shape = tuple(sizes[i] if i in axes else size for i, size in enumerate(x.shape))
        x = _sliced(
            graph,
            x,
            window,
            at.tolist(),
            (at + [sizes[i] for i in axes]).tolist(),
            [x.order[i] for i in axes],
            [1] * len(axes),
        )
        dropped = np.array(numbers.collapsed_slice_dims, np.int64)
        return graph.made("Squeeze", [graph.plain(x), dropped], out(eqn)) if len(dropped) else x
    (axis, *more) = axes
    expected = tuple(i if i < axis else i + at.ndim - 2 for i in kept)
    whole = all(str(sizes[i]) == str(x.shape[i]) for i in kept)
    if more or numbers.collapsed_slice_dims != axes or numbers.offset_dims != expected or not whole:
        raise refuse(eqn)
    return graph.made("Gather", [graph.plain(x), at[..., 0]], out(eqn), axis=axis)


def _sort(graph: Graph, eqn: Any, values: list[Value]) -> Value:
    x, *more = full(graph, eqn, values)
    axis = eqn.params["dimension"]
    count = x.shape[axis]
    if more or not isinstance(count, int):
        raise refuse(eqn)
    return graph.made("TopK", [graph.plain(x), np.array([count])], out(eqn), axis=axis, largest=0, unused=1)


def _tile(graph: Graph, eqn: Any, values: list[Value]) -> Value:
    (x,), reps = full(graph, eqn, values), np.array(eqn.params["reps"], np.int64)
    return graph.made("Tile", [graph.plain(x), reps], out(eqn))


def _top_k(graph: Graph, eqn: Any, values: list[Value]) -> list[Value]:
    (x,), (shape, _) = full(graph, eqn, values), (shape_of(var.aval) for var in eqn.outvars)
    best = graph.made("TopK", [graph.plain(x), np.array([eqn.params["k"]], np.int64)], shape, unused=1)
    return [best, graph.made("Cast", [f"{best.source}_1"], shape, to=onnx.TensorProto.INT32)]


def _unstack(graph: Graph, eqn: Any, values: list[Value]) -> list[Value]:
    (x,), axis = full(graph, eqn, values), eqn.params["axis"]
    taken = ([graph.plain(x), np.array(i)] for i in range(len(eqn.outvars)))
    return [graph.made("Gather", each, out(eqn), axis=axis) for each in taken]


def _scan(graph: Graph, eqn: Any, values: list[Value]) -> list[Value]:
    """Unrolled: the views of an image are few."""
    params, values = eqn.params, full(graph, eqn, values)
    if "ft_in" in params:  # jax 0.12
        consts, carried, _ = map(len, params["ft_in"].unpack())
    else:
        consts, carried = params["num_consts"], params["num_carry"]
    if not isinstance(params["length"], int):
        raise refuse(eqn)
    fixed, state, along = values[:consts], values[consts : consts + carried], values[consts + carried :]
    parts: list[list[str | np.ndarray]] = []
    steps = range(params["length"])
    for i in reversed(steps) if params["reverse"] else steps:
        taken = [graph.made("Gather", [graph.plain(x), np.array(i)], x.shape[1:], axis=0) for x in along]
        results = graph.run(params["jaxpr"].jaxpr, params["jaxpr"].consts, [*fixed, *state, *taken])
        state = results[:carried]
        added = [graph.node("Unsqueeze", [graph.plain(y), np.array([0])]) for y in results[carried:]]
        parts = [*parts, list(added)]
    parts = parts[::-1] if params["reverse"] else parts
    shapes = [shape_of(var.aval) for var in eqn.outvars[carried:]]
    stacked = [
        graph.made("Concat", part, shape, axis=0) for part, shape in zip(zip(*parts, strict=True), shapes, strict=True)
    ]
    return [*state, *stacked]


RULES: dict[str, Rule] = {
    **ENTRYWISE,
    "argmax": _argmax,
    "broadcast_in_dim": _broadcast,
    "concatenate": _concatenate,
    "conv_general_dilated": _convolution,
    "dot_general": _dot,
    "gather": _gather,
    "nms()": nms,
    "pad": _pad,
    "reduce_max": _reduce("ReduceMax"),
    "reduce_min": _reduce("ReduceMin"),
    "reduce_sum": _reduce("ReduceSum"),
    "reduce_window_max": _max_pool,
    "reshape": _reshape,
    "rev": _rev,
    "scan": _scan,
    "slice": _slice,
    "sort": _sort,
    "split": _split,
    "squeeze": _squeeze,
    "stack": _stack,
    "tile": _tile,
    "top_k": _top_k,
    "transpose": _transpose,
    "unstack": _unstack,
}
"""Operation of JAX, or "name()" of a function that is compiled by itself -> what it becomes; what is missing is refused
by name."""
