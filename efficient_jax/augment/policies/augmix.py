"""AugMix (arXiv 1912.02781): chains of operations, blended with each other and with the image itself."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int32, PRNGKeyArray

from efficient_jax.augment.kernels import dtypes, packed, targets
from efficient_jax.augment.policies import engine
from efficient_jax.errors import UserError
from efficient_jax.types import Example

OPS = (
    *("autocontrast", "equalize", "posterize", "rotate", "solarize"),
    *("shear_x", "shear_y", "translate_x", "translate_y"),
)
MAX_SEVERITY = 10
_MAX_DEPTH = 3  # of chains with a random depth
_LEVELS = 256  # how finely a magnitude is rounded
_WHOLE = 4096  # weights count 4096ths, so that pixels are integers whose sum no compiler rounds otherwise


def largest(size: tuple[int, ...]) -> engine.Ranges:
    """Returns the ranges of AugMix' operations on images of this size.

    Args:
        size: (height, width) in pixels.

    Returns: see `engine.Ranges`.
    """
    height, width = size
    return engine.ranges(
        rotate=30, shear=0.3, translate=(width / 3, height / 3), factor=0.0, posterize=(4, 0), solarize=(256, 0)
    )


def augmix(
    key: PRNGKeyArray,
    example: Example,
    *,
    width: int = 3,
    depth: int = -1,
    severity: float = 3.0,
    alpha: float = 1.0,
    fill: dtypes.Fill = 0.0,
) -> Example:
    """Returns `m * image + (1 - m) * sum(w[i] * chain[i])` of `width` chains of operations (arXiv 1912.02781).

    The weights are w ~ Dirichlet(alpha, ...) and m ~ Beta(alpha, alpha). Every operation draws its magnitude from 0.1
    to `severity`; at 10 that is rotate 30 degrees, shear 0.3, translate a third of the side, posterize to 0 bits (from
    4 at 0), solarize everything. The paper's training loss compares the predictions for two such images and the clean
    one; this is the image alone. Float images are rounded to 256 levels.

    Args:
        key, example: see types.Example; without mask, boxes, box_mask and keypoints.
        width: chains that are blended, 1 or more.
        depth: operations in a chain, 1 or more; -1 draws 1, 2 or 3 for each chain.
        severity: largest magnitude of an operation, in 0.1..10.
        alpha: parameter of the distributions of the weights, above 0.0; 1.0 is uniform.
        fill: level outside the image, in 0..1, one level or one for each channel.

    Returns: the example with its image changed.

    Raises: UserError for settings outside their ranges, and for an example with masks, boxes or keypoints.
    """
    if width < 1 or not (depth == -1 or depth >= 1) or alpha <= 0 or not 0.1 <= severity <= MAX_SEVERITY:
        raise UserError(
            f"augmix: want width >= 1, depth >= 1 or -1, alpha > 0 and severity in 0.1..{MAX_SEVERITY}, "
            f"got {width}, {depth}, {alpha} and {severity}"
        )
    moved = [name for name in targets.MOVED if name in example]
    if moved:
        raise UserError(f"augmix blends images that are turned and shifted differently: no place for {moved[0]!r}")
    image = example["image"]
    size, channels = image.shape[:2], image.shape[2]
    drawn, amounts = draw_chains(jax.random.fold_in(key, 0), size, width, depth, severity)
    levels = dtypes.to_uint8(image)
    run = engine.loop(OPS, fill, channels)

    def chain(drawn: Int32[Array, " layers"], amounts: Int32[Array, " layers"]) -> Array:
        matrices = engine.matrix_of_each(drawn, amounts, ops=OPS, size=size)
        return packed.unpack(run(packed.pack(levels), drawn, amounts, matrices), channels)

    chains = jax.vmap(chain)(drawn, amounts)
    weights = mixing_weights(jax.random.fold_in(key, 1), width, alpha)
    images = jnp.concatenate([levels[None], chains]).astype(jnp.int32)
    mixed = jnp.sum(weights[:, None, None, None] * images, axis=0)
    out = ((mixed + _WHOLE // 2) // _WHOLE).astype(jnp.uint8)
    return example | {"image": out if image.dtype == jnp.uint8 else dtypes.to_float(out).astype(image.dtype)}


def draw_chains(
    key: PRNGKeyArray, size: tuple[int, ...], width: int, depth: int, severity: float
) -> tuple[Int32[Array, "width layers"], Int32[Array, "width layers"]]:
    """Draws the operations of every chain and their amounts.

    Args:
        key: a random key.
        size: (height, width) of the image in pixels.
        width: chains, 1 or more.
        depth: operations in a chain, 1 or more; -1 draws 1, 2 or 3 for each chain.
        severity: largest magnitude, in 0.1..10.

    Returns: (the index into OPS of each layer of each chain, len(OPS) where a chain is shorter; the amounts).
    """
    layers = _MAX_DEPTH if depth == -1 else depth
    draws = jax.random.uniform(key, (3 * layers + 1, width))
    which, magnitude, sign = draws[:-1].reshape(3, layers, width).swapaxes(1, 2)
    level = jnp.round((0.1 + (severity - 0.1) * magnitude) * (_LEVELS / MAX_SEVERITY)).astype(jnp.int32)
    table = jnp.asarray(engine.amount_table(largest(size), OPS, np.arange(_LEVELS + 1) / _LEVELS))
    drawn = (which * len(OPS)).astype(jnp.int32)
    amounts = table[(sign < 0.5).astype(jnp.int32), drawn, level]
    if depth == -1:
        beyond = jnp.arange(layers) > (draws[-1] * _MAX_DEPTH).astype(jnp.int32)[:, None]
        drawn = jnp.where(beyond, len(OPS), drawn)
    return drawn, amounts


def mixing_weights(key: PRNGKeyArray, width: int, alpha: float) -> Int32[Array, " 1+{width}"]:
    """Draws the weights of the image itself [0] and of the chains.

    Args:
        key: a random key.
        width: chains, 1 or more.
        alpha: parameter of the Dirichlet and the Beta distribution, above 0.0.

    Returns: integers in 4096ths that sum to 4096 exactly.
    """
    # Normalised gamma variates are Dirichlet, and the logarithm of Gamma(1) is quickly drawn and compiled.
    shape = (2 + width,)
    logs = -jax.random.gumbel(key, shape) if alpha == 1 else jax.random.loggamma(key, alpha, shape)
    kept, chains = jax.nn.softmax(logs[:2])[0], jax.nn.softmax(logs[2:])
    rounded = jnp.floor((1 - kept) * chains * _WHOLE).astype(jnp.int32)
    return jnp.concatenate([(_WHOLE - jnp.sum(rounded))[None], rounded])
