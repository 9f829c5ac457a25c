"""A trained network that draws maps, the images that it is asked about, and tests of its maps."""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import jax
import numpy as np

from efficient_jax import explain as maps
from efficient_jax import models
from efficient_jax.data import image_files, sampling, stored_image
from efficient_jax.data.framing import Framing
from efficient_jax.data.objects import placements
from efficient_jax.detection.rows import ROW
from efficient_jax.distributed import log
from efficient_jax.errors import UserError, counted
from efficient_jax.experiment.dataset import Data
from efficient_jax.experiment.predict import PREDICT_PIXELS
from efficient_jax.explain import trust
from efficient_jax.explain.evidence import DEEPEST, PARTS, class_logit
from efficient_jax.models.spec import ModelSpec
from efficient_jax.tasks import TASKS
from efficient_jax.training.classifier import framed
from efficient_jax.training.trained import Trained

CHOSEN = 64  # images that --images names, at most
POINTED = 500  # images of the pointing game, at most
BATCH = 64


class Seen(NamedTuple):
    """Images with their names, labels and objects."""

    images: np.ndarray  # uint8 [n h w c], as the network takes them
    names: list[str]
    labels: np.ndarray  # as in `Source`; -1 where unknown
    objects: dict[str, np.ndarray]  # as in `Source`
    size: tuple[int, int]  # height and width of the images to which the coordinates of objects refer
    inside: np.ndarray  # bool [n h w], the pixels that are of the image and not of the gray that makes it square
    about: str  # sentence on which images these are

    def at(self, rows: np.ndarray) -> "Seen":
        """Returns a selection of the images.

        Args:
            rows: int [m], their indices here.
        """
        objects = {name: values[rows] for name, values in self.objects.items()}
        names = [self.names[row] for row in rows]
        images, labels, inside = (values[rows] for values in (self.images, self.labels, self.inside))
        return self._replace(images=images, names=names, labels=labels, objects=objects, inside=inside)


class Pointing(TypedDict, total=False):
    """What the pointing game found; nothing without objects."""

    images: int  # number of images with objects
    hits: dict[str, int]  # what points -> number of images in which it points at an object
    chance: float  # share of pixels on objects


class Network(NamedTuple):
    """A trained stage as two functions of (variables, images uint8 [n h w c], ...), in batches, with numpy results."""

    variables: Any
    spec: ModelSpec
    probabilities: Callable[..., np.ndarray]  # (variables, images) -> [n ...], probabilities or boxes with scores
    heat: Callable[..., dict[str, np.ndarray]]
    """(variables, images, classes [n], pixels inside of the images [n h w]) -> kind of map -> [n h w], 0..1"""


def opened(trained: Trained, layer: str) -> Network:
    """Returns a trained stage as functions of its weights.

    Args:
        trained: the stage.
        layer: the intermediate for Grad-CAM; "": the last one, of masks and boxes an earlier one.
    """
    _, apply = trained.spec.build()
    parts = PARTS.get(TASKS[trained.spec.task].decoder)

    @jax.jit
    def probabilities(variables: Any, images: jax.Array) -> jax.Array:
        return TASKS[trained.spec.task].probabilities(apply(variables, images, False, None)[0][0])

    @jax.jit
    def heat(variables: Any, images: jax.Array, classes: jax.Array, inside: jax.Array) -> dict[str, jax.Array]:
        evidence = partial(parts.evidence, inside=inside) if parts else class_logit
        heats = maps.heat_maps(
            lambda x: apply(variables, x, False, None)[0], images, classes, layer, evidence, DEEPEST if parts else 0
        )
        return {kind: trust.enlarged(heat, images.shape[1:3]) for kind, heat in heats.items()}

    variables = jax.device_put(trained.variables)
    return Network(variables, trained.spec, _in_batches(probabilities), _in_batches(heat))


