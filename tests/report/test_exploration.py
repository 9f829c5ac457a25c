"""The page of images, from arrays."""

import re

import numpy as np
import pytest

from efficient_jax.report import bias, exploration
from tests.report.stored_run import ATTACK, Page

IMAGES = np.zeros((4, 8, 8, 1), np.uint8)
SHEET = {"as stored": {"image": IMAGES}, "much": {"image": IMAGES + 9}}
MEMBER = bias.MemberSection(
    name=ATTACK,
    images="On 3 images.",
    warnings=["flip: class bee"],
    summary=[],
    tests="From 2 tests.",
    unchanged=["hue"],
    operations=[
        bias.Operation(
            name="flip",
            plot=bias.plot(("none", "much"), np.ones((2, 2), int), np.ones(2, int), ("ant", "bee")),
            headers=bias.headers(("none", "much")),
            rows=[[ATTACK, "1", "2", "3"]],
        )
    ],
    probe_headers=bias.PROBE_HEADERS,
    probes=[["rotate", ATTACK, *["–"] * 5]],
    control="No control.",
)


@pytest.fixture
def text(tmp_path):
    path = exploration.write_page(
        tmp_path,
        title=ATTACK,
        about="8 images",
        warnings=[ATTACK],
        data=None,
        stages=[
            exploration.stage(["plain"], []),
            exploration.stage(["a", "b"], ["flip"], IMAGES, np.stack([IMAGES, IMAGES], axis=1)),
        ],
        operations={"geometry": {"flip": SHEET, "crop": SHEET}, "others": {"new": SHEET}},
        members=[MEMBER],
    )
    assert path == tmp_path / "explore.html"
    assert [each.name for each in tmp_path.iterdir()] == ["explore.html"]
    return path.read_text()


def test_every_name_is_escaped(text):
    assert not [tag for tag, _ in Page(text).tags if tag == "script"]
    # twice the title, the warning; the member in its title and in the list of sections; its class and its probe
    assert text.count("&lt;script&gt;alert(1)&lt;/script&gt;") == 2 + 1 + 2 + 2


def test_nothing_is_loaded_from_elsewhere(text):
    tags = Page(text).tags
    links = [value for _, attributes in tags for name, value in attributes.items() if name in ("src", "href")]
    assert all(link.startswith(("data:image/", "#")) for link in links)


def test_every_link_has_its_section(text):
    tags = [attributes for _, attributes in Page(text).tags]
    ids = {attributes["id"] for attributes in tags if "id" in attributes}
    assert {attributes["href"][1:] for attributes in tags if "href" in attributes} <= ids


def test_a_image_for_every_strength_of_every_operation(text):
    shown = re.findall(r'alt="(\w+), ([\w ]+)"', text)
    assert shown == [(name, step) for name in ("flip", "crop", "new") for step in ("as stored", "much")]


def test_a_stage_says_what_it_does(text):
    assert "plain: no augmentation" in text
    assert "a, b: flip" in text


def test_members_are_judged_in_words_and_cells(text):
    for said in ("flip: class bee", "From 2 tests.", "No prediction changes with hue.", "No control."):
        assert said in text
    assert Page(text).cells[-11:-7] == [ATTACK, "1", "2", "3"]


def test_a_second_page_takes_the_place_of_the_first(tmp_path):
    def write(title):
        return exploration.write_page(
            tmp_path, title=title, about="", warnings=[], data=None, stages=[], operations={}
        ).read_text()

    assert "Tuesday" in write("Tuesday")
    assert "Tuesday" not in write("Friday")
