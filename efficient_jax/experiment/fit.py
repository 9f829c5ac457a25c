"""Fits the head of a frozen network, or corrects its bias; both are saved like a trained stage."""

import dataclasses
import json
from collections.abc import Callable

import jax
import numpy as np

from efficient_jax import augment
from efficient_jax.data import progress_bar
from efficient_jax.experiment.opened_stage import Stage
from efficient_jax.experiment.predict import predict_batch, predict_rows, validate
from efficient_jax.methods.linear_head import Choice
from efficient_jax.tasks import TASKS, targets
from efficient_jax.training import checkpoint, parallel
from efficient_jax.training.labels import Labels, on_host, take
from efficient_jax.training.predict import Predict, extract_rows, make_extract
from efficient_jax.types import Augment, Tree


def fit_head(
    fit: Callable[..., Choice],
    stage: Stage,
    predict: Predict,
    variables: Tree,
    labels: Labels,
) -> Tree:
    """Fits the head of a network to the features of the labelled images, and saves it.

    Args:
        fit: the function of the method, see `methods.Method`.
        stage: a stage with a method that fits.
        predict: computes probabilities, see `training.predict.make_predict`.
        variables: variables of the network.
        labels: targets of all images.

    Returns: the variables with the head, on the devices.
    """
    config, run = stage.config, stage.run
    data = {"image": run.images, "label": parallel.replicate(labels, run.devices)}
    placed = parallel.replicate(variables, run.devices)

    def features(ids: np.ndarray, augmentation: Augment, view: int) -> tuple[np.ndarray, np.ndarray]:
        extract = make_extract(stage.apply, augmentation, len(run.source.classes), run.devices)
        key = parallel.replicate(jax.random.fold_in(stage.key("views"), view), run.devices)
        with progress_bar.waiting(f"{config.name}: computing features of {len(ids):,} images", run.console):
            return extract_rows(extract, placed, data, ids, key=key, batch=predict_batch(run, ids), devices=run.devices)

    without_head = {name: tree for name, tree in variables["params"].items() if name != "head"}
    network = checkpoint.fingerprint(variables | {"params": without_head})
    about = json.dumps(dataclasses.replace(stage.spec, classes=()).to_json(), sort_keys=True)
    plain = augment.build((), {}, "")

    def unaugmented(part: str) -> np.ndarray:
        """Returns features without augmentation, computed once for all heads on the same network."""
        return run.once(("features", network, about, part), lambda: features(run.split[part], plain, 0)[0])

    labelled, ids = run.split["labelled"], run.split["validation"]
    if config.views:
        views = [features(labelled, config.augment, i) for i in range(config.views)]
    else:
        views = [(unaugmented("labelled"), on_host(take(labels, labelled), len(run.source.classes)))]
    all_features, all_labels = (np.concatenate(parts) for parts in zip(*views, strict=True))
    held = (unaugmented("validation"), targets(run.source, ids)) if len(ids) else None
    task = TASKS[run.source.task]
    with progress_bar.waiting(f"{config.name}: fitting the head", run.console):
        choice = fit(all_features, all_labels, run.seed, held, task, len(views), **config.method_settings)
    assert task.head
    score = "" if np.isnan(choice.score) else f", {100 * choice.score:.1f}% {task.head.score_name} on held-out images"
    if np.isnan(choice.score) and config.method_settings.get("head") == "ridge":
        score = "; its probabilities are not calibrated: too few classes have two labelled images"
    run.console.print(
        f"{config.name}: {' x '.join(f'{n:,}' for n in all_features.shape)} features, l2 = {choice.l2:.3g}{score}"
    )
    head = {"kernel": choice.kernel.astype(np.float32), "bias": choice.bias.astype(np.float32)}
    return _with_head(head, stage, predict, variables)


def correct_head(
    correct: Callable[..., np.ndarray],
    stage: Stage,
    predict: Predict,
    variables: Tree,
) -> Tree:
    """Corrects the bias of a network's head by its predictions for the unlabelled images, and saves it.

    Args:
        correct: the function of the method, see `methods.Method`.
        stage: a stage with a method that corrects.
        predict: computes probabilities, see `training.predict.make_predict`.
        variables: variables of the network.

    Returns: the variables with the new bias, on the devices.
    """
    config, run = stage.config, stage.run
    probabilities = predict_rows(predict, parallel.replicate(variables, run.devices), run.split["unlabelled"], run)
    shift = correct(probabilities, targets(run.source, run.split["labelled"]).mean(0), **config.method_settings)
    moved = ", ".join(f"{name} {by:+.2f}" for name, by in zip(run.source.classes, shift, strict=True))
    run.console.print(f"{config.name}: bias {moved}", soft_wrap=True)
    head = variables["params"]["head"]
    head = head | {"bias": (head["bias"] + shift).astype(np.float32)}
    return _with_head(head, stage, predict, variables)


def _with_head(head: Tree, stage: Stage, predict: Predict, variables: Tree) -> Tree:
    """Returns variables with another head, and saves them like those of a trained stage."""
    variables = variables | {"params": variables["params"] | {"head": head}}
    placed = parallel.replicate(variables, stage.run.devices)
    with checkpoint.saving(stage.run.workdir / stage.config.name, f"stage {stage.config.name!r}") as manager:
        _, thresholds = validate(predict, placed, stage.run)
        checkpoint.save(manager, 0, {"ema": placed}, dataclasses.replace(stage.spec, thresholds=thresholds), None)
    return placed
