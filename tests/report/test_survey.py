"""The section of explore's page that shows the data, from plain values."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from efficient_jax.report import charts, exploration, plots, survey_page
from tests.report.stored_run import ATTACK, Page

EMBEDDED = plots.strip([np.zeros((8, 8, 3), np.uint8)])
NOISE = charts.histogram(np.arange(9.0), np.zeros(0), "noise, levels")
DATA = survey_page.Section(
    notes=[ATTACK],
    facts={"images": "3 labelled"},
    suggestions=[survey_page.Suggestion("leave", "flip", ATTACK, stages="")],
    measured="3 images",
    features="pixels",
    more_labels=None,
    parts=["labelled", "unlabelled"],
    classes=[survey_page.ClassRow(ATTACK, ["1", "2"], share=50.0, spread="–", strip=None)],
    shown=40,
    annotations=None,
    measures=[survey_page.Measure("noise", NOISE, strips=[("least", EMBEDDED)])],
    galleries=[survey_page.Gallery("Outliers", "", 30, [plots.Captioned(EMBEDDED, [ATTACK])])],
)


def test_names_of_the_data_are_escaped_and_what_is_left_out_is_said(tmp_path):
    page = exploration.write_page(tmp_path, title="", about="", warnings=[], data=DATA, stages=[], operations={})
    text = page.read_text()
    assert not [tag for tag, _ in Page(text).tags if tag == "script"]
    assert text.count("&lt;script&gt;alert(1)&lt;/script&gt;") == 5  # a note, a reason, a class, a caption and its alt
    assert "Outliers: 30" in text
    assert "The first 1." in text


@pytest.mark.parametrize(("side", "kind", "shape"), [(28, "PNG", (28, 58)), (400, "WEBP", (96, 194))])
def test_photographs_beside_each_other_are_shrunk_and_no_png(side, kind, shape):
    embedded = plots.strip([np.full((side, side, 3), 40, np.uint8)] * 2)
    image = Image.open(io.BytesIO(base64.b64decode(embedded.src.split(",")[1])))
    assert image.format == kind
    assert np.asarray(image).shape[:2] == shape
    assert embedded.width == (3 if side == 28 else 1) * shape[1]
