"""Fits the head of a frozen network, or corrects its bias; both are saved like a trained stage."""

import dataclasses
import functools
import json
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from efficient_jax import augment
from efficient_jax.data import dataset, progress_bar
from efficient_jax.experiment import feature_cache
from efficient_jax.experiment.feature_cache import Pools
from efficient_jax.experiment.opened_stage import Stage
from efficient_jax.experiment.predict import predict_batch, predict_rows, validate
from efficient_jax.methods.linear_probe import Probe, linear_probe
from efficient_jax.models.spec import ModelSpec
from efficient_jax.tasks import Task, targets
from efficient_jax.training import checkpoint, parallel
from efficient_jax.training.labels import Labels, on_host, take
from efficient_jax.training.predict import Predict, extract_rows, make_extract, make_predict
from efficient_jax.types import Augment, Tree

WORTH = 2.0  # seconds of computing features; what took less is not kept on disk


class Fit(NamedTuple):
    """A network with a fitted or corrected head."""

    spec: ModelSpec
    predict: Predict
    variables: Tree  # on the devices
    tried: list[dict[str, Any]]  # heads that were compared, the chosen one first, see `methods.linear_probe.Probe`


def fit_head(stage: Stage, variables: Tree, labels: Labels, step: int = 0) -> Fit:
    """Fits the head of a network to the features of the labelled images, and saves it.

    Args:
        stage: a stage with a method that fits, or one whose method trains no head: that gets the nearest neighbours.
        variables: variables of the network.
        labels: targets of all images.
        step: number of the checkpoint.
    """
    config, run, data = stage.config, stage.run, stage.run.data
    source, split = data.source, data.split
    network = _network(stage, variables)
    extract_plain = _extraction(stage, labels, augment.build((), {}, ""))

    def unaugmented(part: str) -> Pools:
        """Returns features without augmentation, computed once for all heads on the same network."""
        key = network, split[part].tobytes()  # a stage may have dropped labelled images
        if key not in run.shared.features:
            file = run.workdir.parent / feature_cache.FOLDER / f"{network}.npz"
            contents = dataset.contents(source, split[part])
            alone = jax.process_count() == 1  # of several, one might have the file, and the others compute together
            pools = feature_cache.known(contents, file, stage.log) if alone else None
            if pools is None:
                started = time.perf_counter()
                pools = extract_plain(variables, split[part], 0)[0]
                if alone and time.perf_counter() - started > WORTH:
                    feature_cache.keep(contents, pools, file, stage.log)
            run.shared.features[key] = pools
        return run.shared.features[key]

    if config.views:
        extract = _extraction(stage, labels, config.augment)
        views = [extract(variables, split["labelled"], i) for i in range(config.views)]
    else:
        views = [(unaugmented("labelled"), on_host(take(labels, split["labelled"]), len(source.classes)))]
    pools, all_labels = jax.tree.map(lambda *parts: np.concatenate(parts), *views)
    ids = split["validation"]
    held = (unaugmented("validation"), targets(source, ids)) if len(ids) else None
    fit = config.method.fit or functools.partial(linear_probe, head=untrained(data.task))
    fit_settings = config.method_settings if config.method.fit else {}
    with progress_bar.waiting(f"{config.name}: fitting the head", run.console):
        probe = fit(pools, all_labels, run.plan.seed, held, data.task, source.classes, len(views), **fit_settings)
    for line in _lines(probe, pools, data.task):
        stage.log(line)
    params = {name: np.asarray(values, np.float32) for name, values in probe.head.params.items()}
    head = {"name": probe.head.name, "pool": probe.pool}
    return _with_head(params, dataclasses.replace(stage.spec, head=head), stage, variables, probe.tried, step)


def untrained(task: Task) -> str:
    """Returns the name of the head of a network whose own head is not trained.

    Args:
        task: what the labels are; the nearest neighbours are for one class per image.
    """
    return "knn" if task.exclusive else "ridge"


