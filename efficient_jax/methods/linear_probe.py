"""A head on the features of a frozen network, without training steps: seconds in place of minutes.

Features of every labelled image are computed once; the head is ridge or logistic regression, cosines, the nearest
neighbours or Tip-Adapter. Which head, and on which features, can be chosen by cross-validation on the labelled images.
"""

import math
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from efficient_jax import settings
from efficient_jax.errors import UserError, few, nearest
from efficient_jax.methods import feature_heads, linear_head
from efficient_jax.methods.feature_heads import Fitted
from efficient_jax.methods.held_out import Data
from efficient_jax.tasks import Head, Task

Pools = Mapping[str, Float[np.ndarray, "_ _"]]
Fit = Callable[[Data, int, Data | None, Head, int], Fitted]
OF_TEXT = ("tip_adapter", "zero_shot")  # heads that start from embeddings of the text of each class
HEADS = (*linear_head.KINDS, "cosine", "knn", *OF_TEXT)
BEST = "best"


class Probe(NamedTuple):
    """The head of a network, and all that were tried for it."""

    head: Fitted
    pool: str  # the features that it takes
    tried: list[dict[str, Any]]  # head, pool, about, score and error of each; the chosen one is first


def linear_probe(
    features: Pools,
    labels: Float[np.ndarray, "n classes"],
    seed: int,
    validation: tuple[Pools, Float[np.ndarray, "m classes"]] | None,
    task: Task,
    classes: Sequence[str],
    views: int = 1,
    *,
    head: str = "logistic",
    pool: str = "network",
    l2: float = 0.0,
    class_embeddings: str = "",
) -> Probe:
    """Returns the head of a network on one of its features.

    "best" tries every head, or all features, and takes what is right on most of the held-out images; of equal ones that
    with the smallest squared error.

    Args:
        features: by pool, see `models.heads.features`; of `views` augmented copies of the labelled images.
        labels: targets of the same images.
        seed: seed of the folds of cross-validation.
        validation: (features, targets) of images that are held out in place of folds; None: folds of the labelled ones.
        task: what the labels are.
        classes: name of each class.
        views: number of copies, 1 or more.
        head: "ridge", "logistic", "cosine", "knn", "tip_adapter", "zero_shot" (the same without labelled images) or
            "best".
        pool: "network", the features of the network's own head; of transformers also "cls", "mean" of the patches,
            and "cls_mean", both; or "best".
        l2: penalty of the squared weights of "ridge" and "logistic", 0.0 or more; 0.0 chooses the best of many.
        class_embeddings: .npz file with an array for each class, the embedding of its text by the model of the image
            features; for "tip_adapter" and "zero_shot". "best" then tries the former too.

    Raises: UserError for settings out of range, a task without heads, and class embeddings that do not fit.
    """
    if task.head is None:
        raise UserError(f"method: a linear head cannot be fitted where an image has {task.labels}")
    if l2 < 0.0:
        raise UserError(f"method.l2: {l2} is negative; 0.0 chooses one")
    for key, given, readers in (("l2", l2, linear_head.KINDS), ("class_embeddings", class_embeddings, OF_TEXT)):
        if given and head in HEADS and head not in readers:
            raise UserError(f"method.{key}: the head {head!r} does not read it; {' and '.join(map(repr, readers))} do")
    embeddings = read_embeddings(class_embeddings, classes) if class_embeddings else None
    settings.choose(head, dict.fromkeys([*HEADS, BEST]), "method.head")
    settings.choose(pool, dict.fromkeys([*features, BEST]), "method.pool")
    pools = _different(features) if pool == BEST else (pool,)
    reasons = {(name, of): _reason(name, features[of], task, embeddings) for name in HEADS for of in pools}
    candidates = [
        key for key in reasons if key[0] == head or (head == BEST and key[0] != "zero_shot" and not reasons[key])
    ]
    candidates = candidates or list(reasons)
    if why := reasons[candidates[0]]:
        raise UserError(f"method.{why}")
    fitted = {}
    for name, of in candidates:
        held = (validation[0][of], validation[1]) if validation else None
        fitted[name, of] = _fit(name, l2, embeddings)((features[of], labels), seed, held, task.head, views)
    order = sorted(fitted, key=lambda key: _rank(fitted[key]))
    tried = [
        {"head": name, "pool": of} | {key: getattr(fitted[name, of], key) for key in ("about", "score", "error")}
        for name, of in order
    ]
    return Probe(fitted[order[0]], order[0][1], tried)


