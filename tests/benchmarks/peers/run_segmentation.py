"""Our training step of masks beside torch's, eager and compiled: one process, alternating, median of the ratios.

Runs where this package, torch and torchvision are in one environment:

    python -m tests.benchmarks.peers.run_segmentation >> tests/benchmarks/peers/segmentation/cpu.jsonl

A step is forward, backward and SGD with momentum on uint8 images of 128 pixels that lie in memory: ResNet-18 with the
default decoder of masks, float32, batch statistics in training mode. The peer is torchvision's ResNet-18 with the same
pyramid and decoder in plain torch; both have the same number of parameters. Ours also moves masks with their images and
keeps the average of its weights, as it always does, and has the cores as devices.
"""

import json
import os
import statistics
import time
from collections.abc import Callable

CORES = len(os.sched_getaffinity(0))
os.environ.setdefault("NPROC", "16")  # as launch.py

import jax
import numpy as np
import torch
import torchvision
from torch import nn

from efficient_jax import models
from efficient_jax.methods import METHODS, build_loss
from efficient_jax.models import ResNet
from efficient_jax.models.dense import dense_masks
from efficient_jax.optim import optimizer
from efficient_jax.tasks import SEGMENTATION
from efficient_jax.training import parallel, state, step
from efficient_jax.training.labels import Labels

jax.config.update("jax_num_cpu_devices", CORES)

SIDE, BATCH, CLASSES, WIDTH = 128, 16, 21, 128
STEPS, REPEATS = 2, 9
PEERS = ("eager", "compiled")


class Peer(nn.Module):
    """ResNet-18 with a feature pyramid and a decoder of its finest level."""

    def __init__(self) -> None:
        super().__init__()
        net = torchvision.models.resnet18(weights=None)
        self.stem = nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool)
        self.stages = nn.ModuleList([net.layer1, net.layer2, net.layer3, net.layer4])
        self.laterals = nn.ModuleList(
            nn.Sequential(nn.Conv2d(channels, WIDTH, 1, bias=False), nn.BatchNorm2d(WIDTH))
            for channels in (64, 128, 256, 512)
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(WIDTH, WIDTH, 3, padding=1, bias=False), nn.BatchNorm2d(WIDTH), nn.ReLU()
        )
        self.head = nn.Conv2d(WIDTH, CLASSES, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x, maps = self.stem(images), []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        *finer, level = [lateral(each) for lateral, each in zip(self.laterals, maps, strict=True)]
        for each in reversed(finer):
            level = each + enlarged(level, each)
        return enlarged(self.head(self.decoder(level)), images)


def enlarged(x: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return nn.functional.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)


def torch_steps(model: nn.Module, images: np.ndarray, masks: np.ndarray) -> Callable[[int], None]:
    x, y = torch.from_numpy(np.moveaxis(images, -1, 1)).contiguous(), torch.from_numpy(masks).long()
    sgd = torch.optim.SGD(model.parameters(), lr=1e-2, momentum=0.9)
    model.train()

    def train(steps: int) -> None:
        for _ in range(steps):
            sgd.zero_grad(set_to_none=True)
            nn.functional.cross_entropy(model((x.float() / 255.0 - 0.5) / 0.25), y).backward()
            sgd.step()

    return train


def unchanged(keys: jax.Array, batch: dict, saliency: object = None) -> dict:
    del keys, saliency
    return batch


def our_steps(images: np.ndarray, masks: np.ndarray, parameters: int) -> Callable[[int], None]:
    def network(axis: str | None) -> nn.Module:
        return dense_masks(ResNet(0, depth=18, norm_axis=axis), CLASSES, width=WIDTH)

    devices, norm = jax.devices(), ((0.5,) * 3, (0.25,) * 3)
    variables = models.init(network(None), jax.random.key(0), images.shape[1:])
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == parameters
    settings = {"learning_rate": 1e-2, "weight_decay": 0.0, "clip": 0.0, "rules": ((".*", 1.0),)}
    settings["algorithm"] = {"name": "sgd", "momentum": 0.9}
    tx, _ = optimizer.optimizer(variables["params"], steps=100_000, **settings)
    apply = models.make_apply(network(parallel.AXIS), *norm)
    loss = build_loss(METHODS["supervised"], apply, unchanged, unchanged, (), SEGMENTATION, {})
    update = step.make_train_step(loss, tx, steps=100_000, ema_decay=0.99, devices=devices)
    labels = Labels(np.zeros((BATCH, 1), np.int32), None)
    data = parallel.replicate({"image": images, "label": labels, **SEGMENTATION.entries(masks)}, devices)
    key, counts = parallel.replicate((jax.random.key(0), np.ones(CLASSES, np.float32)), devices)
    given = {"labelled": {"index": parallel.shared(np.arange(BATCH)[None], devices)}}
    now = parallel.replicate(state.create(variables, tx), devices)

    def train(steps: int) -> None:
        nonlocal now
        for _ in range(steps):
            now, metrics = update(now, (), counts, data, key, given)
            jax.block_until_ready(metrics)

    return train


def seconds(function: Callable[[int], None]) -> tuple[float, float]:
    """Seconds of a step by the clock, and of all cores together: others on the machine change the latter less."""
    start, used = time.perf_counter(), time.process_time()
    function(STEPS)
    return (time.perf_counter() - start) / STEPS, (time.process_time() - used) / STEPS


def main() -> None:
    torch.set_num_threads(CORES)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (BATCH, SIDE, SIDE, 3), np.uint8)
    masks = rng.integers(0, CLASSES, (BATCH, SIDE, SIDE)).astype(np.uint8)
    peers = [Peer(), torch.compile(Peer())]
    functions = [our_steps(images, masks, sum(p.numel() for p in peers[0].parameters()))]
    functions += [torch_steps(peer, images, masks) for peer in peers]
    for function in functions:
        function(2)
    times = np.array([[seconds(function) for function in functions] for _ in range(REPEATS)])
    record = {"row": f"ResNet-18, masks, {SIDE} pixels", "mode": "train", "batch": BATCH, "cores": CORES}
    record |= {"torch": torch.__version__, "jax": jax.__version__, "date": time.strftime("%Y-%m-%d")}
    record |= {"load": round(os.getloadavg()[0], 1)}  # of the machine; a run alone has about 2
    record |= {"wait": os.environ.get("OMP_WAIT_POLICY", "")}  # torch's threads wait actively by default
    rates = (BATCH / np.median(times[..., 0], 0)).round(1).tolist()
    record |= dict(zip(("ours", *PEERS), rates, strict=True))
    for i, peer in enumerate(PEERS, 1):
        for k, of in enumerate(("over", "core seconds over")):
            ratios = times[:, i, k] / times[:, 0, k]
            record[f"{of} {peer}"] = [round(float(f(ratios)), 3) for f in (statistics.median, min, max)]
    print(json.dumps(record), flush=True)


if __name__ == "__main__":
    main()
