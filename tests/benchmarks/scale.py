"""How start-up and memory of a streamed folder grow with its files.

    python -m tests.benchmarks.scale 12500 25000 50000 100000 >> tests/benchmarks/scale.jsonl

For each number of files, in a process of its own: images of 32 x 32 in ten folders of classes, seconds until they are
known (each is decoded once) and again from what was kept, and the memory of the process before and over an epoch of
batches of 128 that are decoded and placed as in training.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image
from rich import get_console

PARTS = 8
BATCH = 128


def write(root: Path, count: int) -> None:
    rng = np.random.default_rng(0)
    for i in range(count):
        file = root / str(i % 10) / f"{i:06}.jpg"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).save(file)


def resident() -> int:
    """MiB that the process has now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 2**20


def measure(root: Path, count: int) -> dict:
    import jax

    from efficient_jax.data.sampling import batch_at
    from efficient_jax.data.sources.image_folders import folder
    from efficient_jax.data.stream import Feed
    from efficient_jax.training import batches

    get_console().quiet = True
    devices = jax.devices()
    found: dict = {"files": count, "batch": BATCH, "at_start_mib": resident()}
    kept = Feed("stream", folder=root.parent / "kept")
    for name in ("first_s", "again_s"):
        start = time.perf_counter()
        source = folder(path=str(root), size=32, feed=kept)
        found[name] = round(time.perf_counter() - start, 2)
    found["known_mib"] = resident()
    rows = np.arange(count)
    steps = range(count // BATCH)
    made = batches.ahead(lambda i: batches.on_devices(source.images, batch_at(rows, BATCH, i, 0)[None], devices), steps)
    start, seen = time.perf_counter(), []
    for number, given in enumerate(made):
        jax.block_until_ready(given)
        if number % (len(steps) // PARTS) == 0:
            seen.append(resident())
    found |= {"epoch_mib": seen, "images_per_second": round(count / (time.perf_counter() - start))}
    return found | {"most_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}


def main(counts: list[int]) -> None:
    for count in counts:
        with tempfile.TemporaryDirectory() as place:
            root = Path(place) / "images"
            root.mkdir()
            write(root, count)
            subprocess.run([sys.executable, "-m", "tests.benchmarks.scale", "of", str(root), str(count)], check=True)


if __name__ == "__main__":
    if sys.argv[1] == "of":
        print(json.dumps(measure(Path(sys.argv[2]), int(sys.argv[3]))), flush=True)
    else:
        main([int(count) for count in sys.argv[1:]])