def _rank(fitted: Fitted) -> tuple[float, float]:
    return (0.0, 0.0) if math.isnan(fitted.score) else (-fitted.score, fitted.error)


def _different(features: Pools) -> tuple[str, ...]:
    """Returns the pools without those that equal an earlier one, as "cls" equals "network" in most transformers."""
    names = list(features)
    return tuple(
        name
        for i, name in enumerate(names)
        if not any(np.array_equal(features[name], features[earlier]) for earlier in names[:i])
    )


def _reason(name: str, features: np.ndarray, task: Task, embeddings: np.ndarray | None) -> str:
    """Returns why a head cannot be fitted, after the "method." of its key; "" where it can."""
    if name not in linear_head.KINDS and not task.exclusive:
        return f"head: {name!r} is for one class per image; where an image has {task.labels} take 'ridge' or 'logistic'"
    if name not in OF_TEXT:
        return "" if len(features) else f"head: {name!r} needs labelled images; 'zero_shot' does not"
    if embeddings is None:
        return f"class_embeddings: {name!r} needs an .npz file with the embedding of the text of each class"
    if embeddings.shape[1] != features.shape[1]:
        return f"class_embeddings: vectors of {embeddings.shape[1]} numbers, but the features have {features.shape[1]}"
    return ""


def _fit(name: str, l2: float, embeddings: np.ndarray | None) -> Fit:
    if embeddings is not None and name in OF_TEXT:
        alphas = feature_heads.ALPHAS if name == "tip_adapter" else (0.0,)
        return feature_heads.tip_adapter(embeddings, alphas)
    if name not in linear_head.KINDS:
        return {"cosine": feature_heads.cosine, "knn": feature_heads.knn}[name]

    def linear(data: Data, seed: int, held: Data | None, head: Head, views: int) -> Fitted:
        choice = linear_head.calibrated(*data, seed, held, head, views, kind=name, l2=l2)
        about = f"l2 = {choice.l2:.3g}"
        if name == "ridge" and math.isnan(choice.score):
            about += "; its probabilities are not calibrated: too few classes have two labelled images"
        return Fitted("linear", {"kernel": choice.kernel, "bias": choice.bias}, about, choice.score, choice.error)

    return linear


def read_embeddings(path: str, classes: Sequence[str]) -> Float[np.ndarray, "classes d"]:
    """Returns the embedding of each class from an .npz file, whose order and other names do not matter.

    Args:
        path: the file: name of a class -> array [d].
        classes: names of the classes.

    Raises: UserError for a file that cannot be read, a class that is not in it, and arrays of different lengths.
    """
    where = "method.class_embeddings"
    try:
        with np.load(Path(path)) as arrays:
            known = {name: arrays[name].reshape(-1).astype(np.float32) for name in arrays.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{where}: {path!r} cannot be read as .npz: {error}") from error
    if missing := [name for name in classes if name not in known]:
        raise UserError(f"{where}: {path!r} has no class {few([*map(repr, missing)])}{nearest(missing[0], known)}")
    lengths = {len(known[name]) for name in classes}
    if len(lengths) > 1 or not all(np.isfinite(known[name]).all() for name in classes):
        raise UserError(f"{where}: {path!r} wants one finite vector for each class, all of one length, got {lengths}")
    return np.stack([known[name] for name in classes])
