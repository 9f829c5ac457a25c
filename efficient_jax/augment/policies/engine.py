"""Runs a drawn sequence of operations on an image, for RandAugment and its relatives.

Policies differ in what they draw: each layer is the index of an operation and an integer amount in its own unit.
On CPU a switch runs what was drawn and nothing else; accelerators get the same pixels without a branch.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int32

from efficient_jax.augment import filters
from efficient_jax.augment.kernels import dtypes, loops, packed, pointwise, positions, resample, shift, targets
from efficient_jax.augment.kernels.dtypes import Fill
from efficient_jax.augment.kernels.packed import Pixels
from efficient_jax.augment.kernels.positions import Matrix, Size
from efficient_jax.types import Example

Amount = Int32[Array, ""]
Layers = Int32[Array, " layers"]
Ranges = Mapping[str, tuple[float, float]]
"""Operation -> its amounts at the smallest and the largest magnitude, in its unit."""


class Operation(NamedTuple):
    kind: str  # nothing, geometry, table, blend
    unit: str = ""
    steps: int = 1  # an amount counts so many steps in a unit
    signed: bool = False  # the change is drawn in either direction


OPERATIONS = {
    "identity": Operation("nothing"),
    "rotate": Operation("geometry", "degrees counter-clockwise", 32, signed=True),
    "shear_x": Operation("geometry", "pixels per pixel", 1024, signed=True),
    "shear_y": Operation("geometry", "pixels per pixel", 1024, signed=True),
    "translate_x": Operation("geometry", "pixels to the right", signed=True),
    "translate_y": Operation("geometry", "pixels down", signed=True),
    "autocontrast": Operation("table"),
    "equalize": Operation("table"),
    "invert": Operation("table"),
    "brightness": Operation("table", "factor", pointwise.ONE, signed=True),
    "contrast": Operation("table", "factor", pointwise.ONE, signed=True),
    "posterize": Operation("table", "bits that are kept"),
    "solarize": Operation("table", "first level that is inverted"),
    "solarize_add": Operation("table", "added to levels below 128"),
    "color": Operation("blend", "factor", pointwise.ONE, signed=True),
    "sharpness": Operation("blend", "factor", pointwise.ONE, signed=True),
}


def ranges(
    *,
    rotate: float,
    shear: float,
    translate: tuple[float, float],
    factor: float,
    posterize: tuple[float, float],
    solarize: tuple[float, float],
) -> Ranges:
    """Returns what each operation changes at the smallest and the largest magnitude.

    Args:
        rotate: largest angle in degrees.
        shear: largest shear in pixels per pixel.
        translate: largest shifts (x, y) in pixels.
        factor: largest distance of a factor from 1 (brightness, contrast, color, sharpness).
        posterize: bits that are kept at the smallest and the largest magnitude, in 0..8.
        solarize: thresholds at the smallest and the largest magnitude, in 0..256.

    Returns: operation -> its amounts at magnitudes 0 and 1; those of solarize_add are 0 and 110 levels.
    """
    across, down = translate
    return {
        "rotate": (0, rotate),
        **dict.fromkeys(("shear_x", "shear_y"), (0, shear)),
        "translate_x": (0, across),
        "translate_y": (0, down),
        **dict.fromkeys(("brightness", "contrast", "color", "sharpness"), (1, 1 + factor)),
        "posterize": posterize,
        "solarize": solarize,
        "solarize_add": (0, 110),
    }


def amount_table(limits: Ranges, ops: Sequence[str], levels: np.ndarray) -> Int32[np.ndarray, "2 ops levels"]:
    """Returns the amounts of every operation at each magnitude, in steps of its unit.

    Args:
        limits: amounts at the smallest and the largest magnitude, see `ranges`; an operation that is not in it has 0.
        ops: names of OPERATIONS.
        levels: magnitudes in 0..1, where 1 is the largest.

    Returns: int32 [2 ops levels]; [1] holds the changes in the other direction, equal to [0] for an unsigned operation.
    """

    def amounts(name: str, sign: int) -> np.ndarray:
        start, end = limits.get(name, (0, 0))
        change = (end - start) * np.asarray(levels, np.float64)
        return OPERATIONS[name].steps * (start + (sign if OPERATIONS[name].signed else 1) * change)

    return np.round([[amounts(name, sign) for name in ops] for sign in (1, -1)]).astype(np.int32)


_TURN = 360 * OPERATIONS["rotate"].steps
# A table, since a cosine may differ in its last bit from one compilation to the next.
_SINES = np.round(2**16 * np.sin(2 * np.pi * np.arange(_TURN) / _TURN)).astype(np.int32)


def _rotation(amount: Amount, size: Size) -> Matrix:
    sines = jnp.asarray(_SINES) >> (16 - positions.fraction_bits(size))
    sin, cos = sines[amount % _TURN], sines[(amount + _TURN // 4) % _TURN]
    return jnp.stack([cos, -sin, jnp.int32(0), sin, cos, jnp.int32(0)]).reshape(2, 3)


def _entry(amount: Amount, size: Size, *, row: int, column: int, per_unit: int) -> Matrix:
    one = 1 << positions.fraction_bits(size)
    return (jnp.eye(2, 3, dtype=jnp.int32) * one).at[row, column].set(amount * one // per_unit)


MATRICES: dict[str, Callable[[Amount, Size], Matrix]] = {
    "rotate": _rotation,
    "shear_x": partial(_entry, row=0, column=1, per_unit=OPERATIONS["shear_x"].steps),
    "shear_y": partial(_entry, row=1, column=0, per_unit=OPERATIONS["shear_y"].steps),
    "translate_x": partial(_entry, row=0, column=2, per_unit=-1),
    "translate_y": partial(_entry, row=1, column=2, per_unit=-1),
}
RESAMPLERS: dict[str, Callable[..., Pixels]] = {
    "rotate": resample.resample,
    "shear_x": shift.shear_rows,
    "shear_y": shift.shear_columns,
    "translate_x": shift.translate,
    "translate_y": shift.translate,
}
TABLES: dict[str, Callable[[Amount, Pixels, int], Array]] = {
    "autocontrast": lambda _, pixels, channels: pointwise.autocontrast_tables(pixels, channels),
    "equalize": lambda _, pixels, channels: pointwise.equalize_tables(pixels, channels),
    "invert": lambda *_: jnp.asarray(255 - pointwise.LEVELS),
    "brightness": lambda amount, *_: pointwise.brightness_table(amount),
    "contrast": lambda amount, pixels, channels: pointwise.contrast_table(
        pointwise.mean_level(pixels, channels), amount
    ),
    "posterize": lambda amount, *_: pointwise.posterize_table(amount),
    "solarize": lambda amount, *_: pointwise.solarize_table(amount),
    "solarize_add": lambda amount, *_: jnp.where(
        pointwise.LEVELS < 128, jnp.minimum(pointwise.LEVELS + amount, 255), pointwise.LEVELS
    ),
}
REFERENCES: dict[str, Callable[[Pixels, int], Pixels]] = {
    "color": pointwise.gray,
    "sharpness": lambda pixels, _: filters.smooth(pixels),
}


def sequence(example: Example, drawn: Layers, amounts: Layers, *, ops: tuple[str, ...], fill: Fill) -> Example:
    """Applies `ops[drawn[0]]`, `ops[drawn[1]]`, ... to the image, its masks, boxes and keypoints.

    Args:
        example: see types.Example. Float images are rounded to 256 levels.
        drawn: index of each layer's operation; len(ops) does nothing.
        amounts: amount of each layer, in steps of its operation's unit.
        ops: names of OPERATIONS.
        fill: level outside the image, in 0..1, one level or one for each channel.

    Returns: the changed example.

    Raises: UserError for a fill outside 0..1.
    """
    image = example["image"]
    channels = image.shape[-1]
    matrices = matrix_of_each(drawn, amounts, ops=ops, size=image.shape[:2])
    if any(name in example for name in targets.MOVED) and any(name in MATRICES for name in ops):
        example = targets.move(example, _as_float(matrices, image.shape[:2]), image.shape[:2])
    pixels = loop(ops, fill, channels)(packed.pack(dtypes.to_uint8(image)), drawn, amounts, matrices)
    out = packed.unpack(pixels, channels)
    return example | {"image": out if image.dtype == jnp.uint8 else dtypes.to_float(out).astype(image.dtype)}


def loop(ops: tuple[str, ...], fill: Fill, channels: int) -> Callable[[Pixels, Layers, Layers, Array], Pixels]:
    """Returns `(pixels, drawn, amounts, matrices) -> pixels`, to be vmapped: see `platform_loop`.

    Args:
        ops: names of OPERATIONS.
        fill: level outside the image, in 0..1, one level or one for each channel.
        channels: channels of the packed pixels, in 1..4.

    Returns: the function; `drawn`, `amounts` and `matrices` have a row for each layer.

    Raises: UserError, when it is called, for a fill outside 0..1.
    """

    def layers(layer: Callable[..., Pixels], *arrays: Array) -> Pixels:
        pixel = packed.fill_pixel(fill, channels)
        one_layer = partial(layer, ops=ops, fill=pixel, channels=channels)
        out: Pixels = lax.scan(lambda pixels, each: (one_layer(pixels, *each), None), arrays[0], arrays[1:])[0]
        return out

    return loops.platform_loop(partial(layers, switch), jax.vmap(partial(layers, branchless)))


def matrix_of_each(drawn: Layers, amounts: Layers, *, ops: tuple[str, ...], size: Size) -> Int32[Array, "layers 2 3"]:
    """Returns the matrix of each layer, the identity for operations that do not move pixels.

    Args:
        drawn: index of each layer's operation in `ops`.
        amounts: amount of each layer, in steps of its operation's unit.
        ops: names of OPERATIONS.
        size: (height, width) of the image.

    Returns: inverse warps with `positions.fraction_bits(size)` bits behind the point.
    """

    def matrix(op: Int32[Array, ""], amount: Amount) -> Matrix:
        unchanged = jnp.eye(2, 3, dtype=jnp.int32) * (1 << positions.fraction_bits(size))
        return _select(ops, op, {name: MATRICES[name](amount, size) for name in MATRICES if name in ops}, unchanged)

    return jax.vmap(matrix)(drawn, amounts)


def _as_float(matrices: Int32[Array, "layers 2 3"], size: Size) -> Float[Array, "layers 3 3"]:
    upper = matrices.astype(jnp.float32) / (1 << positions.fraction_bits(size))
    return jnp.concatenate([upper, jnp.broadcast_to(jnp.array([0.0, 0.0, 1.0]), (len(upper), 1, 3))], axis=1)


def _select(ops: tuple[str, ...], drawn: Array, options: dict[str, Array], otherwise: Array) -> Array:
    """Returns the option of the operation that was drawn, or `otherwise` where it has none."""
    for name, value in options.items():
        places = np.flatnonzero(np.array(ops) == name).astype(np.int32)  # several where it is to be drawn more often
        otherwise = jnp.where(jnp.any(drawn == places), value, otherwise)
    return otherwise


def switch(
    pixels: Pixels,
    drawn: Int32[Array, ""],
    amount: Amount,
    matrix: Matrix,
    *,
    ops: tuple[str, ...],
    fill: int,
    channels: int,
) -> Pixels:
    """Applies one layer through a branch; under vmap this would run every operation.

    Args:
        pixels: packed pixels [h w].
        drawn: index of the operation in `ops`; len(ops) does nothing.
        amount: in steps of the operation's unit.
        matrix: of the layer, see `matrix_of_each`.
        ops: names of OPERATIONS.
        fill: packed pixel that lies outside the image.
        channels: channels of the pixels, in 1..4.

    Returns: packed pixels [h w].
    """

    def branch(name: str) -> Callable[[Pixels, Amount, Matrix], Pixels]:
        def run(pixels: Pixels, amount: Amount, matrix: Matrix) -> Pixels:
            kind = OPERATIONS[name].kind
            if kind == "geometry":
                return RESAMPLERS[name](pixels, matrix, fill=fill, channels=channels)
            if kind == "table":
                return packed.look_up(pixels, _tables(name, amount, pixels, channels))
            if kind == "blend":
                return pointwise.blend(REFERENCES[name](pixels, channels), pixels, amount, channels)
            return pixels

        return run

    out: Pixels = lax.switch(drawn, [branch(name) for name in (*ops, "identity")], pixels, amount, matrix)
    return out


def branchless(
    pixels: Pixels,
    drawn: Int32[Array, ""],
    amount: Amount,
    matrix: Matrix,
    *,
    ops: tuple[str, ...],
    fill: int,
    channels: int,
) -> Pixels:
    """Applies the same layer as `switch` without a branch: one resample, one table and one blend, two of them idle.

    Args:
        pixels: packed pixels [h w].
        drawn: index of the operation in `ops`; len(ops) does nothing.
        amount: in steps of the operation's unit.
        matrix: of the layer, see `matrix_of_each`.
        ops: names of OPERATIONS.
        fill: packed pixel that lies outside the image.
        channels: channels of the pixels, in 1..4.

    Returns: packed pixels [h w], the same as those of `switch`.
    """
    if any(name in MATRICES for name in ops):
        pixels = resample.resample(pixels, matrix, fill=fill, channels=channels)
    tables = {name: _tables(name, amount, pixels, channels) for name in TABLES if name in ops}
    if tables:
        unchanged = jnp.broadcast_to(pointwise.LEVELS, (channels, 256))
        pixels = packed.look_up(pixels, _select(ops, drawn, tables, unchanged))
    references = {name: REFERENCES[name](pixels, channels) for name in REFERENCES if name in ops}
    # With itself as the reference an image stays as it is, whatever the factor.
    return pointwise.blend(_select(ops, drawn, references, pixels), pixels, amount, channels) if references else pixels


def _tables(name: str, amount: Amount, pixels: Pixels, channels: int) -> pointwise.Tables:
    return jnp.broadcast_to(TABLES[name](amount, pixels, channels), (channels, 256))
