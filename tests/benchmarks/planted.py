"""What of planted near duplicates is found, and what else: recall and precision on somebody's own images.

    python tests/benchmarks/planted.py folder my_images 160
    python tests/benchmarks/planted.py parquet train.parquet 0 10000

The arguments: a source, its path, the size of its images and, if you like, how many of them to take.
"""

import io
import resource
import sys
import time

import numpy as np
from PIL import Image

from efficient_jax.data import leakage
from efficient_jax.data.sources import SOURCES

EACH = 200  # images of each kind


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "jpeg", quality=quality)
    return np.asarray(Image.open(file))


def moved(image: np.ndarray, y: int, x: int) -> np.ndarray:
    h, w, _ = image.shape
    return np.pad(image, ((8, 8), (8, 8), (0, 0)), "edge")[8 + y : 8 + y + h, 8 + x : 8 + x + w]


def halved(image: np.ndarray) -> np.ndarray:
    h, w, _ = image.shape
    return np.asarray(Image.fromarray(image).resize((w // 2, h // 2)).resize((w, h)))


KINDS = {
    "mirrored": lambda image: image[:, ::-1],
    "JPEG 75": lambda image: jpeg(image, 75),
    "JPEG 40": lambda image: jpeg(image, 40),
    "mirrored, JPEG 50": lambda image: jpeg(image[:, ::-1].copy(), 50),
    "moved by 1, 1": lambda image: moved(image, 1, 1),
    "moved by 2, -2": lambda image: moved(image, 2, -2),
    "moved by -3, 0": lambda image: moved(image, -3, 0),
    "moved by 4, 4": lambda image: moved(image, 4, 4),
    "darker": lambda image: (image * 0.7 + 10).astype(np.uint8),
    "halved and enlarged": halved,
}


def main(name: str, path: str, size: str, most: str = "0") -> None:
    images = SOURCES[name](path=path, size=int(size)).images
    images = images[: int(most) or len(images)]
    n = len(images)
    rows = np.random.default_rng(0).permutation(n)[: EACH * len(KINDS)].reshape(len(KINDS), -1)
    planted = [change(images[i]) for change, ids in zip(KINDS.values(), rows, strict=True) for i in ids]
    of = np.concatenate([np.arange(n), rows.ravel()])  # each image is a copy of
    wall, cpu = time.perf_counter(), time.process_time()
    found = leakage.near(np.concatenate([images, np.stack(planted)]))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{n:,} images and {len(planted):,} copies: {wall:.1f} s ({cpu:.1f} s of CPU), {memory:.1f} GiB at most")
    pairs = {tuple(pair) for pair in found.pairs.tolist()}
    for number, (kind, ids) in enumerate(zip(KINDS, rows, strict=True)):
        right = sum((int(i), n + number * len(ids) + k) in pairs for k, i in enumerate(ids))
        print(f"  {kind}: {right} of {len(ids)}")
    others = {tuple(sorted(of[list(pair)].tolist())) for pair in pairs if of[pair[0]] != of[pair[1]]}
    print(f"  {len(others)} pairs of other images: {sorted(others)[:10]}")


if __name__ == "__main__":
    main(*sys.argv[1:])
