"""explain: heat maps of trained members on a page, with tests of whether they can be trusted."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import jax
import numpy as np

from efficient_jax import explain as maps
from efficient_jax import models
from efficient_jax.commands.explore import held_out
from efficient_jax.data import image_files, sampling
from efficient_jax.distributed import log
from efficient_jax.errors import UserError, class_name, counted
from efficient_jax.experiment.dataset import Data
from efficient_jax.experiment.predict import PREDICT_PIXELS
from efficient_jax.experiment.workdir import writable
from efficient_jax.explain import trust
from efficient_jax.files import write_json
from efficient_jax.metrics import accuracy
from efficient_jax.models.spec import ModelSpec
from efficient_jax.report import explanation
from efficient_jax.tasks import TASKS, Task
from efficient_jax.training.classifier import framed
from efficient_jax.training.trained import Trained, stage_folder

MISTAKES, RIGHT, CHOSEN = 24, 12, 64  # images on the page, at most
TRUSTED, POINTED = 64, 500  # images for the two tests, at most
BATCH = 64


class Seen(NamedTuple):
    """Images with their names, labels and objects."""

    images: np.ndarray  # uint8 [n h w c], as the network takes them
    names: list[str]
    labels: np.ndarray  # as in `Source`; -1 where unknown
    objects: dict[str, np.ndarray]  # as in `Source`
    size: tuple[int, int]  # height and width of the images to which the coordinates of objects refer
    about: str  # sentence on which images these are

    def at(self, rows: np.ndarray) -> "Seen":
        """Returns a selection of the images.

        Args:
            rows: int [m], their indices here.
        """
        objects = {name: values[rows] for name, values in self.objects.items()}
        names = [self.names[row] for row in rows]
        return self._replace(images=self.images[rows], names=names, labels=self.labels[rows], objects=objects)


class Pointing(TypedDict, total=False):
    """What the pointing game found; nothing without objects."""

    images: int  # number of images with objects
    hits: dict[str, int]  # what points -> number of images in which it points at an object
    chance: float  # share of pixels on objects


class Explained(TypedDict):
    """What explain.json says of a member."""

    stage: str  # its folder
    step: int | None
    images: str  # sentence on which images these are
    rank_correlation_with_random_weights: dict[str, dict[str, float | None]]  # layers -> kind of map -> mean
    pointing_game: Pointing


class Network(NamedTuple):
    """A trained stage as two functions of (variables, images uint8 [n h w c], ...), in batches, with numpy results."""

    variables: Any
    spec: ModelSpec
    probabilities: Callable[..., np.ndarray]  # (variables, images) -> [n classes]
    heat: Callable[..., dict[str, np.ndarray]]  # (variables, images, classes [n]) -> kind of map -> [n h w], 0..1


def explain(members: str = "", images: str = "mistakes", layer: str = "", workdir: str = "") -> None:
    """Draws heat maps of where networks look and tests them; writes WORKDIR/explain.html and explain.json.

    Convolutional networks get Grad-CAM, transformers attention.

    Args:
        members: RUN or RUN/STAGE, separated by commas.
        images: "mistakes": the most confident mistakes on held-out images and some correct predictions; or indices of
            images as in the run's predictions.npz, separated by commas; or a folder.
        layer: the intermediate for Grad-CAM, such as "stage2"; empty: the last one.
        workdir: folder for the page; empty: the run of the first member, whose index then links to it.

    Raises:
        UserError: a member, image or layer does not exist, or the folder cannot be written.
    """
    if not members:
        raise UserError("explain: --members=RUN[/STAGE],... is missing")
    folder = writable(Path(workdir) if workdir else _run_of(members.split(",")[0]), "--workdir")
    sections: list[explanation.MemberSection] = []
    figures: dict[str, Explained] = {}
    for name in members.split(","):
        section, figures[name] = _explained(name, images, layer)
        sections.append(section)
    write_json(folder / "explain.json", figures)
    about = "Bright: the pixels that support a class (Grad-CAM), or to which a transformer attends."
    page = explanation.write_page(folder, title="Where networks look", about=about, members=sections)
    log(f"page: {page}")


def _run_of(name: str) -> Path:
    """Returns the folder of the run that a member belongs to."""
    return stage_folder(Path(name), "--members").parent


def _explained(name: str, images: str, layer: str) -> tuple[explanation.MemberSection, Explained]:
    """Returns (section of a member on the page, what explain.json says of it)."""
    trained = Trained.open(name, "--members")
    if not trained.folder:
        raise UserError(f"--members: {name!r} is not a stage of a run; train one that starts from these weights")
    if not TASKS[trained.spec.task].by_image:
        raise UserError(
            f"--members: {name!r} predicts {TASKS[trained.spec.task].labels}, and heat maps explain classes of images; "
            "the page report.html of its run shows the worst predicted maps"
        )
    network = _network(trained, layer)
    seen = _images(trained.folder, images, trained.spec)
    probabilities = network.probabilities(network.variables, seen.images)
    predicted = probabilities.argmax(1)
    truth = true_classes(TASKS[trained.spec.task], seen.labels, probabilities)
    groups = _groups(images, seen, probabilities, trained.spec)
    some = _spread(len(seen.images), TRUSTED)
    trust = _trust(network, seen.images[some], predicted[some])
    pointing = pointing_game(network, seen, truth)
    classes = trained.spec.classes
    kinds = list(trust["all layers"])
    section = explanation.MemberSection(
        name=name,
        images=seen.about,
        maps=f"{' and '.join(kinds)}.",
        sheets=[
            (heading, _figures(network, seen.at(rows), predicted[rows], truth[rows], probabilities[rows], classes))
            for heading, rows in groups.items()
        ],
        trust=[
            explanation.trust_row(what, kind, correlations[kind])
            for what, correlations in trust.items()
            for kind in kinds
        ],
        pointing=explanation.pointing_rows(**pointing) if pointing else [],
    )
    means = {what: {kind: _mean(correlations[kind]) for kind in kinds} for what, correlations in trust.items()}
    return section, {
        "stage": str(trained.folder),
        "step": trained.step,
        "images": seen.about,
        "rank_correlation_with_random_weights": means,
        "pointing_game": pointing,
    }


def _network(trained: Trained, layer: str) -> Network:
    _, apply = trained.spec.build()

    @jax.jit
    def probabilities(variables: Any, images: jax.Array) -> jax.Array:
        return TASKS[trained.spec.task].probabilities(apply(variables, images, False, None)[0][0])

    @jax.jit
    def heat(variables: Any, images: jax.Array, classes: jax.Array) -> dict[str, jax.Array]:
        heats = maps.heat_maps(lambda x: apply(variables, x, False, None)[0], images, classes, layer)
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


def _images(folder: Path, images: str, spec: ModelSpec) -> Seen:
    """Loads the images that --images names; raises a UserError that names the flag."""
    where, count = "--images", len(spec.classes)
    if images != "mistakes" and not re.fullmatch(r"\d+(,\d+)*", images):
        files = image_files.walk(Path(images), where).files if Path(images).is_dir() else []
        if not files:
            raise UserError(f"{where}: {images!r} is neither 'mistakes', nor indices, nor a folder of images")
        pixels = framed(files[:CHOSEN], spec.image_framing(), where)
        labels = TASKS[spec.task].unknown((len(pixels), count))
        about = f"{len(pixels):,} of the {counted(len(files), 'image')} below {images}."
        return Seen(pixels, [file.name for file in files[:CHOSEN]], labels, {}, (0, 0), about)
    data = Data.reopen(folder.parent, "--members", log)
    source = data.source
    if images == "mistakes":
        ids, about = held_out(data.split)
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
        source.labels[ids],
        {name: values[ids] for name, values in source.objects.items()},
        source.images.shape[1:3],
        about,
    )


def true_classes(task: Task, labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Returns the class of each image, -1 where unknown; of several classes the least probable one.

    Args:
        task: of the network.
        labels: as in `Source`, of n images.
        probabilities: [n classes], the network's.
    """
    members = task.members(labels, probabilities.shape[1])
    return np.where(members.any(1), np.where(members, probabilities, np.inf).argmin(1), -1)


