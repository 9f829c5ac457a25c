"""Example images for explore's page, with their masks or boxes: as stored, and as each stage augments them."""

import json
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from efficient_jax.data.dataset import Source
from efficient_jax.experiment.config import Plan
from efficient_jax.experiment.stage_config import augment_blocks
from efficient_jax.explore import preview
from efficient_jax.report import exploration, maps, overlays
from efficient_jax.report.stage_section import caption
from efficient_jax.settings import Settings
from efficient_jax.tasks import TASKS, targets
from efficient_jax.types import Augment

IMAGES, VERSIONS = 10, 4  # of the contact sheet of a stage


def entries(source: Source, ids: np.ndarray) -> dict[str, np.ndarray]:
    """Returns the masks or boxes that move with images, by the names of `types.Example`; nothing without any.

    Args:
        source: the dataset.
        ids: indices of the images.
    """
    return TASKS[source.task].entries(source.labels[ids])


def drawn(source: Source, ids: np.ndarray) -> np.ndarray:
    """Returns images with their masks or boxes, uint8 [n h w c].

    Args:
        source: the dataset.
        ids: indices of the images.
    """
    return overlays.drawn(source.images[ids], entries(source, ids), source.classes)


def examples(source: Source, ids: np.ndarray, count: int) -> dict[str, np.ndarray]:
    """Returns examples, evenly spaced over `ids`, as a batch.

    Args:
        source: the dataset.
        ids: indices of images, one or more.
        count: number of examples.
    """
    chosen = ids[np.linspace(0, len(ids) - 1, count).astype(int)]
    objects = {name: values[chosen] for name, values in source.objects.items()}
    return {"image": source.images[chosen], "label": targets(source, chosen), **objects, **entries(source, chosen)}


def numbered(batch: dict[str, np.ndarray], source: Source) -> dict[str, np.ndarray]:
    """Returns examples whose masks have the numbers of `maps.palette`, in which the background is 0.

    Args:
        batch: examples.
        source: their dataset.
    """
    if TASKS[source.task].decoder != "masks":
        return batch
    return batch | {"mask": maps.numbered(batch["mask"] - np.uint8(1), source.classes)}


def stages(
    checked: Plan, settings: Settings, source: Source, ids: np.ndarray, key: jax.Array
) -> list[exploration.StageSection]:
    """Returns contact sheets, one for all stages with the same augmentation.

    Args:
        checked: the checked config.
        settings: the config as a dictionary.
        source: the dataset.
        ids: indices of labelled images.
        key: random key of the augmentation.
    """
    users_of: dict[str, list[tuple[str, str, Augment]]] = {}
    blocks: dict[str, Mapping[str, Any]] = {}
    for stage in checked.stages:
        for key_of, block in augment_blocks(settings[stage.name]).items():
            content = json.dumps(block, sort_keys=True)
            users_of.setdefault(content, []).append((stage.name, key_of, getattr(stage, key_of)))
            blocks[content] = block
    batch, moved = examples(source, ids, IMAGES), entries(source, ids[:1])

    def overlaid(batch: Mapping[str, np.ndarray]) -> np.ndarray:
        return overlays.drawn(batch["image"], {name: batch[name] for name in moved}, source.classes)

    by_image = TASKS[source.task].by_image
    captions = [caption(target, source.classes) for target in batch["label"]] if by_image else ()
    sections = []
    for content, users in users_of.items():
        names = [name if key_of == "augment" else f"{name}, strong view" for name, key_of, _ in users]
        ops, (_, _, augment) = blocks[content].get("ops", ()), users[0]
        views = overlaid(preview.draws(augment, batch, key, VERSIONS)) if ops else None
        sections.append(exploration.stage(names, ops, overlaid(batch), views, captions))
    return sections
