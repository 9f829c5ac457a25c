"""Trained stages on disk as models: a teacher, a starting point, a member of an ensemble, a classifier."""

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from efficient_jax import files, models
from efficient_jax.data import decode
from efficient_jax.data.framing import Framing
from efficient_jax.errors import UserError, nearest
from efficient_jax.inference import tta
from efficient_jax.models import pretrained
from efficient_jax.tasks import TASKS, Task
from efficient_jax.training import checkpoint, parallel
from efficient_jax.types import Apply, Tree

NOTHING: dict[str, Any] = {}

Picture = str | Path | bytes | Image.Image | UInt8[np.ndarray, "h w c"]
Pictures = Picture | UInt8[np.ndarray, "n h w c"] | Iterable[Picture]


def describe(
    model: tuple[str, Mapping[str, Any]],
    classes: tuple[str, ...],
    image_shape: tuple[int, ...],
    mean: tuple[float, ...],
    std: tuple[float, ...],
    framing: Mapping[str, Any] = NOTHING,
    task: str = "classification",
) -> dict[str, Any]:
    """What rebuilds a network, as JSON: it is saved with the weights, preprocessing included.

    `framing` says how pictures became images of `image_shape`: "fit", "crop" and "interpolation" of `data.framing`.
    `task` is a name of `tasks.TASKS`; of one with thresholds "thresholds" are saved with the weights too, from which on
    a probability means that the image has the label.
    """
    name, settings = model
    return {
        "model": name,
        "settings": dict(settings),
        "classes": list(classes),
        "image_shape": list(image_shape),
        "mean": list(mean),
        "std": list(std),
        "framing": dict(framing),
        "task": task,
    }


def build(
    description: Mapping[str, Any], norm_axis: str | None = parallel.AXIS, frozen: Tree = None
) -> tuple[Any, Apply]:
    """(the flax module, its apply) of a description; training without pmap needs `norm_axis` None.

    `frozen` as for `models.make_apply`.
    """
    module = models.MODELS[description["model"]](
        classes=len(description["classes"]), norm_axis=norm_axis, **description["settings"]
    )
    return module, models.make_apply(module, tuple(description["mean"]), tuple(description["std"]), frozen)


def load(folder: Path, where: str) -> tuple[Apply, Tree, dict[str, Any]]:
    """(apply, EMA variables on the host, description) of the stage in `folder`. UserError naming `where` if none."""
    variables, description = checkpoint.load(folder, where)
    return build(description)[1], variables, description


def packaged(name: str) -> tuple[Apply, Tree, dict[str, Any]]:
    """(apply, variables on the host, description) of the weights called `name` in `pretrained.PACKAGED`, as they were
    trained: with ImageNet's classes and their own preprocessing. Raises: UserError where they are not installed."""
    about = pretrained.preprocessing_of(name, "efficientnet")
    framing = {"fit": "crop", "crop": about.crop, "interpolation": about.interpolation}
    model = ("efficientnet", {"variant": name.removeprefix("efficientnet-")})
    description = describe(model, pretrained.imagenet_classes(), (*about.size, 3), about.mean, about.std, framing)
    module, apply = build(description)
    fresh = jax.eval_shape(lambda: models.init(module, jax.random.key(0), (*about.size, 3)))
    variables, _ = pretrained.load(pretrained.read(name), fresh, where=name)
    return apply, jax.device_get(variables), description


