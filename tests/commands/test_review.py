"""label --review of a run of masks: the page is asked as a browser asks it."""

import csv
import io
import json
import threading
import time

import numpy as np
import pytest
from PIL import Image

from efficient_jax.commands import label_server
from efficient_jax.commands.label import label
from efficient_jax.errors import UserError
from efficient_jax.report import maps
from tests.labelling.test_server import ask
from tests.tiny_maps import CLASSES


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"images": "folder"}, "^--images: a review of masks or boxes shows the images of their run; leave it out$"),
        ({"classes": "cat"}, "^--classes: a review of masks or boxes"),
        ({"out": "reviewed.txt"}, r"^--out: 'reviewed\.txt' is no \.csv$"),
        ({"review": "{run}/teacher,{run}/student"}, "^--review: masks and boxes are reviewed with one stage, got "),
        ({"review": "", "members": "{run}"}, "^--members: '.*' predicts masks or boxes, which are not entered here"),
        ({"port": 99999}, "^--port: cannot listen at 99999"),
    ],
)
def test_what_does_not_fit_a_review_of_masks_is_said(settings, message, segmented, tmp_path):
    given = {"review": str(segmented), "out": str(tmp_path / "reviewed.csv")} | settings
    for flag in ("review", "members"):
        given[flag] = given.get(flag, "").format(run=segmented)
    with pytest.raises(UserError, match=message):
        label(**given)


def test_annotations_are_shown_beside_predictions_and_answers_are_kept(segmented, tmp_path, monkeypatch, capsys):
    seen = {}

    def browse(serving):
        thread = threading.Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        root, tab = f"/{serving.token}/", {"tab": "1", "held": [], "count": 2}
        while (view := json.loads(ask(serving, "POST", f"{root}next", tab)[2]))["loading"]:
            time.sleep(0.01)
        seen.update(view, about=json.loads(ask(serving, "GET", f"{root}about", Origin=None)[2]))
        index = view["items"][0]["index"]
        for name in seen["about"]["views"]:
            seen[name] = ask(serving, "GET", f"{root}{name}-one/{index}", Origin=None)
        seen["other"] = [
            ask(serving, "GET", root + path, Origin=None)[0]
            for path in ("truth-one/0", "annotation-two/0", "annotation-one/999", "annotation/0", "-one/0")
        ]
        seen["foreign"] = ask(serving, "GET", f"{root}annotation-one/{index}", Host="evil.example")[0]
        answer = {"id": "1", "index": index, "kind": "label", "labels": ["wrong"]}
        ask(serving, "POST", f"{root}answer", tab | {"answers": [answer]})
        serving.shutdown()
        thread.join()
        serving.server_close()

    monkeypatch.setattr(label_server, "serve", browse)
    label(review=f"{segmented}/teacher", out=str(tmp_path / "reviewed.csv"), name="anna")
    said = capsys.readouterr().out
    assert "44 images of" in said
    assert "1 answer in this session" in said
    assert "1 wrong" in said
    assert seen["about"]["views"] == ["image", "annotation", "prediction"]
    assert [name for name, _ in seen["about"]["legend"]] == list(CLASSES)
    item = seen["items"][0]
    assert item["note"].startswith("Agreement with the prediction: mean IoU ")
    pictures = {name: np.asarray(Image.open(io.BytesIO(seen[name][2]))) for name in seen["about"]["views"]}
    stored = np.asarray(Image.open(segmented.parent / "drawn/images" / item["file"]).convert("RGB"))
    mask = np.asarray(Image.open(segmented.parent / "drawn/masks" / item["file"]))
    times = len(pictures["image"]) // len(stored)
    assert times > 10  # of the side; what is compared are the middles of the pixels, which a JPEG changes little
    middles = {
        name: picture[times // 2 :: times, times // 2 :: times].astype(int) for name, picture in pictures.items()
    }
    differences = {
        name: abs(middles[name] - wanted).max(-1)
        for name, wanted in (("image", stored), ("annotation", maps.tinted(stored, mask, CLASSES)))
    }
    assert np.median(differences["image"]) < 10
    assert (differences["annotation"] < 40).mean() > 0.85  # but for the resize to the network's images
    assert (abs(middles["prediction"] - stored).max(-1) > 40).any()
    assert seen["other"] == [404] * 5
    assert seen["foreign"] == 403
    with (tmp_path / "reviewed.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert (row["file"], row["label"], row["who"]) == (item["file"], "wrong", "anna")
