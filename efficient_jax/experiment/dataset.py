"""Loads the dataset of an experiment and splits it."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from efficient_jax import distributed, files
from efficient_jax.data import cache, dataset, decode, leakage
from efficient_jax.data.sources import PICTURES, SOURCES
from efficient_jax.data.split import notes as split_notes
from efficient_jax.data.split import split as split_images
from efficient_jax.data.stream import Feed
from efficient_jax.errors import UserError, counted
from efficient_jax.experiment import split_table
from efficient_jax.experiment.config import Plan, plan
from efficient_jax.experiment.leaks import listed
from efficient_jax.experiment.stage_config import StageConfig
from efficient_jax.experiment.workdir import read_config
from efficient_jax.methods import METHODS
from efficient_jax.settings import choose
from efficient_jax.tasks import TASKS, targets

NO_TEST = "config.data.test: 0 asked, and the source has no test images of its own; say how many"

Check = Callable[[dataset.Source, Mapping[str, np.ndarray]], Any]
"""`check(source, split)` raises a UserError for images that do not fit a plan."""


def load_data(
    plan: Plan, cache: Path | None = None, check: Check | None = None
) -> tuple[dataset.Source, dict[str, np.ndarray]]:
    """Loads the images of a plan and draws its split.

    Sizes and labels are checked before images are decoded, which can take long.

    Args:
        plan: the checked config.
        cache: folder for decoded images, or for the metadata of streamed ones; None: none.
        check: called before decoding, with a source without pixels and its split.

    Returns: (images, part -> indices of its images).

    Raises: UserError for a source without images or test images, for sizes that do not fit, for images that equal a
        test image if duplicates are refused, and as `check`.
    """
    _check_sizes(plan)

    def check_known(
        labels: np.ndarray, classes: tuple[str, ...], tests: int, groups: np.ndarray | None, task: str
    ) -> None:
        no_pixels = np.broadcast_to(np.uint8(0), (len(labels), 1, 1, 1))
        fixed_parts = {"test": np.arange(len(labels) - tests, len(labels))} if tests else {}
        source = dataset.Source(no_pixels, labels, classes, fixed_parts, groups=groups, task=task)
        if not TASKS[task].one_class:  # iterative stratification of many labels takes as long as decoding
            for stage in plan.stages if check else ():
                check_labels(stage, source)
            return
        split = _split(plan, source, None)
        if check:
            check(source, split)

    source, hashes = _source(plan, cache, check_known)
    split = _split(plan, source, _by_content(hashes))
    left_out = len(source.images) - sum(map(len, split.values()))
    if source.groups is not None and left_out and not plan.split["unlabelled"]:
        source = _noted(source, f"left out {counted(left_out, 'image')} whose groups are held out")
    source, split = _without_test_images(plan, source, split, hashes)
    sizes = plan.split["labels_per_class"], plan.split["folds"]
    for note in split_notes(split, source.labels, source.classes, *sizes):
        source = _noted(source, note)
    labelled = np.concatenate([split["labelled"], split["validation"]])
    if pairs := leakage.contradictions(hashes, source.labels, labelled):
        source = _noted(source, f"equal images have different labels: {listed(pairs, source)}")
    return source, split


def load_run(
    run: Path, where: str, say: Callable[[str], None]
) -> tuple[dict[str, Any], dataset.Source, dict[str, np.ndarray]]:
    """Loads the images of a run with the parts in its `split.csv`: nothing is drawn again.

    Args:
        run: folder of the run.
        where: the flag that an error names.
        say: shows a line on images that were added, renamed, relabelled or removed since.

    Returns: (its config, images by the indices of the run, part -> indices of its images).

    Raises: UserError if there is no run, or a test or validation image is gone or changed.
    """
    settings = read_config(run, where)
    if not (run / "run.json").is_file():
        raise UserError(f"{where}: {str(run)!r} has no run.json, so its classes are not known; give a run of `train`")
    about = files.read_json(run / "run.json")["data"]
    classes = tuple(about["classes"])
    table = split_table.read(run, classes, TASKS[about["task"]], where)
    source, _ = _source(plan(settings)._replace(devices=0), run.parent / cache.FOLDER)
    return settings, *split_table.restored(source, table, classes, run, where, say)


def _split(plan: Plan, source: dataset.Source, order: np.ndarray | None) -> dict[str, np.ndarray]:
    split = split_images(
        source.labels,
        source.classes,
        seed=plan.seed,
        fixed=source.fixed,
        groups=source.groups,
        order=order,
        **plan.split,
    )
    if not len(split["test"]):
        raise UserError(NO_TEST)
    return split


def _check_sizes(plan: Plan) -> None:
    """Checks that a source of files has test images of its own, or that `config.data.test` asks for some; not both."""
    name, settings = plan.source
    if name not in PICTURES:
        return
    setting = "test_split" if name == "tfds" else "test_path"
    own, asked = settings.get(setting, "test" if name == "tfds" else ""), plan.split["test"]
    if not own and not asked:
        raise UserError(f"{NO_TEST}, or where they are with config.data.source.{setting}")
    if own and asked:
        raise UserError(
            f"config.data.test: {asked} asked, but the source has test images of its own, "
            f"config.data.source.{setting}={own}; say 0"
        )


def _source(
    plan: Plan, cache: Path | None, check: Callable[..., None] | None = None
) -> tuple[dataset.Source, list[bytes]]:
    """Returns (all images of a plan, the hash of the pixels of each). `check`: see `stream.Feed`."""
    name, settings = plan.source
    feed = {"feed": Feed(plan.feed, _room(plan.devices), cache, check)} if name in PICTURES else {}
    source = SOURCES[name](**settings | feed)
    if not len(source.images):
        raise UserError(f"config.data.source: {name!r} has no images")
    hashes = dataset.digests(source)
    if source.contents is None:  # kept also when images are resized later
        source = source._replace(contents=np.frombuffer(b"".join(hashes), np.uint8).reshape(len(hashes), -1))
    return source, hashes


def _room(devices: int) -> int:
    """Returns how many bytes the images may take: half of the free memory of the host and of a device.

    Every device holds all images. Of several processes the smallest number counts, so that all do the same.
    """
    return int(distributed.gathered(np.array([_room_here(devices) / distributed.on_this_host()])).min())


def _room_here(devices: int) -> int:
    used = jax.local_devices()[: devices or None]
    about = used[0].memory_stats()
    if not about:  # CPU: the copies of all devices share the memory with the host's
        return decode.free_memory() // (2 * (1 + len(used)))
    unused: int = about["bytes_limit"] - about["bytes_in_use"]
    return min(decode.free_memory(), unused) // 2


def streams(stage: StageConfig, source: dataset.Source, split: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the images of each stream of a stage.

    Args:
        stage: its config.
        source: the dataset.
        split: part -> indices of its images.

    Returns: stream -> indices of its images, without those of omitted classes.

    Raises: UserError for an omitted class that does not exist, and for `omit` where images have no labels.
    """
    where = f"config.{stage.name}.omit"
    for stream in stage.batch if stage.omit else ():
        labels = source.labels[split[stream]]
        if unknown := int((~TASKS[source.task].known(labels)).sum()):
            images = counted(unknown, f"image of the {stream} stream has", f"images of the {stream} stream have")
            raise UserError(f"{where}: needs labels, but {images} none")
    return {stream: without_omitted(stage, source, split[stream]) for stream in stage.batch}