def _in_batches(function: Callable[..., Any]) -> Callable[..., Any]:
    def run(variables: Any, *arrays: np.ndarray) -> Any:
        h, w = arrays[0].shape[1:3]
        size = min(BATCH, max(1, PREDICT_PIXELS // (h * w)))
        parts = sampling.padded(np.arange(len(arrays[0])), size)
        results = [
            jax.tree.map(lambda x, real=real: np.asarray(x)[:real], function(variables, *(a[rows] for a in arrays)))
            for rows, real in parts
        ]
        return jax.tree.map(lambda *batches: np.concatenate(batches), *results)

    return run


def images_of(folder: Path, images: str, spec: ModelSpec) -> Seen:
    """Loads the images that --images names.

    Args:
        folder: of the stage.
        images: the value of the flag.
        spec: of the network.

    Raises: UserError that names the flag, for images that are not there.
    """
    where, task = "--images", TASKS[spec.task]
    if images != "mistakes" and not re.fullmatch(r"\d+(,\d+)*", images):
        files = image_files.walk(Path(images), where).files if Path(images).is_dir() else []
        if not files:
            raise UserError(f"{where}: {images!r} is neither 'mistakes', nor indices, nor a folder of images")
        pixels = framed(files[:CHOSEN], spec.image_framing(), where)
        outputs = {"masks": (*spec.image_shape[:2], len(spec.classes)), "boxes": (1, ROW)}
        labels = task.unknown((len(pixels), *outputs.get(task.decoder, (len(spec.classes),))))
        about = f"{len(pixels):,} of the {counted(len(files), 'image')} below {images}."
        sizes = np.array([stored_image.upright_size(file)[::-1] for file in files[:CHOSEN]])
        names = [file.name for file in files[:CHOSEN]]
        return Seen(pixels, names, labels, {}, (0, 0), _inside(sizes, len(pixels), spec), about)
    data = Data.reopen(folder.parent, "--members", log)
    source = data.source
    if images == "mistakes":
        ids, about = data.held_out()
    else:
        ids = np.array(images.split(","), int)[:CHOSEN]
        about = f"{counted(len(ids), 'image')} chosen; the network may have been trained on them."
        if ids.max() >= len(source.images):
            raise UserError(f"{where}: there is no image {ids.max()}; the run has {len(source.images):,}, from 0 on")
        if len(missing := np.setdiff1d(ids, np.concatenate([*data.split.values()]))):
            raise UserError(
                f"{where}: image {missing[0]}, {source.name(missing[0])!r}, was not used, or is gone or changed"
            )
    return Seen(
        data.pixels(ids, spec),
        ["/".join(Path(source.name(index)).parts[-2:]) for index in ids],
        data.labels(ids, spec),
        {name: values[ids] for name, values in source.objects.items()},
        source.images.shape[1:3],
        _inside(None if source.sizes is None else source.sizes[ids], len(ids), spec),
        about,
    )


def _inside(sizes: np.ndarray | None, count: int, spec: ModelSpec) -> np.ndarray:
    """Returns which pixels of the network's images are of the images as stored, bool [n h w]."""
    h, w, _ = spec.image_shape
    framing = Framing(0) if sizes is None or h != w else spec.image_framing()
    left, top, right, bottom = placements(sizes, count, (h, w), framing).edges.T[..., None]
    x, y = np.arange(w), np.arange(h)
    across, down = (left <= x) & (x < right), (top <= y) & (y < bottom)
    inside: np.ndarray = across[:, None] & down[..., None]
    return inside


def spread(count: int, most: int) -> np.ndarray:
    """Returns some indices, evenly spaced.

    Args:
        count: they are 0 .. `count` - 1.
        most: number of indices, at most.
    """
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(int)) if count else np.arange(0)


def random_weights(network: Network, seen: Seen, classes: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
    """Returns layers with random weights -> kind of map -> rank correlation with the trained maps, per image.

    Args:
        network: draws the maps.
        seen: the images.
        classes: int [n], the class that the map of each image is for.
    """
    module, _ = network.spec.build()
    shape = network.spec.input_shape
    untrained = models.completed(module, jax.random.key(0), shape, models.shapes(module, shape))
    layers = module.layers()
    true_maps = network.heat(network.variables, seen.images, classes, seen.inside)
    parts = {"the head": layers[-1:], "the upper half": layers[len(layers) // 2 :], "all layers": layers}
    if "Grad-CAM" not in true_maps:  # attention does not depend on the head
        del parts["the head"]
    correlations = {}
    for what, part in parts.items():
        randomised = trust.randomised(network.variables, untrained, part)
        random = network.heat(randomised, seen.images, classes, seen.inside)
        correlations[what] = {name: trust.rank_correlations(true_maps[name], random[name]) for name in true_maps}
    return correlations


def pointing_game(network: Network, seen: Seen, truth: np.ndarray) -> Pointing:
    """Plays the pointing game of arXiv 1608.00507: does the brightest pixel of a map lie on an object?

    Args:
        network: draws the maps.
        seen: images with their objects.
        truth: int [n], their classes; -1 where unknown.
    """
    if not {"boxes", "mask"} & set(seen.objects):
        return {}
    targets = trust.targets(seen.objects, seen.size)
    rows = np.flatnonzero(targets.any((1, 2)) & (truth >= 0))
    rows = rows[spread(len(rows), POINTED)]
    if not len(rows):
        return {}
    heats = network.heat(network.variables, seen.images[rows], truth[rows], seen.inside[rows])
    points = {kind: trust.peaks(heat) for kind, heat in heats.items()}
    points["the middle of the image"] = np.full((len(rows), 2), 0.5)
    hits = {what: int(trust.pointing_game(peaks, targets[rows]).sum()) for what, peaks in points.items()}
    return {"images": len(rows), "hits": hits, "chance": float(targets[rows].mean())}
