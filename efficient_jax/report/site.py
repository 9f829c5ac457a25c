"""Pages from Jinja templates, and the menu and index that make one site of the pages of a run.

A page that is written into the folder of a run, or into a folder directly inside it, belongs to the site of the run:
`index.html` lists it, and the menu of every other page links to it. Pages elsewhere stand alone.
"""

import functools
import os
import pathlib
import urllib.parse
from collections.abc import Mapping
from typing import NamedTuple

import jinja2

from efficient_jax.errors import class_name, counted
from efficient_jax.report.glossary import TERMS
from efficient_jax.report.results import read_config, read_json, read_results
from efficient_jax.report.summary import COMPARISON_HEADERS, comparison_rows, first_figure, headline

INDEX = "index.html"
MENU = "<!-- menu -->"
"""Stands before and after the menu in every page; no other text can hold it, because values are escaped."""


class Kind(NamedTuple):
    """A kind of page."""

    name: str  # in the menu
    about: str  # what it shows
    command: str  # arguments that make it


KINDS = {
    "report.html": Kind(
        "Report",
        "Results, learning curves, training images, mistakes and the config.",
        "train --from={run} --workdir={run}",
    ),
    "explore.html": Kind(
        "Data and augmentation",
        "Classes, appearance, duplicates, and what each operation does to images.",
        "explore --from={run} --workdir={run}",
    ),
    "evaluation.html": Kind(
        "Evaluation",
        "Networks and votes compared on test images: by class, by property, by image.",
        "evaluate --members={run} --out={run}/evaluation",
    ),
    "explain.html": Kind(
        "Heat maps", "Where the networks look, and whether the maps can be trusted.", "explain --members={run}"
    ),
    "to_label.html": Kind(
        "To label next",
        "The images whose labels would help most.",
        "select --images=FOLDER --members={run} --out={run}/new/to_label.csv",
    ),
}
"""How the name of a file ends -> what kind of page it is."""
ONE_CLASS = {"to_label.html"}
"""Kinds that need one class for each image."""
WHOLE_IMAGES = {"explain.html"}
"""Kinds that need classes of whole images."""


class Entry(NamedTuple):
    """A page of a site."""

    name: str  # in the menu
    kind: Kind
    path: pathlib.Path


def write(path: pathlib.Path, template: str, values: Mapping[str, object]) -> pathlib.Path:
    """Writes a page atomically and updates the site that it belongs to; an existing file is replaced.

    Args:
        path: file to write.
        template: name of a template in this folder.
        values: every variable that the template reads.

    Returns:
        `path`.
    """
    _replace(path, _render(template, values))
    home = next((folder for folder in (path.parent, path.parent.parent) if _is_run(folder)), None)
    if home:
        update(home)
    return path


def update(run: pathlib.Path) -> None:
    """Writes the index of a run anew, and the menu of each of its pages.

    Args:
        run: folder of the run.
    """
    entries = pages(run)
    results = read_results(run)
    about = read_json(run / "run.json")
    finished = [result for result in results if "test" in result]
    program = (about.get("command") or "python launch.py").split(" train")[0]
    one_class, figure = about.get("data", {}).get("one_class", True), first_figure(about)
    left_out = (set() if one_class else ONE_CLASS) | (set() if figure.name == "correct" else WHOLE_IMAGES)
    values = {
        "title": run.resolve().name,
        "run": about,
        "headline": headline(finished, figure),
        "stages": results,
        "comparison_headers": COMPARISON_HEADERS,
        "comparisons": comparison_rows(read_config(run), results),
        "entries": [(entry, _link(entry.path, run)) for entry in entries],
        "missing": [
            (kind, f"{program} {kind.command.format(run=run)}")
            for ending, kind in KINDS.items()
            if kind not in {entry.kind for entry in entries} and ending not in left_out
        ],
    }
    _replace(run / INDEX, _render("index.html", values))
    for path in [run / INDEX, *(entry.path for entry in entries)]:
        before, _, after = path.read_text(encoding="utf-8").split(MENU)
        items = [(entry.name, _link(entry.path, path.parent), entry.path == path) for entry in entries]
        start = (run.resolve().name, _link(run / INDEX, path.parent), path.name == INDEX)
        _replace(path, MENU.join([before, _render("menu.html", {"items": [start, *items]}), after]))


def pages(run: pathlib.Path) -> list[Entry]:
    """Returns the pages of a run, in the order of `KINDS`.

    Args:
        run: folder of the run; its pages are in it and in the folders directly inside it.
    """
    files = [*sorted(run.glob("*.html")), *sorted(run.glob("*/*.html"))]
    entries = []
    for ending, kind in KINDS.items():
        of_kind = [file for file in files if file.name.endswith(ending) and MENU in file.read_text(encoding="utf-8")]
        for file in of_kind:
            which = f": {file.relative_to(run).with_suffix('')}" if len(of_kind) > 1 else ""
            entries.append(Entry(kind.name + which, kind, file))
    return entries


def _is_run(folder: pathlib.Path) -> bool:
    return bool(read_json(folder / "config.json").get("stages"))


def _link(path: pathlib.Path, folder: pathlib.Path) -> str:
    """Returns the address of a file on a page in `folder`."""
    return urllib.parse.quote(pathlib.Path(os.path.relpath(path, folder)).as_posix())


def _render(template: str, values: Mapping[str, object]) -> str:
    return _environment().get_template(template).render(values)


@functools.cache  # templates take longer to compile than to render
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(pathlib.Path(__file__).parent),
        autoescape=True,  # class names, paths and the command are user input
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["terms"] = TERMS
    environment.filters["counted"] = counted
    environment.filters["class_name"] = class_name
    environment.tests["text"] = lambda cell: cell[:1].isalpha()
    return environment


def _replace(path: pathlib.Path, text: str) -> None:
    unfinished = path.with_name(f".{path.name}.part")
    unfinished.write_text(text, encoding="utf-8")
    os.replace(unfinished, path)  # a reader never sees half a page
