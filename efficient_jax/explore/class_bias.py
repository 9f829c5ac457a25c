"""Class bias of augmentation: accuracy of each class against strength, and shortcuts from augmentation to class.

A setting that helps on average may harm a class (arXiv 2204.03632): a flip harms digits, a crop small objects. Where
training augments classes differently, a network may learn the augmentation in place of the class.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
import scipy
from jaxtyping import Bool, Float, Int, UInt8

from efficient_jax.augment import OPS
from efficient_jax.augment.combinators import from_block, shared
from efficient_jax.augment.kernels import dtypes
from efficient_jax.data import sampling
from efficient_jax.errors import UserError
from efficient_jax.explore.strengths import MEASURED, STRENGTHS
from efficient_jax.metrics.accuracy import holm, paired_difference, wilson
from efficient_jax.types import Augmentation

Classify = Callable[[UInt8[np.ndarray, "n h w c"]], Float[np.ndarray, "n classes"]]
"""Images -> probabilities or other scores; the highest is the prediction."""

BATCH = 256


def predictions(
    classify: Classify, images: UInt8[np.ndarray, "n h w c"], augmentation: Augmentation, key: jax.Array
) -> Int[np.ndarray, " n"]:
    """Returns the predicted class of each image after an augmentation.

    Args:
        classify: the network.
        images: as the network takes them.
        augmentation: (key, example) -> example of the same shape.
        key: image i draws from `fold_in(key, i)`, whatever the augmentation is.
    """
    run = jax.jit(jax.vmap(augmentation))
    classes = []
    for rows, real in sampling.padded(np.arange(len(images)), BATCH):
        keys = jax.vmap(partial(jax.random.fold_in, key))(rows.astype(np.uint32))
        augmented = dtypes.to_uint8(run(keys, {"image": images[rows]})["image"])
        classes.append(classify(np.asarray(augmented)).argmax(1)[:real])
    return np.concatenate(classes)


class Accuracies(NamedTuple):
    """Whether each image is predicted correctly at growing strength of one operation."""

    steps: tuple[str, ...]  # name of each strength, weak to strong; the first is without the operation
    right: Bool[np.ndarray, "steps n"]
    labels: Int[np.ndarray, " n"]

    def counts(self) -> tuple[Int[np.ndarray, "steps classes"], Int[np.ndarray, " classes"]]:
        """Returns (correct predictions at each strength, images) of each class."""
        size = self.labels.max() + 1
        right = np.stack([np.bincount(self.labels[row], minlength=size) for row in self.right])
        return right, np.bincount(self.labels, minlength=size)

    def per_class(self) -> Float[np.ndarray, "steps classes"]:
        """Returns the accuracy of each class at each strength, 0..1; NaN for a class without images."""
        right, n = self.counts()
        return np.where(n > 0, right / np.maximum(n, 1), np.nan)

    def slopes(self) -> Float[np.ndarray, " classes"]:
        """Returns the change of accuracy per step of strength, by least squares; negative is a loss."""
        x = np.arange(len(self.steps)) - (len(self.steps) - 1) / 2
        slopes: np.ndarray = x @ self.per_class() / (x @ x)
        return slopes


def accuracies(
    classify: Classify,
    images: UInt8[np.ndarray, "n h w c"],
    labels: Int[np.ndarray, " n"],
    augmentations: Mapping[str, Augmentation],
    key: jax.Array,
) -> Accuracies:
    """Measures which images are predicted correctly at each strength of an operation.

    Args:
        classify: the network.
        images: as the network takes them.
        labels: true classes.
        augmentations: name of a strength -> the operation at that strength, weak to strong.
        key: the same draws at every strength.
    """
    plain = classify(images).argmax(1)
    augmented = [predictions(classify, images, augmentation, key) for augmentation in augmentations.values()]
    return Accuracies(("none", *augmentations), np.stack([plain, *augmented]) == labels, labels)


def of_operations(
    classify: Classify, images: UInt8[np.ndarray, "n h w c"], labels: Int[np.ndarray, " n"], key: jax.Array
) -> dict[str, Accuracies]:
    """Measures every operation that may change a label, accepts these images and keeps their size.

    Args:
        classify: the network.
        images: as the network takes them.
        labels: true classes.
        key: the same draws for every operation and strength.

    Returns:
        operation -> accuracies; the operations are the kinds `strengths.MEASURED`.
    """
    measured = {}
    for name in OPS:
        if name not in STRENGTHS or STRENGTHS[name].kind not in MEASURED:
            continue
        steps = {heading: partial(OPS[name], **settings) for heading, settings in STRENGTHS[name].steps().items()}
        try:
            shapes = [jax.eval_shape(step, key, {"image": images[0]})["image"].shape for step in steps.values()]
        except UserError:
            continue
        if set(shapes) == {images.shape[1:]}:
            measured[name] = accuracies(classify, images, labels, steps, key)
    return measured


class Loss(NamedTuple):
    """Correct predictions that an operation turns wrong, in one class and in all other classes."""

    operation: str
    step: str  # name of the strength
    label: int  # the class
    lost: int  # images of the class that are correct without the operation and wrong with it
    n: int  # images of the class that are correct without the operation
    others_lost: int  # the same of all other classes
    others_n: int

    @property
    def p_value(self) -> float:
        """The probability of as many or more losses in this class under random assignment."""
        total = self.n + self.others_n
        return float(scipy.stats.hypergeom.sf(self.lost - 1, total, self.lost + self.others_lost, self.n))


def losses(measured: Mapping[str, Accuracies], level: float = 0.05) -> list[Loss]:
    """Returns the classes that lose significantly more than the others, each at the weakest such strength.

    Every class, strength and operation is one one-sided Fisher's exact test: among images that are correct without
    the operation, how many are wrong with it, in this class against all others. Holm's correction covers all tests.

    Args:
        measured: operation -> accuracies, as `of_operations` returns them.
        level: probability of any false alarm, 0..1.
    """
    tests = [
        Loss(operation, step, label, *_lost(results, index, label))
        for operation, results in measured.items()
        for label in np.unique(results.labels).tolist()
        for index, step in enumerate(results.steps[1:], 1)
    ]
    clear = holm(np.array([test.p_value for test in tests])) <= level
    weakest: dict[tuple[str, int], Loss] = {}
    for test, is_clear in zip(tests, clear, strict=True):
        if is_clear:
            weakest.setdefault((test.operation, test.label), test)
    return list(weakest.values())


def _lost(results: Accuracies, step: int, label: int) -> tuple[int, int, int, int]:
    before, here = results.right[0], results.labels == label
    lost = before & ~results.right[step]
    return tuple(int(count.sum()) for count in (lost & here, before & here, lost & ~here, before & ~here))  # type: ignore[return-value]


class Rate(NamedTuple):
    """How often images of other classes are predicted as one of the classes in question."""

    found: int  # images predicted so
    n: int  # images

    def interval(self) -> tuple[float, float]:
        """Returns the 95% Wilson interval of `found / n`."""
        return wilson(self.found, self.n)


class Shortcut(NamedTuple):
    """Whether a network recognizes classes by the operation with which training augmented only them."""

    before: Rate  # without the operation
    after: Rate  # with it
    control_before: Rate | None = None  # of a network that was trained with the operation on all classes
    control_after: Rate | None = None
    excess: tuple[float, float, float] | None = None  # mean, low, high of (rise - the control's rise), same images


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
    """Measures whether images of other classes are predicted as `classes` more often after their augmentation.

    The operation itself may cause a rise; a network trained with it on all classes controls for that. An `excess`
    whose whole interval is above 0 is a shortcut.

    Args:
        classify: the network.
        images: as the network takes them.
        labels: true classes.
        classes: indices of the classes that training augmented.
        augmentation: the operation that it applied to them.
        key: the same draws for both networks.
        control: a network that was trained with the operation on all classes; None: no excess.
        level: confidence level of the interval of the excess, 0..1.
    """
    of_others = images[~np.isin(labels, classes)]

    def predicted(network: Classify) -> tuple[Bool[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
        before, after = network(of_others).argmax(1), predictions(network, of_others, augmentation, key)
        return np.isin(before, classes), np.isin(after, classes)

    def rate(hits: Bool[np.ndarray, " n"]) -> Rate:
        return Rate(int(hits.sum()), len(hits))

    before, after = predicted(classify)
    if control is None:
        return Shortcut(rate(before), rate(after))
    control_before, control_after = predicted(control)
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
    """Measures `shortcut` for every branch of every `by_class` block of a stage's augmentation.

    Args:
        classify: the network.
        images: as the network takes them.
        labels: true classes.
        blocks: the augmentation of the stage, name -> block.
        where: dotted path of the blocks, for error messages.
        key: the same draws for every probe.
        control: a network that was trained with the operations on all classes; None: no excess.
        level: confidence level of all intervals together (Bonferroni), 0..1.

    Returns:
        (operation with its settings, indices of the classes it was applied to, the measurement).

    Raises:
        UserError: a block is not valid.
    """
    groups = []
    for name, block in blocks.items():
        if not isinstance(block, Mapping) or block.get("op", name) != "by_class":
            continue
        branches, branch_of = shared(from_block(OPS, block, f"{where}.{name}"))
        for number, branch in enumerate(branches if len(branches) > 1 else ()):
            settings = [f"{setting} {value}" for setting, value in branch.keywords.items() if setting in block]  # type: ignore[attr-defined]
            groups.append((", ".join([block["of"], *settings]), np.flatnonzero(branch_of == number).tolist(), branch))
    level_of_each = 1 - (1 - level) / max(1, len(groups))
    return [
        (
            applied,
            classes,
            shortcut(classify, images, labels, classes, augmentation, key, control=control, level=level_of_each),
        )
        for applied, classes, augmentation in groups
    ]
