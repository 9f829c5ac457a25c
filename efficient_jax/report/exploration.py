"""`explore.html`: statistics of a dataset and contact sheets of augmentation on one self-contained page."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from efficient_jax.report import plots, sheets, site

NAME = "explore.html"


def stage(
    names: Sequence[str],
    ops: Sequence[str],
    raw: np.ndarray | None = None,
    views: np.ndarray | None = None,
    captions: Sequence[str] = (),
) -> dict[str, Any]:
    """Returns the section of stages that share an augmentation.

    Args:
        names: names of the stages.
        ops: names of the operations, in order.
        raw: uint8 [n h w c], images as stored; None: no contact sheet.
        views: uint8 [n versions h w c], augmented versions of `raw`; None: training does not change them.
        captions: below each image; none: no captions.

    Returns:
        "names", "ops", "sheet", columns of images, "captions" and "changed", whether augmentation changes the images.
    """
    if raw is None:
        return {"names": names, "ops": ops, "sheet": [], "captions": [], "changed": True}
    columns, changed = plots.contact_sheet(raw, raw[:, None] if views is None else views)
    return {"names": names, "ops": ops, "sheet": columns, "captions": captions, "changed": changed}


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
    """Writes `folder/explore.html`; an existing file is replaced.

    Args:
        folder: where to write.
        title: heading of the page.
        about: sentence below the heading.
        warnings: what the config may have wrong, one sentence each.
        data: section of the dataset, the values of survey.html; {} leaves it out.
        stages: as from `stage`.
        operations: kind of operation -> operation -> its sheet.
        members: class bias of each member, the values that explore.html reads of `member`.

    Returns:
        The path of the page.
    """
    kinds = [
        {
            "anchor": f"kind-{number}",
            "name": kind,
            "operations": [{"name": name, "columns": sheets.columns(sheet)} for name, sheet in of_kind.items()],
            "drawn": any("mask" in batch for sheet in of_kind.values() for batch in sheet.values()),
        }
        for number, (kind, of_kind) in enumerate(operations.items())
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
            *((section["anchor"], section["name"]) for section in (*kinds, *members)),
        ],
    }
    return site.write(folder / NAME, "explore.html", values)
