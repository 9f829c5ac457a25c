"""Streamed images beside PyTorch's DataLoader with two workers: one process, alternating, median of the ratios.

Runs where this package's data sources and torch are in one environment:

    python tests/benchmarks/peers/run_feed.py FOLDER [SIZE ...] >> tests/benchmarks/peers/feed/cpu.jsonl

FOLDER holds photographs below folders of classes. Both give uint8 batches in one random order, cut from the middle
after the shorter side was resized (bicubic); ours lie on the devices, theirs in the memory of the training process. The
DataLoader's workers stay from epoch to epoch, so that starting them is not counted.

The clock says little on a machine with other work, so core seconds of all threads and workers are recorded, too: `_us`,
for each image. `pillow_us` is the limit while pixels are Pillow's: reading, decoding and resizing, in one thread.
"""

import io
import json
import math
import mmap
import os
import queue
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("NPROC", "16")  # as launch.py

import jax
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image

from efficient_jax.data import stored_image, stream
from efficient_jax.data.framing import Framing, fit
from efficient_jax.data.identity import digest
from efficient_jax.data.sources.image_folders import folder
from efficient_jax.data.sources.parquet_files import parquet
from efficient_jax.training import batches

BATCH, WORKERS, REPEATS, MOST = 32, 2, 7, 384


class Images(torch.utils.data.Dataset):
    """Files, or the contents of files."""

    def __init__(self, images: Sequence, size: int) -> None:
        self.images, self.size = images, size

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> torch.Tensor:
        image = self.images[i]
        with Image.open(image if isinstance(image, str) else io.BytesIO(image.as_py())) as opened:
            image = opened.convert("RGB")
        w, h = image.size
        if min(w, h) != self.size:
            scale = self.size / min(w, h)
            w, h = max(self.size, int(w * scale)), max(self.size, int(h * scale))
            image = image.resize((w, h), Image.Resampling.BICUBIC)
        left, top = round((w - self.size) / 2), round((h - self.size) / 2)
        return torch.from_numpy(np.array(image.crop((left, top, left + self.size, top + self.size))))


class Epoch(NamedTuple):
    run: Callable[[], int]  # returns the number of its images
    workers: Callable[[], list[int]] = list  # ids of processes


def theirs(images: Sequence, order: np.ndarray, size: int) -> Epoch:
    loader = torch.utils.data.DataLoader(
        Images(images, size),
        batch_size=BATCH,
        sampler=order.tolist(),
        num_workers=WORKERS,
        persistent_workers=True,
    )
    return Epoch(lambda: sum(len(images) for images in loader), lambda: [w.pid for w in loader._iterator._workers])


