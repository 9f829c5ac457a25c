"""The order of an epoch without an array of it: time and memory of a batch of 1,024 of 130 million rows.

    python -m tests.benchmarks.peers.run_shuffle >> tests/benchmarks/peers/feed/shuffle.jsonl

Beside `index_shuffle` numpy's permutation is drawn and indexed. `index_shuffle` of Grain is measured where it is
installed (pip install grain), by itself since it wants another environment than this package:

    python tests/benchmarks/peers/run_shuffle.py grain >> tests/benchmarks/peers/feed/shuffle.jsonl

Times are core seconds of one thread, the median of nine rounds.
"""

import json
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

ROWS, BATCH, REPEATS = 130_000_000, 1_024, 9


def microseconds(call: Callable[[int], Any]) -> float:
    """Of a call with the number of a batch."""
    call(0)
    times = []
    for number in range(1, REPEATS + 1):
        start = time.thread_time()
        call(number)
        times.append(1e6 * (time.thread_time() - start))
    return round(statistics.median(times), 1)


def most_mib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def ours() -> Iterator[dict]:
    from efficient_jax.data import index_shuffle

    before = most_mib()
    for rows in (ROWS, 10**12):
        time_ours = microseconds(
            lambda i, rows=rows: index_shuffle.shuffled(np.arange(i * BATCH, (i + 1) * BATCH), rows, 0, 0)
        )
        yield {"row": "index_shuffle", "rows": rows, "batch_us": time_ours, "more_mib": most_mib() - before}
    start = time.thread_time()
    order = np.random.default_rng((0, 0)).permutation(ROWS)
    drawn = round(time.thread_time() - start, 1)
    time_indexed = microseconds(lambda i: order[i * BATCH : (i + 1) * BATCH])
    record = {"row": "permutation", "rows": ROWS, "epoch_s": drawn, "batch_us": time_indexed}
    yield record | {"more_mib": most_mib() - before}


def grain() -> Iterator[dict]:
    from grain._src.python.experimental.index_shuffle.python import index_shuffle_module

    before = most_mib()
    for rounds in (4, 24):
        batch_us = microseconds(
            lambda i, rounds=rounds: [
                index_shuffle_module.index_shuffle(row, max_index=ROWS - 1, seed=0, rounds=rounds)
                for row in range(i * BATCH, (i + 1) * BATCH)
            ]
        )
        record = {"row": "grain", "rows": ROWS, "rounds": rounds, "batch_us": batch_us}
        yield record | {"more_mib": most_mib() - before}


if __name__ == "__main__":
    for record in grain() if sys.argv[1:] == ["grain"] else ours():
        print(json.dumps(record), flush=True)
