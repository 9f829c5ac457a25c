"""Complementary dropout of channels (UniMatch V2, arXiv 2410.10777): one strong view loses what the other keeps."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from efficient_jax import keys as random_keys
from efficient_jax.models.pyramid import Maps


def factors(keys: Key[Array, " m"], channels: int, share: float, name: str) -> Float[Array, "m channels"]:
    """Returns the factors of the channels of some images: 0.0 or 2.0 at random, or 1.0 for an image that keeps all.

    Those of the other view are 2.0 less these.

    Args:
        keys: one for each image.
        channels: number of channels.
        share: probability that an image loses half of its channels, in 0..1.
        name: of the feature map; an image loses channels of all its maps, or of none.
    """
    kept = jax.vmap(jax.random.uniform)(random_keys.view(keys, "images")) >= share
    halves = jax.vmap(lambda key: jax.random.bernoulli(key, shape=(channels,)))(random_keys.view(keys, name))
    return jnp.where(kept[:, None], 1.0, 2.0 * halves.astype(jnp.float32))


def complementary(keys: Key[Array, " m"], labelled: int, views: int, share: float) -> Callable[[Maps], Maps]:
    """Returns the dropout of the feature maps of labelled images, which lose nothing, and strong views behind them.

    Views 0 and 1 of an image are complementary, then 2 and 3, and so on; a last one without another is alone.

    Args:
        keys: one for each unlabelled image.
        labelled: number of labelled images.
        views: strong views of each unlabelled image, one view of all images behind the other.
        share: probability that an image loses half of its channels, in 0..1; 0.5 in the paper.
    """

    def change(maps: Maps) -> Maps:
        return {stride: of_map(x, str(stride)) for stride, x in maps.items()}

    def of_map(x: Float[Array, "b h w c"], name: str) -> Float[Array, "b h w c"]:
        parts = [jnp.ones((labelled, x.shape[-1]))]
        for view in range(views):
            pair = factors(random_keys.view(keys, f"channels{view // 2}"), x.shape[-1], share, name)
            parts.append(2.0 - pair if view % 2 else pair)
        return x * jnp.concatenate(parts)[:, None, None].astype(x.dtype)

    return change
