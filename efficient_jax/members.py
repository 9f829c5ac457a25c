"""Trained stages on disk as models: a teacher, a starting point, a member of an ensemble, a classifier."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8

from efficient_jax import models, records
from efficient_jax.data import decode
from efficient_jax.inference import tta
from efficient_jax.training import checkpoint, parallel, step
from efficient_jax.types import Apply, Tree, UserError

NOTHING: dict[str, Any] = {}

Pictures = UInt8[np.ndarray, "n h w c"] | Sequence[str | Path | UInt8[np.ndarray, "h w c"]]


def describe(
    model: tuple[str, Mapping[str, Any]],
    classes: tuple[str, ...],
    image_shape: tuple[int, ...],
    mean: tuple[float, ...],
    std: tuple[float, ...],
    framing: Mapping[str, Any] = NOTHING,
    multi_label: bool = False,
) -> dict[str, Any]:
    """What rebuilds a network, as JSON: it is saved with the weights, preprocessing included.

    `framing` says how pictures became images of `image_shape`: "fit", "crop" and "interpolation" of `data.decode`.
    `multi_label` says that each class is a label by itself; saved with weights there are then "thresholds" too, from
    which on a probability means that the image has the label.
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
        "multi_label": multi_label,
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


def stage_folder(path: Path, where: str) -> Path:
    """The stage that `RUN/STAGE` or `RUN` (its last finished stage) means."""
    if (path / checkpoint.FOLDER).is_dir():
        return path
    if not (path / "config.json").is_file():
        raise UserError(f"{where}: {str(path)!r} is neither a run nor a stage of one")
    names = records.read_json(path / "config.json")["stages"]
    finished = [name for name in names if (path / name / "result.json").is_file()]
    if not finished:
        raise UserError(f"{where}: no stage of {str(path)!r} is finished; train it first")
    return path / finished[-1]


def framing(description: Mapping[str, Any]) -> decode.Framing:
    """How pictures of any size become images for the network. UserError for one whose images are not square."""
    h, w, channels = description["image_shape"]
    if h != w:
        raise UserError(f"the model knows images of {h} x {w} pixels; pictures of any size become squares only")
    return decode.Framing(size=h, channels=channels, **description.get("framing", {}))


def through_views(apply: Apply, views: Sequence[tta.View], multi_label: bool, vote: str = "soft") -> Apply:
    """Wraps `apply`, for predicting, with test-time augmentation: returns the log of the mean probability over `views`
    or, with `vote` "hard", of the shares of the views that answer each class. Intermediates are those of the image
    itself.

    Raises: UserError for a hard vote of several labels.
    """
    if vote == "hard" and multi_label:
        raise UserError("--tta: hard counts one answer for each view; where an image can have several labels take soft")

    def seen_through(variables: Tree, images: jax.Array, train: bool, keys: jax.Array | None) -> tuple:
        def classify(view: jax.Array) -> jax.Array:
            return step.probabilities(apply(variables, view, False, None)[0][0], multi_label)

        (_, seen), state = apply(variables, images, train, keys)
        predicted = tta.predictions(classify, images, views)
        said = tta.shares(predicted) if vote == "hard" else tta.mean(predicted)
        logits = jnp.log(said) - jnp.log1p(-said) if multi_label else jnp.log(said)
        return (logits, seen), state

    return seen_through


class Network(NamedTuple):
    """A trained stage, ready to predict."""

    description: dict[str, Any]
    predict: Callable[[UInt8[np.ndarray, "n h w c"]], tuple[np.ndarray, np.ndarray]]  # (probabilities, features)

    @property
    def shape(self) -> tuple[int, int, int]:
        return tuple(self.description["image_shape"])

    @property
    def framing(self) -> decode.Framing:
        return framing(self.description)


def network(path: str, where: str, batch: int = 256, views: Sequence[tta.View] = (tta.IDENTITY,)) -> Network:
    """Of the run's last finished stage or the stage `path` names; its images are uint8 [n h w c], one program for any
    n. UserError naming `where` for a path that holds no trained stage."""
    apply, variables, description = load(stage_folder(Path(path), where), where)
    if len(views) > 1:
        apply = through_views(apply, views, description["multi_label"])
    variables = jax.device_put(variables)

    @jax.jit
    def run(variables: Tree, images: jax.Array) -> tuple[jax.Array, jax.Array]:
        (logits, seen), _ = apply(variables, images, False, None)
        return step.probabilities(logits, description["multi_label"]), seen["features"].astype(np.float32)

    def predict(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        # The last part is filled up, so that one program serves all; of no images there is one part all the same.
        parts = [images[i : i + batch] for i in range(0, max(len(images), 1), batch)]
        found = [[np.asarray(x)[: len(part)] for x in run(variables, _fill(part, batch))] for part in parts]
        probabilities, features = zip(*found, strict=True)
        return np.concatenate(probabilities), np.concatenate(features)

    return Network(description, predict)


def classifier(path: str, batch: int = 256) -> Callable[[Pictures], Float[np.ndarray, "n classes"]]:
    """Class probabilities of images, by the run's last finished stage or by the stage `path` names.

    Where an image can have several labels, each has a probability by itself.
    The returned function takes uint8 images [n h w c] of the size trained on; or a list of files, or of uint8 arrays
    [h w c] of any size, which it prepares as the pictures of the training were. Raises: UserError for a path that
    holds no trained stage, images of another shape or dtype, or files that cannot be read.
    """
    trained = network(path, "load", batch)

    def classify(images: Pictures) -> np.ndarray:
        if not isinstance(images, np.ndarray):
            images = framed(images, trained.framing, "classify")
        if images.dtype != np.uint8 or images.shape[1:] != trained.shape:
            raise UserError(
                f"classify: got {images.dtype} {list(images.shape)}, want uint8 {['n', *trained.shape]}".replace(
                    "'n'", "n"
                )
                + ", or a list of files or images of any size"
            )
        return trained.predict(images)[0]

    return classify


def framed(pictures: Sequence[Any], framing: decode.Framing, where: str) -> np.ndarray:
    """Pictures of any size as images. Raises: UserError naming `where` for those that cannot be read."""
    pictures = [Path(picture) if isinstance(picture, str) else picture for picture in pictures]
    found = decode.decode_all(pictures.__getitem__, len(pictures), framing)
    if found.unreadable:
        names = [str(p) if isinstance(p, Path) else f"image {i}" for i, p in enumerate(pictures)]
        raise UserError(f"{where}: {decode.listed({names[i]: why for i, why in found.unreadable.items()})}")
    return found.images


def _fill(images: np.ndarray, size: int) -> np.ndarray:
    return np.concatenate([images, np.zeros((size - len(images), *images.shape[1:]), images.dtype)])
