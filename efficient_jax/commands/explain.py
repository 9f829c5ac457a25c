"""explain: heat maps of trained members on a page, with tests of whether they can be trusted."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

import numpy as np

from efficient_jax.commands import explain_parts
from efficient_jax.commands.explain_parts import MISTAKES, RIGHT, Shown
from efficient_jax.distributed import log
from efficient_jax.errors import UserError, class_name
from efficient_jax.experiment.workdir import writable
from efficient_jax.explain.network import (
    Network,
    Pointing,
    Seen,
    images_of,
    opened,
    pointing_game,
    random_weights,
    spread,
)
from efficient_jax.files import write_json
from efficient_jax.metrics import accuracy
from efficient_jax.models.spec import ModelSpec
from efficient_jax.report import explanation
from efficient_jax.tasks import TASKS, Task
from efficient_jax.training.trained import Trained, stage_folder

TRUSTED = 64  # images whose maps are compared with those of random weights, at most


class Explained(TypedDict):
    """What explain.json says of a member."""

    stage: str  # its folder
    step: int | None
    images: str  # sentence on which images these are
    rank_correlation_with_random_weights: dict[str, dict[str, float | None]]  # layers -> kind of map -> mean
    pointing_game: Pointing


def explain(members: str = "", images: str = "mistakes", layer: str = "", workdir: str = "") -> None:
    """Draws heat maps of where networks look and tests them; writes WORKDIR/explain.html and explain.json.

    Convolutional networks get Grad-CAM, transformers attention. Grad-CAM is of the class of an image; of the pixels
    that are predicted as a class; or of the box of a class that has the highest score.

    Args:
        members: RUN or RUN/STAGE, separated by commas.
        images: "mistakes": the most confident mistakes on held-out images and some correct predictions, of masks and
            boxes the images with the largest and the smallest loss; or indices of images as in the run's
            predictions.npz, separated by commas; or a folder.
        layer: the intermediate for Grad-CAM, such as "stage2"; empty: the last one, of masks and boxes the
            second.
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
    network = opened(trained, layer)
    seen = images_of(trained.folder, images, trained.spec)
    describe = _of_classes if TASKS[trained.spec.task].by_image else explain_parts.described
    shown = describe(network, seen, images == "mistakes")
    some = spread(len(seen.images), TRUSTED)
    correlations = random_weights(network, seen.at(some), shown.classes[some])
    kinds = list(correlations["all layers"])
    section = explanation.MemberSection(
        name=name,
        images=seen.about,
        maps=f"{' and '.join(kinds)}.",
        sheets=shown.sheets,
        trust=[
            explanation.trust_row(what, kind, of_kinds[kind])
            for what, of_kinds in correlations.items()
            for kind in kinds
        ],
        pointing=explanation.pointing_rows(**shown.pointing) if shown.pointing else [],
        legend=shown.legend,
    )
    return section, {
        "stage": str(trained.folder),
        "step": trained.step,
        "images": seen.about,
        "rank_correlation_with_random_weights": {
            what: {kind: _mean(of_kinds[kind]) for kind in kinds} for what, of_kinds in correlations.items()
        },
        "pointing_game": shown.pointing,
    }


def _of_classes(network: Network, seen: Seen, mistakes: bool) -> Shown:
    """Returns what is shown of a network that predicts classes of images."""
    task, classes = TASKS[network.spec.task], network.spec.classes
    probabilities = network.probabilities(network.variables, seen.images)
    predicted = probabilities.argmax(1)
    truth = true_classes(task, seen.labels, probabilities)
    groups = _groups(seen, probabilities, network.spec) if mistakes else {"The images": np.arange(len(seen.images))}
    return Shown(
        sheets=[
            (heading, _figures(network, seen.at(rows), predicted[rows], truth[rows], probabilities[rows], classes))
            for heading, rows in groups.items()
        ],
        classes=predicted,
        pointing=pointing_game(network, seen, truth),
        legend=[],
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


def _groups(seen: Seen, probabilities: np.ndarray, spec: ModelSpec) -> dict[str, np.ndarray]:
    """Returns heading -> indices of the images below it."""
    task = TASKS[spec.task]
    wrong = ~task.correct(task.answers(probabilities, spec.thresholds), seen.labels)
    order = np.argsort(-task.severity(probabilities, seen.labels), kind="stable")
    right = np.flatnonzero(~wrong)
    return {
        f"Mistakes with the largest {task.severity_name}": order[wrong[order]][:MISTAKES],
        "Correct predictions": right[spread(len(right), RIGHT)],
    }


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
    for_predicted = network.heat(network.variables, seen.images, predicted, seen.inside)
    for_truth = network.heat(network.variables, seen.images, np.maximum(truth, 0), seen.inside)
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


def _mean(values: np.ndarray) -> float | None:
    """Returns the mean by Fisher's z transformation, as on the page; None if all values are NaN."""
    known = values[~np.isnan(values)]
    return accuracy.mean_correlation(known)[0] if len(known) else None
