"""Survey of a dataset before training: classes, pixels, sizes, duplicates, outliers, objects."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from efficient_jax.data import feature_distances, identity, image_quality, leakage, statistics
from efficient_jax.data.dataset import Source, digests
from efficient_jax.data.decode import resized
from efficient_jax.data.framing import Framing
from efficient_jax.data.objects import Placements, placements
from efficient_jax.data.stream import Streamed
from efficient_jax.detection import overlap
from efficient_jax.explore.annotations import Annotations, annotated, annotations
from efficient_jax.tasks import TASKS

FREEDOM = 10  # degrees of freedom below which the variation within classes is not estimated
MEASURED = 5000  # images that are measured: more take longer and change no figure noticeably
# Images of at most 32 pixels a side are compared for near copies only up to 1,000: thousands are alike by chance, and
# comparing them takes minutes.
DRAWINGS, COMPARED = 32, 1000
MOVED = 2000  # labelled images that are mirrored and rotated
SIDE = 16  # pixels of the thumbnails from which distances are computed
AS_STORED = Framing(0)

MOVES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "flip": lambda images: images[:, :, ::-1],
    "flip_vertical": lambda images: images[:, ::-1],
    "rot90": lambda images: np.rot90(images, axes=(1, 2)),
}


class Move(NamedTuple):
    """Fraction of labelled images whose nearest other image has their class, before and after a geometric move."""

    before: float
    after: float  # only the image itself is moved, the others are not
    chance: float  # for two images drawn at random
    error: float  # standard error of `before`

    @property
    def kept(self) -> float:
        """The fraction of the agreement above chance that remains after the move."""
        return (self.after - self.chance) / (self.before - self.chance)


class Survey(NamedTuple):
    """Measurements of the n images of a dataset, most of them on a sample of m images."""

    members: Bool[np.ndarray, "n classes"]  # whether an image is known to have a class
    counts: dict[str, Int[np.ndarray, " classes"]]  # part of the split -> images of each class
    unknown: dict[str, int]  # part of the split -> images without a known class
    images: dict[str, int]  # part of the split -> images
    mean: tuple[float, ...]  # of each channel over all pixels of the sample that are not held out, 0..1
    std: tuple[float, ...]
    ids: Int[np.ndarray, " m"]  # indices of the sample
    held_out: Bool[np.ndarray, " m"]  # whether an image of the sample is for validation or test
    quality: image_quality.Quality  # of the sample
    colorless: float  # fraction of training images of the sample whose channels are equal
    features: str  # name of the features from which distances are computed
    spread: Float[np.ndarray, " classes"]  # RMS distance from the class mean relative to that of all; or NaN
    distance: Float[np.ndarray, " m"]  # Mahalanobis distance from the mean, about 1
    outliers: Int[np.ndarray, " k"]  # indices, the farthest first
    within: dict[str, float]  # measure -> coefficient of variation within the classes of labelled images, or NaN
    moves: dict[str, Move]  # by the names of `MOVES`
    equal: list[list[int]]  # groups of indices of equal images, in the whole dataset
    compared: int  # number of images that were compared for `near`
    near: leakage.Near  # pairs of indices that are nearly, but not exactly, equal
    constant: Int[np.ndarray, " k"]  # indices of images of one color, in the whole dataset
    objects: overlap.Objects | None  # of annotated images that are not held out; None for a dataset without boxes
    annotations: Annotations | None  # of annotated images of the sample; None for one without masks and boxes
    labelled: Int[np.ndarray, " l"]  # indices of labelled images, at most `MEASURED`
    labelled_features: Float[np.ndarray, "l d"]  # of these

    @property
    def imbalance(self) -> float:
        """Number of labelled images of the largest class for each one of the smallest class."""
        labelled = self.counts["labelled"]
        return float(labelled.max() / max(labelled.min(), 1))

    @property
    def entropy(self) -> float:
        """Entropy of the classes of labelled images relative to equally frequent classes, 0..1."""
        fractions = self.counts["labelled"] / max(self.counts["labelled"].sum(), 1)
        return float(-(fractions * np.log(np.maximum(fractions, 1e-300))).sum() / np.log(max(len(fractions), 2)))


def survey(
    source: Source,
    split: Mapping[str, Int[np.ndarray, " _"]],
    network: Callable[[UInt8[np.ndarray, "n h w c"]], Float[np.ndarray, "n d"]] | None = None,
    framing: Framing = AS_STORED,
) -> Survey:
    """Measures a dataset; everything that suggests a setting comes from images that are not held out.

    Args:
        source: the dataset.
        split: part -> indices of its images, as `experiment.dataset.load_data` returns it.
        network: images -> features, from which distances are computed; None: from principal components of thumbnails.
        framing: how images became one size; `AS_STORED`: they had it.
    """
    used = np.sort(np.concatenate(list(split.values())))
    ids = _some(used, MEASURED)
    images = source.images[ids]
    held_out = np.isin(ids, np.concatenate([split["validation"], split["test"]]))
    task = TASKS[source.task]
    members = task.members(source.labels, len(source.classes))
    compared = ids if max(images.shape[1:3]) > DRAWINGS else _some(ids, COMPARED)
    known = task.known(source.labels)
    thumbnails = resized(images, SIDE)
    thumbnail_features = feature_distances.principal(thumbnails[~held_out])

    def features_of(images: np.ndarray, thumbnails: np.ndarray) -> np.ndarray:
        if network is None:
            return thumbnail_features(thumbnails)
        features = network(images)
        normalized: np.ndarray = features / np.linalg.norm(features, axis=1, keepdims=True)
        return normalized

    features = features_of(images, thumbnails)
    distances = feature_distances.mahalanobis(features)
    labelled = np.sort(_some(split["labelled"], MEASURED))
    quality = image_quality.quality(images)
    if np.isin(labelled, ids).all():  # in a small dataset all images are in the sample
        rows = np.searchsorted(ids, labelled)
        labelled_quality, labelled_features = image_quality.Quality(*(each[rows] for each in quality)), features[rows]
    else:
        labelled_images = source.images[labelled]
        labelled_quality = image_quality.quality(labelled_images)
        labelled_features = features_of(labelled_images, resized(labelled_images, SIDE))
    annotated_ids = annotated(source, ids)
    annotated_held_out = held_out[np.isin(ids, annotated_ids)]
    return Survey(
        members=members,
        counts={part: members[rows].sum(0) for part, rows in split.items()},
        unknown={part: int((~known[rows]).sum()) for part, rows in split.items()},
        images={part: len(rows) for part, rows in split.items()},
        **dict(zip(("mean", "std"), statistics.mean_std(images[~held_out]), strict=True)),
        ids=ids,
        held_out=held_out,
        quality=quality,
        colorless=float(image_quality.colourless(images[~held_out]).mean()),
        features="EfficientNet-Lite0's features" if network else f"{SIDE} x {SIDE} pixels",
        spread=feature_distances.spread(features, members[ids]),
        distance=distances,
        outliers=ids[feature_distances.outliers(distances)],
        within={
            name: _within(getattr(labelled_quality, name), members[labelled])
            for name in ("brightness", "highlights", "contrast")
        },
        moves=_moves(source, split["labelled"], thumbnail_features) if task.one_class else {},
        equal=_groups(digests(source), used),
        compared=len(compared),
        near=_near(images[np.searchsorted(ids, compared)], compared),
        constant=used[_constant(source)[used]],
        objects=_objects(source, annotated_ids[~annotated_held_out], framing),
        annotations=annotations(source, annotated_ids, annotated_held_out, _placements(source, annotated_ids, framing)),
        labelled=labelled,
        labelled_features=labelled_features,
    )


def _constant(source: Source) -> Bool[np.ndarray, " n"]:
    images = source.images
    if isinstance(images, Streamed):
        return images.constant()
    return image_quality.constant(images)


def _some(ids: Int[np.ndarray, " n"], most: int) -> Int[np.ndarray, " m"]:
    """Returns at most `most` of the indices, evenly spaced."""
    spaced: np.ndarray = ids[np.linspace(0, len(ids) - 1, min(most, len(ids))).astype(int)]
    return spaced


def _within(values: Float[np.ndarray, " n"], members: Bool[np.ndarray, "n classes"]) -> float:
    """Returns the standard deviation within classes relative to the mean; NaN below `FREEDOM` degrees of freedom."""
    classes = [values[in_class] for in_class in members.T if in_class.any()]
    squares = sum(np.square(of_class - of_class.mean()).sum() for of_class in classes)
    freedom = sum(len(of_class) - 1 for of_class in classes)
    return float(np.sqrt(squares / freedom) / max(values.mean(), 1e-9)) if freedom >= FREEDOM else float("nan")


def _moves(source: Source, labelled: Int[np.ndarray, " n"], features: feature_distances.Features) -> dict[str, Move]:
    ids = _some(labelled, MOVED)
    images, labels = resized(source.images[ids], SIDE), source.labels[ids]
    if len(ids) < 2 * len(source.classes):
        return {}
    unmoved = features(images)
    before = feature_distances.nearest_agree(unmoved, labels, unmoved).mean()
    chance = np.square(np.bincount(labels) / len(labels)).sum()
    error = np.sqrt(before * (1 - before) / len(labels))
    h, w = source.images.shape[1:3]
    return {
        name: Move(
            float(before),
            float(feature_distances.nearest_agree(unmoved, labels, features(move(images))).mean()),
            float(chance),
            float(error),
        )
        for name, move in MOVES.items()
        if name != "rot90" or h == w
    }


def _groups(hashes: leakage.Hashes, ids: Int[np.ndarray, " n"]) -> list[list[int]]:
    _, first, unique, counts = np.unique(
        identity.comparable(hashes[ids]), return_index=True, return_inverse=True, return_counts=True
    )
    groups: dict[int, list[int]] = {}
    for row in np.flatnonzero(counts[unique] > 1).tolist():
        groups.setdefault(int(first[unique[row]]), []).append(int(ids[row]))
    return [*groups.values()]


def _near(images: UInt8[np.ndarray, "n h w c"], ids: Int[np.ndarray, " n"]) -> leakage.Near:
    pairs, distances = leakage.near(images)
    hashes = identity.digests(images)
    differ = np.any(hashes[pairs[:, 0]] != hashes[pairs[:, 1]], axis=1)
    return leakage.Near(ids[pairs[differ]], distances[differ])


def _objects(source: Source, ids: Int[np.ndarray, " n"], framing: Framing) -> overlap.Objects | None:
    if "boxes" not in source.objects:
        return None
    corners, visible = (source.objects[name][ids] for name in ("boxes", "box_visible"))
    masks = source.objects.get("box_mask")
    borders = _placements(source, ids, framing).edges.astype(float)
    return overlap.objects(corners, visible, source.images.shape[1:3], None if masks is None else masks[ids], borders)


def _placements(source: Source, ids: Int[np.ndarray, " n"], framing: Framing) -> Placements:
    sizes = None if source.sizes is None else source.sizes[ids]
    return placements(sizes, len(ids), source.images.shape[1:3], framing)
