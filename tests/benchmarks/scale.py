"""How start-up and memory of a streamed folder grow with its files.

    python -m tests.benchmarks.scale 10000 100000 1000000 >> tests/benchmarks/scale.jsonl

For each number of files, in processes of their own: JPEGs of 64 x 64 in a thousand folders of classes (hard links to
a thousand files), seconds until they are known (each is decoded once) and in a second process again from the shards
that the first one left. Of more than 100,000 files the first look is not measured. Then, in the second process, the
steps of `Run.open` that look at all of them, and 20 seconds of batches of 128, decoded and placed as in training.
Memory is what the process holds for itself, in MiB: pages of mapped files (`mapped_mib`), which the system takes away
when it wants, are not in it.

    python -m tests.benchmarks.scale formats

writes columns of 1,000,000 images in Arrow's IPC format and in Parquet, and reads digest and name of images at random.
"""

import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

PARTS = 8
BATCH = 128
CLASSES, SIDE, LINKS = 1000, 64, 60_000  # a file of ext4 has at most 65,000 links
SECONDS = 20.0  # of the epoch that are measured
DECODED = 100_000  # of more files equal ones are decoded once: how long all would take is known by then
ROWS, SHARD, READ = 1_000_000, 16_384, {"arrow": 20_000, "parquet": 200, "parquet in memory": 20_000}


def write(root: Path, count: int) -> None:
    rng = np.random.default_rng(0)
    folders = [root / f"n{number:08}" for number in range(CLASSES)]
    for folder in folders:
        folder.mkdir()
    files = itertools.cycle(rng.integers(0, 256, (CLASSES, 8, 8, 3), np.uint8).repeat(8, 1).repeat(8, 2))
    for i in range(count):
        file = folders[i % CLASSES] / f"n{i % CLASSES:08}_{i:07}.JPEG"
        first = i // (CLASSES * LINKS) * CLASSES * LINKS + i % CLASSES
        if first == i:
            Image.fromarray(next(files)).save(file)
        else:
            os.link(folders[i % CLASSES] / f"n{i % CLASSES:08}_{first:07}.JPEG", file)


def memory(kind: str) -> int:
    """MiB that the process has now: RssAnon is its own, RssFile is mapped."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(kind)) // 1024


def timed(call: Callable) -> tuple[float, object]:
    start = time.perf_counter()
    result = call()
    return round(time.perf_counter() - start, 2), result


def remembered(frame: Callable) -> Callable:
    frames: dict = {}

    def find(content: bytes, *arguments: object) -> object:
        if content not in frames:
            frames[content] = frame(content, *arguments)
        return frames[content]

    return find


def measure(root: Path, count: int, again: bool) -> dict:
    import jax

    from efficient_jax import distributed
    from efficient_jax.data import dataset, leakage, stored_image
    from efficient_jax.data.sampling import batch_at
    from efficient_jax.data.sources.image_folders import folder
    from efficient_jax.data.split import split
    from efficient_jax.data.stream import Feed
    from efficient_jax.experiment import split_table
    from efficient_jax.training import batches

    distributed.console().quiet = True
    devices = jax.devices()
    kept = Feed("stream", folder=root.parent / "kept")
    at_start = memory("RssAnon")
    if not again and count > DECODED:
        stored_image.frame = remembered(stored_image.frame)
    seconds, source = timed(lambda: folder(path=str(root), size=SIDE, feed=kept))
    if not again:
        return {"files": count, "side": SIDE} | ({} if count > DECODED else {"first_s": seconds})
    found: dict = {"again_s": seconds, "at_start_mib": at_start, "known_mib": memory("RssAnon")}
    found["split_s"], parts = timed(
        lambda: split(source.labels, source.classes, labels_per_class=0, validation=0, test=count // 5, seed=0)
    )
    found["fingerprint_s"], _ = timed(lambda: dataset.fingerprint(source))
    found["copies_s"], _ = timed(lambda: leakage.of_test(dataset.digests(source), parts["test"]))
    found["split_csv_s"], _ = timed(lambda: sum(map(len, split_table.lines(source, parts))))
    found["before_mib"] = memory("RssAnon")
    rows = np.arange(count)
    steps = range(count // BATCH)
    made = batches.ahead(lambda i: batches.on_devices(source.images, batch_at(rows, BATCH, i, 0)[None], devices), steps)
    start, seen = time.perf_counter(), []
    for number, given in enumerate(made):
        jax.block_until_ready(given)
        if number % (len(steps) // PARTS) == 0:
            seen.append(memory("RssAnon"))
        if time.perf_counter() - start > SECONDS:
            break
    speed = (number + 1) * BATCH / (time.perf_counter() - start)
    found |= {
        "epoch_mib": seen,
        "most_mib": max(seen),
        "mapped_mib": memory("RssFile"),
        "images_per_second": round(speed),
    }
    files = [path for path in kept.folder.rglob("*") if path.is_file()]
    return found | {"kept_mb": round(sum(file.stat().st_size for file in files) / 1e6, 1)}


def formats(place: Path) -> None:
    """Writes the shards; each format is read in a process of its own."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(0)
    for start in range(0, ROWS, SHARD):
        n = min(SHARD, ROWS - start)
        columns = {name: rng.integers(0, 256, (n, 16), np.uint8) for name in ("contents", "digests")}
        columns |= {name: rng.integers(0, 2**30, (n, 3)) for name in ("sums", "squares")}
        columns["sizes"] = rng.integers(0, 500, (n, 2), np.int32)
        arrays = {
            name: pa.FixedSizeListArray.from_arrays(pa.array(array.ravel()), array.shape[1])
            for name, array in columns.items()
        }
        names = [f"/data/imagenet/train/n{i % 1000:08}/n{i % 1000:08}_{i:07}.JPEG".encode() for i in range(n)]
        batch = pa.record_batch(arrays | {"name": pa.array(names, pa.binary())})
        with pa.OSFile(str(place / f"{start:07}.arrow"), "wb") as to, pa.ipc.new_file(to, batch.schema) as file:
            file.write_batch(batch)
        pq.write_table(pa.Table.from_batches([batch]), place / f"{start:07}.parquet")
    for name in READ:
        subprocess.run([sys.executable, "-m", "tests.benchmarks.scale", "read", str(place), name], check=True)


