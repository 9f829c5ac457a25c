"""Losses between views of images without labels: NT-Xent of SimCLR, and the regularisation of LeJEPA."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from efficient_jax.losses.features import unit

KNOTS, LAST_KNOT = 17, 3.0  # of the integral of `sigreg`, as in the paper


def nt_xent(
    first: Float[Array, "b d"], second: Float[Array, "b d"], own: Int[Array, " n"], temperature: float
) -> Float[Array, " n"]:
    """Returns the normalised temperature-scaled cross-entropy of pairs of views (arXiv 2002.05709, equation 1).

    Each view has to be told from all others by its similarity to the other view of its image.

    Args:
        first: projections of one view of all images.
        second: projections of the other view.
        own: indices of the images whose losses are returned; the others are only compared with.
        temperature: divides the cosine similarities, above 0; 0.1 to 0.5.

    Returns: the mean of both views' losses for each image of `own`.
    """
    views = unit(jnp.concatenate([first, second]))
    count = len(first)
    rows, pairs = jnp.concatenate([own, own + count]), jnp.concatenate([own + count, own])
    similarity = views[rows] @ views.T / temperature
    others = jnp.where(rows[:, None] == jnp.arange(2 * count), -jnp.inf, similarity)
    positive = jnp.take_along_axis(similarity, pairs[:, None], axis=1)[:, 0]
    losses: Array = jax.nn.logsumexp(others, axis=1) - positive
    return losses.reshape(2, -1).mean(0)


def sigreg(projections: Float[Array, "b d"], key: PRNGKeyArray, directions: int = 1024) -> Float[Array, ""]:
    """Returns how far projections are from a standard normal distribution: SIGReg (arXiv 2511.08544, section 4).

    It is the Epps-Pulley statistic of the projections on random unit directions, the mean over the directions: b times
    the integral over t of |mean exp(i t x) - exp(-t^2 / 2)|^2 exp(-t^2 / 2), by the trapezoidal rule on 17 knots in
    0..3 and their negatives. Where all projections are equal it is large.

    Args:
        projections: of one view of all images.
        key: random key of the directions, the same on all devices.
        directions: number of directions.
    """
    axes = jax.random.normal(key, (projections.shape[1], directions))
    axes = axes / jnp.linalg.norm(axes, axis=0)
    t = jnp.linspace(0.0, LAST_KNOT, KNOTS)
    normal = jnp.exp(-jnp.square(t) / 2.0)
    step = LAST_KNOT / (KNOTS - 1)
    weights = jnp.full(KNOTS, 2.0 * step).at[jnp.array([0, -1])].set(step) * normal
    angles = (projections @ axes)[..., None] * t
    distance = jnp.square(jnp.cos(angles).mean(0) - normal) + jnp.square(jnp.sin(angles).mean(0))
    return len(projections) * (distance @ weights).mean()
