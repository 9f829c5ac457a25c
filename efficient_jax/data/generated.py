"""Generated images that join the labelled ones: drawn from a Gaussian of low rank that is fitted to the labelled images
of each class, or read from a folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8

from efficient_jax.data import decode, image_files
from efficient_jax.data.framing import Framing
from efficient_jax.errors import UserError, counted, nearest


class Gaussian(NamedTuple):
    """Probabilistic principal components (Tipping & Bishop 1999): N(mean, basis^T basis + noise I)."""

    mean: Float[np.ndarray, " d"]
    basis: Float[np.ndarray, "k d"]
    noise: float  # variance of what the basis leaves out, in each direction


def fit(points: Float[np.ndarray, "n d"], components: int) -> Gaussian:
    """Returns the maximum-likelihood fit of probabilistic principal components (Tipping & Bishop 1999).

    Args:
        points: float [n d], n of 2 or more.
        components: most directions of the basis; it has at most n - 1 and d - 1.
    """
    n, d = points.shape
    mean = points.mean(0)
    _, singular, directions = np.linalg.svd(points - mean, full_matrices=False)
    variances = np.square(singular) / n
    k = min(components, n - 1, d - 1)
    noise = variances[k:].sum() / (d - k)  # over all directions left, also those in which no point lies
    return Gaussian(mean, np.sqrt(np.maximum(variances[:k] - noise, 0.0))[:, None] * directions[:k], float(noise))


def sample(model: Gaussian, count: int, rng: np.random.Generator) -> Float[np.ndarray, "count d"]:
    """Returns `count` points float [count d] that are drawn from a Gaussian.

    Args:
        model: the Gaussian, of d dimensions.
        count: number of points, 0 or more.
        rng: the generator that is drawn from; it advances.
    """
    k, d = model.basis.shape
    within = rng.standard_normal((count, k)) @ model.basis
    points: np.ndarray = model.mean + within + np.sqrt(model.noise) * rng.standard_normal((count, d))
    return points


class Generated(NamedTuple):
    """Generated images of the size of the labelled ones."""

    images: UInt8[np.ndarray, "n h w c"]
    labels: Int[np.ndarray, " n"]
    names: tuple[str, ...]
    notes: tuple[str, ...]  # what was done to them, for the log


def settings(*, per_class: int = 0, components: int = 8, path: str = "", weight: float = 1.0) -> None:
    """Checks the block `config.data.generated`; its parameters are the keys of the block.

    Args:
        per_class: images of each class that are drawn from a Gaussian, 1 or more; 0 with `path`.
        components: most directions of that Gaussian for each class, 1 or more.
        path: folder with a folder of generated images for each class, or for some; "": they are drawn.
        weight: frequency of a generated image relative to a labelled one, 0.0 or more; 0.0: none is used.

    Raises: UserError for a value out of range, and for both `path` and `per_class`.
    """
    if path and per_class:
        raise UserError("config.data.generated: path and per_class are both given; give one")
    drawn = () if path else (("per_class", per_class, 1), ("components", components, 1))
    for name, value, least in (*drawn, ("weight", weight, 0.0)):
        if value < least:
            raise UserError(f"config.data.generated.{name}: {value} is less than {least}")


def read(path: str, classes: tuple[str, ...], shape: tuple[int, int, int], framing: Mapping[str, Any]) -> Generated:
    """Returns the images in the class folders of `path`.

    Args:
        path: a folder with one folder for each class, or for some of them.
        classes: name of each class of the dataset.
        shape: height, width and channels of the dataset's images, in pixels.
        framing: `fit`, `crop` and `interpolation` of `framing.Framing`, as the dataset's images were prepared.

    Returns: the images with their class indices, file names and notes.

    Raises: UserError for a folder that is no class, a folder without images, images that cannot be read, and images
    that do not have `shape` where it is not square.
    """
    key = "config.data.generated.path"
    where = f"{key}: {path!r}"
    indices = {name: index for index, name in enumerate(classes)}
    files: list[tuple[Path, int]] = []
    folders, passed_over = image_files.class_folders(path, key)
    for name, of_class in folders.items():
        if name not in indices:
            raise UserError(f"{where}: folder {name!r} is none of the {len(classes)} classes{nearest(name, classes)}")
        for walked in (image_files.walk(inside, key) for inside in of_class):
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
        *(f"generated: {n}" for n in (*decoded.notes, *image_files.note(passed_over))),
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
    """Returns images that are drawn from a Gaussian of each class, and their labels.

    Args:
        images: of the training split only, uint8 [n h w c].
        labels: class index of each image, int [n].
        classes: name of each class.
        per_class: images that are drawn of each class, 1 or more.
        components: most directions of each Gaussian, see `fit`.
        seed: of the draws, 0 or more.

    Returns: (images uint8 [m h w c], class indices int32 [m]), m = `per_class` * number of classes, in the order of
    classes.

    Raises: UserError for a class with fewer than two images.
    """
    rng, generated = np.random.default_rng(seed), []
    for index, name in enumerate(classes):
        points = images[labels == index].reshape(-1, images[0].size).astype(np.float64)
        if len(points) < 2:
            raise UserError(
                f"config.data.generated: class {name!r} has {counted(len(points), 'labelled image')}; two "
                "or more have a spread"
            )
        drawn = sample(fit(points, components), per_class, rng)
        generated.append(drawn.round().clip(0, 255).astype(np.uint8).reshape(-1, *images.shape[1:]))
    return np.concatenate(generated), np.repeat(np.arange(len(classes), dtype=np.int32), per_class)