def without_omitted(stage: StageConfig, source: dataset.Source, ids: np.ndarray) -> np.ndarray:
    """Returns indices without the images of classes that a stage omits.

    Args:
        stage: its config.
        source: the dataset.
        ids: indices of labelled images.

    Raises: UserError for an omitted class that does not exist.
    """
    class_indices = dict(zip(source.classes, range(len(source.classes)), strict=True))
    omitted = [choose(name, class_indices, f"config.{stage.name}.omit") for name in stage.omit]
    return ids[~targets(source, ids)[:, omitted].any(1)] if omitted else ids


def _without_test_images(
    plan: Plan, source: dataset.Source, split: dict[str, np.ndarray], hashes: list[bytes]
) -> tuple[dataset.Source, dict[str, np.ndarray]]:
    """Refuses images of other parts that equal a test image, or leaves them out and draws as many others."""
    if not (copies := leakage.of_test(hashes, split["test"])):
        return source, split
    counts = {name: int(np.isin(ids, list(copies)).sum()) for name, ids in split.items()}
    if not any(counts.values()):
        return source, split
    shown = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)
    what = f"a test image, pixel for pixel ({shown}): {listed(list(copies.items()), source)}"
    if plan.duplicates == "refuse":
        raise UserError(
            f"config.data: {counted(sum(counts.values()), 'image equals', 'images equal')} {what}; remove "
            'them, or leave them out with config.data.duplicates="drop"'
        )
    rest = np.setdiff1d(np.arange(len(hashes)), list(copies))
    new_split = split_images(
        source.labels[rest],
        source.classes,
        seed=plan.seed,
        fixed={"test": np.searchsorted(rest, split["test"])},
        groups=None if source.groups is None else source.groups[rest],
        order=_by_content([hashes[i] for i in rest]),
        **plan.split | {"test": 0},
    )
    left_out = counted(len(copies), "image that equals", "images that equal")
    return _noted(source, f"left out {left_out} {what}"), {
        name: rest[ids].astype(np.int32) for name, ids in new_split.items()
    }


