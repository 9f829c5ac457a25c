"""Our rows of the augmentation comparison: images per second, uint8 in and out, every image with draws of its own.

    OURS=$(which python) RUNNER=$PWD/tests/peers/run_ours.py PEERBENCH/run_all.sh out.jsonl 0.8 0,1

`pb` is the peers' common harness: images, timing, JSON lines. CPU cores are devices, as in training.
"""

import os

os.environ.setdefault("NPROC", "16")

from functools import partial

import jax
import jax.numpy as jnp
import pb

from efficient_jax import augment

CORES = len(os.sched_getaffinity(0))
jax.config.update("jax_num_cpu_devices", CORES)

NAMES = {"hflip": "flip", "colorjitter": "color_jitter", "blur5": "gaussian_blur", "rrc": "random_resized_crop"}
SETTINGS = {
    "affine": {"rotate": 15.0, "shear": 0.3, "translate": 0.1, "scale": 0.2},
    "colorjitter": {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1},
    "blur5": {"kernel": 5, "sigma_min": 0.1, "sigma_max": 2.0},
    "mixup": {"alpha": 0.2},
    "cutmix": {"alpha": 1.0},
}
ROWS = {
    **{row: (row,) for row in ("hflip", "rotate", "affine", "colorjitter", "blur5", "rrc", "erase", "randaugment")},
    "mixup": ("mixup",),
    "cutmix": ("cutmix",),
    "pipeline": ("rrc", "hflip", "randaugment", "normalize", "mixup_or_cutmix"),
}
MEAN, STD = jnp.array(pb.MEAN), jnp.array(pb.STD)


def operation(row: str) -> augment.Augment:
    name = {"erase": "random_erasing"}.get(row, NAMES.get(row, row))
    if row == "normalize":
        return lambda keys, batch: batch | {"image": (augment.to_float(batch["image"]) - MEAN) / STD}
    return augment.build((name,), {name: SETTINGS.get(row, {})})


def program(row: str, devices: int):
    """One call augments the batch of every device; each image's key is split from the call's."""
    apply = augment.pipeline(tuple(operation(name) for name in ROWS[row]))

    def one_device(key, batch):
        return apply(jax.random.split(key, len(batch["image"])), batch)

    return jax.pmap(one_device) if devices > 1 else jax.jit(one_device)


def main() -> None:
    settings = pb.args()
    for size in settings.sizes:
        images, labels = pb.images(size), jax.nn.one_hot(pb.labels(size), pb.NUM_CLASSES[size])
        for row in ROWS:
            if settings.only and row not in settings.only:
                continue
            floating = row in ("mixup", "cutmix")
            batch = {"image": images.astype("float32") / 255 if floating else images}
            if floating or row == "pipeline":
                batch["label"] = labels
            keys = jax.random.split(jax.random.key(0), (512, CORES))
            if CORES > 1:
                split = jax.tree.map(lambda x: x.reshape(CORES, -1, *x.shape[1:]), batch)
                batch = jax.pmap(lambda x: x)(split)
                keys = [jax.pmap(lambda k: k)(k) for k in keys]
            else:
                batch, keys = jax.device_put(batch), [k[0] for k in keys]
            try:
                run = program(row, CORES)
            except Exception as error:
                print(f"{row}: {error}")
                continue
            call = partial(lambda i, run, keys, batch: run(keys[i % 512], batch), run=run, keys=keys, batch=batch)
            out = "float32" if floating else "uint8 -> float32" if row == "pipeline" else "uint8"
            pb.bench("ours", row, size, call, settings, sync=jax.block_until_ready, dtype=out, threads=f"{CORES} devices")


if __name__ == "__main__":
    main()
