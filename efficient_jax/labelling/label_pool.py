"""Which images of a folder are labelled, held out, or may be offered to be labelled."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from efficient_jax import files
from efficient_jax.data import class_names, delimited, image_files, leakage
from efficient_jax.data.dataset import HELD_OUT
from efficient_jax.data.sources.image_folders import PARTS
from efficient_jax.errors import UserError, counted, few, nearest
from efficient_jax.evaluation.folder_images import Seen
from efficient_jax.experiment import split_table
from efficient_jax.experiment.leaks import SMALL
from efficient_jax.tasks import TASKS
from efficient_jax.training.trained import Trained

ANSWERED = ("none", "unsure")


class Pool(NamedTuple):
    """The n readable images of a folder; each is in one of four groups."""

    labelled: Bool[np.ndarray, " n"]
    held_out: Bool[np.ndarray, " n"]  # test and validation images of the members' runs, or of the table of labels
    copies: Bool[np.ndarray, " n"]  # duplicates of images in the other groups, or of an earlier image of the pool
    free: Bool[np.ndarray, " n"]  # those that may be offered

    def notes(self, unreadable: int) -> list[str]:
        """Returns how many images are never offered, for each reason that there is.

        Args:
            unreadable: number of files that cannot be read.
        """
        counts = {
            "labelled": self.labelled.sum(),
            "held out for test or validation": self.held_out.sum(),
            "copies of other images": self.copies.sum(),
            "unreadable": unreadable,
        }
        return [f"{what} ({int(count):,})" for what, count in counts.items() if count]


class Known(NamedTuple):
    """Names of files of which something is known, in the form of `key`."""

    labelled: set[str]
    held_out: set[str]
    how: str  # what says so, for messages


def of_table(image_paths: Sequence[Path], images: str, table: str) -> Known:
    """Reads a table of labels: a column `file`, relative to the folder, and a column `label`, empty without a label.

    In a column `part`, if there is one, "test" and "validation" mark images that are held out. In a column `answer`, as
    `label` writes it, "none" and "unsure" mark images that somebody has looked at: they count as labelled.

    Args:
        image_paths: the image files.
        images: the folder.
        table: path of the table, as `data.delimited.read` describes it.

    Raises: UserError for a file that cannot be read, or has other columns, or none of whose files is in the folder.
    """
    content = delimited.read(table, "--labels", ("file", "label", "part", "answer"))
    for name in ("file", "label"):
        if content.names.count(name) != 1:
            raise UserError(f"--labels: {table!r} has no column {name!r}{nearest(name, content.names)}")
    names = [image_files.comparable(Path(images) / name) for name in content.column("file")]
    if names and {*map(image_files.comparable, image_paths)}.isdisjoint(names):
        raise UserError(
            f"--labels: none of the {counted(len(names), 'file')} of {table!r} is in {images!r}, such as "
            f"{content.column('file')[0]!r}"
        )
    parts = content.column("part") if "part" in content.names else [""] * len(names)
    answers = content.column("answer") if "answer" in content.names else [""] * len(names)
    rows = list(zip(names, content.column("label"), parts, answers, strict=True))
    return Known(
        {name for name, label, _, answer in rows if answer in ANSWERED or not class_names.is_no_label(label)},
        {name for name, _, part, _ in rows if part.lower() in HELD_OUT},
        repr(table),
    )


def of_class_folders(image_paths: Sequence[Path], images: str) -> Known:
    """Returns what class folders say: their images are labelled, those in `unlabelled` or in no folder are not.

    Args:
        image_paths: the image files.
        images: the folder.

    Raises: UserError where the folders are those of a split, such as train and test.
    """
    folders, _ = image_files.class_folders(images, "--images")
    classes = [name for name in folders if not class_names.is_no_label(name)]
    if classes and {name.lower() for name in classes} <= PARTS:
        raise UserError(
            f"--images: {images!r} has the folders {few(classes)}, which are no classes; give the one to choose from, "
            f"such as --images={Path(images) / classes[0]}"
        )
    class_folder_names = {folder.name for name in classes for folder in folders[name]}
    in_classes = [file for file in image_paths if file.relative_to(images).parts[0] in class_folder_names]
    labelled = {*map(image_files.comparable, in_classes)}
    return Known(
        labelled, set(), f"the class folders {few(classes)}" if classes else "class folders, which it has none of"
    )


def parts_of_run(member: Trained) -> dict[str, str]:
    """Returns content hash -> part of the images of a member's run; {} for packaged weights, and without `split.csv`.

    Args:
        member: a trained stage.

    Raises: UserError for a `split.csv` that is damaged.
    """
    run = member.folder.parent if member.folder else Path()
    if member.folder is None or not all((run / name).is_file() for name in (split_table.FILE, "run.json")):
        return {}
    about = files.read_json(run / "run.json")["data"]
    table = split_table.read(run, about["classes"], TASKS[about["task"]], "--members")
    return dict(zip(table.contents.astype(str).tolist(), (table.parts[part] for part in table.part_of), strict=True))


def pool(seen: Seen, known: Known, runs: Sequence[dict[str, str]] = ()) -> Pool:
    """Returns which images may be offered to be labelled.

    Args:
        seen: the images, with thumbnails.
        known: what the class folders or the table of labels say.
        runs: as from `parts_of_run`, of each member.

    Returns: the groups. Duplicates are images with equal files, and near duplicates (`data.leakage.near`); of images up
        to 32 pixels only almost equal ones.
    """
    names = [image_files.comparable(file) for file in seen.files]
    parts = [{run.get(content) for run in runs} for content in seen.contents]
    held_out = np.array(
        [n in known.held_out or not of.isdisjoint(HELD_OUT) for n, of in zip(names, parts, strict=True)]
    )
    labelled = np.array([n in known.labelled or "labelled" in of for n, of in zip(names, parts, strict=True)])
    copies = copied(seen.contents, near(seen), held_out | labelled)
    return Pool(labelled & ~held_out, held_out, copies, ~(held_out | labelled | copies))


def near(seen: Seen) -> Int[np.ndarray, "p 2"]:
    """Returns pairs of near duplicates.

    Args:
        seen: the images, with thumbnails.
    """
    pairs, distances = leakage.near(seen.thumbnails)
    return pairs if np.median(seen.sizes.max(1)) > SMALL else pairs[distances <= leakage.SURE]


def copied(
    contents: Sequence[str], pairs: Int[np.ndarray, "p 2"], known: Bool[np.ndarray, " n"]
) -> Bool[np.ndarray, " n"]:
    """Returns which images duplicate a known image, or an earlier one that does not itself.

    Args:
        contents: hash of each image; equal hashes are duplicates.
        pairs: indices of further duplicates.
        known: images that are labelled or held out.
    """
    twins: dict[int, list[int]] = defaultdict(list)
    for one, other in pairs.tolist():
        twins[one].append(other)
        twins[other].append(one)
    kept, copies = known.copy(), np.zeros(len(known), bool)
    hashes = {contents[i] for i in np.flatnonzero(known).tolist()}
    for i in np.flatnonzero(~known).tolist():
        copies[i] = contents[i] in hashes or any(kept[j] for j in twins[i])
        kept[i] = not copies[i]
        hashes.add(contents[i])
    return copies
