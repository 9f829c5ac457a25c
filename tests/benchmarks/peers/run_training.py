"""Our training and evaluation steps beside torch, eager and compiled: one process, alternating, median of the ratios.

Runs where this package, torch and timm are in one environment:

    python tests/benchmarks/peers/run_training.py [ROW ...] > tests/benchmarks/peers/training/cpu.jsonl

A step is forward, backward and AdamW on uint8 images that lie in memory, batch statistics in training mode, float32;
ours also keeps the average of its weights, as it always does, and has the cores as devices.
"""

import json
import os
import statistics
import sys
import time
from collections.abc import Callable

CORES = len(os.sched_getaffinity(0))
os.environ.setdefault("NPROC", "16")  # as launch.py

import jax
import numpy as np
import timm
import torch
from torch import nn

from efficient_jax import models
from efficient_jax.methods.supervised import supervised
from efficient_jax.models import CNN, EfficientNet, ResNet
from efficient_jax.optim import optimizer
from efficient_jax.tasks import TASKS
from efficient_jax.training import parallel, state, step
from efficient_jax.training.labels import Labels
from efficient_jax.training.predict import make_predict

jax.config.update("jax_num_cpu_devices", CORES)

CLASSES, SECONDS, REPEATS = 10, 2.0, 9
PEERS = ("eager", "compiled")


def torch_cnn() -> nn.Module:
    def stage(i: int, o: int) -> list[nn.Module]:
        return [nn.Conv2d(i, o, 3, padding=1), nn.MaxPool2d(2), nn.BatchNorm2d(o), nn.ReLU()]

    pooled = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, CLASSES)
    return nn.Sequential(*stage(1, 16), *stage(16, 32), *stage(32, 64), *pooled)


def torch_resnet18() -> nn.Module:
    model = timm.create_model("resnet18", num_classes=CLASSES)
    model.conv1, model.maxpool = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()
    return model


def torch_lite0() -> nn.Module:
    return timm.create_model("tf_efficientnet_lite0", num_classes=CLASSES)


ROWS = {
    "small CNN": (lambda axis: CNN(CLASSES, norm_axis=axis), torch_cnn, (28, 28, 1), 128),
    "ResNet-18": (
        lambda axis: ResNet(CLASSES, depth=18, stem="cifar", norm_axis=axis),
        torch_resnet18,
        (32, 32, 3),
        64,
    ),
    "Lite0": (lambda axis: EfficientNet(CLASSES, "lite0", norm_axis=axis), torch_lite0, (96, 96, 3), 32),
}


def unchanged(keys: jax.Array, batch: dict) -> dict:
    del keys
    return batch


def torch_steps(model: nn.Module, images: np.ndarray, labels: np.ndarray) -> tuple[Callable, Callable]:
    x = torch.from_numpy(np.moveaxis(images, -1, 1)).contiguous()
    y, optimizer = torch.from_numpy(labels), torch.optim.AdamW(model.parameters(), lr=1e-3)

    def normalised() -> torch.Tensor:
        return (x.float() / 255.0 - 0.5) / 0.25

    def train(steps: int) -> None:
        model.train()
        for _ in range(steps):
            optimizer.zero_grad(set_to_none=True)
            nn.functional.cross_entropy(model(normalised()), y).backward()
            optimizer.step()

    def evaluate(steps: int) -> None:
        model.eval()
        with torch.inference_mode():
            for _ in range(steps):
                model(normalised())

    return train, evaluate


def our_steps(module: Callable, images: np.ndarray, labels: np.ndarray) -> tuple[Callable, Callable]:
    devices, channels = jax.devices(), images.shape[-1]
    apply = models.make_apply(module(parallel.AXIS), (0.5,) * channels, (0.25,) * channels)
    variables = models.init(module(None), jax.random.key(0), images.shape[1:])
    settings = {"learning_rate": 1e-3, "weight_decay": 1e-2, "clip": 0.0, "rules": ((".*", 1.0),)}
    tx, _ = optimizer.optimizer(variables["params"], steps=100_000, **settings)
    loss = supervised(apply, unchanged, TASKS["classification"])
    update = step.make_train_step(loss, tx, steps=100_000, ema_decay=0.99, devices=devices)
    predict = make_predict(apply, devices, TASKS["classification"])
    data = parallel.replicate({"image": images, "label": Labels(labels[:, None].astype(np.int32), None)}, devices)
    key, counts = parallel.replicate((jax.random.key(0), np.ones(CLASSES, np.float32)), devices)
    rows = np.arange(len(images))
    given = {"labelled": {"index": parallel.shared(rows[None], devices)}}
    weights = parallel.replicate(jax.tree.map(np.asarray, variables), devices)
    now = parallel.replicate(state.create(variables, tx), devices)

    def train(steps: int) -> None:
        nonlocal now
        for _ in range(steps):
            now, metrics = update(now, (), counts, data, key, given)
            jax.block_until_ready(metrics)

    def evaluate(steps: int) -> None:
        index = {"index": parallel.shared(rows, devices)}
        for _ in range(steps):
            jax.block_until_ready(predict(weights, data, index))

    return train, evaluate


def seconds(function: Callable[[int], None], steps: int) -> float:
    start = time.perf_counter()
    function(steps)
    return (time.perf_counter() - start) / steps


def main(names: list[str]) -> None:
    torch.set_num_threads(CORES)
    rng = np.random.default_rng(0)
    for name in names or ROWS:
        module, theirs, shape, batch = ROWS[name]
        images, labels = rng.integers(0, 256, (batch, *shape), np.uint8), rng.integers(0, CLASSES, batch)
        eager, compiled = (torch_steps(each, images, labels) for each in (theirs(), torch.compile(theirs())))
        steps = (our_steps(module, images, labels), eager, compiled)
        for mode, of_mode in zip(("train", "evaluate"), zip(*steps, strict=True), strict=True):
            counts = []
            for function in of_mode:
                function(2)
                counts.append(max(1, round(SECONDS / seconds(function, 3))))
            times = np.array([[seconds(f, n) for f, n in zip(of_mode, counts, strict=True)] for _ in range(REPEATS)])
            record = {"row": name, "mode": mode, "batch": batch, "cores": CORES, "torch": torch.__version__}
            record |= {"jax": jax.__version__, "date": time.strftime("%Y-%m-%d")}
            rates = batch / np.median(times, 0)
            record |= {of: round(float(rate), 1) for of, rate in zip(("ours", *PEERS), rates, strict=True)}
            for i, peer in enumerate(PEERS, 1):
                ratios = times[:, i] / times[:, 0]
                record[f"over {peer}"] = [round(float(f(ratios)), 3) for f in (statistics.median, min, max)]
            print(json.dumps(record), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
