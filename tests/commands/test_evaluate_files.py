"""evaluate on files of other programs: detections and maps of pixels."""

import json
from functools import partial

import numpy as np
import pytest
from PIL import Image

from efficient_jax.commands.evaluate import evaluate
from efficient_jax.detection.boxes import nms, soft_nms
from efficient_jax.detection.detections import combine
from efficient_jax.detection.fusion import weighted_box_fusion
from efficient_jax.detection.mean_average_precision import coco_figures, mean_average_precision
from efficient_jax.errors import UserError
from efficient_jax.report import boxes as report_boxes
from tests.detection import cases

IMAGES, CATEGORIES = (7, 3, 12), {5: "cat", 2: "dog", 9: "bird"}
LABELS = np.array([5, 2])  # nothing shows a bird


def rows(images, scores=True):
    """COCO's list of the boxes of each image."""
    for image, found in zip(IMAGES, images, strict=True):
        for box, score, label in zip(found["boxes"], found["scores"], found["labels"], strict=True):
            left, top, right, bottom = box.astype(float).tolist()
            entry = {"image_id": image, "category_id": int(LABELS[label])}
            entry |= {"bbox": [left, top, right - left, bottom - top]} | ({"score": float(score)} if scores else {})
            yield entry


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two detectors and the truth of three images."""
    folder = tmp_path_factory.mktemp("detections")
    images = [cases.models(np.random.default_rng(seed), 3, 9, 2) for seed in range(len(IMAGES))]
    truth, *detectors = zip(*images, strict=True)
    content = {"images": [{"id": image} for image in IMAGES], "annotations": list(rows(truth, False))}
    content["categories"] = [{"id": number, "name": name} for number, name in CATEGORIES.items()]
    content["annotations"].append({"image_id": 3, "category_id": 5, "bbox": [0, 0, 1, 1], "iscrowd": 1})
    (folder / "truth.json").write_text(json.dumps(content))
    for name, found in zip("ab", detectors, strict=True):
        (folder / f"{name}.json").write_text(json.dumps(list(rows(found))))
    return folder, truth, detectors


FUSED = {
    "": partial(weighted_box_fusion),
    "wbf:box_and_model": partial(weighted_box_fusion, confidence="box_and_model"),
    "nms": nms,
    "soft_nms:linear": partial(soft_nms, decay="linear"),
}


@pytest.mark.parametrize("fuse", FUSED)
def test_detectors_are_judged_and_fused(files, tmp_path, fuse, capsys):
    folder, truth, detectors = files
    given = {"members": f"{folder}/a.json,{folder}/b.json", "truth": f"{folder}/truth.json", "fuse": fuse}
    evaluate(**given, weights="2,1", iou="0.6", out=str(tmp_path / "out"))
    said = capsys.readouterr().out
    assert "; boxes in 1 crowd are neither right nor wrong." in said
    assert max(map(len, said.splitlines()[2:7])) <= 80
    truth = [{**image, "crowds": [False] * len(image["labels"])} for image in truth]
    crowd = {"boxes": [[0, 0, 1, 1]], "labels": [0], "crowds": [True]}
    truth[1] = {name: np.concatenate([truth[1][name], crowd[name]]) for name in crowd}
    together = [combine(models, partial(FUSED[fuse], iou=0.6), (2.0, 1.0)) for models in zip(*detectors, strict=True)]
    about = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    for scores, found in zip(about["members"].values(), [*detectors, together], strict=True):
        expected = mean_average_precision(found, truth)
        for name in ("ap", "ap50", "ap75"):
            assert scores[name] == pytest.approx(expected[name], abs=1e-12)
        figures = coco_figures(found, truth)
        for name in report_boxes.FIGURES:
            assert scores[name] == (None if np.isnan(figures[name]) else pytest.approx(figures[name], abs=1e-12))
        assert scores["boxes"] == sum(len(each["scores"]) for each in found)
        each = {CATEGORIES[LABELS[k]]: ap for k, ap in zip(expected["classes"], expected["each"].mean(1), strict=True)}
        assert scores["classes"] == pytest.approx(each)
    assert list(about["members"])[-1] == f"{fuse or 'wbf'} of 2"
    evaluate(members=f"{tmp_path}/out/detections.json", truth=given["truth"], out=str(tmp_path / "again"))
    (again,) = json.loads((tmp_path / "again" / "evaluation.json").read_text())["members"].values()
    assert again["ap"] == pytest.approx(scores["ap"], abs=1e-6)
    page = (tmp_path / "out" / "evaluation.html").read_text()
    assert "AP of each class" in page
    assert "AR small, %" in page
    assert "AR small" not in said
    assert f"{100 * scores['classes']['cat']:.2f}" in page


def wrong(entry=None, **changed):
    return [{"image_id": 7, "category_id": 5, "bbox": [0, 0, 1, 1], "score": 0.5} | changed] if entry is None else entry


@pytest.mark.parametrize(
    ("content", "flags", "message"),
    [
        (wrong(image_id=8), {}, "entry 0: image_id 8 is not in the ground truth"),
        (wrong(category_id=1), {}, "entry 0: category_id 1 is not in the ground truth"),
        (wrong(bbox=[3, 3, -1, 2]), {}, "image_id 7: box 0"),
        (wrong(bbox=[3, 3, 2]), {}, "entry 0: .*want image_id, category_id, bbox"),
        (wrong(score=1.2), {}, r"image_id 7: score 0 is 1\.2; wanted: 0\.\.1"),
        (wrong({"boxes": []}), {}, "holds no detections; want a list"),
        (wrong([{"score": 1}]), {}, "entry 0: no bbox"),
        (wrong(), {"truth": ""}, "--truth is missing"),
        (wrong(), {"truth": "nowhere.json"}, "--truth: cannot read 'nowhere.json': No such file"),
        (wrong(), {"fuse": "wbb"}, "--fuse: unknown name 'wbb'; did you mean 'wbf'"),
        (wrong(), {"fuse": "wbf:mean"}, "--fuse=wbf: unknown name 'mean'"),
        (wrong(), {"fuse": "nms:mean"}, "--fuse: 'nms' has no modes"),
        (wrong(), {"fuse": "soft_nms", "iou": "0.5"}, "gaussian of soft_nms has no threshold"),
        (wrong(), {"iou": "1.5"}, r"--iou: '1\.5'; want a number"),
        (wrong(), {"weights": "1,2"}, "--weights: 2 for 1 member;"),
        (wrong(), {"tta": "flips"}, "--soup, --turn and --tta need trained members"),
    ],
)
def test_what_is_wrong_with_detections_is_said(files, tmp_path, content, flags, message):
    (tmp_path / "d.json").write_text(json.dumps(content))
    given = {"members": f"{tmp_path}/d.json", "truth": f"{files[0]}/truth.json"} | flags
    with pytest.raises(UserError, match=message):
        evaluate(**given)


@pytest.fixture
def maps(tmp_path):
    """Two images of other sizes; three members, of classes and of probabilities."""
    truth = {"one": [[0, 0, 1], [2, 255, 1]], "two": [[1, 1]]}
    answers = {
        "a": {"one": [[0, 1, 1], [2, 2, 0]], "two": [[1, 1]]},
        "b": {"one": [[0, 0, 0], [2, 0, 1]], "two": [[1, 0]]},
    }
    for name, of in {"truth": truth, **answers}.items():
        (tmp_path / name).mkdir()
        for stem, values in of.items():
            Image.fromarray(np.array(values, np.uint8)).save(tmp_path / name / f"{stem}.png")
    (tmp_path / "c").mkdir()
    for stem, values in {"one": [[0, 0, 0], [1, 0, 1]], "two": [[0, 0]]}.items():
        probabilities = np.full((*np.shape(values), 3), 0.2, np.float32)
        np.put_along_axis(probabilities, np.array(values)[..., None], 0.6, -1)
        np.savez(tmp_path / "c" / f"{stem}.npz", probabilities)
    np.savez(tmp_path / "c" / "extra.npz", probabilities)
    return tmp_path


def test_maps_vote_pixel_by_pixel(maps, capsys):
    members = ",".join(str(maps / name) for name in "abc")
    evaluate(members=members, truth=str(maps / "truth"), vote="hard", out=str(maps / "out"))
    assert "1 of members have no truth" in capsys.readouterr().out
    scores = json.loads((maps / "out" / "evaluation.json").read_text())["members"]
    assert {name.rpartition("/")[2]: (of["correct"], of["n"]) for name, of in scores.items()} == {
        "a": (5, 7),
        "b": (5, 7),
        "c": (3, 7),
        "hard vote of 3": (5, 7),
    }
    voted = np.asarray(Image.open(maps / "out" / "maps" / "one.png"))
    np.testing.assert_array_equal(voted, [[0, 0, 0], [2, 0, 1]])
    # truth 0 0 1 2 1 | 1 1 and answers 0 0 0 2 1 | 1 0
    assert scores["hard vote of 3"]["iou"] == {"0": 2 / 4, "1": 2 / 4, "2": 1.0}
    assert scores["hard vote of 3"]["mean_iou"] == pytest.approx(2 / 3)


def test_weights_count_in_a_soft_vote_of_maps(maps):
    evaluate(members=f"{maps}/a,{maps}/c", truth=str(maps / "truth"), weights="1,5", out=str(maps / "out"))
    voted = np.asarray(Image.open(maps / "out" / "maps" / "one.png"))
    # c: 0.6 * 5 against 0.2 * 5 + 1
    np.testing.assert_array_equal(voted, [[0, 0, 0], [1, 0, 1]])


@pytest.mark.parametrize(
    ("save", "message"),
    [
        (lambda f: Image.new("RGB", (3, 2)).save(f / "one.png"), "its pixels are RGB"),
        (lambda f: Image.new("L", (2, 3)).save(f / "one.png"), "is 3 x 2 pixels, its truth 2 x 3"),
        (lambda f: Image.new("L", (3, 2), 255).save(f / "one.png"), "has pixels of class 255"),
        (lambda f: (f / "one.png").unlink(), "has no map of 1 image of --truth, first 'one'"),
        (lambda f: np.savez(f / "one.npz", np.zeros((2, 3), int)), "has two maps of one name"),
        (lambda f: ((f / "one.png").unlink(), np.savez(f / "one.npz", np.ones((2, 3, 2)))), "holds no probabilities"),
        (lambda f: ((f / "one.png").unlink(), np.savez(f / "one.npz", np.ones(6))), r"holds float64 \[6\]"),
        (lambda f: ((f / "one.png").unlink(), np.savez(f / "one.npz", 1, 2)), "not exactly one array"),
    ],
)
def test_what_is_wrong_with_maps_is_said(maps, save, message):
    save(maps / "a")
    with pytest.raises(UserError, match=message):
        evaluate(members=f"{maps}/a", truth=str(maps / "truth"))


def test_boxes_are_not_fused_in_maps(maps):
    with pytest.raises(UserError, match="--fuse and --iou are for boxes"):
        evaluate(members=f"{maps}/a", truth=str(maps / "truth"), fuse="nms")
