"""Dtypes and shapes of images: their checks, conversions, and a fill as levels of a dtype."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped, UInt8

from efficient_jax.errors import UserError
from efficient_jax.types import Example

Fill = float | tuple[float, ...]  # in 0..1, for all channels or one for each
FLOATS = tuple(map(jnp.dtype, ("float32", "bfloat16", "float16")))


def to_float(image: Shaped[Array, " *shape"]) -> Float[Array, " *shape"]:
    """Returns uint8 0..255 as float32 0..1; a float image stays as it is.

    Args:
        image: uint8 or float, of any shape.

    Returns: the image, in the same shape.

    Raises: UserError for other dtypes.
    """
    require_dtype(image)
    return image.astype(jnp.float32) / 255 if image.dtype == jnp.uint8 else image


def to_uint8(image: Shaped[Array, " *shape"]) -> UInt8[Array, " *shape"]:
    """Returns float 0..1 as uint8 0..255, clipped and rounded; a uint8 image stays as it is.

    Args:
        image: uint8 or float, of any shape.

    Returns: uint8 levels, in the same shape.

    Raises: UserError for other dtypes.
    """
    require_dtype(image)
    if image.dtype == jnp.uint8:
        return image
    return jnp.round(255 * jnp.clip(image.astype(jnp.float32), 0, 1)).astype(jnp.uint8)


def require_dtype(image: Shaped[Array, " *shape"]) -> None:
    """Checks that the dtype is one of images: uint8, float32, bfloat16 or float16.

    Args:
        image: of any shape.

    Raises: UserError for other dtypes.
    """
    dtype = jax.dtypes.canonicalize_dtype(image.dtype)
    if dtype == jnp.uint8 or dtype in FLOATS:
        return
    how = "x.astype(jnp.float32)"
    if jnp.issubdtype(dtype, jnp.integer):
        highest = jnp.iinfo(dtype).max  # type: ignore[no-untyped-call]
        how = f"levels of 0..255 are x.astype(jnp.uint8), those of all of {dtype} {how} / {highest}"
    raise UserError(f"an image is uint8 in 0..255 or float32, bfloat16 or float16 in 0..1, not {dtype}; {how}")


def require_image(example: Example, lead: int = 0) -> None:
    """Checks that an example has one image, or a batch images, of a known dtype.

    Args:
        example: has an entry `image`.
        lead: number of leading axes: 0 for one example, 1 for a batch.

    Raises: UserError for a missing or empty image, another number of axes, and other dtypes.
    """
    image = example.get("image")
    if image is None:
        raise UserError("an example has an entry 'image', [h w c]; this one has " + (", ".join(example) or "nothing"))
    if image.ndim != 3 + lead or 0 in image.shape[lead:]:
        how = (
            "one alone goes through the operation itself" if lead else "a batch goes through jax.vmap of the operation"
        )
        what = "images of a batch are [b h w c]" if lead else "an image is [h w c]"
        raise UserError(f"{what}, not {list(image.shape)}; {how}")
    require_dtype(image)


def filling(fill: float, dtype: Any = jnp.uint8) -> int | float:
    """Returns `fill` as the level of an image of this dtype.

    Args:
        fill: a level in 0..1.
        dtype: uint8 or a float dtype.

    Returns: a level in 0..255 for uint8, rounded; `fill` itself for floats.

    Raises: UserError for a level that is not in 0..1.
    """
    if not 0 <= fill <= 1:
        raise UserError(f"fill {fill} is not in 0..1, from black to white; of 255 levels take a 255th")
    return round(255 * fill) if dtype == jnp.uint8 else fill


def fill_levels(fill: Fill, channels: int, dtype: Any = jnp.uint8) -> list[int | float]:
    """Returns `fill` as the level of each channel of an image of this dtype.

    Args:
        fill: one level in 0..1, or one for each channel.
        channels: channels of the image, 1 or more.
        dtype: uint8 or a float dtype.

    Returns: levels as those of `filling`.

    Raises: UserError for a level that is not in 0..1, and for another number of levels than there are channels.
    """
    levels = tuple(fill) if isinstance(fill, tuple) else (fill,) * channels
    if len(levels) != channels:
        raise UserError(f"fill {fill} has {len(levels)} levels, the image {channels} channels; want one level for each")
    return [filling(level, dtype) for level in levels]
