"""Generated images that join the labelled ones: drawn from a Gaussian of few directions for each class, which is
fitted to its labelled images, or read from a folder that another generator has filled."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8

from efficient_jax.data import decode, picture_files
from efficient_jax.data.framing import Framing
from efficient_jax.errors import UserError, counted, nearest


class Gaussian(NamedTuple):
    """Probabilistic principal components (Tipping & Bishop 1999): N(mean, basis^T basis + noise I)."""

    mean: Float[np.ndarray, " d"]
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


class Generated(NamedTuple):
    """Generated images of the size of the labelled ones."""

    images: UInt8[np.ndarray, "n h w c"]
    labels: Int[np.ndarray, " n"]
    names: tuple[str, ...]
    notes: tuple[str, ...]  # what was done to them, for people to read


def settings(*, per_class: int = 0, components: int = 8, path: str = "", weight: float = 1.0) -> None:
    """`config.data.generated`: either `per_class` images of each class are drawn from Gaussians of `components`
    directions, or `path` names a folder with a folder of generated images for each class, or for some. Each image comes
    `weight` times as often as an image that a person labelled; 0.0 trains as if there were none."""
    if path and per_class:
        raise UserError("config.data.generated: path and per_class are both given; give one")
    drawn = () if path else (("per_class", per_class, 1), ("components", components, 1))
    for name, value, least in (*drawn, ("weight", weight, 0.0)):
        if value < least:
            raise UserError(f"config.data.generated.{name}: {value} is less than {least}")


def read(path: str, classes: tuple[str, ...], shape: tuple[int, int, int], framing: Mapping[str, Any]) -> Generated:
    """Reads the images in the class folders of `path`.

    Args:
        path: A folder with one folder for each class, or for some of them.
        classes: The classes of the dataset.
        shape: Height, width and channels of the dataset's images.
        framing: `fit`, `crop` and `interpolation` of `framing.Framing`, as the dataset's images were prepared.

    Raises: UserError for a folder that is no class, a folder without images, images that cannot be read, and images
        that do not have `shape` where it is not square.
    """
    key = "config.data.generated.path"
    where = f"{key}: {path!r}"
    indices = {name: index for index, name in enumerate(classes)}
    files: list[tuple[Path, int]] = []
    folders, passed_over = picture_files.class_folders(path, key)
    for name, of_class in folders.items():
        if name not in indices:
            raise UserError(f"{where}: folder {name!r} is none of the {len(classes)} classes{nearest(name, classes)}")
        for walked in (picture_files.pictures(inside, key) for inside in of_class):
            files += [(file, indices[name]) for file in walked.files]
            passed_over += walked.passed_over
    if not files:
        raise UserError(f"{where} has no class folder with images; want {path}/{classes[0]}/1.jpg")
    names, (h, w, channels) = tuple(str(file) for file, _ in files), shape
    decoded = decode.decode_all(
        lambda row: files[row][0], len(files), Framing(h if h == w else 0, channels=channels, **framing)
    )
    if decoded.unreadable:
        raise UserError(f"{where}: {decode.listed({names[row]: why for row, why in decoded.unreadable.items()})}")
    if decoded.images.shape[1:] != shape:
        raise UserError(f"{where}: its images have {list(decoded.images.shape[1:])} pixels, the data's {list(shape)}")
    notes = (
        f"{counted(len(files), 'generated image was', 'generated images were')} read from {path}",
        *(f"generated: {n}" for n in (*decoded.notes, *picture_files.note(passed_over))),
    )
    return Generated(decoded.images, np.array([index for _, index in files], np.int32), names, notes)


def generate(
    images: UInt8[np.ndarray, "n h w c"],
    labels: Int[np.ndarray, " n"],
    classes: tuple[str, ...],
    *,
    per_class: int,
    components: int,
    seed: int,
) -> tuple[UInt8[np.ndarray, "m h w c"], Int[np.ndarray, " m"]]:
    """`per_class` images of each class, and their labels. `images` are those of the training split alone.

    Raises: UserError for a class with fewer than two images.
    """
    rng, made = np.random.default_rng(seed), []
    for number, name in enumerate(classes):
        points = images[labels == number].reshape(-1, images[0].size).astype(np.float64)
        if len(points) < 2:
            raise UserError(
                f"config.data.generated: class {name!r} has {counted(len(points), 'labelled image')}; two "
                "or more have a spread"
            )
        drawn = sample(fit(points, components), per_class, rng)
        made.append(drawn.round().clip(0, 255).astype(np.uint8).reshape(-1, *images.shape[1:]))
    return np.concatenate(made), np.repeat(np.arange(len(classes), dtype=np.int32), per_class)
