"""Pages from templates: whole or not at all, and whatever somebody typed stays text."""

import os
import pathlib
from typing import Any

import jinja2

from efficient_jax.errors import counted


def write(path: pathlib.Path, template: str, values: dict[str, Any]) -> pathlib.Path:
    """Writes the page, over one that is there, and returns its path."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(pathlib.Path(__file__).parent),
        autoescape=True,  # class names, paths and the command are whatever somebody typed
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["counted"] = counted
    unfinished = path.with_name(f".{path.name}.part")
    unfinished.write_text(environment.get_template(template).render(values), encoding="utf-8")
    os.replace(unfinished, path)  # a reader never sees half a page
    return path
