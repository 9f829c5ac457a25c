"""Leaks: held-out images that equal, or nearly equal, images that a model learns from."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from efficient_jax import files
from efficient_jax.data import dataset, generated, identity, leakage, progress_bar
from efficient_jax.errors import UserError, counted, few
from efficient_jax.experiment import split_table
from efficient_jax.experiment.config import Plan
from efficient_jax.tasks import TASKS

NAMED = 5  # images that a line lists
SMALL = 32  # pixels


class Leak(NamedTuple):
    """Images that are nearly equal and in different parts of a split."""

    line: str  # the line that is shown
    pairs: np.ndarray  # int [p 2], indices of the held-out image and of the other
    distances: np.ndarray  # [p], see `data.leakage`


def leaks(source: dataset.Source, split: Mapping[str, np.ndarray]) -> list[Leak]:
    """Finds near duplicates of test images in all other parts, and of validation images in what is trained on.

    They are shown and not removed: two photographs of one object are a leak, two digits that look alike are none.

    Args:
        source: the dataset.
        split: part -> indices of its images.

    Returns: up to two leaks, that of the test images first.
    """
    rest = np.concatenate([ids for name, ids in split.items() if name != "test"])
    images: Any = source.images  # an array, or read like one
    result = []
    learned = np.concatenate([split[name] for name in ("labelled", "generated") if name in split])
    learned_name = "labelled or generated" if "generated" in split else "labelled"
    for held_out, other_name, others in (("test", "other", rest), ("validation", learned_name, learned)):
        with progress_bar.waiting(f"comparing {held_out} images with the {other_name} ones"):
            near = alike(images, split[held_out], others)
        if len(near.pairs):
            count = len(np.unique(near.pairs[:, 0]))
            what = counted(count, f"{held_out} image nearly equals", f"{held_out} images nearly equal")
            line = f"{what} {other_name} images: {listed(near.pairs.tolist(), source.name)}"
            result.append(Leak(line, *near))
    return result


def trained_before(plan: Plan, source: dataset.Source, split: Mapping[str, np.ndarray]) -> list[str]:
    """Finds test images that were training images of another run whose stage is a start or a teacher here.

    A split is drawn from all images of a dataset: a run on a larger one may test on images that an earlier run was
    trained on.

    Args:
        plan: the checked config.
        source: the dataset.
        split: part -> indices of its images.

    Returns: a line for each stage and each such run.

    Raises: UserError for a `split.csv` that is damaged.
    """
    tested = np.unique(np.array(dataset.contents(source, split["test"]), "S"))
    own = {stage.name for stage in plan.stages}
    lines = []
    for stage in plan.stages:
        for reference in dict.fromkeys((stage.init, *stage.teachers, stage.suspects.get("features", ""))):
            run = Path(reference).parent
            if reference in own or not all((run / name).is_file() for name in (split_table.FILE, "run.json")):
                continue
            record = files.read_json(run / "run.json")["data"]
            table = split_table.read(run, record["classes"], TASKS[record["task"]], "split")
            if both := int(np.isin(tested, table.contents[table.within("labelled")]).sum()):
                lines.append(
                    f"{both:,} of {len(tested):,} test images were labelled images of {reference!r}, which stage "
                    f"{stage.name!r} takes: its test figures are too good; fix the test images, such as with "
                    "config.data.source.test_path"
                )
    return lines


def alike(images: Any, held_out: np.ndarray, others: np.ndarray) -> leakage.Near:
    """Returns pairs of near duplicates. Of small images many look alike: there only almost equal ones count.

    Args:
        images: uint8 [n h w c], an array or read like one.
        held_out: indices of the images on one side.
        others: indices of the images on the other side.
    """
    near = leakage.near(images, held_out, others)
    if max(images.shape[1:3]) > SMALL:
        return near
    sure = near.distances <= leakage.SURE
    return leakage.Near(near.pairs[sure], near.distances[sure])


def without_held_out(
    plan: Plan, source: dataset.Source, split: Mapping[str, np.ndarray], read: generated.Generated
) -> generated.Generated:
    """Refuses generated images that equal a test or validation image, or leaves them out.

    A generator may have memorised images that are held out here.

    Args:
        plan: the checked config; its `duplicates` says which of both.
        source: the dataset.
        split: part -> indices of its images.
        read: the generated images.

    Raises: UserError if such images are refused, or if no others are left.
    """
    held_out = np.concatenate([split["test"], split["validation"]])
    hashes = np.concatenate([identity.digests(source.images[held_out]), identity.digests(read.images)])
    of_held_out = leakage.of_test(hashes, np.arange(len(held_out)))
    copies = {row - len(held_out): int(held_out[index]) for row, index in of_held_out.items()}
    if not copies:
        return read
    pairs = listed(list(copies.items()), read.names.__getitem__, source.name)
    number = counted(len(copies), "generated image that equals", "generated images that equal")
    what = f"{number} a test or validation image, pixel for pixel: {pairs}"
    if plan.duplicates == "refuse":
        raise UserError(
            f'config.data.generated.path: {what}; remove them, or leave them out with config.data.duplicates="drop"'
        )
    left = np.setdiff1d(np.arange(len(read.images)), list(copies))
    if not len(left):
        raise UserError(f"config.data.generated.path: no image is left without the {what}")
    return generated.Generated(
        read.images[left], read.labels[left], tuple(read.names[i] for i in left), (*read.notes, f"left out {what}")
    )


def listed(
    pairs: Sequence[Sequence[int]], name: Callable[[int], str], second: Callable[[int], str] | None = None
) -> str:
    """Returns the names of pairs of images as text, "a.png = b.png, ...", of the first few.

    Args:
        pairs: indices of the two images of each pair.
        name: index -> name of the first ones.
        second: index -> name of the second ones; None: as `name`.
    """
    return few([f"{name(one)} = {(second or name)(other)}" for one, other in pairs], NAMED)
