"""explain: where trained members look, on a page of heat maps, and whether these can be trusted."""

import functools
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from rich.console import Console

from efficient_jax import explain as maps
from efficient_jax import models
from efficient_jax.commands.explore import held_out
from efficient_jax.data import decode, picture_files, sampling
from efficient_jax.errors import UserError, counted
from efficient_jax.experiment.dataset import load_run
from efficient_jax.experiment.predict import PREDICT_PIXELS
from efficient_jax.experiment.workdir import writable
from efficient_jax.explain import judge
from efficient_jax.files import write_json
from efficient_jax.metrics import accuracy
from efficient_jax.models.spec import ModelSpec
from efficient_jax.report import explanation
from efficient_jax.tasks import TASKS, Task
from efficient_jax.training.classifier import framed
from efficient_jax.training.trained import Trained

MISTAKES, RIGHT, CHOSEN = 24, 12, 64  # images on the page, at most
TRUSTED, POINTED = 64, 500  # images for the figures, at most
BATCH = 64


class Seen(NamedTuple):
    """Images, and what is known of them."""

    images: np.ndarray  # uint8 [n h w c], as the network takes them
    names: list[str]
    labels: np.ndarray  # as in `Source`; -1 where nobody knows
    objects: dict[str, np.ndarray]  # of `Source`
    size: tuple[int, int]  # of the images that the objects belong to
    about: str

    def at(self, rows: np.ndarray) -> "Seen":
        objects = {name: values[rows] for name, values in self.objects.items()}
        names = [self.names[row] for row in rows]
        return self._replace(images=self.images[rows], names=names, labels=self.labels[rows], objects=objects)


class Network(NamedTuple):
    """A trained stage as two functions of (variables, images uint8 [n h w c], ...), in batches, with numpy results."""

    variables: Any
    spec: ModelSpec
    probabilities: Callable[..., np.ndarray]  # [n classes]
    heat: Callable[..., dict[str, np.ndarray]]  # and classes [n] -> name -> [n h w], from 0 to 1


def explain(members: str = "", images: str = "mistakes", layer: str = "", workdir: str = "runs/explain") -> None:
    """Draws where networks look, and tests whether that can be trusted; writes WORKDIR/explain.html and explain.json.

    Convolutional networks get Grad-CAM, transformers attention.

    Args:
        members: RUN or RUN/STAGE, separated by commas.
        images: "mistakes", the most confident ones on held-out images and some right answers; or indices of images as
            in the run's predictions.npz, separated by commas; or a folder.
        layer: the intermediate for Grad-CAM, such as "stage2"; empty: the last one.
        workdir: folder for the page.
    """
    console = Console(markup=False, highlight=False)
    if not members:
        raise UserError("explain: --members=RUN[/STAGE],... is missing")
    folder = writable(Path(workdir), "--workdir")
    sections, figures = [], {}
    for name in members.split(","):
        section, figures[name] = _explained(name, images, layer, console)
        sections.append(section)
    write_json(folder / "explain.json", figures)
    about = "Bright is where the network sees what speaks for a class, or where a transformer looks."
    page = explanation.write_page(folder, title="Where networks look", about=about, members=sections)
    console.print(f"page: {page}", soft_wrap=True)


def _explained(name: str, images: str, layer: str, console: Console) -> tuple[dict[str, Any], dict[str, Any]]:
    """(what the page shows of a member, its figures)."""
    trained = Trained.open(name, "--members")
    if not trained.folder:
        raise UserError(f"--members: {name!r} is no stage of a run; train one that begins with these weights")
    network = _network(trained, layer)
    seen = _images(trained.folder, images, trained.spec, functools.partial(console.print, soft_wrap=True))
    probabilities = network.probabilities(network.variables, seen.images)
    said = probabilities.argmax(1)
    truth = _truth(TASKS[trained.spec.task], seen.labels, probabilities)
    groups = _groups(images, seen, probabilities, trained.spec)
    some = _spread(len(seen.images), TRUSTED)
    trust = _trust(network, seen.images[some], said[some])
    pointing = _pointing(network, seen, truth)
    classes = trained.spec.classes
    kinds = list(trust["all layers"])
    section = {
        "name": name,
        "images": seen.about,
        "maps": f"{' and '.join(kinds)}.",
        "sheets": [
            (heading, _figures(network, seen.at(rows), said[rows], truth[rows], probabilities[rows], classes))
            for heading, rows in groups.items()
        ],
        "trust": [explanation.trust_row(what, kind, of[kind]) for what, of in trust.items() for kind in kinds],
        "pointing": explanation.pointing_rows(**pointing) if pointing else [],
    }
    means = {what: {kind: _mean(of[kind]) for kind in kinds} for what, of in trust.items()}
    of = {"stage": str(trained.folder), "update": trained.step, "images": seen.about}
    return section, of | {"rank_correlation_with_random_weights": means, "pointing_game": pointing}


