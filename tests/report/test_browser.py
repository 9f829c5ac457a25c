"""Every page of a tiny run in a real browser, on a phone and on a desk, light and dark."""

import pytest
from PIL import Image

from efficient_jax import augment
from efficient_jax.commands.evaluate import evaluate
from efficient_jax.commands.explain import explain
from efficient_jax.commands.explore import explore
from efficient_jax.commands.repeat import get_config
from efficient_jax.commands.select import select
from efficient_jax.explore import class_bias, preview
from efficient_jax.report import site
from efficient_jax.report.page import write_report
from efficient_jax.tasks import CLASSIFICATION
from tests import tiny_run
from tests.report import browser

pytestmark = pytest.mark.skipif(not browser.installed(), reason="no Chromium: put it on PATH, or its path in $CHROMIUM")

WIDE = """[...document.querySelectorAll("body *")].filter(
    e => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest(".scroll, .long, .site")
).map(e => e.outerHTML.slice(0, 150))"""
"""Elements that end right of the window and are not in a box that scrolls."""
DEAD = """[...document.querySelectorAll("a[href^='#']")].map(a => a.getAttribute("href").slice(1))
    .filter(id => !document.getElementById(id))"""
FILES = """[...document.querySelectorAll("a:not([href^='#'])")].map(a => a.href)"""
BROKEN = "[...document.images].filter(i => !i.naturalWidth || !i.alt).map(i => i.outerHTML.slice(0, 150))"
UNREACHABLE = """[...document.querySelectorAll(".scroll, .long")]
    .filter(e => e.tabIndex < 0 || !e.getAttribute("aria-label")).map(e => e.outerHTML.slice(0, 150))"""
CONTRAST = """(() => {
    const light = color => color.match(/[\\d.]+/g).slice(0, 3).map(v => v / 255)
        .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
    const style = (what, name) => getComputedStyle(document.querySelector(what))[name];
    const paper = light(style("body", "backgroundColor"));
    return ["body", ".soft", "main a", "h1", "svg text"].filter(what => document.querySelector(what)).map(what => {
        const ink = light(style(what, what == "svg text" ? "fill" : "color"));
        return [what, (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05)];
    }).filter(([_, contrast]) => contrast < 4.5);
})()"""
"""Texts whose contrast is below that of WCAG AA."""


NAME = "a_run_with_a_name_that_is_too_long_for_a_telephone_in_one_line"


@pytest.fixture(scope="module")
def pages(images, tmp_path_factory):
    """The pages of one run, written once for all worker processes."""

    def write(folder):
        run = folder / NAME
        stages = {
            "teacher_with_a_long_name": tiny_run.stage("supervised", steps=4, save_every=2),
            "student": tiny_run.stage("noisy_student", teacher="teacher_with_a_long_name", augment={"ops": ("flip",)}),
        }
        tiny_run.run(images, run, stages, validation=30)
        few = {name: augment.OPS[name] for name in ("flip", "brightness")}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(preview, "OPS", few)
            patch.setattr(preview, "MIXES", {})
            patch.setattr(class_bias, "OPS", few)
            explore(get_config(str(run)), str(run), members=str(run))
        write_report(run, CLASSIFICATION.columns)
        explain(str(run), layer="stage1")
        evaluate(f"{run},{run}/teacher_with_a_long_name", turn="10", out=str(run / "evaluation"))
        (run / "new").mkdir()
        Image.new("L", (20, 20), 99).save(run / "new" / "one.png")
        select(images=str(run / "new"), count=1, members=str(run), out=str(run / "new" / "to_label.csv"))

    run = tiny_run.once(tmp_path_factory, "site", write) / NAME
    return [run / site.INDEX, *(entry.path for entry in site.pages(run))]


@pytest.fixture(scope="module")
def tab():
    with browser.Browser(browser.installed()) as opened:
        yield opened


def test_every_kind_of_page_is_on_the_site(pages):
    assert len(pages) == 1 + len(site.KINDS)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [420, 1400])
def test_every_page_fits_the_window_and_can_be_read(pages, tab, width, scheme):
    for page in pages:
        tab.open(page, width, scheme)
        assert tab.evaluate(WIDE) == [], page
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        assert tab.evaluate(CONTRAST) == [], page
        assert tab.errors() == [], page


def test_every_link_is_alive_and_every_image_has_a_text(pages, tab):
    files = {path.as_uri() for path in pages}
    for page in pages:
        tab.open(page, 1400, "light")
        assert tab.evaluate(DEAD) == [], page
        assert set(tab.evaluate(FILES)) == files, page
        assert tab.evaluate(BROKEN) == [], page
        assert tab.evaluate(UNREACHABLE) == [], page


def test_a_wide_table_is_noticed(tab, tmp_path):
    """The checks can fail: this page has an error, a wide element, a dead link and an image without a text."""
    path = tmp_path / "bad.html"
    bad = '<p style="width: 900px"><a href="#x">a</a><img src="data:,"><div class="scroll"></div>'
    path.write_text(f'<!doctype html><body style="color: #999; background: #fff">{bad}<script>f()</script>')
    tab.open(path, 420, "light")
    assert all(tab.evaluate(check) for check in (WIDE, DEAD, BROKEN, UNREACHABLE, CONTRAST))
    assert tab.errors()
