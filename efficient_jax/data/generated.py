"""Images that nobody took: drawn from a Gaussian of few directions for each class, fitted to its labelled images."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8

from efficient_jax.types import UserError


class Gaussian(NamedTuple):
    """Probabilistic principal components (Tipping & Bishop 1999): N(mean, basis^T basis + noise I)."""

    mean: Float[np.ndarray, "d"]
    basis: Float[np.ndarray, "k d"]
    noise: float  # variance of what the basis leaves out, in each direction


def fit(points: Float[np.ndarray, "n d"], components: int) -> Gaussian:
    """The maximum-likelihood fit with at most `components` directions; n points have n - 1 at most."""
    n, d = points.shape
    mean = points.mean(0)
    _, singular, directions = np.linalg.svd(points - mean, full_matrices=False)
    variances = np.square(singular) / n
    k = min(components, n - 1, d - 1)
    noise = variances[k:].sum() / (d - k)  # over all directions left, also those in which no point lies
    return Gaussian(mean, np.sqrt(np.maximum(variances[:k] - noise, 0.0))[:, None] * directions[:k], float(noise))


def sample(model: Gaussian, count: int, rng: np.random.Generator) -> Float[np.ndarray, "count d"]:
    k, d = model.basis.shape
    within = rng.standard_normal((count, k)) @ model.basis
    return model.mean + within + np.sqrt(model.noise) * rng.standard_normal((count, d))


def settings(*, per_class: int, components: int = 8, weight: float = 1.0) -> None:
    """`config.data.generated`: `per_class` images of each class are drawn from Gaussians of `components` directions,
    and each comes `weight` times as often as an image that a person labelled; 0.0 trains as if there were none."""
    for name, value, least in (("per_class", per_class, 1), ("components", components, 1), ("weight", weight, 0.0)):
        if value < least:
            raise UserError(f"config.data.generated.{name}: {value} is less than {least}")


def generate(
    images: UInt8[np.ndarray, "n h w c"],
    labels: Int[np.ndarray, "n"],
    classes: tuple[str, ...],
    *,
    per_class: int,
    components: int,
    seed: int,
) -> tuple[UInt8[np.ndarray, "m h w c"], Int[np.ndarray, "m"]]:
    """`per_class` images of each class, and their labels. `images` are those of the training split alone.

    Raises: UserError for a class with fewer than two images.
    """
    rng, made = np.random.default_rng(seed), []
    for number, name in enumerate(classes):
        points = images[labels == number].reshape(-1, images[0].size).astype(np.float64)
        if len(points) < 2:
            raise UserError(
                f"config.data.generated: class {name!r} has {len(points)} labelled images; two or more have a spread"
            )
        drawn = sample(fit(points, components), per_class, rng)
        made.append(drawn.round().clip(0, 255).astype(np.uint8).reshape(-1, *images.shape[1:]))
    return np.concatenate(made), np.repeat(np.arange(len(classes), dtype=np.int32), per_class)