def head_scorer(stage: Stage, labels: Labels) -> Callable[[Tree], float]:
    """Returns a function of variables: how well their features serve the labelled images, with the head `untrained`.

    It is the score of the task by cross-validation, in 0..1; NaN for too few images.

    Args:
        stage: a stage whose method trains no head.
        labels: targets of all images.
    """
    run, data = stage.run, stage.run.data
    fit = functools.partial(linear_probe, head=untrained(data.task))
    extract = _extraction(stage, labels, augment.build((), {}, ""))

    def score(variables: Tree) -> float:
        features, targets_of = extract(variables, data.split["labelled"], 0)
        return fit(features, targets_of, run.plan.seed, None, data.task, data.source.classes).head.score

    return score


def _extraction(
    stage: Stage, labels: Labels, augmentation: Augment
) -> Callable[[Tree, np.ndarray, int], tuple[Pools, np.ndarray]]:
    """Returns a function (variables, indices of images, number of the view) -> (features, labels), compiled once."""
    run, data = stage.run, stage.run.data
    examples = {"image": data.images, "label": parallel.replicate(labels, data.devices)}
    prefix_tokens = getattr(stage.module, "prefix_tokens", 0)
    program = make_extract(stage.apply, prefix_tokens, augmentation, len(data.source.classes), data.devices)

    def extract(variables: Tree, ids: np.ndarray, view: int) -> tuple[Pools, np.ndarray]:
        key = parallel.replicate(jax.random.fold_in(stage.key("views"), view), data.devices)
        some = ids if len(ids) else np.arange(1)  # without labelled images the width of the features is still needed
        batch = predict_batch(data.source.images.shape, len(some), data.devices)
        placed = parallel.replicate(variables, data.devices)
        with progress_bar.waiting(f"{stage.config.name}: computing features of {len(ids):,} images", run.console):
            rows = extract_rows(program, placed, examples, some, key=key, batch=batch, devices=data.devices)
        pools, labels_of = jax.tree.map(lambda values: values[: len(ids)], rows)
        return pools, labels_of

    return extract


def _network(stage: Stage, variables: Tree) -> str:
    """Returns a hash of all that the features of an image depend on: weights but the head, and its preparation."""
    without_head = {name: tree for name, tree in variables["params"].items() if name != "head"}
    record = dataclasses.replace(stage.spec, classes=()).to_json()
    preparation = np.frombuffer(json.dumps(record, sort_keys=True).encode(), np.uint8)
    return checkpoint.fingerprint(variables | {"params": without_head, "preparation": preparation})


def _lines(probe: Probe, pools: Pools, task: Task) -> list[str]:
    """Returns lines on the head, and a table of those that were tried where there are several."""
    assert task.head
    shape, head = " x ".join(f"{n:,}" for n in pools[probe.pool].shape), probe.head
    score = "" if np.isnan(head.score) else f", {100 * head.score:.1f}% {task.head.score_name} on held-out images"
    lines = [f"{shape} features, {head.about}{score}"]
    if len(probe.tried) > 1:
        lines.append(f"{'head':<12} {'features':<9} {task.head.score_name + ', %':>8} {'error':>7}  settings")
        lines += [
            f"{row['head']:<12} {row['pool']:<9} {100 * row['score']:8.1f} {row['error']:7.4f}  {row['about']}"
            for row in probe.tried
        ]
    return lines


def correct_head(stage: Stage, predict: Predict, variables: Tree) -> Fit:
    """Corrects the bias of a network's head by class frequencies, and saves it.

    Args:
        stage: a stage with a method that corrects.
        predict: computes probabilities, see `training.predict.make_predict`.
        variables: variables of the network.
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
    return _with_head(head, stage.spec, stage, variables, [])


def _with_head(
    head: Tree, spec: ModelSpec, stage: Stage, variables: Tree, tried: list[dict[str, Any]], step: int = 0
) -> Fit:
    """Returns a network with another head, and saves it like that of a trained stage."""
    data = stage.run.data
    placed = parallel.replicate(variables | {"params": variables["params"] | {"head": head}}, data.devices)
    predict = make_predict(spec.build()[1], data.devices, data.task)
    with checkpoint.saving(stage.run.workdir / stage.config.name, f"stage {stage.config.name!r}") as manager:
        _, thresholds = validate(predict, placed, data)
        spec = dataclasses.replace(spec, thresholds=thresholds)
        checkpoint.save(manager, step, {"ema": placed}, spec, None)
    return Fit(spec, predict, placed, tried)
