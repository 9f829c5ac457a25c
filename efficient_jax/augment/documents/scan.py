"""Printed pages that look scanned: ink, paper and light, in the manner of Augraphy (arXiv 2208.14558).

A page is dark ink on white. The operations of `ink` change it, those of `paper` change a blank sheet; `document`
prints one on the other and applies further operations to both.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from efficient_jax import settings
from efficient_jax.augment.combinators import with_probability
from efficient_jax.augment.compression import jpeg
from efficient_jax.augment.documents.ink import (
    ONE,
    WHITE,
    Image,
    blot,
    dithering,
    fading,
    ink_bleed,
    multiply,
    towards,
    white,
)
from efficient_jax.augment.documents.paper import folding_shadow, lighting_gradient, paper_tint, texture
from efficient_jax.augment.filters import gaussian_blur
from efficient_jax.augment.geometry.affine import affine
from efficient_jax.augment.noise import gaussian_noise
from efficient_jax.errors import UserError
from efficient_jax.types import Augmentation, Example

OVERLAYS: dict[str, Callable[[Image, Image], Image]] = {
    "multiply": multiply,
    "min": jnp.minimum,
    "normal": lambda ink, _: ink,
}


def document(
    key: PRNGKeyArray,
    example: Example,
    ink: tuple[Augmentation, ...] = (),
    paper: tuple[Augmentation, ...] = (),
    post: tuple[Augmentation, ...] = (),
    *,
    overlay: str = "multiply",
    opacity: float = 1.0,
) -> Example:
    """Applies `ink` to the page, prints it on a white sheet that went through `paper`, and applies `post` to both.

    Masks, boxes and keypoints belong to the page: what in `ink` and `post` moves it moves them, what moves the sheet
    does not.

    Args:
        key, example: see types.Example.
        ink: augmentations of the page; a config names operations.
        paper: augmentations of the white sheet; a config names operations.
        post: augmentations of the print; a config names operations.
        overlay: how the page is printed: multiply (as transparent ink), min (the darker of the two) or normal (the page
            covers the sheet).
        opacity: opacity of the print, in 0..1; `normal` with 0.7 is seven parts of ink to three of paper.

    Returns: the example with its image changed, and its masks, boxes and keypoints where it was moved.

    Raises: UserError for an opacity outside 0..1, and for an unknown overlay.
    """
    if not 0 <= opacity <= 1:
        raise UserError(f"document: opacity {opacity} is not in 0..1")
    join = settings.choose(overlay, OVERLAYS, "document.overlay")
    keys = iter([jax.random.fold_in(key, position) for position in range(len(ink) + len(paper) + len(post))])

    def through(phase: tuple[Augmentation, ...], example: Example) -> Example:
        for augmentation in phase:
            example = augmentation(next(keys), example)
        return example

    page = through(ink, example)
    sheet = through(paper, {"image": jnp.full_like(page["image"], white(page["image"]))})["image"]
    printed = join(page["image"], sheet)
    if opacity < 1:
        printed = towards(sheet, printed, jnp.full(sheet.shape[:2], round(opacity * ONE), jnp.int32))
    return through(post, page | {"image": printed})


def document_scan(key: PRNGKeyArray, example: Example, *, strength: float = 1.0) -> Example:
    """Changes a page as if it had been printed, left in a drawer and scanned: a `document` with random phases.

    Ink: it bleeds (on half of the pages), fades in patches (a third) or streaks (a fifth), blots (a sixth), is dithered
    (a tenth). Paper: tinted, most often uneven (2/3), folded twice (a third). Post: uneven light (half), a small skew
    (half), blur of at most 0.9 pixels, noise (a third), JPEG of quality 30 to 95 (half).

    Args:
        key, example: see types.Example.
        strength: factor of these probabilities and of the amounts, in 0..1; 0.0 changes nothing.

    Returns: the example with its image changed, and its masks, boxes and keypoints where the page is skewed.

    Raises: UserError for a strength outside 0..1.
    """
    if not 0 <= strength <= 1:
        raise UserError(f"document_scan: strength {strength} is not in 0..1")

    def often(probability: float, augmentation: Augmentation) -> Augmentation:
        return with_probability(augmentation, strength * probability)

    return document(
        key,
        example,
        ink=(
            often(1 / 2, partial(ink_bleed, strength=0.8 * strength)),
            often(1 / 3, partial(fading, strength=0.7 * strength)),
            often(1 / 5, partial(fading, strength=0.7 * strength, cells=(1, 60))),
            often(1 / 6, partial(blot, strength=0.9 * strength)),
            often(1 / 10, dithering),
        ),
        paper=(
            partial(paper_tint, lightness=1 - 0.15 * strength, warmth=0.15 * strength),
            often(2 / 3, partial(texture, strength=0.15 * strength)),
            often(1 / 3, partial(folding_shadow, strength=0.3 * strength, folds=2)),
        ),
        post=(
            often(1 / 2, partial(lighting_gradient, strength=0.4 * strength)),
            often(1 / 2, partial(affine, rotate=2.0 * strength, shear=0.02 * strength, fill=WHITE)),
            partial(gaussian_blur, sigma_max=0.1 + 0.8 * strength),
            often(1 / 3, partial(gaussian_noise, std=0.06 * strength)),
            often(1 / 2, partial(jpeg, quality_min=round(95 - 65 * strength))),
        ),
    )