def _by_content(hashes: list[bytes]) -> np.ndarray:
    return np.array(sorted(range(len(hashes)), key=hashes.__getitem__), int)


def _noted(source: dataset.Source, note: str) -> dataset.Source:
    return source._replace(notes=(*source.notes, note))


def check_streams(
    plan: Plan, source: dataset.Source, split: Mapping[str, np.ndarray]
) -> dict[str, dict[str, np.ndarray]]:
    """Checks the stages of a plan against its dataset.

    Args:
        plan: the checked config.
        source: the dataset.
        split: part -> indices of its images.

    Returns: stage -> stream -> indices of its images.

    Raises: UserError for a method that does not fit the labels, for a stream without images, and as `streams`.
    """
    for stage in plan.stages:
        check_labels(stage, source)
    rows = {stage.name: streams(stage, source, split) for stage in plan.stages}
    for stage in plan.stages:
        for stream, size in stage.batch.items():
            if not len(rows[stage.name][stream]):
                raise UserError(
                    f"config.{stage.name}.batch.{stream}: {size} asked, but no image is {stream}; set a lower "
                    "config.data.labels_per_class, or add images without a label"
                )
        if stage.method.correct and not len(split["unlabelled"]):
            raise UserError(f"config.{stage.name}.method: {stage.method_name!r} needs images without labels; none is")
    return rows


def check_labels(stage: StageConfig, source: dataset.Source) -> None:
    """Checks that a stage can learn from the labels of a dataset.

    Args:
        stage: its config.
        source: the dataset.

    Raises: UserError for a method, or a balanced batch, that does not fit its task.
    """
    labels = TASKS[source.task].labels
    if source.task != "classification" and not stage.method.needs("task"):
        fitting = " or ".join(repr(name) for name, method in METHODS.items() if method.needs("task"))
        raise UserError(
            f"config.{stage.name}.method: {stage.method_name!r} does not fit data with {labels} for each image; "
            f"take {fitting}"
        )
    if stage.balanced and not TASKS[source.task].one_class:
        raise UserError(f"config.{stage.name}.batch.balanced: images with {labels} are in no one class")
