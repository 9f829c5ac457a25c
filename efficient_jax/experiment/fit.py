"""Fits the head of a frozen network, or corrects its bias; both are saved like a trained stage."""

import dataclasses
import json

import jax
import numpy as np

from efficient_jax import augment
from efficient_jax.data import progress_bar
from efficient_jax.experiment.opened_stage import Stage
from efficient_jax.experiment.predict import predict_batch, predict_rows, validate
from efficient_jax.tasks import targets
from efficient_jax.training import checkpoint, parallel
from efficient_jax.training.labels import Labels, on_host, take
from efficient_jax.training.predict import Predict, extract_rows, make_extract
from efficient_jax.types import Augment, Tree


def fit_head(stage: Stage, predict: Predict, variables: Tree, labels: Labels) -> Tree:
    """Fits the head of a network to the features of the labelled images, and saves it.

    Args:
        stage: a stage with a method that fits.
        predict: computes probabilities, see `training.predict.make_predict`.
        variables: variables of the network.
        labels: targets of all images.

    Returns: the variables with the head, on the devices.
    """
    config, run, data = stage.config, stage.run, stage.run.data
    source, split, devices = data.source, data.split, data.devices
    examples = {"image": data.images, "label": parallel.replicate(labels, devices)}
    placed = parallel.replicate(variables, devices)

    def features(ids: np.ndarray, augmentation: Augment, view: int) -> tuple[np.ndarray, np.ndarray]:
        extract = make_extract(stage.apply, augmentation, len(source.classes), devices)
        key = parallel.replicate(jax.random.fold_in(stage.key("views"), view), devices)
        batch = predict_batch(source.images.shape, len(ids), devices)
        with progress_bar.waiting(f"{config.name}: computing features of {len(ids):,} images", run.console):
            return extract_rows(extract, placed, examples, ids, key=key, batch=batch, devices=devices)

    without_head = {name: tree for name, tree in variables["params"].items() if name != "head"}
    network = checkpoint.fingerprint(variables | {"params": without_head})
    preprocessing = json.dumps(dataclasses.replace(stage.spec, classes=()).to_json(), sort_keys=True)
    plain = augment.build((), {}, "")

    def unaugmented(part: str) -> np.ndarray:
        """Returns features without augmentation, computed once for all heads on the same network."""
        entry = network, preprocessing, part
        if entry not in run.shared.features:
            run.shared.features[entry] = features(split[part], plain, 0)[0]
        return run.shared.features[entry]

    labelled, ids = split["labelled"], split["validation"]
    if config.views:
        views = [features(labelled, config.augment, i) for i in range(config.views)]
    else:
        views = [(unaugmented("labelled"), on_host(take(labels, labelled), len(source.classes)))]
    all_features, all_labels = (np.concatenate(parts) for parts in zip(*views, strict=True))
    held = (unaugmented("validation"), targets(source, ids)) if len(ids) else None
    assert config.method.fit
    with progress_bar.waiting(f"{config.name}: fitting the head", run.console):
        choice = config.method.fit(
            all_features, all_labels, run.plan.seed, held, data.task, len(views), **config.method_settings
        )
    assert data.task.head
    figure = f", {100 * choice.score:.1f}% {data.task.head.score_name} on held-out images"
    score = "" if np.isnan(choice.score) else figure
    if np.isnan(choice.score) and config.method_settings.get("head") == "ridge":
        score = "; its probabilities are not calibrated: too few classes have two labelled images"
    stage.log(f"{' x '.join(f'{n:,}' for n in all_features.shape)} features, l2 = {choice.l2:.3g}{score}")
    layer = {"kernel": choice.kernel.astype(np.float32), "bias": choice.bias.astype(np.float32)}
    return _with_head(layer, stage, predict, variables)


def correct_head(stage: Stage, predict: Predict, variables: Tree) -> Tree:
    """Corrects the bias of a network's head by class frequencies, and saves it.

    Args:
        stage: a stage with a method that corrects.
        predict: computes probabilities, see `training.predict.make_predict`.
        variables: variables of the network.

    Returns: the variables with the new bias, on the devices.
    """
    data, placed = stage.run.data, parallel.replicate(variables, stage.run.data.devices)
    method, inputs = stage.config.method, {"frequencies": targets(data.source, data.split["labelled"]).mean(0)}
    if method.needs("probabilities"):
        unlabelled = data.split["unlabelled"]
        inputs["probabilities"] = predict_rows(predict, placed, data.images, unlabelled, data.devices)
    assert method.correct
    shift = method.correct(**inputs, **stage.config.method_settings)
    moved = ", ".join(f"{name} {by:+.2f}" for name, by in zip(data.source.classes, shift, strict=True))
    stage.log(f"bias {moved}")
    head = variables["params"]["head"]
    head = head | {"bias": (head["bias"] + shift).astype(np.float32)}
    return _with_head(head, stage, predict, variables)


def _with_head(head: Tree, stage: Stage, predict: Predict, variables: Tree) -> Tree:
    """Returns variables with another head, and saves them like those of a trained stage."""
    variables = variables | {"params": variables["params"] | {"head": head}}
    placed = parallel.replicate(variables, stage.run.data.devices)
    with checkpoint.saving(stage.run.workdir / stage.config.name, f"stage {stage.config.name!r}") as manager:
        _, thresholds = validate(predict, placed, stage.run.data)
        checkpoint.save(manager, 0, {"ema": placed}, dataclasses.replace(stage.spec, thresholds=thresholds), None)
    return placed
