"""Trained networks that predict images of any size."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from efficient_jax.data import decode, stored_image
from efficient_jax.data.framing import Framing
from efficient_jax.errors import UserError
from efficient_jax.inference import class_maps, prediction_sets, tta
from efficient_jax.metrics import conformal
from efficient_jax.models.spec import ModelSpec
from efficient_jax.tasks import TASKS
from efficient_jax.training.predict import through_views
from efficient_jax.training.trained import Trained
from efficient_jax.types import Tree

MAPS = 16  # images whose maps are predicted together

AnyImage = str | Path | bytes | Image.Image | UInt8[np.ndarray, "h w *c"]
AnyImages = AnyImage | UInt8[np.ndarray, "n h w c"] | Iterable[AnyImage]


@dataclass(frozen=True)
class Network:
    """A trained network as a function of images.

    Args:
        spec: its classes, and how its images are prepared.
        predict: uint8 [n h w c] -> (probabilities float32 [n classes], or of pixels [n h w classes]; features float32
            [n d]), for any n.
    """

    spec: ModelSpec
    predict: Callable[[UInt8[np.ndarray, "n h w c"]], tuple[np.ndarray, np.ndarray]]


def network(
    trained: Trained, batch: int = 256, views: Sequence[tta.View] = (tta.IDENTITY,), vote: str = "soft"
) -> Network:
    """Places trained weights on the default device, with programs that predict.

    Args:
        trained: the weights.
        batch: largest batch, in images; few compiled programs serve all numbers of images.
        views: transformations of each image whose probabilities are averaged.
        vote: how the views are combined, as for `through_views`.
    """
    _, apply = trained.spec.build()
    task = TASKS[trained.spec.task]
    if len(views) > 1:
        apply = through_views(apply, views, task, vote)
    variables = jax.device_put(trained.variables)

    @jax.jit
    def run(variables: Tree, images: jax.Array) -> tuple[jax.Array, jax.Array]:
        (logits, seen), _ = apply(variables, images, False, None)
        return task.probabilities(logits), seen["features"].astype(np.float32)

    def predict(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        # The last part is filled up, so that few programs serve all; without images there is one part too.
        parts = [images[i : i + batch] for i in range(0, max(len(images), 1), batch)]
        filled = [_fill(part, program_size(len(part), batch)) for part in parts]
        outputs = [
            [np.asarray(x)[: len(part)] for x in run(variables, images)]
            for part, images in zip(parts, filled, strict=True)
        ]
        probabilities, features = zip(*outputs, strict=True)
        return np.concatenate(probabilities), np.concatenate(features)

    return Network(trained.spec, predict)


@dataclass(frozen=True)
class Classifier:
    """A trained network that predicts classes of images: `classifier(images)` is `classifier.predict(images)`."""

    network: Network
    folder: Path | None = None  # folder of the stage; None for packaged weights

    @classmethod
    def open(cls, name: str, where: str = "load", batch: int = 256) -> "Classifier":
        """Reads a trained network and places it on the default device.

        Args:
            name: a run, a stage, a stage at a kept step or packaged weights, as for `Trained.open`.
            where: the flag or function that an error names.
            batch: largest batch, in images.

        Raises: UserError, with the nearest name, for a path that holds no trained stage.
        """
        trained = Trained.open(name, where)
        return cls(network(trained, batch), trained.folder)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in the order of the probabilities."""
        return self.network.spec.classes

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the network's images, in pixels."""
        return self.network.spec.image_shape[:2]

    @property
    def thresholds(self) -> tuple[float, ...]:
        """For each class the probability from which on it is predicted, where an image can have several; else empty."""
        return self.network.spec.thresholds

    def predict(self, images: AnyImages) -> Float[np.ndarray, "*n classes"]:
        """Returns the probability of each class.

        Args:
            images: one image or any number of them: files (a path or their content), PIL images, and uint8 arrays
                [h w c] or [h w] of any size, which are prepared as in training. An array [h w c] or [n h w c] of
                `image_size` is not changed.

        Returns: float32 [classes] for one image, [n classes] for several. Probabilities sum to 1, except for networks
            with several labels for each image. Networks of segmentation return [h w classes] and [n h w classes], of
            the pixels of the squares that they see; `maps` returns classes in the pixels of the images.

        Raises: UserError for arrays of another dtype or shape and for files that cannot be read.
        """
        if isinstance(images, str | Path | bytes | Image.Image):
            only: np.ndarray = self.predict([images])[0]
            return only
        if not hasattr(images, "__array__"):
            if not isinstance(images, Iterable):
                raise UserError(f"predict: got {images!r}; want {self._wanted()}")
            return self.network.predict(framed(images, self.network.spec.image_framing(), "predict"))[0]
        pixels = np.asarray(images)
        channels = pixels.shape[-1] if pixels.ndim > 2 else 1
        as_it_is = pixels.shape[-3:] == self.network.spec.image_shape
        if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3, 4) or not (as_it_is or channels in (1, 3, 4)):
            raise UserError(f"predict: got {pixels.dtype} {list(pixels.shape)}; want {self._wanted()}")
        if pixels.ndim < 4:
            single: np.ndarray = self.predict(pixels[None] if as_it_is else [pixels])[0]
            return single
        return self.network.predict(pixels)[0] if as_it_is else self.predict(list(pixels))

    __call__ = predict

    def maps(self, images: AnyImages) -> list[UInt8[np.ndarray, "_ _"]]:
        """Returns the class of each pixel, by a network of segmentation.

        Args:
            images: as for `predict`.

        Returns: for each image, also for a single one, uint8 [h w] of its own (upright) size: indices in `classes`, and
            255 where the network has not seen a pixel, because fit="crop" cuts it off.

        Raises: UserError as `predict`, and for a network that predicts no pixels.
        """
        spec = self.network.spec
        if TASKS[spec.task].by_image:
            raise UserError(f"maps: this network predicts {TASKS[spec.task].labels} of an image; take predict")
        if hasattr(images, "__array__") and not isinstance(images, Image.Image):
            pixels = np.asarray(images)
            images = list(pixels) if pixels.ndim == 4 else [pixels]
        elif isinstance(images, str | Path | bytes | Image.Image):
            images = [images]
        elif not isinstance(images, Iterable):
            raise UserError(f"maps: got {images!r}; want {self._wanted()}")
        framing, listed, found = spec.image_framing(), list(images), []
        for start in range(0, len(listed), MAPS):
            decoded = _decoded(listed[start : start + MAPS], framing, "maps")
            classes = self.network.predict(decoded.images)[0].argmax(-1)
            sizes = decoded.sizes.tolist()
            found += [class_maps.original(of, h, w, framing) for of, (h, w) in zip(classes, sizes, strict=True)]
        return found

    def predict_set(
        self, images: AnyImages, coverage: float = 0.9, score: str = "threshold", by_class: bool = False
    ) -> list[tuple[str, ...]]:
        """Returns for each image a set of classes that contains the true one with a promised probability.

        The promise holds for images like the test images of the stage's run, which calibrate the sets.

        Args:
            images: as for `predict`, several.
            coverage: the promised probability, in 0..1 (both excluded).
            score: "threshold", "aps" or "raps", see `metrics.conformal.scores`.
            by_class: promises the coverage for each class that has enough test images.

        Raises: UserError as `predict` and `inference.prediction_sets.calibrated`.
        """
        fitted = prediction_sets.calibrated([self.folder], coverage, score, by_class, "predict_set")
        probabilities = self.predict(images)
        return prediction_sets.names_of(conformal.sets(np.atleast_2d(probabilities), fitted), self.classes)

    def _wanted(self) -> str:
        h, w, channels = self.network.spec.image_shape
        return f"uint8 [{h} {w} {channels}] or [n {h} {w} {channels}], a file, an image of any size, or a list of these"


