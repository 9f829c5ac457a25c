"""Augmented example images, to look at: draws of a pipeline, and every operation from weak to strong."""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from efficient_jax import keys
from efficient_jax.augment import CHOICES, MIXES, OPS, augmented, build, once, per_example
from efficient_jax.augment.kernels import dtypes
from efficient_jax.augment.registry import PHASED
from efficient_jax.errors import UserError
from efficient_jax.explore import demonstration
from efficient_jax.explore.demonstration import Arrays
from efficient_jax.explore.strengths import DOCUMENTS, KINDS, OTHERS, STRENGTHS, Strengths
from efficient_jax.types import Augment, Batch

AS_STORED = "as stored"

OPERATIONS: dict[str, Callable[..., Any]] = {**OPS, **MIXES, **CHOICES, **PHASED}
"""Every operation that a config can name."""
Columns = dict[str, Arrays]
"""Heading -> the same examples, augmented as the heading says."""
Settings = Mapping[str, Any]
Forms = Callable[[str], Mapping[str, Settings]]
"""Name of an operation -> heading -> its settings."""


def draws(
    augment: Augment,
    examples: Arrays,
    key: jax.Array,
    versions: int,
) -> Arrays:
    """Returns augmented versions of each example, drawn as a training step draws them, in one compiled call.

    Args:
        augment: the augmentation of a stage; without a network, saliency is uniform.
        examples: a batch.
        key: for all draws.
        versions: how many of each example, 1 or more.

    Returns: the examples, arrays [n versions ...].
    """
    # Tiled, not repeated: mixing pairs neighbors, which must be different images.
    rows = np.tile(np.arange(len(examples["image"])), versions)
    draw_keys = keys.by_position(key, 0, len(rows))

    def drawn(draw_keys: jax.Array, batch: Batch) -> list[Batch]:
        return [augmented(augment, draw_keys, batch, lambda batch: jnp.ones(batch["image"].shape[:3]))]

    (views,) = _run(drawn, draw_keys, {name: x[rows] for name, x in examples.items()})
    return {name: x.reshape(versions, -1, *x.shape[1:]).swapaxes(0, 1) for name, x in views.items()}


def kind(name: str) -> str:
    """Returns the kind of an operation, one of `strengths.KINDS`.

    Args:
        name: a name of `OPERATIONS`.
    """
    return STRENGTHS[name].kind if name in STRENGTHS else OTHERS


def every_strength(name: str) -> Mapping[str, Settings]:
    """Returns heading -> settings of an operation, weak to strong.

    Args:
        name: a name of `OPERATIONS`.
    """
    return STRENGTHS.get(name, Strengths(OTHERS)).steps()


def ends(name: str) -> Mapping[str, Settings]:
    """Returns heading -> settings of an operation: the default and the strongest, see `Strengths.ends`.

    Args:
        name: a name of `OPERATIONS`.
    """
    return STRENGTHS.get(name, Strengths(OTHERS)).ends(OPERATIONS[name])


@contextlib.contextmanager
def drawing(
    data: Arrays, key: jax.Array, forms: Forms = every_strength, two: Sequence[np.ndarray] | np.ndarray = ()
) -> Iterator[Callable[[], dict[str, dict[str, Columns]]]]:
    """Applies every operation that a config can name, in each of its forms, in the background.

    Each is shown on `data` if it accepts and changes these images, else on photographs with known boxes, masks and
    keypoints or without them; document operations are shown on pages of text.

    Args:
        data: a batch of images with labels, an even number because mixing pairs neighbors.
        key: the same draws for every operation and form.
        forms: name of an operation -> its forms; `every_strength` or `ends`.
        two: the photographs, see `demonstration.photographs`.

    Yields:
        A function that waits and returns kind of operation -> operation -> its columns. It raises a UserError where an
        operation fails on all of these images.
    """
    photographs = demonstration.photographs(two)
    only_images = {name: photographs[name] for name in ("image", "label", "saliency")}
    batches = {DOCUMENTS: (demonstration.page(),)}

    def applied(name: str) -> Columns:
        return _columns_of_first(name, forms(name), batches.get(kind(name), (data, photographs, only_images)), key)

    def drawn() -> dict[str, dict[str, Columns]]:
        columns_of = {name: future.result() for name, future in futures.items()}
        kinds = {name: kind(name) for name in futures}
        return {each: {n: columns_of[n] for n in kinds if kinds[n] == each} for each in KINDS if each in kinds.values()}

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # most of the time goes into compiling
        futures = {name: pool.submit(applied, name) for name in OPERATIONS}
        try:
            yield drawn
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _columns_of_first(name: str, forms: Mapping[str, Settings], batches: tuple[Arrays, ...], key: jax.Array) -> Columns:
    """Returns the columns of the first batch that the operation accepts and changes, or else of the last."""
    *others, last = batches
    for batch in others:
        try:
            drawn = columns(name, forms, batch, key)
        except UserError:  # color operations on gray images, boxes that cannot be mixed
            continue
        if any(not np.array_equal(examples[entry], batch[entry]) for examples in drawn.values() for entry in batch):
            return drawn
    return columns(name, forms, last, key)


def columns(name: str, forms: Mapping[str, Settings], batch: Arrays, key: jax.Array) -> Columns:
    """Returns the examples as stored, then augmented by each form of an operation.

    Args:
        name: a name of `OPERATIONS`.
        forms: heading -> settings of the operation, with the operations that it names, as in a config.
        batch: examples that the operation accepts.
        key: the same draws for every form.

    Raises:
        UserError: the operation does not accept the examples.
    """
    augments = [_augment(name, settings) for settings in forms.values()]
    draw_keys = keys.by_position(key, 0, len(batch["image"]))
    drawn = _run(lambda draw_keys, batch: [augment(draw_keys, batch) for augment in augments], draw_keys, batch)
    return {AS_STORED: batch} | dict(zip(forms, drawn, strict=True))


def _augment(name: str, settings: Settings) -> Augment:
    if name in MIXES:
        return partial(MIXES[name], **settings)
    if name in OPS:
        return per_example(partial(OPS[name], **settings))
    return build((name,), {name: settings})


def _run(augment: Callable[[jax.Array, Batch], list[Batch]], draw_keys: jax.Array, batch: Arrays) -> list[Arrays]:
    """Returns the batches that an augmentation makes of one: a program for all of them takes least time to compile."""
    batches = once.run_once(augment, draw_keys, batch)
    return [{**each, "image": np.asarray(dtypes.to_uint8(each["image"]))} for each in batches]
