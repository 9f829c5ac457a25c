"""One model from many: means of weights, and the batch statistics that belong to them."""

from collections.abc import Callable, Iterable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from efficient_jax.types import Apply, Tree


def mean(trees: Sequence[Tree]) -> Tree:
    """The mean of every leaf, taken in float64: of iterates stochastic weight averaging (arXiv 1803.05407), of
    fine-tuned models a uniform soup (arXiv 2203.05482). Batch statistics want `batch_statistics` afterwards."""
    return jax.tree.map(lambda *x: np.mean(np.stack(x), 0, np.float64).astype(x[0].dtype), *trees)


def greedy_soup(trees: Sequence[Tree], score: Callable[[Tree], float]) -> tuple[list[int], list[float]]:
    """(the models in the soup, its score after each): from the best one on, each joins in the order of its own score,
    if the score of the mean with it is no lower than without (arXiv 2203.05482, recipe 1), and so never below that of
    the best. `score` is of the mean as it would be used, batch statistics included, on validation images.
    """
    own = [score(tree) for tree in trees]
    first, *others = sorted(range(len(trees)), key=lambda i: (-own[i], i))
    chosen, scores = [first], [own[first]]
    for i in others:
        found = score(mean([trees[j] for j in [*chosen, i]]))
        if found >= scores[-1]:
            chosen.append(i)
            scores.append(found)
    return chosen, scores


def batch_statistics(apply: Apply, variables: Tree, batches: Iterable[Array]) -> Tree:
    """`variables` with the batch statistics that their weights have on `batches` of images, each normalised by its own
    as in training, without dropout. From raw moments: the spread between batches counts too, which a mean of variances
    leaves out. Variables without batch statistics stay as they are."""
    if "batch_stats" not in variables:
        return variables

    @jax.jit
    def of_batch(variables: Tree, images: Array) -> Tree:
        # What a layer keeps of its old statistics is the difference that ones and zeros in their place make.
        zeros, ones = (
            apply(variables | {"batch_stats": jax.tree.map(like, variables["batch_stats"])}, images, True, None)[1]
            for like in (jnp.zeros_like, jnp.ones_like)
        )
        return jax.tree.map(lambda zero, one: zero / (1.0 - (one - zero)), zeros["batch_stats"], ones["batch_stats"])

    total, count = None, 0
    for images in batches:
        n = len(images)
        raw = _each(lambda s: (s["mean"], s["var"] + s["mean"] ** 2), jax.device_get(of_batch(variables, images)))
        scaled = jax.tree.map(lambda x, n=n: n * x.astype(np.float64), raw)
        total = scaled if total is None else jax.tree.map(np.add, total, scaled)
        count += n
    moments = jax.tree.map(lambda x: x / count, total)
    return variables | {
        "batch_stats": _each(
            lambda m: {"mean": m[0].astype(np.float32), "var": np.maximum(m[1] - m[0] ** 2, 0.0).astype(np.float32)},
            moments,
        )
    }


def _each(change: Callable, tree: Tree) -> Tree:
    """`tree` with the statistics of each layer changed."""
    if isinstance(tree, tuple) or set(tree) == {"mean", "var"}:
        return change(tree)
    return {name: _each(change, branch) for name, branch in tree.items()}
