"""Pages from Jinja templates: written atomically, with every value escaped."""

import os
import pathlib
from typing import Any

import jinja2

from efficient_jax.errors import counted


def write(path: pathlib.Path, template: str, values: dict[str, Any]) -> pathlib.Path:
    """Writes a page atomically; an existing file is replaced.

    Args:
        path: file to write.
        template: name of a template in this folder.
        values: every variable that the template reads.

    Returns:
        `path`.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(pathlib.Path(__file__).parent),
        autoescape=True,  # class names, paths and the command are user input
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["counted"] = counted
    unfinished = path.with_name(f".{path.name}.part")
    unfinished.write_text(environment.get_template(template).render(values), encoding="utf-8")
    os.replace(unfinished, path)  # a reader never sees half a page
    return path
