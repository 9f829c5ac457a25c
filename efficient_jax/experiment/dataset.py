"""The dataset of an experiment: loads it, splits it, and loads it again for a run that was trained."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from efficient_jax import distributed, files
from efficient_jax.data import cache, dataset, decode, identity, leakage, objects
from efficient_jax.data.sources import ENCODED, SOURCES
from efficient_jax.data.split import notes as split_notes
from efficient_jax.data.split import split as split_images
from efficient_jax.data.stream import Feed, Streamed
from efficient_jax.errors import UserError, counted
from efficient_jax.experiment import split_table
from efficient_jax.experiment.config import Plan, plan
from efficient_jax.experiment.leaks import listed
from efficient_jax.experiment.streams import check_labels
from efficient_jax.experiment.workdir import read_config
from efficient_jax.models.spec import ModelSpec
from efficient_jax.tasks import TASKS, Task
from efficient_jax.training import batches, parallel

MOST_HELD_OUT = 2000  # images of `Data.held_out`
NO_TEST = "config.data.test: 0 asked, and the source has no test images of its own; say how many"

Check = Callable[[dataset.Labelled, Mapping[str, np.ndarray]], Any]
"""`check(labelled, split)` raises a UserError for images that do not fit a plan."""


def load_data(
    plan: Plan, cache: Path | None = None, check: Check | None = None
) -> tuple[dataset.Source, dict[str, np.ndarray]]:
    """Loads the images of a plan and draws its split.

    Sizes and labels are checked before images are decoded, which can take long.

    Args:
        plan: the checked config.
        cache: folder for decoded images, or for the metadata of streamed ones; None: none.
        check: called before decoding, with the labels and the split.

    Returns: (images, part -> indices of its images).

    Raises: UserError for a source without images or test images, for sizes that do not fit, for images that equal a
        test image if duplicates are refused, and as `check`.
    """
    _check_sizes(plan)

    def check_known(
        labels: np.ndarray,
        classes: tuple[str, ...],
        fixed: Mapping[str, np.ndarray],
        groups: np.ndarray | None,
        task: str,
    ) -> None:
        known = dataset.Labelling(labels, classes, fixed, groups, task)
        if not TASKS[task].one_class:  # iterative stratification of many labels takes as long as decoding
            for stage in plan.stages if check else ():
                check_labels(stage, known)
            return
        split = _split(plan, known, None)
        if check:
            check(known, split)

    source, hashes = _source(plan, cache, check_known)
    split = _split(plan, source, _by_content(hashes) if plan.split["folds"] else None)
    left_out = len(source.images) - sum(map(len, split.values()))
    if source.groups is not None and left_out and not plan.split["unlabelled"]:
        source = _noted(source, f"left out {counted(left_out, 'image')} whose groups are held out")
    source, split = _without_test_images(plan, source, split, hashes)
    sizes = plan.split["labels_per_class"], plan.split["folds"]
    by = TASKS[source.task].stratification
    for note in split_notes(split, source.labels, source.classes, *sizes, by):
        source = _noted(source, note)
    labelled = np.concatenate([split["labelled"], split["validation"]])
    if pairs := leakage.contradictions(hashes, source.labels, labelled):
        source = _noted(source, f"equal images have different labels: {listed(pairs, source.name)}")
    return source, split


@dataclass(frozen=True, eq=False)
class Data:
    """The images of a run with their split, and the devices on which they are predicted.

    Args:
        source: the dataset.
        split: part -> indices of its images.
        devices: those that hold the images.
    """

    source: dataset.Source
    split: dict[str, np.ndarray]
    devices: Sequence[jax.Device]

    @classmethod
    def reopen(cls, run: Path, where: str, log: Callable[[str], None]) -> "Data":
        """Loads the images of a run that was trained, with the parts in its `split.csv`: nothing is drawn again.

        Args:
            run: folder of the run.
            where: the flag that an error names.
            log: shows a line on images that were added, renamed, relabelled or removed since.

        Returns: the images by the indices of the run.

        Raises: UserError if there is no run, or a test or validation image is gone or changed.
        """
        config = read_config(run, where)
        if not (run / "run.json").is_file():
            raise UserError(
                f"{where}: {str(run)!r} has no run.json, so its classes are not known; give a run of `train`"
            )
        record = files.read_json(run / "run.json")["data"]
        classes = tuple(record["classes"])
        table = split_table.read(run, classes, TASKS[record["task"]], where)
        source, _ = _source(plan(config)._replace(devices=0), run.parent / cache.FOLDER)
        source, split = split_table.restored(source, table, classes, run, where, log)
        return cls(source, split, parallel.pick_devices({}, 0))

    @functools.cached_property
    def images(self) -> batches.Images:
        """The images, copied to every device by the first use of them, or streamed."""
        return batches.place(self.source.images, self.devices)

    @property
    def task(self) -> Task:
        """What the labels are."""
        return TASKS[self.source.task]

    @property
    def entries(self) -> dict[str, np.ndarray]:
        """What examples have beside images and vectors of classes, by the names of `types.Example`."""
        entries = self.task.entries(self.source.labels)
        return {**_as_many(self.source.objects, entries), **entries}

    def held_out(self) -> tuple[np.ndarray, str]:
        """Returns images on which the stages of a run were not trained, validation images if there are any.

        Returns: (indices, at most `MOST_HELD_OUT`; a sentence on which images these are).
        """
        kind = "validation" if len(self.split["validation"]) else "test"
        ids = np.sort(np.random.default_rng(0).permutation(self.split[kind])[:MOST_HELD_OUT])
        about = f"On {len(ids):,} of the {counted(len(self.split[kind]), f'{kind} image')} of its run."
        if kind == "test":
            about += " It has no validation images: choose nothing by these, set some aside (config.data.validation)."
        return ids, about

    def with_labels(self, source: dataset.Source) -> "Data":
        """Returns the data with other labels of the same images.

        Args:
            source: the dataset with these labels.
        """
        if source is self.source:
            return self
        changed = dataclasses.replace(self, source=source)
        changed.__dict__.update({name: value for name, value in self.__dict__.items() if name == "images"})  # placed
        return changed

    def resized(self, size: int) -> "Data":
        """Returns the data with images and objects resized to squares.

        Args:
            size: height and width in pixels; 0: images stay as they are.
        """
        images = self.source.images
        resized = images.resized(size) if isinstance(images, Streamed) else decode.resized(images, size)
        if resized is images:
            return self
        h, w = images.shape[1:3]
        source = self.source._replace(
            images=resized,
            labels=self.task.resized(self.source.labels, (h, w), size),
            objects=objects.resized(self.source.objects, w, h, size),
        )
        return dataclasses.replace(self, source=source)

    def for_model(self, spec: ModelSpec) -> "Data":
        """Returns the data with images of the size that a network takes.

        Args:
            spec: of the network.
        """
        return self if spec.image_shape == self.source.images.shape[1:] else self.resized(spec.image_shape[0])

    def pixel_areas(self, ids: np.ndarray, spec: ModelSpec) -> np.ndarray | None:
        """Returns the area of a pixel that a network sees, in pixels of the file; None where there are no files.

        Args:
            ids: int [m], indices of the images.
            spec: of the network.

        Returns: float [m]; None also for images that are not square, which are as large as their files.
        """
        h, w, _ = spec.image_shape
        sizes = self.source.sizes
        return None if sizes is None or h != w else objects.pixel_areas(sizes[ids], spec.image_framing())

    def pixels(self, ids: np.ndarray, spec: ModelSpec) -> np.ndarray:
        """Returns some images of the size that a network takes, uint8 [m h w c]; the others are not resized.

        Args:
            ids: int [m], indices of the images.
            spec: of the network.
        """
        same = spec.image_shape == self.source.images.shape[1:]
        return decode.resized(self.source.images[ids], 0 if same else spec.image_shape[0])

    def labels(self, ids: np.ndarray, spec: ModelSpec) -> np.ndarray:
        """Returns the labels of some images at the size that a network takes; the others are not resized.

        Args:
            ids: int [m], indices of the images.
            spec: of the network.
        """
        shape, labels = self.source.images.shape[1:], self.source.labels[ids]
        return labels if spec.image_shape == shape else self.task.resized(labels, shape[:2], spec.image_shape[0])


def _as_many(objects: Mapping[str, np.ndarray], entries: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns objects with empty rows for those that pseudo-labels add: entries `box_*` have one for each box."""
    if "boxes" not in entries:
        return dict(objects)
    more = {name: entries["boxes"].shape[1] - x.shape[1] for name, x in objects.items() if name.startswith("box")}
    return {name: np.pad(x, [(0, 0), (0, more.get(name, 0)), *[(0, 0)] * (x.ndim - 2)]) for name, x in objects.items()}


