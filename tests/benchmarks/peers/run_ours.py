"""Our rows of the augmentation comparison: images per second, uint8 in and out, every image with draws of its own.

    OURS=$(which python) RUNNER=$PWD/tests/peers/run_ours.py PEERBENCH/run_all.sh out.jsonl 0.8 0,1

`pb` is the peers' common harness: images, timing, JSON lines. Operations that compute run with the cores as devices,
as in training; those that only move memory are done before a second device has begun, and run on one.
"""

import os

CORES = len(os.sched_getaffinity(0))
os.environ.setdefault("NPROC", str(CORES))  # more threads than cores cut the loops over images to pieces

from functools import partial

import jax
import jax.numpy as jnp
import pb

from efficient_jax import augment
from efficient_jax.types import Augment

jax.config.update("jax_num_cpu_devices", CORES)

MEAN, STD = jnp.array(pb.MEAN), jnp.array(pb.STD)
BLOCKS = {
    "affine": {"rotate": 15.0, "shear": 0.3, "translate": 0.1, "scale": 0.2},
    "color_jitter": {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1},
    "gaussian_blur": {"kernel": 5, "sigma_min": 0.1, "sigma_max": 2.0},
    "mixup": {"alpha": 0.2},
    "cutmix": {"alpha": 1.0},
    "mixup_or_cutmix": {"mixup_alpha": 0.2, "cutmix_alpha": 1.0},
}
ON_ONE_DEVICE = {"hflip": "flip", "erase": "random_erasing", "mixup": "mixup", "cutmix": "cutmix"}
ON_ALL_DEVICES = {
    "rotate": "rotate",
    "affine": "affine",
    "colorjitter": "color_jitter",
    "blur5": "gaussian_blur",
    "rrc": "random_resized_crop",
    "randaugment": "randaugment",
    "pipeline": "pipeline",
}


def normalize(_keys, batch):
    return batch | {"image": (augment.to_float(batch["image"]) - MEAN) / STD}


def operation(name: str) -> Augment:
    if name in augment.MIXES:
        return partial(augment.MIXES[name], **BLOCKS[name])
    if name in augment.OPS:
        return augment.per_example(partial(augment.OPS[name], **BLOCKS.get(name, {})))
    images = augment.build(("random_resized_crop", "flip", "randaugment"), {})
    return augment.pipeline((images, normalize, augment.build(("mixup_or_cutmix",), BLOCKS)))


def bench(row: str, size: int, settings) -> None:
    floating = row in ("mixup", "cutmix")
    images = pb.images(size)
    batch = {"image": images.astype("float32") / 255 if floating else images}
    if floating or row == "pipeline":
        batch["label"] = jax.nn.one_hot(pb.labels(size), pb.NUM_CLASSES[size])
    apply = operation((ON_ONE_DEVICE | ON_ALL_DEVICES)[row])

    def augmented(key, batch):
        return apply(jax.random.split(key, len(batch["image"])), batch)

    devices = 1 if row in ON_ONE_DEVICE else CORES
    keys = jax.random.split(jax.random.key(0), (512, devices))
    if devices == 1:
        run, batch, keys = jax.jit(augmented), jax.device_put(batch), list(keys[:, 0])
    else:
        place, run = jax.pmap(lambda x: x), jax.pmap(augmented)
        batch = place(jax.tree.map(lambda x: x.reshape(devices, -1, *x.shape[1:]), batch))
        keys = [place(k) for k in keys]
    out = "float32" if floating else "uint8 -> float32" if row == "pipeline" else "uint8"
    call = lambda i: run(keys[i % 512], batch)  # noqa: E731
    pb.bench("ours", row, size, call, settings, sync=jax.block_until_ready, dtype=out, threads=f"{devices} devices")


if __name__ == "__main__":
    arguments = pb.args()
    for size in arguments.sizes:
        for row in ON_ONE_DEVICE | ON_ALL_DEVICES:
            if not arguments.only or row in arguments.only:
                bench(row, size, arguments)
