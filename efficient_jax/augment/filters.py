"""Operations on neighbourhoods."""

from jax import lax

from efficient_jax.augment.kernels import EVEN, Pixels


def smooth(pixels: Pixels) -> Pixels:
    """Pillow's SMOOTH, what `sharpness` blends with: 3x3 weights 1 around a 5, over 13; the border stays as it is."""

    def two_channels(lanes: Pixels) -> Pixels:
        rows = lax.optimization_barrier(lanes[:-2] + lanes[1:-1] + lanes[2:])
        total = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:] + 4 * lanes[1:-1, 1:-1]
        return _thirteenth(total & 0xFFFF) | _thirteenth(total >> 16) << 16

    inner = two_channels(pixels & EVEN) | two_channels((pixels >> 8) & EVEN) << 8
    return pixels.at[1:-1, 1:-1].set(inner)


def _thirteenth(total: Pixels) -> Pixels:
    """`total / 13` rounded, as a multiplication: exact for sums of 13 bytes."""
    return (2 * total + 13) * 10083 >> 18
