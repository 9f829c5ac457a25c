"""A run of detectors in evaluate, predict, export and its page."""

import json
import re

import numpy as np
import pytest
from PIL import Image

import efficient_jax
from efficient_jax import files
from efficient_jax.commands.evaluate import evaluate
from efficient_jax.commands.explain import explain
from efficient_jax.commands.export import export
from efficient_jax.commands.predict import predict
from efficient_jax.data.sources import SOURCES
from efficient_jax.data.sources.coco_files import coco
from efficient_jax.detection.mean_average_precision import mean_average_precision
from efficient_jax.errors import UserError
from efficient_jax.export.formats import FORMATS
from efficient_jax.files import read_json
from efficient_jax.report.page import write_report
from efficient_jax.tasks import DETECTION, detection
from tests import drawn_parts
from tests.drawn_parts import block, boxes, run

NAME = "drawn_boxes"


@pytest.fixture(autouse=True, scope="module")
def source():
    SOURCES.update(drawn_parts.SOURCES)
    yield
    for name in drawn_parts.SOURCES:
        del SOURCES[name]


@pytest.fixture(scope="module")
def trained(tmp_path_factory, source):  # noqa: ARG001
    """(folder of a run with two stages, their results)."""
    folder = tmp_path_factory.mktemp("detectors")
    stages = {"net": block(NAME, steps=120), "more": block(NAME, steps=30, init="net")}
    return folder, run(NAME, folder, stages)


def test_evaluate_agrees_with_the_results_and_fuses(trained, tmp_path):
    folder, results = trained
    names = [f"{folder}/{result['stage']}" for result in results]
    evaluate(members=",".join(names), fuse="nms", out=str(tmp_path / "scores"))
    scores = json.loads((tmp_path / "scores" / "evaluation.json").read_text())["members"]
    for name, result in zip(names, results, strict=True):
        test = files.read_json(folder / result["stage"] / "result.json")["test"]
        assert list(scores[name].pop("class_ap").values()) == list(test.pop("class_ap").values())
        assert {key: scores[name][key] for key in test} == test
    assert scores["nms of 2"]["ap50"] > 0.7
    page = (tmp_path / "scores" / "evaluation.html").read_text()
    assert "AP50, %" in page
    assert "<dt>AR, AR1, AR10, AR100</dt>" in page
    small = f"{100 * scores[names[0]]['ap_small']:.2f}"
    assert re.search(f"small, up to 32 x 32 pixels</td>\\s*<td[^>]*>{small}<", page)


def test_boxes_of_files_are_those_of_the_network_in_their_own_pixels(trained, tmp_path):
    """Images of twice the size, wider than high: what is written fits what was drawn."""
    folder, _ = trained
    source, truth = boxes(), []
    (tmp_path / "images").mkdir()
    for i in range(6):
        square = Image.fromarray(source.images[i]).resize((64, 64), Image.Resampling.NEAREST)
        wide = Image.new("RGB", (80, 64), (128, 128, 128))
        wide.paste(square, (8, 0))
        wide.save(tmp_path / "images" / f"{i}.png")
        shown = source.objects["box_label"][i] >= 0
        moved = 2 * source.objects["boxes"][i, shown] + [8, 0, 8, 0]
        truth.append({"boxes": moved, "labels": source.objects["box_label"][i, shown]})
    out = tmp_path / "boxes.json"
    predict(members=f"{folder}/net", images=str(tmp_path / "images"), out=str(out))
    content = json.loads(out.read_text())
    assert [image["width"] for image in content["images"]] == [80] * 6
    found = [{"boxes": np.zeros((0, 4)), "labels": np.zeros(0, int), "scores": np.zeros(0)} for _ in range(6)]
    for annotation in content["annotations"]:
        left, top, width, height = annotation["bbox"]
        of_image = found[int(content["images"][annotation["image_id"] - 1]["file_name"][0])]
        of_image["boxes"] = np.append(of_image["boxes"], [[left, top, left + width, top + height]], 0)
        of_image["labels"] = np.append(of_image["labels"], annotation["category_id"] - 1)
        of_image["scores"] = np.append(of_image["scores"], annotation["score"])
    assert mean_average_precision(found, truth)["ap50"] > 0.5
    read = coco(path=str(out), folder=str(tmp_path / "images"), size=32, task="detection")
    assert read.classes == source.classes
    assert len(read.images) == 6


def test_views_of_detectors_are_merged(trained, tmp_path):
    """The boxes of an image and of its mirror image are mirrored by mirroring the image."""
    folder, _ = trained
    images, found = {"a": boxes().images[0], "b": boxes().images[0][:, ::-1]}, {}
    (tmp_path / "images").mkdir()
    for name, pixels in images.items():
        Image.fromarray(pixels).save(tmp_path / "images" / f"{name}.png")
    predict(members=f"{folder}/net", images=str(tmp_path / "images"), out=str(tmp_path / "b.json"), tta="flips:nms")
    rows = json.loads((tmp_path / "b.json").read_text())["annotations"]
    for image_id in (1, 2):
        of_image = [row for row in rows if row["image_id"] == image_id]
        found[image_id] = np.array([[*row["bbox"], row["score"]] for row in of_image])
    found[2][:, 0] = 32 - found[2][:, 0] - found[2][:, 2]
    assert len(found[1]) > 1
    np.testing.assert_allclose(found[1], found[2], atol=1e-3)
    evaluate(members=f"{folder}/net", tta="flips", out=str(tmp_path / "out"))
    scores = files.read_json(tmp_path / "out" / "evaluation.json")["members"][f"{folder}/net"]
    assert scores["views"] == "flips"
    assert scores["ap50"] > 0.7


