"""`explore.html`: statistics of a dataset and contact sheets of augmentation on one self-contained page."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from efficient_jax.report import bias, plots, sheets, site, survey_page

NAME = "explore.html"


class StageSection(NamedTuple):
    """The section of stages that share an augmentation."""

    names: Sequence[str]  # of the stages
    ops: Sequence[str]  # names of the operations, in order
    sheet: list[plots.EmbeddedImage]  # columns of images; [] without
    captions: Sequence[str]
    changed: bool  # whether augmentation changes the images


def stage(
    names: Sequence[str],
    ops: Sequence[str],
    raw: np.ndarray | None = None,
    views: np.ndarray | None = None,
    captions: Sequence[str] = (),
) -> StageSection:
    """Returns the section of stages that share an augmentation.

    Args:
        names: names of the stages.
        ops: names of the operations, in order.
        raw: uint8 [n h w c], images as stored; None: no contact sheet.
        views: uint8 [n versions h w c], augmented versions of `raw`; None: training does not change them.
        captions: below each image; none: no captions.
    """
    if raw is None:
        return StageSection(names, ops, [], [], True)
    columns, changed = plots.contact_sheet(raw, raw[:, None] if views is None else views)
    return StageSection(names, ops, columns, captions, changed)


def write_page(
    folder: pathlib.Path,
    *,
    title: str,
    about: str,
    warnings: Sequence[str],
    data: survey_page.Section | None,
    stages: Sequence[StageSection],
    operations: Mapping[str, Mapping[str, sheets.Sheet]],
    members: Sequence[bias.MemberSection] = (),
    legend: Sequence[tuple[str, str]] = (),
    colors: Sequence[sheets.Color] = sheets.PALETTE,
) -> pathlib.Path:
    """Writes `folder/explore.html`; an existing file is replaced.

    Args:
        folder: where to write.
        title: heading of the page.
        about: sentence below the heading.
        warnings: what the config may have wrong, one sentence each.
        data: section of the dataset; None leaves it out.
        stages: as from `stage`.
        operations: kind of operation -> operation -> its sheet.
        members: class bias of each member.
        legend: (class name, CSS color) of what is drawn on training images.
        colors: of the classes of masks under operations; class 0 is not tinted.

    Returns:
        The path of the page.
    """
    kinds = [
        {
            "anchor": f"kind-{number}",
            "name": kind,
            "operations": [{"name": name, "columns": sheets.columns(sheet, colors)} for name, sheet in of_kind.items()],
            "drawn": any("mask" in batch for sheet in of_kind.values() for batch in sheet.values()),
        }
        for number, (kind, of_kind) in enumerate(operations.items())
    ]
    values = {
        "title": title,
        "about": about,
        "warnings": warnings,
        "data": data,
        "stages": stages,
        "kinds": kinds,
        "members": members,
        "legend": legend,
        "sections": [
            *([("data", "the data")] if data else []),
            ("stages", "stages"),
            *((kind["anchor"], kind["name"]) for kind in kinds),
            *((f"member-{number}", member.name) for number, member in enumerate(members)),
        ],
    }
    return site.write(folder / NAME, "explore.html", values)
