"""Random detections, and what the definitions make of them, one box at a time in plain numpy."""

import numpy as np

IMAGES, MODELS, BOXES = 1000, 2, 12


def tied() -> dict[str, np.ndarray]:
    """Whole edges and tenths of scores: overlaps and scores are often equal, overlaps often exactly a half."""
    rng = np.random.default_rng(0)
    corner = rng.integers(0, 5, (IMAGES, MODELS, BOXES, 2))
    size = rng.integers(4, 10, corner.shape) * (rng.random(corner.shape) < 0.97)  # some boxes are empty
    return {
        "boxes": np.concatenate([corner, corner + size], -1).astype(np.float32),
        "scores": (rng.integers(0, 11, corner.shape[:3]) / 10).astype(np.float32),
        "labels": rng.integers(-1, 2, corner.shape[:3]).astype(np.int32),
        "valid": rng.random(corner.shape[:3]) < rng.random((IMAGES, 1, 1)),
    }


def models(rng, number: int, objects: int, classes: int, spread: float = 0.1) -> list[dict[str, np.ndarray]]:
    """Each model sees some of the same objects, a little displaced, in 0..1 and without ties."""
    corner, size = rng.uniform(0.0, 0.7, (objects, 2)), rng.uniform(0.05, 0.3, (objects, 2))
    labels, found = rng.integers(0, classes, objects), []
    for _ in range(number):
        seen = rng.permutation(objects)[: rng.integers(objects // 2, objects + 1)]
        left = (corner + spread * size * rng.normal(size=size.shape)).clip(0.0, 0.9)[seen]
        right = (left + size[seen] * rng.uniform(0.8, 1.25, left.shape)).clip(0.0, 1.0)
        boxes = np.concatenate([left, right], 1).astype(np.float32)
        scores = rng.uniform(0.01, 1.0, len(seen)).astype(np.float32)
        found.append({"boxes": boxes, "scores": scores, "labels": labels[seen]})
    return found


GOLDEN = 4, 7, 10, 13  # images of three models
WEIGHTS = {1: (1.0,), 3: (2.0, 1.0, 0.5), 5: (1.0,) * 5}


def image(seed: int) -> list[dict[str, np.ndarray]]:
    """What one, three or five models say of it."""
    return models(np.random.default_rng(seed), tuple(WEIGHTS)[seed % 3], 2 + seed % 19, 1 + seed % 4)


SETS = 50  # of `annotated`
KINDS = 3  # classes in them


def annotated(seed: int) -> tuple[list[dict[str, np.ndarray]], list[dict[str, np.ndarray]]]:
    """Found and true boxes of a few images, of 8 to 300 pixels, some of them crowds; scores are often equal.

    In every second set areas are those of masks, smaller than the boxes. Some classes and sizes have no object.
    """
    rng, found, truth = np.random.default_rng(1000 + seed), [], []
    sizes = (8, 300) if seed % 5 else (8, 30)
    for _ in range(rng.integers(1, 9)):
        n = rng.integers(0, 9)
        corner, size = rng.uniform(0, 300, (n, 2)), np.exp(rng.uniform(*np.log(sizes), (n, 2)))
        size[rng.random(n) < 0.1] = 32.0  # exactly on the border of two sizes
        boxes = np.concatenate([corner, corner + size], 1).round()
        share = rng.uniform(0.3, 1.0, n) if seed % 2 else np.ones(n)
        crowds, labels = rng.random(n) < 0.15, rng.integers(0, KINDS, n)
        areas = share * np.prod(boxes[:, 2:] - boxes[:, :2], 1)
        truth.append({"boxes": boxes, "labels": labels, "areas": areas, "crowds": crowds})
        repeated = rng.integers(0, n, rng.integers(0, 3 * n + 1)) if n else np.zeros(0, int)
        moved = boxes[repeated] + (rng.normal(0, 0.08, (len(repeated), 4)) * np.tile(size[repeated], 2)).round(1)
        stray = np.concatenate([a := rng.uniform(0, 200, (4, 2)).round(), a + rng.integers(8, 150, (4, 2))], 1)
        moved = np.concatenate([moved, stray])
        boxes = np.concatenate([np.minimum(moved[:, :2], moved[:, 2:]), np.maximum(moved[:, :2], moved[:, 2:])], 1)
        classes = np.concatenate([labels[repeated], rng.integers(0, KINDS, 4)])
        found.append({"boxes": boxes, "labels": classes, "scores": rng.random(len(boxes)).round(1)})
    truth[0]["crowds"][:1] = False
    if not any(len(image["labels"]) for image in truth):
        truth[0] = {"boxes": np.array([[5.0, 5, 45, 45]]), "labels": np.zeros(1, int), "areas": np.array([1600.0])}
        truth[0]["crowds"] = np.zeros(1, bool)
    return found, truth


MASKS = 40  # of `mask`


def mask(seed: int) -> np.ndarray:
    """Random pixels, blobs, or the whole or nothing, of any size."""
    rng = np.random.default_rng(2000 + seed)
    h, w = rng.integers(1, 120, 2)
    if seed % 4 == 0:
        return rng.random((h, w)) < rng.choice([0.0, 0.02, 0.5, 0.98, 1.0])
    y, x = np.indices((h, w))
    discs = rng.uniform(0, 1, (4, 3)) * [h, w, max(h, w) / 2]
    return np.any([np.hypot(y - top, x - left) < radius for top, left, radius in discs], 0)


def overlap(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    inner = np.minimum(a[2:], b[:, 2:]) - np.maximum(a[:2], b[:, :2])
    both = np.prod(np.maximum(inner, 0.0), 1)
    union = np.prod(a[2:] - a[:2]) + np.prod(b[:, 2:] - b[:, :2], 1) - both
    return np.divide(both, union, out=np.zeros_like(both), where=union > 0)


def nms(boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray, threshold: float) -> list[int]:
    """The kept boxes, the best first."""
    left, kept = list(np.argsort(-scores, kind="stable")), []
    while left:
        best, rest = left[0], np.array(left[1:], int)
        kept.append(best)
        gone = (overlap(boxes[best], boxes[rest]) > threshold) & (labels[rest] == labels[best])
        left = list(rest[~gone])
    return kept


def soft_nms(boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray, factor, minimum: float) -> dict[int, float]:
    """Figure 2 of arXiv 1704.04503: each kept box and its score, in the order in which it was the best left."""
    left, scores, kept = np.ones(len(scores), bool), scores.astype(np.float64), {}
    while (left & (scores >= minimum)).any():
        best = int(np.where(left, scores, -1.0).argmax())
        kept[best], left[best] = scores[best], False
        lower = left & (labels == labels[best])
        scores[lower] *= factor(overlap(boxes[best], boxes[lower]))
    return kept