def read_format(place: Path, name: str) -> dict:
    import pyarrow as pa
    import pyarrow.parquet as pq

    files = sorted(place.glob(f"*.{name.split()[0]}"))
    before = memory("RssAnon")

    def columns(batch: pa.RecordBatch) -> tuple:
        return batch["contents"].flatten().to_numpy().reshape(-1, 16), batch["name"]

    def opened(file: Path) -> Callable:
        if name == "parquet":
            parquet = pq.ParquetFile(file, memory_map=True)
            return lambda: columns(parquet.read_row_group(0, ["contents", "name"], use_threads=False).to_batches()[0])
        if name == "arrow":
            found = columns(pa.ipc.open_file(pa.memory_map(str(file))).get_batch(0))
        else:
            found = columns(pq.read_table(file).combine_chunks().to_batches()[0])
        return lambda: found

    seconds, shards = timed(lambda: [opened(file) for file in files])
    ids = np.random.default_rng(1).permutation(ROWS)[: READ[name]].tolist()

    def read_all() -> None:
        for i in ids:
            contents, names = shards[i // SHARD]()
            contents[i % SHARD].tobytes()
            names[i % SHARD].as_py()

    microseconds = timed(read_all)[0] / len(ids) * 1e6
    size = sum(file.stat().st_size for file in files) // 10**6
    figures = {"mb": size, "open_s": seconds, "microseconds": round(microseconds, 1)}
    return {"format": name} | figures | {"own_mib": memory("RssAnon") - before, "mapped_mib": memory("RssFile")}


def main(counts: list[int]) -> None:
    for count in counts:
        with tempfile.TemporaryDirectory() as place:
            root = Path(place) / "images"
            root.mkdir()
            write(root, count)
            found: dict = {}
            for which in ("first", "again"):
                command = [sys.executable, "-m", "tests.benchmarks.scale", which, str(root), str(count)]
                found |= json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
            print(json.dumps(found), flush=True)


if __name__ == "__main__":
    if sys.argv[1] in ("first", "again"):
        print(json.dumps(measure(Path(sys.argv[2]), int(sys.argv[3]), sys.argv[1] == "again")), flush=True)
    elif sys.argv[1] == "formats":
        with tempfile.TemporaryDirectory() as place:
            formats(Path(place))
    elif sys.argv[1] == "read":
        print(json.dumps(read_format(Path(sys.argv[2]), sys.argv[3])), flush=True)
    else:
        main([int(count) for count in sys.argv[1:]])
