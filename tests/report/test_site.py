"""The pages of a run link to each other."""

import json
import re
import shutil

import numpy as np
import pytest

from efficient_jax.report import labelling, site
from efficient_jax.report.page import write_report
from efficient_jax.tasks import CLASSIFICATION


def menu(path):
    items = re.findall(r'<a href="([^"]*)"( aria-current="page")?>([^<]*)</a>', path.read_text().split(site.MENU)[1])
    return [(name, link, bool(here)) for link, here, name in items]


@pytest.fixture
def run(workdir):
    folder = workdir / "new #1"
    folder.mkdir()
    write_report(workdir, CLASSIFICATION.columns)
    row = {"order": 1, "name": "a.png", "reason": "covers 3%"}
    labelling.write_page(folder / "p_to_label.html", ["Chosen by coverage."], [row], np.zeros((1, 8, 8, 3), np.uint8))
    return workdir


def test_every_page_links_to_every_other(run):
    name, inside = run.name, "new%20%231/p_to_label.html"
    assert menu(run / "index.html") == [
        (name, "index.html", True),
        ("Report", "report.html", False),
        ("To label next", inside, False),
    ]
    assert menu(run / "report.html")[1:] == [("Report", "report.html", True), ("To label next", inside, False)]
    assert menu(run / "new #1" / "p_to_label.html") == [
        (name, "../index.html", False),
        ("Report", "../report.html", False),
        ("To label next", "p_to_label.html", True),
    ]


def test_the_index_says_how_to_make_what_is_missing(run):
    text = (run / "index.html").read_text()
    assert f"python launch.py explain --members={run}" in text
    assert "launch.py select" not in text
    shutil.rmtree(run / "new #1")
    site.update(run)
    assert "launch.py select" in (run / "index.html").read_text()
    about = json.loads((run / "run.json").read_text())
    about["data"]["one_class"] = False  # which cannot be ranked
    (run / "run.json").write_text(json.dumps(about))
    site.update(run)
    assert "launch.py select" not in (run / "index.html").read_text()


def test_a_page_that_is_gone_leaves_the_menu(run):
    shutil.rmtree(run / "new #1")
    site.update(run)
    assert [name for name, *_ in menu(run / "report.html")] == [run.name, "Report"]


def test_two_pages_of_a_kind_have_the_names_of_their_files(run):
    shutil.copytree(run / "new #1", run / "old")
    site.update(run)
    names = [name for name, *_ in menu(run / "index.html")]
    assert names[2:] == ["To label next: new #1/p_to_label", "To label next: old/p_to_label"]


def test_a_page_outside_of_a_run_stands_alone(tmp_path):
    row = {"order": 1, "name": "a.png", "reason": "covers 3%"}
    labelling.write_page(tmp_path / "p_to_label.html", ["Chosen by coverage."], [row], np.zeros((1, 8, 8, 3), np.uint8))
    assert [path.name for path in tmp_path.iterdir()] == ["p_to_label.html"]
    assert menu(tmp_path / "p_to_label.html") == []
