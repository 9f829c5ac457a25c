"""What SimCLR and LeJEPA share: views of all images, and a projection of their features that is trained and dropped."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from efficient_jax.methods.views import Keys, one_view
from efficient_jax.types import Apply, Augment, Batch, Tree

FEATURES = "features"  # the intermediate that is projected: what the head of a model takes


def parameters(key: PRNGKeyArray, intermediates: Mapping[str, jax.ShapeDtypeStruct], *, hidden: int, dim: int) -> Tree:
    """Returns the parameters of the projection: two layers.

    Their names are not `kernel`, so that they get no weight decay.

    Args:
        key: random key of the initial weights.
        intermediates: shape of each intermediate of the network.
        hidden: width of the hidden layer.
        dim: number of projections.
    """
    features = intermediates[FEATURES].shape[-1]
    first, second = jax.random.split(key)
    return {
        "projector": {
            "hidden_weight": jax.random.normal(first, (features, hidden)) * (2.0 / features) ** 0.5,
            "hidden_bias": jnp.zeros(hidden),
            "weight": jax.random.normal(second, (hidden, dim)) * hidden**-0.5,
            "bias": jnp.zeros(dim),
        }
    }


def projected(params: Tree, features: Float[Array, "b d"]) -> Float[Array, "b e"]:
    """Returns the projections of features, normalised before so that their size does not matter.

    Args:
        params: as from `parameters`.
        features: of images.
    """
    p, x = params["projector"], features.astype(jnp.float32)
    centered = x - x.mean(-1, keepdims=True)
    normal = centered / jnp.sqrt(jnp.square(centered).mean(-1, keepdims=True) + 1e-6)
    result: Array = jax.nn.relu(normal @ p["hidden_weight"] + p["hidden_bias"]) @ p["weight"] + p["bias"]
    return result


def projected_views(
    apply: Apply, augments: Mapping[str, Augment], params: Tree, model_state: Tree, batch: dict[str, Batch], keys: Keys
) -> tuple[dict[str, Float[Array, "b e"]], Tree]:
    """Returns the projections of several views of all images of a step.

    Views of equal size pass the network together, so that their batch statistics are common.

    Args:
        apply: the network.
        augments: name of each view, the prefix of its random keys -> its augmentation.
        params: parameters of the network, and of the projection.
        model_state: what the forward pass renews.
        batch: examples of each stream.
        keys: one random key for each example.

    Returns: (name of each view -> projections; the renewed model state).
    """
    views = {name: one_view(augment, batch, keys, name)[:2] for name, augment in augments.items()}
    sizes: dict[tuple[int, ...], list[str]] = {}
    for name, (view, _) in views.items():
        sizes.setdefault(view["image"].shape, []).append(name)
    results: dict[str, Float[Array, "b e"]] = {}
    for names in sizes.values():
        images = jnp.concatenate([views[name][0]["image"] for name in names])
        model_keys = jnp.concatenate([views[name][1] for name in names])
        (_, intermediates), model_state = apply({"params": params, **model_state}, images, True, model_keys)
        parts = jnp.split(projected(params, intermediates[FEATURES]), len(names))
        results |= dict(zip(names, parts, strict=True))
    return results, model_state
