"""What a data set is like, measured before training: classes, pixels, sizes, duplicates, outliers, objects."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from efficient_jax.data import feature_distances, identity, image_quality, leakage, statistics
from efficient_jax.data.dataset import Source, digests
from efficient_jax.data.decode import resized
from efficient_jax.data.framing import place
from efficient_jax.data.stream import Streamed
from efficient_jax.detection import overlap
from efficient_jax.tasks import TASKS

FREEDOM = 10  # degrees of it, below which a spread within classes says nothing
MEASURED = 5000  # images whose pixels and features are looked at: more take longer and say the same
DRAWINGS, COMPARED = 32, 1000  # so many images of so few pixels are compared: thousands look alike, which takes minutes
MOVED = 2000  # labelled images that are mirrored
SIDE = 16  # pixels of the small pictures that distances are of

MOVES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "flip": lambda images: images[:, :, ::-1],
    "flip_vertical": lambda images: images[:, ::-1],
    "rot90": lambda images: np.rot90(images, axes=(1, 2)),
}


class Move(NamedTuple):
    """How many labelled images have their class in common with the nearest other one."""

    before: float
    after: float  # it itself moved, the other not
    chance: float  # of two images drawn at random
    error: float  # standard error of `before`

    @property
    def kept(self) -> float:
        """The share of what is above chance that remains after the move."""
        return (self.after - self.chance) / (self.before - self.chance)


class Survey(NamedTuple):
    members: Bool[np.ndarray, "n classes"]  # which images are known to be of which classes
    counts: dict[str, Int[np.ndarray, " classes"]]  # part -> images of each class
    unknown: dict[str, int]  # part -> images of which nobody knows the class
    mean: tuple[float, ...]  # of each channel over all pixels of images that are not held out, 0..1
    std: tuple[float, ...]
    ids: Int[np.ndarray, " m"]  # the images of what follows
    held_out: Bool[np.ndarray, " m"]  # which of them are for validation or test
    quality: image_quality.Quality
    colourless: float  # share of images whose channels are equal
    features: str  # what distances are of
    spread: Float[np.ndarray, " classes"]
    distance: Float[np.ndarray, " m"]  # Mahalanobis
    outliers: Int[np.ndarray, " k"]  # ids, the farthest first
    within: dict[str, float]  # measure -> its coefficient of variation within the classes of labelled images; or nan
    moves: dict[str, Move]
    equal: list[list[int]]  # ids of images that equal each other, of the whole set
    compared: int  # images of which it is known whether they are near another
    near: leakage.Near  # pairs of ids that are nearly, and not quite, equal
    constant: Int[np.ndarray, " k"]  # ids of images of one colour, of the whole set
    objects: overlap.Objects | None

    @property
    def imbalance(self) -> float:
        """Labelled images of the largest class for each of the smallest."""
        labelled = self.counts["labelled"]
        return float(labelled.max() / max(labelled.min(), 1))

    @property
    def entropy(self) -> float:
        """Of the classes of labelled images, as a share of what equal classes have."""
        share = self.counts["labelled"] / max(self.counts["labelled"].sum(), 1)
        return float(-(share * np.log(np.maximum(share, 1e-300))).sum() / np.log(len(share)))


def survey(
    source: Source,
    split: Mapping[str, Int[np.ndarray, " _"]],
    network: Callable[[UInt8[np.ndarray, "n h w c"]], Float[np.ndarray, "n d"]] | None = None,
    padded: bool = False,
) -> Survey:
    """Measures the images of `source` and of its parts, as `load_data` returns them.

    What suggests something for training is taken from images that are not held out. `network` gives features of
    photographs; without it distances are of small pictures. `padded`: pictures of `source.sizes` were made square by
    grey around them, so that their border is not that of the image.
    """
    used = np.sort(np.concatenate(list(split.values())))
    ids = _some(used, MEASURED)
    images = source.images[ids]
    held_out = np.isin(ids, np.concatenate([split["validation"], split["test"]]))
    task = TASKS[source.task]
    members = task.members(source.labels, len(source.classes))
    compared = ids if max(images.shape[1:3]) > DRAWINGS else _some(ids, COMPARED)
    known = task.known(source.labels)
    small = resized(images, SIDE)
    of_pixels = feature_distances.principal(small[~held_out])
    features = network(images) if network else of_pixels(small)
    features = features / np.linalg.norm(features, axis=1, keepdims=True) if network else features
    far = feature_distances.mahalanobis(features)
    measured = image_quality.quality(images)
    labelled = _some(split["labelled"], MEASURED)
    light = image_quality.quality(source.images[labelled])
    return Survey(
        members=members,
        counts={part: members[rows].sum(0) for part, rows in split.items()},
        unknown={part: int((~known[rows]).sum()) for part, rows in split.items()},
        **dict(zip(("mean", "std"), statistics.mean_std(images[~held_out]), strict=True)),
        ids=ids,
        held_out=held_out,
        quality=measured,
        colourless=float(image_quality.colourless(images[~held_out]).mean()),
        features="EfficientNet-Lite0's features" if network else f"{SIDE} x {SIDE} pixels",
        spread=feature_distances.spread(features, members[ids]),
        distance=far,
        outliers=ids[feature_distances.outliers(far)],
        within={
            name: _within(getattr(light, name), members[labelled]) for name in ("brightness", "highlights", "contrast")
        },
        moves=_moves(source, split["labelled"], of_pixels) if task.one_class else {},
        equal=_groups(digests(source), used),
        compared=len(compared),
        near=_near(images[np.searchsorted(ids, compared)], compared),
        constant=used[_constant(source)[used]],
        objects=_objects(source, used, padded),
    )


def _constant(source: Source) -> Bool[np.ndarray, " n"]:
    images = source.images
    return images.constant() if isinstance(images, Streamed) else image_quality.constant(images)


def _some(ids: Int[np.ndarray, " n"], most: int) -> Int[np.ndarray, " m"]:
    """At most so many, spread over all."""
    return ids[np.linspace(0, len(ids) - 1, min(most, len(ids))).astype(int)]


def _within(values: Float[np.ndarray, " n"], members: Bool[np.ndarray, "n classes"]) -> float:
    """The standard deviation within classes as a share of the mean; nan where too few images say something of it."""
    squares = sum(np.square(values[of] - values[of].mean()).sum() for of in members.T if of.any())
    freedom = sum(max(int(of.sum()) - 1, 0) for of in members.T)
    return float(np.sqrt(squares / freedom) / max(values.mean(), 1e-9)) if freedom >= FREEDOM else float("nan")


def _moves(source: Source, labelled: Int[np.ndarray, " n"], features: feature_distances.Features) -> dict[str, Move]:
    ids = _some(labelled, MOVED)
    images, labels = resized(source.images[ids], SIDE), source.labels[ids]
    if len(ids) < 2 * len(source.classes):
        return {}
    seen = features(images)
    before = feature_distances.nearest_agree(seen, labels, seen).mean()
    chance = np.square(np.bincount(labels) / len(labels)).sum()
    error = np.sqrt(before * (1 - before) / len(labels))
    h, w = source.images.shape[1:3]
    return {
        name: Move(
            float(before),
            float(feature_distances.nearest_agree(seen, labels, features(move(images))).mean()),
            float(chance),
            float(error),
        )
        for name, move in MOVES.items()
        if name != "rot90" or h == w
    }


def _groups(hashes: list[bytes], ids: Int[np.ndarray, " n"]) -> list[list[int]]:
    found: dict[bytes, list[int]] = {}
    for number in ids.tolist():
        found.setdefault(hashes[number], []).append(number)
    return [group for group in found.values() if len(group) > 1]


def _near(images: UInt8[np.ndarray, "n h w c"], ids: Int[np.ndarray, " n"]) -> leakage.Near:
    pairs, apart = leakage.near(images)
    hashes = identity.digests(images)
    differ = np.array([hashes[one] != hashes[other] for one, other in pairs], bool)
    return leakage.Near(ids[pairs[differ]], apart[differ])


def _objects(source: Source, ids: Int[np.ndarray, " n"], padded: bool) -> overlap.Objects | None:
    if "boxes" not in source.objects:
        return None
    h, w = source.images.shape[1:3]
    borders = None
    if padded and source.sizes is not None:
        placed = np.array([place(width, height, h, "pad", 1.0) for height, width in source.sizes[ids].tolist()])
        borders = np.concatenate([placed[:, 2:], placed[:, 2:] + placed[:, :2]], 1).astype(float)
    corners, visible = (source.objects[name][ids] for name in ("boxes", "box_visible"))
    masks = source.objects.get("box_mask")
    return overlap.objects(corners, visible, (h, w), None if masks is None else masks[ids], borders)