def _split(plan: Plan, labelled: dataset.Labelled, order: np.ndarray | None) -> dict[str, np.ndarray]:
    split = split_images(
        labelled.labels,
        labelled.classes,
        TASKS[labelled.task].stratification,
        seed=plan.seed,
        fixed=labelled.fixed,
        groups=labelled.groups,
        order=order,
        **plan.split,
    )
    if not len(split["test"]) and TASKS[labelled.task].known(labelled.labels).any():
        raise UserError(NO_TEST)
    return split


def _check_sizes(plan: Plan) -> None:
    """Checks that a source of files has test images of its own, or that `config.data.test` asks for some; not both."""
    name, settings = plan.source
    if name not in ENCODED or settings.get("part"):  # a column names them: the split checks it
        return
    setting = "test_split" if name == "tfds" else "test_path"
    setting = "test_set" if settings.get("test_set") else setting
    own, size = settings.get(setting, "test" if name == "tfds" else ""), plan.split["test"]
    if not own and not size and not settings.get("classes"):  # with names of classes perhaps no image is labelled
        raise UserError(f"{NO_TEST}, or where they are with config.data.source.{setting}")
    if own and size:
        raise UserError(
            f"config.data.test: {size} asked, but the source has test images of its own, "
            f"config.data.source.{setting}={own}; say 0"
        )