def _groups(images: str, seen: Seen, probabilities: np.ndarray, spec: ModelSpec) -> dict[str, np.ndarray]:
    """Returns heading -> indices of the images below it."""
    if images != "mistakes":
        return {"The images": np.arange(len(seen.images))}
    task = TASKS[spec.task]
    wrong = ~task.correct(task.answers(probabilities, spec.thresholds), seen.labels)
    order = np.argsort(-task.severity(probabilities, seen.labels), kind="stable")
    right = np.flatnonzero(~wrong)
    return {
        f"Mistakes with the largest {task.severity_name}": order[wrong[order]][:MISTAKES],
        "Correct predictions": right[_spread(len(right), RIGHT)],
    }


def _spread(count: int, most: int) -> np.ndarray:
    """Returns at most `most` of the indices 0 .. `count` - 1, evenly spaced."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(int)) if count else np.arange(0)


def _figures(
    network: Network,
    seen: Seen,
    predicted: np.ndarray,
    truth: np.ndarray,
    probabilities: np.ndarray,
    classes: Sequence[str],
) -> list[explanation.Figure]:
    if not len(predicted):
        return []
    for_predicted = network.heat(network.variables, seen.images, predicted)
    for_truth = network.heat(network.variables, seen.images, np.maximum(truth, 0))
    figures = []
    for i, image in enumerate(seen.images):
        shown = [
            f"{class_name(classes[label])}, {100 * probabilities[i, label]:.0f}%" for label in (predicted[i], truth[i])
        ]
        answers = [(f"predicted {shown[0]}", for_predicted)]
        if truth[i] not in (-1, predicted[i]):
            answers.append((f"true {shown[1]}", for_truth))
        if "Grad-CAM" in for_predicted:
            heats = [(what, maps_of_class["Grad-CAM"][i]) for what, maps_of_class in answers]
            first = "as stored"
        else:  # the same for every class
            heats = [(kind, maps_of_kind[i]) for kind, maps_of_kind in for_predicted.items()]
            first = "; ".join(what for what, _ in answers)
        shown_images = [(first, explanation.overlay(image))]
        for what, heat in heats:
            caption = what if heat.any() else f"{what}: no pixel supports it"
            shown_images.append((caption, explanation.overlay(image, heat)))
        figures.append(explanation.Figure(seen.names[i], shown_images))
    return figures


def _trust(network: Network, images: np.ndarray, classes: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
    """Returns layers with random weights -> kind of map -> rank correlation with the trained maps, per image."""
    module, _ = network.spec.build()
    untrained = models.init(module, jax.random.key(0), network.spec.input_shape)
    layers = module.layers()
    true_maps = network.heat(network.variables, images, classes)
    parts = {"the head": layers[-1:], "the upper half": layers[len(layers) // 2 :], "all layers": layers}
    if "Grad-CAM" not in true_maps:  # attention does not depend on the head
        del parts["the head"]
    correlations = {}
    for what, part in parts.items():
        random = network.heat(trust.randomised(network.variables, untrained, part), images, classes)
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
    rows = rows[_spread(len(rows), POINTED)]
    if not len(rows):
        return {}
    heats = network.heat(network.variables, seen.images[rows], truth[rows])
    points = {kind: trust.peaks(heat) for kind, heat in heats.items()}
    points["the middle of the image"] = np.full((len(rows), 2), 0.5)
    hits = {what: int(trust.pointing_game(peaks, targets[rows]).sum()) for what, peaks in points.items()}
    return {"images": len(rows), "hits": hits, "chance": float(targets[rows].mean())}


def _mean(values: np.ndarray) -> float | None:
    """Returns the mean by Fisher's z transformation, as on the page; None if all values are NaN."""
    known = values[~np.isnan(values)]
    return accuracy.mean_correlation(known)[0] if len(known) else None
