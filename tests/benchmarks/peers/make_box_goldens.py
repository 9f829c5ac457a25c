"""Writes tests/detection/goldens.npz: what ensemble-boxes makes of a few images.

Runs where ensemble-boxes is installed:

    pip install ensemble-boxes && python -m tests.benchmarks.peers.make_box_goldens
"""

from pathlib import Path

import ensemble_boxes
import numpy as np

from tests.detection import cases

FILE = Path(__file__).parents[2] / "detection" / "goldens.npz"
CONFIDENCES = {
    "average": "avg",
    "box_and_model": "box_and_model_avg",
    "absent_aware": "absent_model_aware_avg",
    "max": "max",
}


def peer(name: str, models: list[dict[str, np.ndarray]], **settings) -> tuple:
    """boxes, scores, labels"""
    lists = ([model[key].tolist() for model in models] for key in ("boxes", "scores", "labels"))
    return getattr(ensemble_boxes, name)(*lists, weights=list(cases.WEIGHTS[len(models)]), **settings)


if __name__ == "__main__":
    found = {}
    for seed in cases.GOLDEN:
        models = cases.image(seed)
        for ours, theirs in CONFIDENCES.items():
            found[f"{seed} {ours}"] = peer("weighted_boxes_fusion", models, iou_thr=0.55, conf_type=theirs)
        found[f"{seed} weighted"] = peer("non_maximum_weighted", models, iou_thr=0.5)
    arrays = {key: np.column_stack(values) for key, values in found.items()}
    np.savez_compressed(FILE, **arrays)
