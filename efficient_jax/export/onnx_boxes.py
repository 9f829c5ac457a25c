"""What `detection.boxes.nms` is in ONNX: its loops over boxes become one operator."""

from typing import Any

import numpy as np
from onnx import TensorProto

from efficient_jax.export.onnx_entrywise import full, refuse
from efficient_jax.export.onnx_graph import Graph, Value, shape_of


def nms(graph: Graph, eqn: Any, values: list[Value]) -> list[Value]:
    """Returns the boxes of images, [b n ...], by descending score after non-maximum suppression, zeros behind them.

    The boxes that NonMaxSuppression keeps have their score, the others 0: sorted by it they are those of `nms`.

    Args:
        graph: gets the nodes.
        eqn: the call of `nms` for each image of a batch, with the boxes of one model.
        values: its boxes [b 1 n 4], labels, scores and valid [b 1 n], the weight of the model, and the IoU.
    """
    stacked, iou = full(graph, eqn, values)[:4], values[5]
    shape = stacked[0].shape
    if len(shape) != 4 or shape[1] != 1 or isinstance(iou.source, str):
        raise refuse(eqn)
    zero, one, two = np.float32(0.0), np.array([1], np.int64), np.array([2], np.int64)
    count = np.array([shape[2]], np.int64)

    def node(op: str, *inputs: Any, unused: int = 0, **attributes: Any) -> str:
        return graph.node(op, [x if isinstance(x, str) else np.asarray(x) for x in inputs], unused, **attributes)

    boxes, labels, all_scores, valid = (node("Squeeze", graph.plain(value), one) for value in stacked)
    scores = node("Where", valid, all_scores, zero)
    indices = node("Cast", labels, to=TensorProto.INT64)
    classes = node("Add", node("Reshape", node("ReduceMax", indices), one), one)
    of_class = node("OneHot", indices, classes, np.array([0.0, 1.0], np.float32), axis=1)
    by_class = node("Mul", of_class, node("Unsqueeze", scores, one))
    limit = np.reshape(iou.source, 1).astype(np.float32)
    selected = node("NonMaxSuppression", boxes, by_class, count, limit, np.zeros(1, np.float32))
    places = node("Gather", selected, np.array([0, 2], np.int64), axis=1)  # image and box, without the class between
    kept = node("ScatterND", node("Mul", scores, zero), places, node("GatherND", scores, places))
    ranked_scores = node("TopK", kept, count, unused=1)
    there, order = node("Greater", ranked_scores, zero), node("Unsqueeze", f"{ranked_scores}_1", two)
    ranked_boxes, ranked_labels = (node("GatherND", source, order, batch_dims=1) for source in (boxes, labels))
    results = (
        node("Where", node("Unsqueeze", there, two), ranked_boxes, zero),
        node("Where", there, ranked_labels, np.int32(0)),
        ranked_scores,
        there,
    )
    shapes = [shape_of(var.aval) for var in eqn.outvars]
    return [Value(name, shape, tuple(range(len(shape)))) for name, shape in zip(results, shapes, strict=True)]
