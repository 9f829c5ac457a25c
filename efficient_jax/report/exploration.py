"""`explore.html`: what data are like and what a config's augmentation does, on one page that loads nothing from
elsewhere."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from efficient_jax.report import plots, sheets, template

NAME = "explore.html"


def stage(
    names: Sequence[str], ops: Sequence[str], raw: np.ndarray | None = None, views: np.ndarray | None = None
) -> dict[str, Any]:
    """Stages with the same augmentation, and their contact sheet."""
    sheet = plots.contact_sheet(raw, views) if raw is not None and views is not None else None
    return {"names": names, "ops": ops, "sheet": sheet}


def write_page(
    folder: pathlib.Path,
    *,
    title: str,
    about: str,
    warnings: Sequence[str],
    data: Mapping[str, Any],
    stages: Sequence[Mapping[str, Any]],
    operations: Mapping[str, Mapping[str, sheets.Sheet]],
    members: Sequence[Mapping[str, Any]] = (),
) -> pathlib.Path:
    """Writes `folder/explore.html`, over one that is there.

    data: see survey.html; {} leaves it out. stages: as from `stage`. operations: kind -> operation -> its sheet.
    members: see the template.
    """
    kinds = [
        {
            "anchor": f"kind-{number}",
            "name": kind,
            "operations": [{"name": name, "columns": sheets.columns(sheet)} for name, sheet in found.items()],
            "drawn": any("mask" in batch for sheet in found.values() for batch in sheet.values()),
        }
        for number, (kind, found) in enumerate(operations.items())
    ]
    members = [{"anchor": f"member-{number}", **member} for number, member in enumerate(members)]
    values = {
        "title": title,
        "about": about,
        "warnings": warnings,
        "data": data,
        "stages": stages,
        "kinds": kinds,
        "members": members,
        "sections": [
            *([("data", "the data")] if data else []),
            ("stages", "stages"),
            *((each["anchor"], each["name"]) for each in (*kinds, *members)),
        ],
    }
    return template.write(folder / NAME, "explore.html", values)
