"""Augmented example images, to look at: draws of a pipeline, and every operation from weak to strong."""

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import UInt8

from efficient_jax import keys
from efficient_jax.augment import MIXES, OPS, augmented, per_example
from efficient_jax.augment.kernels import dtypes
from efficient_jax.errors import UserError
from efficient_jax.explore import demonstration
from efficient_jax.explore.demonstration import Arrays
from efficient_jax.explore.strengths import DOCUMENTS, KINDS, OTHERS, STRENGTHS, Strengths
from efficient_jax.types import Augment

AS_STORED = "as stored"
# Programs that run once, on a few images: 3 to 4 times faster to compile on CPU.
QUICKLY = {"xla_backend_optimization_level": "0", "xla_cpu_use_fusion_emitters": False}

Columns = dict[str, Arrays]
"""Heading -> the same examples, augmented as the heading says."""


def draws(
    augment: Augment,
    examples: Arrays,
    key: jax.Array,
    versions: int,
) -> UInt8[np.ndarray, "n versions h2 w2 c2"]:
    """Returns augmented versions of each example, drawn as a training step draws them, in one compiled call.

    Args:
        augment: the augmentation of a stage; without a network, saliency is uniform.
        examples: a batch.
        key: for all draws.
        versions: how many of each example, 1 or more.
    """
    # Tiled, not repeated: mixing pairs neighbors, which must be different images.
    rows = np.tile(np.arange(len(examples["image"])), versions)
    draw_keys = keys.by_position(key, 0, len(rows))
    drawn = partial(augmented, augment, saliency=lambda batch: jnp.ones(batch["image"].shape[:3]))
    images = _run(drawn, draw_keys, {name: x[rows] for name, x in examples.items()})["image"]
    return images.reshape(versions, len(examples["image"]), *images.shape[1:]).swapaxes(0, 1)


def operations(data: Arrays, key: jax.Array) -> dict[str, dict[str, Columns]]:
    """Applies every operation that a config can name, at each of its strengths.

    Each is shown on `data` if it accepts and changes these images, else on photographs with known boxes, masks and
    keypoints or without them; document operations are shown on pages of text.

    Args:
        data: a batch of images with labels, an even number because mixing pairs neighbors.
        key: the same draws for every operation and strength.

    Returns:
        kind of operation -> operation -> its columns.

    Raises:
        UserError: an operation fails on all of these images.
    """
    photographs = demonstration.photographs()
    only_images = {name: photographs[name] for name in ("image", "label", "saliency")}
    batches = {DOCUMENTS: (demonstration.page(),)}

    def applied(name: str) -> Columns:
        strengths = STRENGTHS.get(name, Strengths(OTHERS))
        return _columns_of_first(name, strengths, batches.get(strengths.kind, (data, photographs, only_images)), key)

    names = [*OPS, *MIXES]
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # most of the time goes into compiling
        columns_of = dict(zip(names, pool.map(applied, names), strict=True))
    kinds = {name: STRENGTHS[name].kind if name in STRENGTHS else OTHERS for name in names}
    return {kind: {n: columns_of[n] for n in names if kinds[n] == kind} for kind in KINDS if kind in kinds.values()}


def _columns_of_first(name: str, strengths: Strengths, batches: tuple[Arrays, ...], key: jax.Array) -> Columns:
    """Returns the columns of the first batch that the operation accepts and changes, or else of the last."""
    *others, last = batches
    for batch in others:
        try:
            drawn = columns(name, strengths, batch, key)
        except UserError:  # color operations on gray images, boxes that cannot be mixed
            continue
        if any(not np.array_equal(examples[entry], batch[entry]) for examples in drawn.values() for entry in batch):
            return drawn
    return columns(name, strengths, last, key)


def columns(name: str, strengths: Strengths, batch: Arrays, key: jax.Array) -> Columns:
    """Returns the examples as stored, then augmented at each strength of an operation.

    Args:
        name: a name of `OPS` or `MIXES`.
        strengths: settings of the operation.
        batch: examples that the operation accepts.
        key: the same draws at every strength.

    Raises:
        UserError: the operation does not accept the examples.
    """
    draw_keys = keys.by_position(key, 0, len(batch["image"]))
    return {AS_STORED: batch} | {
        heading: _run(_augment(name, settings), draw_keys, batch) for heading, settings in strengths.steps().items()
    }


def _augment(name: str, settings: Mapping[str, Any]) -> Augment:
    return partial(MIXES[name], **settings) if name in MIXES else per_example(partial(OPS[name], **settings))


def _run(augment: Augment, draw_keys: jax.Array, batch: Arrays) -> Arrays:
    augmented_batch = jax.device_get(jax.jit(augment, compiler_options=QUICKLY)(draw_keys, batch))
    images = np.asarray(dtypes.to_uint8(augmented_batch["image"]))
    return {**augmented_batch, "image": images}
