"""Streamed images beside PyTorch's DataLoader with two workers: one process, alternating, median of the ratios.

Runs where this package's data sources and torch are in one environment:

    python tests/benchmarks/peers/run_feed.py FOLDER [SIZE ...] >> tests/benchmarks/peers/feed/cpu.jsonl

FOLDER holds photographs below folders of classes. Both give uint8 batches in one random order, cut from the middle
after the shorter side was resized (bicubic); ours lie on the devices, theirs in the memory of the training process. The
DataLoader's workers stay from epoch to epoch, so that starting them is not counted.
"""

import io
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

os.environ.setdefault("NPROC", "16")  # as launch.py

import jax
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image

from efficient_jax.data import stream
from efficient_jax.data.sources.image_folders import folder
from efficient_jax.data.sources.parquet_files import parquet
from efficient_jax.training import batches

BATCH, WORKERS, REPEATS, MOST = 32, 2, 7, 768


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


def theirs(images: Sequence, order: np.ndarray, size: int) -> Callable[[], int]:
    loader = torch.utils.data.DataLoader(
        Images(images, size),
        batch_size=BATCH,
        sampler=order.tolist(),
        num_workers=WORKERS,
        persistent_workers=True,
    )
    return lambda: sum(len(images) for images in loader)


def ours(images: stream.Streamed, order: np.ndarray) -> Callable[[], int]:
    devices = jax.local_devices()[:1]

    def make(rows: np.ndarray) -> jax.Array:
        return batches.on_devices(images, rows, devices)["image"]

    return lambda: sum(
        jax.block_until_ready(each).shape[1] for each in batches.ahead(make, np.split(order, len(order) // BATCH))
    )


def main(path: str, sizes: list[str]) -> None:
    feed = stream.Feed("stream")
    files = folder(path=path, size=8, feed=feed).names
    with tempfile.TemporaryDirectory() as temporary:
        content = pa.array([{"bytes": Path(file).read_bytes()} for file in files])
        table = f"{temporary}/images.parquet"
        pq.write_table(pa.table({"image": content, "label": [i % 2 for i in range(len(files))]}), table)
        encoded = pa.chunked_array([content.field("bytes")])
        order = np.random.default_rng(0).permutation(len(files))[: MOST // BATCH * BATCH]
        for size in map(int, sizes or ("160", "128")):
            for name, images, source in (
                ("folder", files, lambda size=size: folder(path=path, size=size, feed=feed)),
                ("parquet", encoded, lambda size=size: parquet(path=table, size=size, feed=feed)),
            ):
                both = ours(source().images, order), theirs(images, order, size)
                times = []
                for _ in range(REPEATS + 1):
                    times.append([])
                    for epoch in both[:: 1 if times[1:] else -1]:  # workers are forked before jax has threads
                        start = time.perf_counter()
                        assert epoch() == len(order)
                        times[-1].append(time.perf_counter() - start)
                seconds = np.array(times[1:])  # the first epoch starts workers
                rates, ratios = len(order) / np.median(seconds, 0), seconds[:, 1] / seconds[:, 0]
                record = {"row": name, "size": size, "batch": BATCH, "images": len(order), "workers": WORKERS}
                record |= {"cores": len(os.sched_getaffinity(0)), "torch": torch.__version__, "jax": jax.__version__}
                record |= {"ours": round(float(rates[0]), 1), "loader": round(float(rates[1]), 1)}
                record |= {"ratio": round(statistics.median(ratios), 3), "least": round(float(min(ratios)), 3)}
                print(json.dumps(record | {"most": round(float(max(ratios)), 3)}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