def stage_folder(path: Path, where: str) -> Path:
    """The stage that `RUN/STAGE` or `RUN` (its last finished stage) means.

    Raises: UserError naming `where`, with the nearest name, for a path that holds no trained stage.
    """
    if (path / checkpoint.FOLDER).is_dir():
        return path
    if (path / "config.json").is_file():
        names = files.read_json(path / "config.json")["stages"]
        finished = [name for name in names if (path / name / "result.json").is_file()]
        if not finished:
            raise UserError(f"{where}: no stage of {str(path)!r} is finished; train it first")
        return path / finished[-1]
    run = path.parent
    if (run / "config.json").is_file():
        names = files.read_json(run / "config.json")["stages"]
        if path.name in names:
            raise UserError(f"{where}: stage {path.name!r} of {str(run)!r} is not trained yet; train it first")
        raise UserError(f"{where}: {str(run)!r} has no stage {path.name!r}{nearest(path.name, names)}")
    known = [found.parent for found in run.glob("*/config.json")]  # other runs, and other runs with such a stage
    known += [found.parent / path.name for found in run.parent.glob("*/config.json")]
    known = [found for found in known if found.parent == run or (found / checkpoint.FOLDER).is_dir()]
    close = difflib.get_close_matches(str(path), [*map(str, known), *pretrained.PACKAGED], n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise UserError(f"{where}: {str(path)!r} is neither a run nor a stage of one{hint}")


def framing(description: Mapping[str, Any]) -> Framing:
    """How pictures of any size become images for the network. UserError for one whose images are not square."""
    h, w, channels = description["image_shape"]
    if h != w:
        raise UserError(f"the model knows images of {h} x {w} pixels; pictures of any size become squares only")
    return Framing(size=h, channels=channels, **description.get("framing", {}))


def through_views(apply: Apply, views: Sequence[tta.View], task: Task, vote: str = "soft") -> Apply:
    """Wraps `apply`, for predicting, with test-time augmentation: returns the log of the mean probability over `views`
    or, with `vote` "hard", of the shares of the views that answer each class. Intermediates are those of the image
    itself.

    Raises: UserError for a hard vote of several labels.
    """
    if vote == "hard" and not task.exclusive:
        raise UserError("--tta: hard counts one answer for each view; where an image can have several labels take soft")

    def seen_through(variables: Tree, images: jax.Array, train: bool, keys: jax.Array | None) -> tuple:
        def classify(view: jax.Array) -> jax.Array:
            return task.probabilities(apply(variables, view, False, None)[0][0])

        (_, seen), state = apply(variables, images, train, keys)
        predicted = tta.predictions(classify, images, views)
        said = tta.shares(predicted) if vote == "hard" else tta.mean(predicted)
        return (task.logits(said), seen), state

    return seen_through


class Network(NamedTuple):
    """A trained stage, ready to predict."""

    description: dict[str, Any]
    predict: Callable[[UInt8[np.ndarray, "n h w c"]], tuple[np.ndarray, np.ndarray]]  # (probabilities, features)

    @property
    def shape(self) -> tuple[int, int, int]:
        return tuple(self.description["image_shape"])

    @property
    def framing(self) -> Framing:
        return framing(self.description)


def network(path: str, where: str, batch: int = 256, views: Sequence[tta.View] = (tta.IDENTITY,)) -> Network:
    """The run's last finished stage, the stage `path` names, or the weights called so in `pretrained.PACKAGED`; its
    images are uint8 [n h w c], few programs for all n. UserError naming `where` for a path that holds no trained stage.
    """
    if path in pretrained.PACKAGED:
        apply, variables, description = packaged(path)
    else:
        apply, variables, description = load(stage_folder(Path(path), where), where)
    if len(views) > 1:
        apply = through_views(apply, views, TASKS[description["task"]])
    variables = jax.device_put(variables)

    @jax.jit
    def run(variables: Tree, images: jax.Array) -> tuple[jax.Array, jax.Array]:
        (logits, seen), _ = apply(variables, images, False, None)
        return TASKS[description["task"]].probabilities(logits), seen["features"].astype(np.float32)

    def predict(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        # The last part is filled up, so that few programs serve all; of no images there is one part all the same.
        parts = [images[i : i + batch] for i in range(0, max(len(images), 1), batch)]
        filled = [_fill(part, program_size(len(part), batch)) for part in parts]
        found = [
            [np.asarray(x)[: len(part)] for x in run(variables, images)]
            for part, images in zip(parts, filled, strict=True)
        ]
        probabilities, features = zip(*found, strict=True)
        return np.concatenate(probabilities), np.concatenate(features)

    return Network(description, predict)


@dataclass(frozen=True)
class Classifier:
    """A trained network that says which classes images show: `classifier(images)` is `classifier.predict(images)`."""

    network: Network

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in the order of the probabilities."""
        return tuple(self.network.description["classes"])

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width in pixels of the images that the network sees."""
        return self.network.shape[:2]

    @property
    def thresholds(self) -> tuple[float, ...]:
        """For each class the probability from which on an image has it, where it can have several; else empty."""
        return tuple(self.network.description.get("thresholds", ()))

    def predict(self, images: Pictures) -> Float[np.ndarray, "*n classes"]:
        """Returns the probability of each class.

        Args:
            images: one image or any number of them: files (a path or their content), PIL images, and uint8 arrays
                [h w c] or [h w] of any size, which are prepared as in training. An array [h w c] or [n h w c] of
                `image_size` is taken as it is.

        Returns: float32 [classes] for one image, [n classes] for several; probabilities sum to 1, but for a network
            that knows several labels for each image, of which each has a probability by itself.

        Raises: UserError for arrays of another dtype or shape and for files that cannot be read.
        """
        if isinstance(images, str | Path | bytes | Image.Image):
            return self.predict([images])[0]
        if not hasattr(images, "__array__"):
            if not isinstance(images, Iterable):
                raise UserError(f"predict: got {images!r}; want {self._wanted()}")
            return self.network.predict(framed(images, self.network.framing, "predict"))[0]
        pixels = np.asarray(images)
        channels = pixels.shape[-1] if pixels.ndim > 2 else 1
        as_it_is = pixels.shape[-3:] == self.network.shape
        if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3, 4) or not (as_it_is or channels in (1, 3, 4)):
            raise UserError(f"predict: got {pixels.dtype} {list(pixels.shape)}; want {self._wanted()}")
        if pixels.ndim < 4:
            return self.predict(pixels[None] if as_it_is else [pixels])[0]
        return self.network.predict(pixels)[0] if as_it_is else self.predict(list(pixels))

    __call__ = predict

    def _wanted(self) -> str:
        h, w, channels = self.network.shape
        return f"uint8 [{h} {w} {channels}] or [n {h} {w} {channels}], a file, an image of any size, or a list of these"


def classifier(path: str, batch: int = 256) -> Classifier:
    """The run's last finished stage, the stage that `path` names, or weights of `pretrained.PACKAGED`.

    Raises: UserError, with the nearest name, for a path that holds no trained stage.
    """
    return Classifier(network(path, "load", batch))


def framed(images: Iterable[Any], framing: Framing, where: str) -> np.ndarray:
    """Pictures of any size as images. Raises: UserError naming `where` for those that cannot be read."""
    pictures = [_picture(image, framing.channels, f"{where}: image {i}") for i, image in enumerate(images)]
    found = decode.decode_all(pictures.__getitem__, len(pictures), framing)
    if found.unreadable:
        names = [str(p) if isinstance(p, Path) else f"image {i}" for i, p in enumerate(pictures)]
        raise UserError(f"{where}: {decode.listed({names[i]: why for i, why in found.unreadable.items()})}")
    return found.images


def _picture(image: Any, channels: int, where: str) -> decode.Picture:
    if isinstance(image, str | Path):
        return Path(image)
    if isinstance(image, bytes):
        return image
    try:
        return decode.pixels(image, channels) if isinstance(image, Image.Image) else np.asarray(image)
    except (OSError, ValueError) as error:
        raise UserError(f"{where}: {decode.reason(error)}") from error


def program_size(count: int, batch: int) -> int:
    """How many images a program for `count` of them takes: powers of 4, so that there are few programs, and one image
    does not cost as much as a whole batch."""
    return min(batch, 4 ** (((max(count, 1) - 1).bit_length() + 1) // 2))


def _fill(images: np.ndarray, size: int) -> np.ndarray:
    return np.concatenate([images, np.zeros((size - len(images), *images.shape[1:]), images.dtype)])
