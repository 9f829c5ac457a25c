"""One model from many: means of weights, and the batch statistics that belong to them."""

from collections.abc import Callable, Iterable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from efficient_jax.types import Apply, Tree


def mean(trees: Sequence[Tree]) -> Tree:
    """Returns the mean of every leaf, taken in float64.

    Of iterates that is stochastic weight averaging (arXiv 1803.05407), of fine-tuned models a uniform soup (arXiv
    2203.05482). Batch statistics are computed again afterwards, see `batch_statistics`.

    Args:
        trees: one or more, of the same structure, shapes and dtypes.

    Returns: a tree of numpy arrays with the dtypes of the first tree.
    """
    return jax.tree.map(lambda *x: np.mean(np.stack(x), 0, np.float64).astype(x[0].dtype), *trees)


def greedy_soup(trees: Sequence[Tree], score: Callable[[Tree], float]) -> tuple[list[int], list[float]]:
    """Chooses the models of a greedy soup (arXiv 2203.05482, recipe 1).

    Models join in the order of their own scores, the best first, if the score of the mean with them is no lower than
    without. The soup is therefore never worse than the best model.

    Args:
        trees: weights of each model.
        score: of the mean as it is used, batch statistics included, on validation images; higher is better.

    Returns: (indices of the models in the soup, its score after each of them).
    """
    single_scores = [score(tree) for tree in trees]
    first, *others = sorted(range(len(trees)), key=lambda i: (-single_scores[i], i))
    chosen, scores = [first], [single_scores[first]]
    for i in others:
        score_with_it = score(mean([trees[j] for j in [*chosen, i]]))
        if score_with_it >= scores[-1]:
            chosen.append(i)
            scores.append(score_with_it)
    return chosen, scores


def batch_statistics(apply: Apply, variables: Tree, batches: Iterable[Array]) -> Tree:
    """Returns variables with the batch statistics that their weights have on some images.

    Every batch is normalised by its own statistics as in training, but without dropout. The result comes from raw
    moments, which include the spread between batches; a mean of variances leaves it out.

    Args:
        apply: the network.
        variables: of the network. Those without batch statistics are returned as they are.
        batches: one or more batches of images, uint8 or float32 [b h w c]; b may differ.

    Returns: the variables, with batch statistics as numpy arrays in float32.
    """
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


def _each(change: Callable[[Tree], Tree], tree: Tree) -> Tree:
    """`tree` with the statistics of each layer changed."""
    if isinstance(tree, tuple) or set(tree) == {"mean", "var"}:
        return change(tree)
    return {name: _each(change, branch) for name, branch in tree.items()}
