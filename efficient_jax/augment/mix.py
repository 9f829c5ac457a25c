"""Operations that mix two examples. The partner of example i is its neighbour i ^ 1: in a shuffled batch as good as
any other, and on the same device whenever each device holds an even number of examples."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, Shaped

from efficient_jax.augment import kernels
from efficient_jax.augment.erase import box, random_pixel
from efficient_jax.types import Batch, UserError


def mixup(keys: Key[Array, "b"], batch: Batch, *, alpha: float) -> Batch:
    """`weight * image + (1 - weight) * partner`, the label alike, weight ~ Beta(alpha, alpha) (arXiv 1710.09412).

    Every example draws its own weight. The images become float32 in 0..1.
    """
    weight = _beta(keys, alpha, "mixup")
    image = kernels.to_float(batch["image"])
    across = weight[:, None, None, None]
    mixed = across * image + (1 - across) * partner(image)
    return batch | {"image": mixed} | _mixed_label(batch, weight)


def cutmix(keys: Key[Array, "b"], batch: Batch, *, alpha: float) -> Batch:
    """Pastes a rectangle of the partner, and mixes the labels as the pixels are mixed (arXiv 1905.04899).

    The rectangle has the picture's proportions, a share 1 - Beta(alpha, alpha) of its area and a uniform centre.
    It is clipped at the borders, and the label's weight counts what is left of it.
    """
    image = batch["image"]
    _, height, width, _ = image.shape
    share_keys, centre_keys = jax.vmap(jax.random.split, out_axes=1)(keys)
    side = jnp.sqrt(1 - _beta(share_keys, alpha, "cutmix"))

    def pasted(key: Array, side: Float[Array, ""]) -> Array:
        y, x = random_pixel(key, height, width)
        rows, columns = (side * height).astype(jnp.int32), (side * width).astype(jnp.int32)
        return box(y - rows // 2, x - columns // 2, rows, columns, height, width)

    mask = jax.vmap(pasted)(centre_keys, side)
    weight = 1 - jnp.mean(mask, axis=(1, 2), dtype=jnp.float32)
    return batch | {"image": jnp.where(mask[..., None], partner(image), image)} | _mixed_label(batch, weight)


def partner(x: Shaped[Array, "b *rest"]) -> Shaped[Array, "b *rest"]:
    """Row i ^ 1 in place of row i."""
    if len(x) % 2:
        raise UserError(f"mixing pairs neighbours: each device needs an even number of examples, not {len(x)}")
    return x.reshape(-1, 2, *x.shape[1:])[:, ::-1].reshape(x.shape)


def _mixed_label(batch: Batch, weight: Float[Array, "b"]) -> Batch:
    if "label" not in batch:
        return {}
    label = batch["label"]
    if label.ndim != 2 or not jnp.issubdtype(label.dtype, jnp.floating):
        raise UserError(
            f"mixing takes labels that are distributions, float [b classes], not {label.dtype}{label.shape}"
        )
    across = weight[:, None]
    return {"label": across * label + (1 - across) * partner(label)}


def _beta(keys: Key[Array, "b"], alpha: float, name: str) -> Float[Array, "b"]:
    if alpha <= 0:
        raise UserError(f"{name}: alpha {alpha} is not positive; weights are drawn from Beta(alpha, alpha)")
    if alpha == 1:
        return jax.vmap(jax.random.uniform)(keys)
    return jax.vmap(lambda key: jax.random.beta(key, alpha, alpha))(keys)
