"""The tables of README.md from the drivers' runs: images per second of ours, of the best peer, and their ratio.

    python tests/benchmarks/peers/table.py tests/benchmarks/peers/results/*.jsonl
    python tests/benchmarks/peers/table.py training

Each file is one run of every library, one after the other, on the same machine; a cell is the median over the files
of the run's median, a ratio the median of the runs' ratios, with the least and the most of them.
"""

import json
import sys
from pathlib import Path
from statistics import geometric_mean, median

HERE = Path(__file__).parent
AIMS = {
    ("small CNN", "train"): 1.0,
    ("small CNN", "evaluate"): 0.8,
    ("ResNet-18", "train"): 0.85,
    ("ResNet-18", "evaluate"): 0.85,
    ("Lite0", "train"): 0.7,
    ("Lite0", "evaluate"): 1.0,
}
ROWS = (
    "hflip",
    "rotate",
    "affine",
    "colorjitter",
    "blur5",
    "rrc",
    "erase",
    "mixup",
    "cutmix",
    "randaugment",
    "pipeline",
)
REFERENCES = {"mixup": "copy_f32", "cutmix": "copy_f32", "pipeline": "u8_to_f32"}
PEERS = ["dm_pix", "augmax", "keras_jit", "keras_eager", "kornia", "torchvision", "timm", "albumentations"]
ALSO = {"randaugment": ("randaugment_p1",), "mixup": ("mixup_elem",), "cutmix": ("cutmix_elem",)}


def read(path: Path) -> dict[tuple[str, str, int], float]:
    """(library, row, size) -> images per second of one run."""
    records = [json.loads(line) for line in path.read_text().splitlines() if line.startswith("{")]
    return {(r["lib"], r["op"], r["size"]): r["ips"] for r in records if "ips" in r}


def best_peer(run: dict[tuple[str, str, int], float], row: str, size: int) -> tuple[float, str]:
    found = [
        (run[peer, name, size], peer)
        for peer in PEERS
        for name in (row, *ALSO.get(row, ()))
        if (peer, name, size) in run
    ]
    return max(found)


def shown(value: float) -> str:
    return f"{value / 1e6:.2f}M" if value >= 1e6 else f"{value / 1e3:.0f}k" if value >= 1e4 else f"{value / 1e3:.1f}k"


def table(paths: list[Path], size: int) -> str:
    runs = [read(path) for path in paths]
    lines = [
        f"| {size} x {size} | images/s | best peer | images/s | ratio [least, most] | of `ref_jax` | of a copy |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    ratios = []
    for row in ROWS:
        ours = [run["ours", row, size] for run in runs]
        peers = [best_peer(run, row, size) for run in runs]
        over = [a / b for a, (b, _) in zip(ours, peers, strict=True)]
        sketch = median(a / run["ref_jax", row, size] for a, run in zip(ours, runs, strict=True))
        copy = median(
            a / max(v for k, v in run.items() if k[1:] == (REFERENCES.get(row, "copy"), size))
            for a, run in zip(ours, runs, strict=True)
        )
        ratios.append(median(over))
        names = "/".join(sorted({name for _, name in peers}))
        spread = f"{median(over):.2f} [{min(over):.2f}, {max(over):.2f}]"
        rate = shown(median(b for b, _ in peers))
        lines.append(f"| {row} | {shown(median(ours))} | {names} | {rate} | {spread} | {sketch:.2f} | {copy:.3f} |")
    lines.append(f"| geometric mean | | | | {geometric_mean(ratios):.2f} | | |")
    return "\n".join(lines)


def training() -> str:
    """Of steps beside torch's, see run_training.py, with what was aimed at."""
    lines = [
        "| two cores | batch | images/s | torch eager | ratio [least, most] | aim | torch.compile | ratio |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for line in (HERE / "training/cpu.jsonl").read_text().splitlines():
        r = json.loads(line)
        ours, eager, compiled = (f"{r[of]:,.0f}" for of in ("ours", "eager", "compiled"))
        over, least, most = r["over eager"]
        spread = f"{over:.2f} [{least:.2f}, {most:.2f}] | {AIMS[r['row'], r['mode']]}"
        beside = f"{compiled} | {r['over compiled'][0]:.2f}"
        lines.append(f"| {r['row']}, {r['mode']} | {r['batch']} | {ours} | {eager} | {spread} | {beside} |")
    return "\n".join(lines)


if __name__ == "__main__":
    files = [Path(name) for name in sys.argv[1:]]
    print(training() if files == [Path("training")] else "\n\n".join(table(files, size) for size in (32, 224)))
