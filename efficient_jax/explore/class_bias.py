"""What an augmentation does to each class: accuracy against strength, and whether a class is known by its augmentation.

A setting that helps on average may harm a class (arXiv 2204.03632): a flip a digit, a crop a small thing. And where
training augments classes differently, a network may learn the augmentation in place of the class.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from scipy import stats

from efficient_jax.augment import OPS
from efficient_jax.augment.combinators import from_block, shared
from efficient_jax.augment.kernels import dtypes
from efficient_jax.data import sampling
from efficient_jax.errors import UserError
from efficient_jax.explore.strengths import MEASURED, STRENGTHS
from efficient_jax.metrics.accuracy import holm, paired_difference, wilson
from efficient_jax.types import Augmentation

Classify = Callable[[UInt8[np.ndarray, "n h w c"]], Float[np.ndarray, "n classes"]]

BATCH = 256


def predictions(
    classify: Classify, images: UInt8[np.ndarray, "n h w c"], augmentation: Augmentation, key: jax.Array
) -> Int[np.ndarray, " n"]:
    """The class that `classify` finds in each image after `augmentation`; image i always draws from the same key."""
    run = jax.jit(jax.vmap(augmentation))
    found = []
    for rows, real in sampling.padded(np.arange(len(images)), BATCH):
        each = jax.vmap(partial(jax.random.fold_in, key))(rows.astype(np.uint32))
        seen = dtypes.to_uint8(run(each, {"image": images[rows]})["image"])
        found.append(classify(np.asarray(seen)).argmax(1)[:real])
    return np.concatenate(found)


class Accuracies(NamedTuple):
    """Right answers to the same images at growing strength of one operation; the first step is without it."""

    steps: tuple[str, ...]
    right: Bool[np.ndarray, "steps n"]
    labels: Int[np.ndarray, " n"]

    def counts(self) -> tuple[Int[np.ndarray, "steps classes"], Int[np.ndarray, " classes"]]:
        """(right answers, images) of each class."""
        size = self.labels.max() + 1
        right = np.stack([np.bincount(self.labels[row], minlength=size) for row in self.right])
        return right, np.bincount(self.labels, minlength=size)

    def per_class(self) -> Float[np.ndarray, "steps classes"]:
        """NaN for a class without images."""
        right, n = self.counts()
        return np.where(n > 0, right / np.maximum(n, 1), np.nan)

    def slopes(self) -> Float[np.ndarray, " classes"]:
        """What each class gains (loses, if negative) from one step to the next: a line by least squares."""
        x = np.arange(len(self.steps)) - (len(self.steps) - 1) / 2
        return x @ self.per_class() / (x @ x)


def accuracies(
    classify: Classify,
    images: UInt8[np.ndarray, "n h w c"],
    labels: Int[np.ndarray, " n"],
    augmentations: Mapping[str, Augmentation],
    key: jax.Array,
) -> Accuracies:
    """`augmentations`: what a step is called -> the operation at that strength, weak to strong."""
    plain = classify(images).argmax(1)
    found = [plain, *(predictions(classify, images, each, key) for each in augmentations.values())]
    return Accuracies(("none", *augmentations), np.stack(found) == labels, labels)


def of_operations(
    classify: Classify, images: UInt8[np.ndarray, "n h w c"], labels: Int[np.ndarray, " n"], key: jax.Array
) -> dict[str, Accuracies]:
    """Accuracies for every operation on which a label may depend and that takes these images and keeps their size."""
    measured = {}
    for name in OPS:
        if name not in STRENGTHS or STRENGTHS[name].kind not in MEASURED:
            continue
        steps = {heading: partial(OPS[name], **given) for heading, given in STRENGTHS[name].steps().items()}
        try:
            kept = [jax.eval_shape(each, key, {"image": images[0]})["image"].shape for each in steps.values()]
        except UserError:
            continue
        if set(kept) == {images.shape[1:]}:
            measured[name] = accuracies(classify, images, labels, steps, key)
    return measured


class Loss(NamedTuple):
    """Of the images that are right without the operation: how many are wrong with it, here and in the other classes."""

    operation: str
    step: str
    label: int
    lost: int
    n: int
    others_lost: int
    others_n: int


def losses(measured: Mapping[str, Accuracies], level: float = 0.05) -> list[Loss]:
    """The classes that lose clearly more than the others, each at the weakest strength at which it does.

    Every class, strength and operation is one test: Fisher's exact test, one-sided, of how many of the images that
    are right without the operation are wrong with it, in this class and in all others. Holm's correction over all
    tests holds the chance of any false alarm at `level`.
    """
    tests = [
        Loss(operation, step, label, *_lost(found, number, label))
        for operation, found in measured.items()
        for label in np.unique(found.labels).tolist()
        for number, step in enumerate(found.steps[1:], 1)
    ]
    clear = holm(np.array([_p(test) for test in tests])) <= level
    weakest: dict[tuple[str, int], Loss] = {}
    for test, is_clear in zip(tests, clear, strict=True):
        if is_clear:
            weakest.setdefault((test.operation, test.label), test)
    return list(weakest.values())


def _lost(found: Accuracies, step: int, label: int) -> tuple[int, int, int, int]:
    before, here = found.right[0], found.labels == label
    lost = before & ~found.right[step]
    return tuple(int(count.sum()) for count in (lost & here, before & here, lost & ~here, before & ~here))  # type: ignore[return-value]


def _p(test: Loss) -> float:
    """The chance of as many or more losses in this class, were the same number spread over all images at random."""
    everything = test.n + test.others_n
    return float(stats.hypergeom.sf(test.lost - 1, everything, test.lost + test.others_lost, test.n))


class Rate(NamedTuple):
    """How often one of some classes is found in images of the others."""

    found: int
    n: int

    def interval(self) -> tuple[float, float]:
        return wilson(self.found, self.n)


class Shortcut(NamedTuple):
    """Whether an operation that training applied to some classes makes a network see those classes."""

    before: Rate
    after: Rate
    control_before: Rate | None = None  # the same of a network that was trained with the operation on all classes
    control_after: Rate | None = None
    excess: tuple[float, float, float] | None = (
        None  # the rise less the control's, over the same images: mean, low, high
    )


def shortcut(
    classify: Classify,
    images: UInt8[np.ndarray, "n h w c"],
    labels: Int[np.ndarray, " n"],
    classes: Sequence[int],
    augmentation: Augmentation,
    key: jax.Array,
    *,
    control: Classify | None = None,
    level: float = 0.95,
) -> Shortcut:
    """Applies the augmentation of `classes` to images of all other classes: are they taken for `classes` more often?

    The operation itself may do that, so `control`, trained with it on all classes, says how much of the rise is its
    doing. `excess` above 0.0 with all of its `level` interval is a shortcut.
    """
    of_others = images[~np.isin(labels, classes)]

    def taken(judge: Classify) -> tuple[Bool[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
        found = judge(of_others).argmax(1), predictions(judge, of_others, augmentation, key)
        return np.isin(found[0], classes), np.isin(found[1], classes)

    def rate(found: Bool[np.ndarray, " n"]) -> Rate:
        return Rate(int(found.sum()), len(found))

    before, after = taken(classify)
    if control is None:
        return Shortcut(rate(before), rate(after))
    control_before, control_after = taken(control)
    rise, control_rise = after * 1.0 - before, control_after * 1.0 - control_before
    excess = paired_difference(rise, control_rise, level)
    return Shortcut(rate(before), rate(after), rate(control_before), rate(control_after), excess)


def shortcuts(
    classify: Classify,
    images: UInt8[np.ndarray, "n h w c"],
    labels: Int[np.ndarray, " n"],
    blocks: Mapping[str, Any],
    where: str,
    key: jax.Array,
    *,
    control: Classify | None = None,
    level: float = 0.95,
) -> list[tuple[str, list[int], Shortcut]]:
    """(what was applied, to which classes, the probe) for every `by_class` block of a stage's augmentation.

    `level` holds for all probes together (Bonferroni).
    """
    groups = []
    for name, block in blocks.items():
        if not isinstance(block, Mapping) or block.get("op", name) != "by_class":
            continue
        branches, branch_of = shared(from_block(OPS, block, f"{where}.{name}"))
        for number, branch in enumerate(branches if len(branches) > 1 else ()):
            settings = [f"{setting} {value}" for setting, value in branch.keywords.items() if setting in block]  # type: ignore[attr-defined]
            groups.append((", ".join([block["of"], *settings]), np.flatnonzero(branch_of == number).tolist(), branch))
    each = 1 - (1 - level) / max(1, len(groups))
    return [
        (
            shown,
            classes,
            shortcut(classify, images, labels, classes, augmentation, key, control=control, level=each),
        )
        for shown, classes, augmentation in groups
    ]
