"""What the operations share: pixels packed into integers, tables, and the loop that suits the platform.

Up to four uint8 channels travel as one uint32 per pixel, the first channel in the lowest byte: one gather fetches
a whole pixel, and two channels are blended with one multiplication.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, Int32, Shaped, UInt8, UInt32

from efficient_jax.types import Example, UserError

Pixels = UInt32[Array, "h w"]
Fill = float | tuple[float, ...]  # in 0..1, for all channels or one for each

EVEN = 0x00FF00FF  # bytes 0 and 2, each with room to be multiplied by 8 bits


FLOATS = tuple(map(jnp.dtype, ("float32", "bfloat16", "float16")))


def to_float(image: Shaped[Array, "*shape"]) -> Float[Array, "*shape"]:
    """uint8 0..255 becomes float32 0..1; a float image stays as it is.

    Raises: UserError for other dtypes.
    """
    require_dtype(image)
    return image.astype(jnp.float32) / 255 if image.dtype == jnp.uint8 else image


def to_uint8(image: Shaped[Array, "*shape"]) -> UInt8[Array, "*shape"]:
    """float 0..1 becomes uint8 0..255, clipped and rounded; a uint8 image stays as it is.

    Raises: UserError for other dtypes.
    """
    require_dtype(image)
    if image.dtype == jnp.uint8:
        return image
    return jnp.round(255 * jnp.clip(image.astype(jnp.float32), 0, 1)).astype(jnp.uint8)


def require_dtype(image: Shaped[Array, "*shape"]) -> None:
    """Raises: UserError unless the dtype is one of images: uint8, float32, bfloat16 or float16."""
    dtype = jax.dtypes.canonicalize_dtype(image.dtype)
    if dtype == jnp.uint8 or dtype in FLOATS:
        return
    how = "x.astype(jnp.float32)"
    if jnp.issubdtype(dtype, jnp.integer):
        how = f"levels of 0..255 are x.astype(jnp.uint8), those of all of {dtype} {how} / {jnp.iinfo(dtype).max}"
    raise UserError(f"an image is uint8 in 0..255 or float32, bfloat16 or float16 in 0..1, not {dtype}; {how}")


def platform_loop(one: Callable, many: Callable | None = None) -> Callable:
    """`one(*trees)` with a batch rule of its own: on CPU a loop of `one`, elsewhere `many` (default: its vmap).

    XLA CPU recomputes cheap producers inside every consumer that it fuses. In a loop over images they are scalars
    and rows in cache; in a batched program they are whole arrays, and 2 to 6 times slower. And vmap(lax.switch)
    runs every branch for every image. `many` must give the same pixels as `one` does. Arguments and result are
    trees of arrays, an example say.
    """
    many = many or jax.vmap(one)

    @jax.custom_batching.custom_vmap
    @jax.jit  # keeps constants inside: as operands of a switch around it they would be batched
    def batch(*trees: Any) -> Any:
        return lax.platform_dependent(*trees, cpu=lambda *t: lax.map(lambda each: one(*each), t), default=many)

    @batch.def_vmap
    def merge_axes(size: int, is_batched: list, *trees: Any) -> tuple[Any, Any]:
        def merged(batched: bool, a: Array) -> Array:
            a = a if batched else jnp.broadcast_to(a, (size, *a.shape))
            return a.reshape(size * a.shape[1], *a.shape[2:])

        inner = jax.tree.leaves(trees)[0].shape[jax.tree.leaves(is_batched)[0]]
        out = batch(*jax.tree.map(merged, tuple(is_batched), trees))
        split = jax.tree.map(lambda a: a.reshape(size, inner, *a.shape[1:]), out)  # size may be 0
        return split, jax.tree.map(lambda _: True, split)

    return lambda *trees: jax.tree.map(lambda a: a[0], batch(*jax.tree.map(lambda a: a[None], trees)))


def require_image(example: Example, lead: int = 0) -> None:
    """Raises: UserError for what is not one image, or with `lead` = 1 not a batch of images."""
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
    """`fill`, in 0..1, as the level of an image of this dtype."""
    if not 0 <= fill <= 1:
        raise UserError(f"fill {fill} is not in 0..1, from black to white; of 255 levels take a 255th")
    return round(255 * fill) if dtype == jnp.uint8 else fill


def pack(image: UInt8[Array, "h w c"]) -> Pixels:
    """One uint32 per pixel, for at most four channels."""
    require_image({"image": image})
    height, width, channels = image.shape
    if channels > 4 or height * width > 2**24:
        raise UserError(f"this operation takes at most 4 channels and 2^24 pixels, not {height} x {width} x {channels}")
    if channels == 1:
        return image[..., 0].astype(jnp.uint32)
    padded = jnp.pad(image, ((0, 0), (0, 0), (0, 4 - channels)))
    return lax.bitcast_convert_type(padded, jnp.uint32)


def unpack(pixels: Pixels, channels: int) -> UInt8[Array, "h w c"]:
    if channels == 1:
        return pixels.astype(jnp.uint8)[..., None]
    return lax.bitcast_convert_type(pixels, jnp.uint8)[..., :channels]


def channel(pixels: Pixels, index: int) -> Int32[Array, "h w"]:
    return ((pixels >> (8 * index)) & 255).astype(jnp.int32)


def pack_planes(planes: list[Int32[Array, "h w"]]) -> Pixels:
    packed = planes[0].astype(jnp.uint32)
    for index, plane in enumerate(planes[1:], 1):
        packed |= plane.astype(jnp.uint32) << (8 * index)
    return packed


def fill_levels(fill: Fill, channels: int, dtype: Any = jnp.uint8) -> list[int | float]:
    """`fill` as the level of each channel of an image of this dtype.

    Raises: UserError for a level that is not in 0..1, and for another number of levels than there are channels.
    """
    levels = tuple(fill) if isinstance(fill, tuple) else (fill,) * channels
    if len(levels) != channels:
        raise UserError(f"fill {fill} has {len(levels)} levels, the image {channels} channels; want one level for each")
    return [filling(level, dtype) for level in levels]


def fill_pixel(fill: Fill, channels: int) -> int:
    """`fill` as a packed pixel."""
    return sum(int(level) << (8 * index) for index, level in enumerate(fill_levels(fill, channels)))


def gray_pixel(level: int, channels: int) -> int:
    """The packed pixel that has `level` in every channel."""
    return sum(level << (8 * index) for index in range(channels))


def look_up(pixels: Pixels, tables: Int[Array, "c 256"]) -> Pixels:
    """Every channel through its table, whose entries are in 0..255."""
    shifted = tables.astype(jnp.uint32) << (8 * jnp.arange(len(tables), dtype=jnp.uint32))[:, None]
    flat = lax.optimization_barrier(shifted.reshape(-1))  # else each pixel computes its entry anew
    out = flat.at[channel(pixels, 0)].get(mode="promise_in_bounds")
    for index in range(1, len(tables)):
        out |= flat.at[channel(pixels, index) + 256 * index].get(mode="promise_in_bounds")
    return out
