"""What a source knows of objects reaches the augmentation of a stage, also of one that resizes its images."""

import json

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from efficient_jax.errors import UserError
from efficient_jax.experiment.stage import run_stage
from tests.tiny_run import begun, stage

SIDE, COUNT = 8, 40


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Black images with a white square of 2 x 2, to the left or to the right."""
    folder = tmp_path_factory.mktemp("coco")
    annotations = []
    for number in range(COUNT):
        left, top = 4 * (number % 2) + number // 2 % 3, number // 6
        pixels = np.zeros((SIDE, SIDE), np.uint8)
        pixels[top : top + 2, left : left + 2] = 255
        Image.fromarray(pixels).save(folder / f"{number}.png")
        run = {"counts": np.diff(np.flatnonzero(np.diff(pixels.T.ravel() > 0, prepend=False)), prepend=0).tolist()}
        run["counts"].append(SIDE * SIDE - sum(run["counts"]))
        annotations.append({"image_id": number, "category_id": number % 2, "bbox": [left, top, 2, 2]})
        annotations[-1]["segmentation"] = run | {"size": [SIDE, SIDE]}
    images = [{"id": n, "file_name": f"{n}.png", "width": SIDE, "height": SIDE} for n in range(COUNT)]
    categories = [{"id": 0, "name": "left"}, {"id": 1, "name": "right"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "a.json").write_text(json.dumps(content))
    return {"name": "coco", "path": str(folder / "a.json"), "size": 0, "channels": 1, "task": "classification"}


def prepared(source, folder, objects, *ops, **settings):
    block = stage("supervised", model={"name": "mlp", "width": 4}, size=2 * SIDE)
    block["augment"] = {"ops": ops, **settings}
    data = {"source": source | {"objects": objects}, "test": 8}
    config = {"seed": 0, "devices": 2, "stages": ("net",), "data": data | {"duplicates": "drop"}, "net": block}
    return begun(config, folder, Console(quiet=True))


def test_a_stage_with_copy_paste_trains(source, tmp_path):
    run = prepared(source, tmp_path, ("box_mask",), "copy_paste", copy_paste={"object_probability": 1.0})
    result = run_stage(run.plan.stages[0], run)
    assert np.isfinite(result["negative_log_likelihood"])
    samples = np.load(tmp_path / "net" / "samples.npz")
    raw, pasted = samples["raw"], samples["augmented"][:, 0]
    assert (raw.shape[1:], raw.dtype) == ((2 * SIDE, 2 * SIDE, 1), np.uint8)
    for number in range(len(raw)):
        partner = raw[number ^ 1]
        seen = pasted[number] > 128
        np.testing.assert_array_equal(seen, (raw[number] > 128) | (partner > 128))


def test_what_cannot_move_objects_is_said_before_training(source, tmp_path):
    with pytest.raises(
        UserError, match=r"^config\.net\.augment: mixup: 'boxes' cannot be mixed; copy_paste and mosaic"
    ):
        prepared(source, tmp_path, ("boxes",), "mixup")
    prepared(source, tmp_path, (), "mixup")