def framed(images: Iterable[Any], framing: Framing, where: str) -> np.ndarray:
    """Crops and resizes images of any size.

    Args:
        images: files (a path or their content), PIL images and uint8 arrays [h w c] or [h w].
        framing: size, crop and interpolation.
        where: the flag or function that an error names.

    Returns: uint8 [n size size channels].

    Raises: UserError for images that cannot be read.
    """
    prepared: np.ndarray = _decoded(images, framing, where).images
    return prepared


def _decoded(images: Iterable[Any], framing: Framing, where: str) -> decode.Decoded:
    listed = [_image_like(image, framing.channels, f"{where}: image {i}") for i, image in enumerate(images)]
    decoded = decode.decode_all(listed.__getitem__, len(listed), framing)
    if decoded.unreadable:
        names = [str(image) if isinstance(image, Path) else f"image {i}" for i, image in enumerate(listed)]
        raise UserError(f"{where}: {decode.listed({names[i]: why for i, why in decoded.unreadable.items()})}")
    return decoded


def _image_like(image: Any, channels: int, where: str) -> stored_image.ImageLike:
    if isinstance(image, str | Path):
        return Path(image)
    if isinstance(image, bytes):
        return image
    try:
        return stored_image.pixels(image, channels) if isinstance(image, Image.Image) else np.asarray(image)
    except (OSError, ValueError) as error:
        raise UserError(f"{where}: {stored_image.reason(error)}") from error


def program_size(count: int, batch: int) -> int:
    """Returns the batch size of a program: a power of 4, so that few programs are compiled and one image is cheap.

    Args:
        count: images to predict, 0 or more.
        batch: largest batch, in images.
    """
    size: int = 4 ** (((max(count, 1) - 1).bit_length() + 1) // 2)
    return min(batch, size)


def _fill(images: np.ndarray, size: int) -> np.ndarray:
    return np.concatenate([images, np.zeros((size - len(images), *images.shape[1:]), images.dtype)])
