"""What a user waits for, and what training needs beside its step: the quickstart from nothing, the start of a run whose
programs were compiled before, and peak memory.

    python -m tests.benchmarks.whole_runs

Each run is a process of its own. The first has an empty compilation cache. A start lasts until the metrics of the first
step are on disk, the import of everything included; how long that takes by itself is measured too. Memory is the most
that a process held that trains, checkpoints and report included, and one that has loaded the same and only calls the
step.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import jax

STAGE = "augmented"
REPEATS = 7


def process(arguments: Sequence[str], cache: Path) -> subprocess.Popen:
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
    return subprocess.Popen([sys.executable, *arguments], env=environment, stdout=subprocess.DEVNULL)


def ended(arguments: Sequence[str], cache: Path) -> tuple[float, float]:
    """Seconds, and MiB at the peak."""
    start = time.perf_counter()
    _, status, usage = os.wait4(process(arguments, cache).pid, 0)
    if status:
        raise SystemExit(f"{' '.join(arguments)} ended with {os.waitstatus_to_exitcode(status)}")
    return time.perf_counter() - start, usage.ru_maxrss / 2**10


def until_first_step(folder: Path, cache: Path) -> float:
    start = time.perf_counter()
    stage = f"--config.stages=('{STAGE}',)", f"--config.{STAGE}.log_every=1"
    training = process(["launch.py", "train", f"--workdir={folder}", *stage], cache)
    metrics = folder / STAGE / "metrics.jsonl"
    while not (metrics.exists() and metrics.stat().st_size):
        if training.poll() is not None:
            raise SystemExit("training ended before its first step")
        time.sleep(0.01)
    taken = time.perf_counter() - start
    training.kill()
    training.wait()
    return taken


def only_steps() -> None:
    """The steps of the stage, and nothing else."""
    from rich.console import Console

    from configs import quickstart
    from efficient_jax.commands import command_line  # all of it: what is imported is not what training needs
    from efficient_jax.commands.bench import programs
    from efficient_jax.experiment.config import plan
    from efficient_jax.experiment.run import prepare

    command_line.cores_are_devices()
    jax.config.update("jax_compilation_cache_dir", f"{os.environ['XDG_CACHE_HOME']}/steps")  # compiling needs the most
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    config = quickstart.get_config()
    config.stages = (STAGE,)
    with tempfile.TemporaryDirectory() as folder:
        run = prepare(plan(config.to_dict()), Path(folder), Console(quiet=True))
        (stage,) = run.stages
        whole = programs(stage, run).whole
    given, state = next(whole.given(0, 1)), whole.state
    for _ in range(run.resolved[stage.name].steps):
        state, metrics = whole.step(*whole.arguments(state, given))
        jax.block_until_ready(metrics)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        here, cache = Path(folder), Path(folder) / "cache"
        whole, _ = ended(["launch.py", f"--workdir={here / 'quickstart'}"], cache)
        starts = [until_first_step(here / f"start{i}", cache) for i in range(REPEATS)]
        imports = [ended(["-c", "import launch"], cache)[0] for _ in range(REPEATS)]
        train = ["launch.py", "train", f"--config.stages=('{STAGE}',)"]
        peaks = {
            "training": [ended([*train, f"--workdir={here / f'memory{i}'}"], cache)[1] for i in range(3)],
            "only steps": [ended(["-m", "tests.benchmarks.whole_runs", "steps"], cache)[1] for _ in range(4)][1:],
        }
    found = {"quickstart_seconds": round(whole, 1), "second_start_seconds": round(median(starts), 2)}
    found |= {"second_starts": [round(s, 2) for s in starts], "import_seconds": round(median(imports), 2)}
    found |= {"peak_mib": {name: round(median(mib)) for name, mib in peaks.items()}}
    found |= {"peak_ratio": round(median(peaks["training"]) / median(peaks["only steps"]), 3)}
    print(json.dumps(found | {"jax": jax.__version__, "date": time.strftime("%Y-%m-%d")}))


if __name__ == "__main__":
    only_steps() if sys.argv[1:] == ["steps"] else main()
