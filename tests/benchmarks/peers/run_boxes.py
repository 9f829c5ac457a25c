"""Our boxes beside ensemble-boxes: 10,000 boxes of each of 5 models, one process, alternating, median of the ratios.

Runs where this package and ensemble-boxes are in one environment:

    python -m tests.benchmarks.peers.run_boxes [ROW ...] >> tests/benchmarks/peers/boxes/cpu.jsonl

Ours is `combine`: numpy in, checked, fused, numpy out; compiled before. The peer gets the type that it is faster with.
"""

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial

import ensemble_boxes
import jax
import numpy as np

from efficient_jax.detection.boxes import nms
from efficient_jax.detection.detections import combine
from efficient_jax.detection.fusion import weighted_box_fusion
from tests.detection import cases

REPEATS, MODELS, BOXES = 7, 5, 10_000
ROWS = {
    "WBF, 80 classes": (partial(weighted_box_fusion, iou=0.55), ensemble_boxes.weighted_boxes_fusion, list, 80),
    "NMS, 80 classes": (partial(nms, iou=0.55), ensemble_boxes.nms, np.asarray, 80),
    "WBF, 1 class": (partial(weighted_box_fusion, iou=0.55), ensemble_boxes.weighted_boxes_fusion, list, 1),
}


def seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def main(names: list[str]) -> None:
    found = cases.models(np.random.default_rng(0), MODELS, 2 * BOXES, 80)
    models = [{key: values[:BOXES] for key, values in model.items()} for model in found]
    assert all(len(model["scores"]) == BOXES for model in models)
    for name in names or ROWS:
        how, peer, kind, classes = ROWS[name]
        inputs = [model | {"labels": model["labels"] % classes} for model in models]
        lists = [[kind(model[key].tolist()) for model in inputs] for key in ("boxes", "scores", "labels")]
        ours, theirs = partial(combine, inputs, how), partial(peer, *lists, iou_thr=0.55)
        assert len(ours()["scores"]) == len(theirs()[0])  # and compiles
        times = np.array([[seconds(ours), seconds(theirs)] for _ in range(REPEATS)])
        ratios = (times[:, 1] / times[:, 0]).tolist()
        record = {"row": name, "models": MODELS, "boxes": BOXES, "cores": len(os.sched_getaffinity(0))}
        record |= {"jax": jax.__version__, "numpy": np.__version__, "load": round(os.getloadavg()[0], 1)}
        record |= dict(zip(("ours_s", "peer_s"), np.median(times, 0).round(3).tolist(), strict=True))
        record |= {"ratio": round(statistics.median(ratios), 1), "least": round(min(ratios), 1)}
        print(json.dumps(record | {"most": round(max(ratios), 1)}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