def test_several_detectors_are_fused_in_files(trained, tmp_path):
    folder, _ = trained
    (tmp_path / "images").mkdir()
    Image.fromarray(boxes().images[0]).save(tmp_path / "images" / "a.png")
    members = f"{folder}/net,{folder}/more"
    predict(members=members, images=str(tmp_path / "images"), out=str(tmp_path / "boxes.json"), fuse="nms")
    assert json.loads((tmp_path / "boxes.json").read_text())["annotations"]


def test_loaded_detectors_return_boxes(trained):
    folder, results = trained
    detect = efficient_jax.load(str(folder / "net"))
    shown = detect(boxes().images[:12])
    assert shown.shape == (12, 100, 6)
    expected = detection.counts(shown, DETECTION.of_source(boxes().labels, boxes().objects)[:12], shown)
    assert expected == pytest.approx({key: results[0]["test"][key] for key in expected})


def test_the_page_shows_true_and_predicted_boxes(trained):
    folder, _ = trained
    text = write_report(folder, DETECTION.columns, False, False).read_text()
    assert "AP50, %" in text
    assert "2 true, " in text
    assert text.count("large, from 96 x 96 pixels on") == 2  # of two stages
    assert text.count("<h3>Classes</h3>") == 2
    assert "In brackets" not in text  # average precision has no interval


def test_an_exported_program_has_the_boxes_of_the_network(trained, tmp_path):
    folder, _ = trained
    export(members=f"{folder}/net", format="onnx", out=str(tmp_path))
    images = boxes().images[:12]
    found = FORMATS["onnx"].run((tmp_path / FORMATS["onnx"].file).read_bytes(), images)
    assert DETECTION.apart(found, efficient_jax.load(str(folder / "net"))(images)) < 1e-5
    card = (tmp_path / "README.md").read_text()
    for words in ("## AP50", "float32 [n 100 6]", "after non-maximum suppression; a row is left, top, right, bottom"):
        assert words in card
    for words in ("ccuracy", "interval"):
        assert words not in card


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"members": "net,more"}, "--members: boxes of 2 networks have no mean; export them one by one"),
        ({"tta": "flips"}, "--format: ONNX has no operation for 'reduce_and' of JAX; take --format=stablehlo"),
        ({"tta": "flips:nms"}, "--tta: a file has the mean over the views, of boxes what wbf makes of them; take soft"),
        ({"int8": True}, "--int8: answers in 8 bits are compared with those in 32, and boxes are not"),
    ],
)
def test_what_a_file_of_boxes_cannot_hold_is_said(trained, tmp_path, settings, message):
    folder, _ = trained
    given = {"members": "net", "format": "onnx", "out": str(tmp_path / "out")} | settings
    given["members"] = ",".join(f"{folder}/{stage}" for stage in given["members"].split(","))
    with pytest.raises(UserError, match=f"^{message}"):
        export(**given)
    assert not (tmp_path / "out").exists()


def test_explain_shows_the_box_of_each_class_that_is_surest(trained, tmp_path):
    folder, _ = trained
    explain(members=f"{folder}/net", images="0,5", workdir=str(tmp_path))
    text = (tmp_path / "explain.html").read_text()
    assert text.count('alt="true"') == text.count('alt="predicted"') == 2
    maps = re.findall(r'alt="(\w+), score (\d\.\d\d)', text)
    assert {name for name, _ in maps} == {"gray", "white"}
    assert max(float(score) for _, score in maps) > 0.5
    assert read_json(tmp_path / "explain.json")[f"{folder}/net"]["pointing_game"]["images"] == 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"out": "boxes.csv"}, r"--out: 'boxes\.csv' is no \.json"),
        ({"tta": "flips:hard"}, "--tta: hard counts one answer for each view; boxes are merged by wbf or nms"),
        ({"tta": "flips:nmz"}, "--tta: the vote of the views: unknown name 'nmz'; did you mean 'nmw'"),
        ({"fuse": "nmz"}, "--fuse: unknown name 'nmz'; did you mean 'nmw'"),
        ({"images": "nowhere"}, "nowhere"),
    ],
)
def test_what_does_not_fit_boxes_is_said(trained, tmp_path, settings, message):
    folder, _ = trained
    (tmp_path / "images").mkdir()
    Image.fromarray(boxes().images[0]).save(tmp_path / "images" / "a.png")
    given = {"members": f"{folder}/net", "images": str(tmp_path / "images"), "out": str(tmp_path / "b.json")}
    with pytest.raises(UserError, match=message):
        predict(**given | settings)


def test_classes_are_not_fused(teacher, tmp_path):
    with pytest.raises(UserError, match="--fuse: is for boxes; an image has one class"):
        predict(members=str(teacher), images=str(tmp_path), fuse="nms")