def ours(images: stream.Streamed, order: np.ndarray) -> Epoch:
    devices = jax.local_devices()[:1]

    def make(rows: np.ndarray) -> jax.Array:
        return batches.on_devices(images, rows, devices)["image"]

    return Epoch(
        lambda: sum(
            jax.block_until_ready(each).shape[1] for each in batches.ahead(make, np.split(order, len(order) // BATCH))
        )
    )


def processes(images: Sequence, order: np.ndarray, size: int) -> Epoch:
    """What `ours` would be with processes that write into shared memory, in place of threads."""
    shape = batches.AHEAD + 1, BATCH, size, size, 3
    square = np.frombuffer(mmap.mmap(-1, math.prod(shape)), np.uint8).reshape(shape)
    pool = ProcessPoolExecutor(WORKERS, get_context("fork"), _share, (images, square))
    free = queue.SimpleQueue()
    for slot in range(len(square)):
        free.put(slot)

    def make(rows: np.ndarray) -> jax.Array:
        slot = free.get()
        parts = np.split(np.arange(BATCH), 2 * WORKERS)
        list(pool.map(_fill, [slot] * len(parts), parts, [rows[part] for part in parts]))
        placed = jax.block_until_ready(jax.device_put(square[slot].copy(), jax.local_devices()[0]))
        free.put(slot)
        return placed

    def run() -> int:
        return sum(len(each) for each in batches.ahead(make, np.split(order, len(order) // BATCH)))

    pool.submit(int).result()
    return Epoch(run, lambda: [*pool._processes])


_shared: tuple[Any, ...] = ()  # of a process: (images, uint8 [slots BATCH size size 3])


def _share(*inherited: Any) -> None:
    global _shared
    _shared = inherited


def _fill(slot: int, places: np.ndarray, rows: np.ndarray) -> None:
    images, square = _shared
    size = square.shape[2]
    for place, row in zip(places, rows, strict=True):
        content = encoded(images[row])
        digest(content)  # as ours compares
        square[slot, place] = stored_image.frame(content, Framing(size), (size, size, 3)).image


def encoded(image: Any) -> bytes:
    return Path(image).read_bytes() if isinstance(image, str) else image.as_py()


def pillow(images: Sequence, order: np.ndarray, size: int) -> Epoch:
    def decoded(i: int) -> int:
        image = Image.open(io.BytesIO(encoded(images[i])))
        image.load()
        fit(image, size, "crop", 1.0, "bicubic")
        return 1

    return Epoch(lambda: sum(map(decoded, order)))


def core_seconds(workers: list[int]) -> float:
    """Of this process and of some others."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    ticks = 0
    for worker in workers:
        fields = Path(f"/proc/{worker}/stat").read_text().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return used.ru_utime + used.ru_stime + ticks / os.sysconf("SC_CLK_TCK")


def main(path: str, sizes: list[str]) -> None:
    feed = stream.Feed("stream")
    files = folder(path=path, size=8, feed=feed).names
    with tempfile.TemporaryDirectory() as temporary:
        content = pa.array([{"bytes": Path(file).read_bytes()} for file in files])
        table = f"{temporary}/images.parquet"
        pq.write_table(pa.table({"image": content, "label": [i % 2 for i in range(len(files))]}), table)
        column = pa.chunked_array([content.field("bytes")])
        order = np.random.default_rng(0).permutation(len(files))[: MOST // BATCH * BATCH]
        for size in map(int, sizes or ("160", "128")):
            for name, images, source in (
                ("folder", files, lambda size=size: folder(path=path, size=size, feed=feed)),
                ("parquet", column, lambda size=size: parquet(path=table, size=size, feed=feed)),
            ):
                made = processes(images, order, size), theirs(images, order, size)  # forked before jax has threads
                epochs = ours(source().images, order), *made, pillow(images, order, size)
                times, cores = np.zeros((2, REPEATS + 1, len(epochs)))
                for repeat in range(REPEATS + 1):
                    for i in range(len(epochs)) if repeat else (2, 1, 0, 3):
                        before = core_seconds(epochs[i].workers() if repeat else []), time.perf_counter()
                        assert epochs[i].run() == len(order)
                        times[repeat, i] = time.perf_counter() - before[1]
                        cores[repeat, i] = core_seconds(epochs[i].workers()) - before[0]
                seconds, used = times[1:], cores[1:]  # the first epoch starts workers
                rates, ratios = len(order) / np.median(seconds, 0), seconds[:, 2] / seconds[:, 0]
                core_us = (1e6 * np.median(used, 0) / len(order)).round().astype(int).tolist()
                record = {"row": name, "size": size, "batch": BATCH, "images": len(order), "workers": WORKERS}
                record |= {"cores": len(os.sched_getaffinity(0)), "torch": torch.__version__, "jax": jax.__version__}
                record |= {"ours": round(float(rates[0]), 1), "loader": round(float(rates[2]), 1)}
                record |= {"ratio": round(statistics.median(ratios), 3), "least": round(float(min(ratios)), 3)}
                record |= {"most": round(float(max(ratios)), 3), "load": round(os.getloadavg()[0], 1)}
                record |= dict(zip(("ours_us", "processes_us", "loader_us", "pillow_us"), core_us, strict=True))
                more = {"core_ratio": used[:, 2] / used[:, 0], "of_pillow": used[:, 0] / used[:, 3]}
                more |= {"processes": seconds[:, 1] / seconds[:, 0], "processes_core": used[:, 1] / used[:, 0]}
                record |= {key: round(float(np.median(values)), 3) for key, values in more.items()}
                print(json.dumps(record), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
