"""Leaks: held-out images that equal, or nearly equal, images that a model learns from."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from efficient_jax import files
from efficient_jax.data import dataset, generated, identity, leakage
from efficient_jax.errors import UserError, counted, few
from efficient_jax.experiment import split_table
from efficient_jax.experiment.config import Plan
from efficient_jax.tasks import TASKS

NAMED = 5  # images that a line lists
SMALL = 32  # pixels


class Leak(NamedTuple):
    """Images that are nearly the same, on both sides of a split."""

    said: str
    pairs: np.ndarray  # int [p 2]: the held-out image, the other
    distances: np.ndarray


def leaks(source: dataset.Source, split: Mapping[str, np.ndarray]) -> list[Leak]:
    """Near duplicates of test images in all other parts, and of validation images among the labelled and generated.

    Only said, never acted upon: two photographs of one thing leak, two digits that look alike do not, and who knows
    the images can tell which they are.
    """
    rest = np.concatenate([ids for name, ids in split.items() if name != "test"])
    images: Any = source.images  # or what is read as one array
    found = []
    learned = np.concatenate([split[name] for name in ("labelled", "generated") if name in split])
    called = "labelled or generated" if "generated" in split else "labelled"
    for held_out, ids, others in (("test", "other", rest), ("validation", called, learned)):
        near = alike(images, split[held_out], others)
        if len(near.pairs):
            count = len(np.unique(near.pairs[:, 0]))
            what = counted(count, f"{held_out} image nearly equals", f"{held_out} images nearly equal")
            said = f"{what} {ids} images: {listed(near.pairs.tolist(), source)}"
            found.append(Leak(said, *near))
    return found


def trained_before(plan: Plan, source: dataset.Source, split: Mapping[str, np.ndarray]) -> list[str]:
    """Lines on test images that were labelled images of another run whose stage this one starts from or learns from.

    A split is drawn from the images that are there: a run on more images tests on some that an earlier run trained on.
    """
    tested = set(dataset.contents(source, split["test"]))
    own = {stage.name for stage in plan.stages}
    found = []
    for stage in plan.stages:
        for reference in dict.fromkeys((stage.init, *stage.teachers)):
            run = Path(reference).parent
            if reference in own or not all((run / name).is_file() for name in (split_table.FILE, "run.json")):
                continue
            about = files.read_json(run / "run.json")["data"]
            table = split_table.read(run, about["classes"], TASKS[about["task"]], "split")
            theirs = {of for of, part in zip(table.contents, table.parts, strict=True) if part == "labelled"}
            if both := len(tested & theirs):
                found.append(
                    f"{both:,} of {len(tested):,} test images were labelled images of {reference!r}, which stage "
                    f"{stage.name!r} takes: its test figures are too good; fix the test images, such as with "
                    "config.data.source.test_path"
                )
    return found


def alike(images: Any, held_out: np.ndarray, others: np.ndarray) -> leakage.Near:
    """Of thousands of small drawings many look alike: there only what is surely one image."""
    near = leakage.near(images, held_out, others)
    if max(images.shape[1:3]) > SMALL:
        return near
    sure = near.distances <= leakage.SURE
    return leakage.Near(near.pairs[sure], near.distances[sure])


def without_held_out(
    plan: Plan, source: dataset.Source, split: Mapping[str, np.ndarray], read: generated.Generated
) -> generated.Generated:
    """Refuses generated images that equal a test or validation image, or leaves them out, as `config.data.duplicates`.

    A generator may have learned images by heart that are held out here.
    """
    held_out = np.concatenate([split["test"], split["validation"]])
    known = dict(zip(identity.digests(source.images[held_out]), held_out.tolist(), strict=True))
    found = {row: known[each] for row, each in enumerate(identity.digests(read.images)) if each in known}
    if not found:
        return read
    pairs = listed(list(found.items()), source._replace(names=read.names), source)
    number = counted(len(found), "generated image that equals", "generated images that equal")
    said = f"{number} a test or validation image, pixel for pixel: {pairs}"
    if plan.duplicates == "refuse":
        raise UserError(
            f'config.data.generated.path: {said}; remove them, or leave them out with config.data.duplicates="drop"'
        )
    kept = np.setdiff1d(np.arange(len(read.images)), list(found))
    if not len(kept):
        raise UserError(f"config.data.generated.path: no image is left without the {said}")
    return generated.Generated(
        read.images[kept], read.labels[kept], tuple(read.names[i] for i in kept), (*read.notes, f"left out {said}")
    )


def listed(pairs: Sequence[tuple[int, int]], source: dataset.Source, second: dataset.Source | None = None) -> str:
    """`second` is where the second of each pair is, if not in `source`."""
    return few([f"{source.name(one)} = {(second or source).name(other)}" for one, other in pairs], NAMED)