def _network(trained: Trained, layer: str) -> Network:
    _, apply = trained.spec.build()

    @jax.jit
    def probabilities(variables: Any, images: jax.Array) -> jax.Array:
        return TASKS[trained.spec.task].probabilities(apply(variables, images, False, None)[0][0])

    @jax.jit
    def heat(variables: Any, images: jax.Array, classes: jax.Array) -> dict[str, jax.Array]:
        found = maps.heat_maps(lambda x: apply(variables, x, False, None)[0], images, classes, layer)
        return {name: judge.enlarged(each, images.shape[1:3]) for name, each in found.items()}

    variables = jax.device_put(trained.variables)
    return Network(variables, trained.spec, _in_batches(probabilities), _in_batches(heat))


def _in_batches(function: Callable) -> Callable:
    def run(variables: Any, *arrays: np.ndarray) -> Any:
        h, w = arrays[0].shape[1:3]
        size = min(BATCH, max(1, PREDICT_PIXELS // (h * w)))
        parts = sampling.padded(np.arange(len(arrays[0])), size)
        found = [
            jax.tree.map(lambda x, real=real: np.asarray(x)[:real], function(variables, *(a[rows] for a in arrays)))
            for rows, real in parts
        ]
        return jax.tree.map(lambda *each: np.concatenate(each), *found)

    return run


def _images(folder: Path, images: str, spec: ModelSpec, say: Callable[[str], None]) -> Seen:
    """Raises: UserError naming --images for what is not there."""
    where, count = "--images", len(spec.classes)
    if images != "mistakes" and not re.fullmatch(r"\d+(,\d+)*", images):
        files = picture_files.pictures(Path(images), where).files if Path(images).is_dir() else []
        if not files:
            raise UserError(f"{where}: {images!r} is neither 'mistakes', nor numbers, nor a folder of images")
        pixels = framed(files[:CHOSEN], spec.picture_framing(), where)
        labels = TASKS[spec.task].unknown(len(pixels), count)
        about = f"{len(pixels):,} of the {counted(len(files), 'image')} below {images}."
        return Seen(pixels, [file.name for file in files[:CHOSEN]], labels, {}, (0, 0), about)
    settings, source, split = load_run(folder.parent, "--members", say)
    if images == "mistakes":
        ids, about = held_out(split)
    else:
        ids = np.array(images.split(","), int)[:CHOSEN]
        about = f"{counted(len(ids), 'image')} asked for; the network may have been trained on them."
        if ids.max() >= len(source.images):
            raise UserError(f"{where}: there is no image {ids.max()}; the run has {len(source.images):,}, from 0 on")
        if len(missing := np.setdiff1d(ids, np.concatenate([*split.values()]))):
            raise UserError(
                f"{where}: image {missing[0]}, {source.name(missing[0])!r}, was not used, or is gone or changed"
            )
    return Seen(
        decode.resized(source.images[ids], settings[folder.name].get("size", 0)),
        ["/".join(Path(source.name(number)).parts[-2:]) for number in ids],
        source.labels[ids],
        {name: values[ids] for name, values in source.objects.items()},
        source.images.shape[1:3],
        about,
    )


def _truth(task: Task, labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Returns the class of each image, -1 where it is not known; of several the one that is seen least."""
    members = task.members(labels, probabilities.shape[1])
    return np.where(members.any(1), np.where(members, probabilities, np.inf).argmin(1), -1)


def _groups(images: str, seen: Seen, probabilities: np.ndarray, spec: ModelSpec) -> dict[str, np.ndarray]:
    """Heading -> rows of the images below it."""
    if images != "mistakes":
        return {"The images": np.arange(len(seen.images))}
    task = TASKS[spec.task]
    wrong = ~task.correct(task.answers(probabilities, spec.thresholds), seen.labels)
    order = np.argsort(-task.severity(probabilities, seen.labels), kind="stable")
    right = np.flatnonzero(~wrong)
    return {
        f"Mistakes with the largest {task.severity_name}": order[wrong[order]][:MISTAKES],
        "Right answers": right[_spread(len(right), RIGHT)],
    }


def _spread(count: int, most: int) -> np.ndarray:
    """At most `most` of the rows 0 .. `count` - 1, evenly."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(int)) if count else np.arange(0)


def _figures(
    network: Network, seen: Seen, said: np.ndarray, truth: np.ndarray, probabilities: np.ndarray, classes: Sequence[str]
) -> list[dict[str, Any]]:
    if not len(said):
        return []
    for_said = network.heat(network.variables, seen.images, said)
    for_truth = network.heat(network.variables, seen.images, np.maximum(truth, 0))
    found = []
    for i, image in enumerate(seen.images):
        answers = [(f"says {classes[said[i]]}, {100 * probabilities[i, said[i]]:.0f}%", for_said)]
        if truth[i] not in (-1, said[i]):
            answers.append((f"is {classes[truth[i]]}, {100 * probabilities[i, truth[i]]:.0f}%", for_truth))
        if "Grad-CAM" in for_said:
            heats = [(what, of["Grad-CAM"][i]) for what, of in answers]
            first = "as stored"
        else:  # the same for every class
            heats, first = [(kind, of[i]) for kind, of in for_said.items()], "; ".join(what for what, _ in answers)
        pictures = [(first, explanation.picture(image))]
        for what, heat in heats:
            pictures.append(
                (what if heat.any() else f"{what}: nothing speaks for it", explanation.picture(image, heat))
            )
        found.append({"name": seen.names[i], "pictures": pictures})
    return found


def _trust(network: Network, images: np.ndarray, classes: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
    """What is random -> kind of map -> its rank correlation with that of the trained network, for each image."""
    module, _ = network.spec.build()
    drawn = models.init(module, jax.random.key(0), network.spec.input_shape)
    layers = module.layers()
    true_maps = network.heat(network.variables, images, classes)
    parts = {"the head": layers[-1:], "the upper half": layers[len(layers) // 2 :], "all layers": layers}
    if "Grad-CAM" not in true_maps:  # attention comes before the head
        del parts["the head"]
    found = {}
    for what, part in parts.items():
        random = network.heat(judge.randomised(network.variables, drawn, part), images, classes)
        found[what] = {name: judge.rank_correlations(true_maps[name], random[name]) for name in true_maps}
    return found


def _pointing(network: Network, seen: Seen, truth: np.ndarray) -> dict[str, Any]:
    """{"images": how many, "hits": what points -> how often at an object, "chance": the share of pixels on objects}; {}
    without objects."""
    if not {"boxes", "mask"} & set(seen.objects):
        return {}
    targets = judge.targets(seen.objects, seen.size)
    rows = np.flatnonzero(targets.any((1, 2)) & (truth >= 0))
    rows = rows[_spread(len(rows), POINTED)]
    if not len(rows):
        return {}
    heats = network.heat(network.variables, seen.images[rows], truth[rows])
    points = {kind: judge.peaks(heat) for kind, heat in heats.items()}
    points["the middle of the image"] = np.full((len(rows), 2), 0.5)
    hits = {what: int(judge.pointing_game(each, targets[rows]).sum()) for what, each in points.items()}
    return {"images": len(rows), "hits": hits, "chance": float(targets[rows].mean())}


def _mean(values: np.ndarray) -> float | None:
    """As on the page, by Fisher's z."""
    known = values[~np.isnan(values)]
    return accuracy.mean_correlation(known)[0] if len(known) else None