def _source(
    plan: Plan, cache: Path | None, check: Callable[..., None] | None = None
) -> tuple[dataset.Source, leakage.Hashes]:
    """Returns (all images of a plan, the hash of the pixels of each). `check`: see `stream.Feed`."""
    name, settings = plan.source
    feed = {"feed": Feed(plan.feed, _room(plan.devices), cache, check)} if name in ENCODED else {}
    source = SOURCES[name](**settings | feed)
    if not len(source.images):
        raise UserError(f"config.data.source: {name!r} has no images")
    source = source._replace(labels=TASKS[source.task].of_source(source.labels, source.objects))
    hashes = dataset.digests(source)
    if source.contents is None:  # kept also when images are resized later
        source = source._replace(contents=hashes)
    return source, hashes


def _room(devices: int) -> int:
    """Returns how many bytes the images may take: half of the free memory of the host and of a device.

    Every device holds all images. Of several processes the smallest number counts, so that all do the same.
    """
    return int(distributed.gathered(np.array([_room_here(devices) / distributed.on_this_host()])).min())


def _room_here(devices: int) -> int:
    used = jax.local_devices()[: devices or None]
    memory = used[0].memory_stats()
    if not memory:  # CPU: the copies of all devices share the memory with the host's
        return decode.free_memory() // (2 * (1 + len(used)))
    unused: int = memory["bytes_limit"] - memory["bytes_in_use"]
    return min(decode.free_memory(), unused) // 2


def _without_test_images(
    plan: Plan, source: dataset.Source, split: dict[str, np.ndarray], hashes: leakage.Hashes
) -> tuple[dataset.Source, dict[str, np.ndarray]]:
    """Refuses images of other parts that equal a test image, or leaves them out and draws as many others."""
    if not (copies := leakage.of_test(hashes, split["test"])):
        return source, split
    counts = {name: int(np.isin(ids, list(copies)).sum()) for name, ids in split.items()}
    if not any(counts.values()):
        return source, split
    shown = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)
    what = f"a test image, pixel for pixel ({shown}): {listed(list(copies.items()), source.name)}"
    if plan.duplicates == "refuse":
        raise UserError(
            f"config.data: {counted(sum(counts.values()), 'image equals', 'images equal')} {what}; remove "
            'them, or leave them out with config.data.duplicates="drop"'
        )
    rest = np.setdiff1d(np.arange(len(hashes)), list(copies))
    new_split = split_images(
        source.labels[rest],
        source.classes,
        TASKS[source.task].stratification,
        seed=plan.seed,
        fixed={
            part: np.searchsorted(rest, np.intersect1d(ids, rest))
            for part, ids in {**source.fixed, "test": split["test"]}.items()
        },
        groups=None if source.groups is None else source.groups[rest],
        order=_by_content(hashes[rest]) if plan.split["folds"] else None,
        **plan.split | {"test": 0},
    )
    left_out = counted(len(copies), "image that equals", "images that equal")
    return _noted(source, f"left out {left_out} {what}"), {
        name: rest[ids].astype(np.int32) for name, ids in new_split.items()
    }


def _by_content(hashes: leakage.Hashes) -> np.ndarray:
    return np.argsort(identity.comparable(hashes), kind="stable")


def _noted(source: dataset.Source, note: str) -> dataset.Source:
    return source._replace(notes=(*source.notes, note))
