"""LoRA (arXiv 2106.09685): a frozen kernel W of attention becomes W + (alpha / r) A B, of which only A and B train.

A and B are parameters beside those of the network, under "lora". `merged` adds their products to the kernels before the
network is applied, so that no network has code for them, and whatever a stage saves is an ordinary network.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import traverse_util
from jaxtyping import Array, Float, PRNGKeyArray

from efficient_jax.errors import UserError
from efficient_jax.settings import choose
from efficient_jax.types import Apply, Tree

NAME = "lora"
"""Key of A and B beside the parameters of the network."""
TARGETS = {"qv": ("q", "v"), "all": ("q", "k", "v", "proj")}
PACKED = ("q", "k", "v")  # the parts of the kernel qkv [d 3d]

Merge = Callable[[Tree], Tree]
"""Parameters with A and B -> those of the network; parameters without stay as they are."""


def none(params: Tree) -> Tree:
    """Returns parameters as they are: the `Merge` of a network without adapters.

    Args:
        params: parameters of a network.
    """
    return params


def lora(
    key: PRNGKeyArray, params: Tree, *, rank: int = 0, alpha: float = 0.0, targets: str = "qv"
) -> tuple[Tree, Merge]:
    """Returns new A and B for the attention of a network, and the function that merges them.

    A is drawn from a normal distribution of variance 1 / rank, B is 0: the first forward pass is that of the network.

    Args:
        key: random key of A.
        params: parameters of the network, arrays or their shapes.
        rank: r, columns of A and rows of B, usually 4 to 16; 0, in a config: no adapters.
        alpha: A B is multiplied by alpha / r; 0.0: alpha = r.
        targets: "qv", queries and values, or "all": also keys and the projection behind attention.

    Returns: ({"lora": the tree of the attention layers, with A, `a` [d r], and B, `b` [r d], of each part}, merge).

    Raises: UserError for a network without attention, and for settings out of range.
    """
    if rank < 1:
        raise UserError(f"lora.rank: {rank} is less than 1")
    if alpha < 0.0:
        raise UserError(f"lora.alpha: {alpha} is negative; 0.0 takes the rank")
    parts = choose(targets, TARGETS, "lora.targets")
    leaves = {jax.tree_util.keystr(p, simple=True, separator="/"): x for p, x in jax.tree.leaves_with_path(params)}
    layers = [path.removesuffix("/qkv/kernel") for path in leaves if path.endswith("attn/qkv/kernel")]
    if not layers:
        raise UserError(
            "lora: the model has no attention that LoRA could adapt; take a 'vit', or train its norms alone"
        )
    scale = (alpha or float(rank)) / rank
    added = {}
    for i, layer in enumerate(layers):
        d = leaves[f"{layer}/qkv/kernel"].shape[0]
        for j, part in enumerate(parts):
            a = jax.random.normal(jax.random.fold_in(key, len(TARGETS["all"]) * i + j), (d, rank)) * rank**-0.5
            added[f"{NAME}/{layer}/{part}"] = {"a": a, "b": jnp.zeros((rank, d))}

    def merge(params: Tree) -> Tree:
        network = {name: tree for name, tree in params.items() if name != NAME}
        for layer in layers if NAME in params else ():
            path = tuple(layer.split("/"))
            products = {part: scale * product(_at(params[NAME], (*path, part))) for part in parts}
            zero = jnp.zeros_like(next(iter(products.values())))
            packed = jnp.concatenate([products.get(part, zero) for part in PACKED], axis=1)
            network = _plus(network, (*path, "qkv", "kernel"), packed)
            if "proj" in products:
                network = _plus(network, (*path, "proj", "kernel"), products["proj"])
        return network

    return traverse_util.unflatten_dict(added, sep="/"), merge


def merging(apply: Apply, merge: Merge) -> Apply:
    """Returns the function of a network for parameters with A and B.

    Args:
        apply: the network.
        merge: as from `lora`.
    """

    def merged(variables: Tree, images: Array, train: bool, keys: Array | None, kept: Array | None = None) -> Any:
        chosen = () if kept is None else (kept,)
        return apply(variables | {"params": merge(variables["params"])}, images, train, keys, *chosen)

    return merged


def product(pair: Tree) -> Float[Array, "d d2"]:
    """Returns A B, in float32.

    Args:
        pair: a [d r] and b [r d2].
    """
    delta: Array = jnp.matmul(pair["a"], pair["b"], precision="highest")
    return delta


def _at(tree: Tree, path: tuple[str, ...]) -> Tree:
    return _at(tree[path[0]], path[1:]) if path else tree


def _plus(tree: Tree, path: tuple[str, ...], delta: Array) -> Tree:
    """Returns a tree with `delta` added to the leaf at `path`; other leaves are shared."""
    return tree | {path[0]: _plus(tree[path[0]], path[1:], delta)} if path else tree + delta
