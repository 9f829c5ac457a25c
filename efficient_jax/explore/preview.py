"""What augmentations do to pictures, for people to look at."""

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
from efficient_jax.explore.strengths import COLOUR, DOCUMENTS, ERASING, FILTERS, KINDS, OTHERS, STRENGTHS, Strengths
from efficient_jax.types import Augment

AS_STORED = "as stored"
# Programs that run once, on a few pictures: 3 to 4 times faster to compile on CPU.
QUICKLY = {"xla_backend_optimization_level": "0", "xla_cpu_use_fusion_emitters": False}

Columns = dict[str, Arrays]
"""Heading -> the same examples, as they are under it."""


def draws(
    augment: Augment,
    examples: Arrays,
    key: jax.Array,
    versions: int,
) -> UInt8[np.ndarray, "n versions h2 w2 c2"]:
    """`versions` of each image of the batch `examples`, drawn as a train step draws them, in one compiled call. Without
    a network all pixels are equally salient."""
    repeated = np.tile(
        np.arange(len(examples["image"])), versions
    )  # another image beside each, because mixing pairs neighbours
    each = keys.by_position(key, 0, len(repeated))
    drawn = partial(augmented, augment, saliency=lambda batch: jnp.ones(batch["image"].shape[:3]))
    seen = _run(drawn, each, {name: x[repeated] for name, x in examples.items()})["image"]
    return seen.reshape(versions, len(examples["image"]), *seen.shape[1:]).swapaxes(0, 1)


def operations(data: Arrays, key: jax.Array) -> dict[str, dict[str, Columns]]:
    """Kind of operation -> operation -> its strengths, for every operation that a config can name.

    data: some images with labels, an even number because mixing pairs neighbours. What moves things is shown on
    photographs whose boxes, masks and keypoints are known, what makes documents on a page of type.

    Raises: UserError for an operation that fails on all of them.
    """
    photographs = demonstration.photographs()
    only_pictures = {name: photographs[name] for name in ("image", "label", "saliency")}
    on_data = (data, only_pictures)
    pictures = dict.fromkeys((COLOUR, FILTERS, ERASING), on_data) | {DOCUMENTS: (demonstration.page(),)}

    def shown(name: str) -> Columns:
        strengths = STRENGTHS.get(name, Strengths(OTHERS))
        return _columns_of_first(name, strengths, pictures.get(strengths.kind, (photographs, *on_data)), key)

    names = [*OPS, *MIXES]
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # most of the time goes into compiling
        found = dict(zip(names, pool.map(shown, names), strict=True))
    kinds = {name: STRENGTHS[name].kind if name in STRENGTHS else OTHERS for name in names}
    return {kind: {n: found[n] for n in names if kinds[n] == kind} for kind in KINDS if kind in kinds.values()}


def _columns_of_first(name: str, strengths: Strengths, batches: tuple[Arrays, ...], key: jax.Array) -> Columns:
    """On the first batch which the operation takes and in which it changes anything, or on the last."""
    *others, last = batches
    for batch in others:
        try:
            found = columns(name, strengths, batch, key)
        except UserError:  # colours of gray images, boxes that cannot be mixed
            continue
        if any(not np.array_equal(each[entry], batch[entry]) for each in found.values() for entry in batch):
            return found
    return columns(name, strengths, last, key)


def columns(name: str, strengths: Strengths, batch: Arrays, key: jax.Array) -> Columns:
    """The examples as stored, then at each strength. The draws are the same at all strengths."""
    each = keys.by_position(key, 0, len(batch["image"]))
    return {AS_STORED: batch} | {
        heading: _run(_augment(name, settings), each, batch) for heading, settings in strengths.steps().items()
    }


def _augment(name: str, settings: Mapping[str, Any]) -> Augment:
    return partial(MIXES[name], **settings) if name in MIXES else per_example(partial(OPS[name], **settings))


def _run(augment: Augment, each: jax.Array, batch: Arrays) -> Arrays:
    seen = jax.device_get(jax.jit(augment, compiler_options=QUICKLY)(each, batch))
    return seen | {"image": np.asarray(dtypes.to_uint8(seen["image"]))}
