"""Stages with random weights, which nobody has trained."""

from pathlib import Path

import jax
import numpy as np

from efficient_jax import files, models
from efficient_jax.models.spec import ModelSpec
from efficient_jax.training import checkpoint
from efficient_jax.training.trained import Trained

CLASSES = ("dark", "grey", "bright")


def spec_of(name: str, settings: dict, shape: tuple[int, int, int], **more) -> ModelSpec:
    channels = shape[-1]
    return ModelSpec(name, settings, CLASSES, shape, (0.4, 0.5, 0.6)[:channels], (0.2, 0.25, 0.3)[:channels], **more)


def shapes(spec: ModelSpec):
    module, _ = spec.build()
    return models.shapes(module, spec.input_shape)


def variables(spec: ModelSpec, seed: int = 0):
    """Weights for which no class is certain, and the image decides."""
    rng = np.random.default_rng(seed)
    gain = 2.0 if spec.name == "efficientnet" else 1.0  # its gates halve what passes

    def leaf(path, array):
        if path[-1].key in ("scale", "var"):
            return rng.uniform(0.5, 1.5, array.shape).astype(np.float32)
        spread = (gain / np.prod(array.shape[:-1])) ** 0.5 if len(array.shape) > 1 else 0.1
        return (spread * rng.standard_normal(array.shape)).astype(np.float32)

    return jax.tree_util.tree_map_with_path(leaf, shapes(spec))


def trained(spec: ModelSpec, seed: int = 0) -> Trained:
    return Trained(f"{spec.name}{seed}", spec, variables(spec, seed))


def images(spec: ModelSpec, n: int = 3) -> np.ndarray:
    return np.random.default_rng(7).integers(0, 256, (n, *spec.image_shape), np.uint8)


def saved(run: Path, stage: str, spec: ModelSpec, seed: int = 0, finished: bool = True) -> Path:
    """A run of one stage on disk, as far as `export` reads it."""
    (run / stage).mkdir(parents=True)
    with checkpoint.saving(run / stage, "test") as manager:
        checkpoint.save(manager, 5, {"ema": variables(spec, seed)}, spec, None)
    block = {"model": {"name": spec.name}, "method": {"name": "supervised"}, "init": "efficientnet-lite0"}
    files.write_json(run / "config.json", {"seed": 3, "stages": [stage], stage: block})
    data = {"source": "npz", "classes": CLASSES, "labelled": 12, "test": 30, "validation": 0}
    files.write_json(
        run / "run.json", {"command": "python launch.py train --config=x.py", "time": "2026", "data": data}
    )
    if finished:
        files.write_json(run / stage / "result.json", {"labels": 12, "test": {"correct": 27, "n": 30}})
    return run / stage
