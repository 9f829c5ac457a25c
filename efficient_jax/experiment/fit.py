"""Fits the head of a network that stays as it is, or corrects its bias; both are saved like a trained stage."""

import dataclasses
import json
from collections.abc import Callable

import jax
import numpy as np

from efficient_jax import augment, keys
from efficient_jax.experiment.predict import predict_batch, predict_rows, validate
from efficient_jax.experiment.run import Run, key_of
from efficient_jax.experiment.stage_config import Stage
from efficient_jax.methods.linear_head import Choice
from efficient_jax.models.spec import ModelSpec
from efficient_jax.tasks import TASKS, targets
from efficient_jax.training import checkpoint, parallel
from efficient_jax.training.predict import extract_rows, make_extract
from efficient_jax.types import Apply, Augment, Tree


def fit_head(
    fit: Callable[..., Choice],
    stage: Stage,
    run: Run,
    spec: ModelSpec,
    apply: Apply,
    predict: Callable,
    variables: Tree,
    labels: np.ndarray,
) -> Tree:
    """The variables with the head that fits the features of the labelled images."""
    data = {"image": run.images, "label": parallel.replicate(labels, run.devices)}
    placed = parallel.replicate(variables, run.devices)

    def features(ids: np.ndarray, augmentation: Augment, view: int) -> tuple[np.ndarray, np.ndarray]:
        extract = make_extract(apply, augmentation, run.devices)
        key = parallel.replicate(jax.random.fold_in(keys.named(key_of(stage, run), "views"), view), run.devices)
        return extract_rows(extract, placed, data, ids, key=key, batch=predict_batch(run, ids), devices=run.devices)

    without_head = {name: tree for name, tree in variables["params"].items() if name != "head"}
    network = checkpoint.fingerprint(variables | {"params": without_head})
    about = json.dumps(dataclasses.replace(spec, classes=()).to_json(), sort_keys=True)
    plain = augment.build((), {}, "")

    def unaugmented(part: str) -> np.ndarray:
        """The same for all heads on one network."""
        return run.once(("features", network, about, part), lambda: features(run.split[part], plain, 0)[0])

    labelled, ids = run.split["labelled"], run.split["validation"]
    if stage.views:
        views = [features(labelled, stage.augment, i) for i in range(stage.views)]
    else:
        views = [(unaugmented("labelled"), labels[labelled])]
    seen, labels_seen = (np.concatenate(each) for each in zip(*views, strict=True))
    held = (unaugmented("validation"), targets(run.source, ids)) if len(ids) else None
    task = TASKS[run.source.task]
    choice = fit(seen, labels_seen, run.seed, held, task, len(views), **stage.method_settings)
    assert task.head
    score = "" if np.isnan(choice.score) else f", {100 * choice.score:.1f}% {task.head.score_name} on held-out images"
    if np.isnan(choice.score) and stage.method_settings.get("head") == "ridge":
        score = "; its probabilities are not calibrated: too few classes have two labelled images"
    run.console.print(f"{stage.name}: {len(seen):,} x {seen.shape[1]:,} features, l2 = {choice.l2:.3g}{score}")
    head = {"kernel": choice.kernel.astype(np.float32), "bias": choice.bias.astype(np.float32)}
    return _with_head(head, stage, run, spec, predict, variables)


def correct_head(
    correct: Callable[..., np.ndarray],
    stage: Stage,
    run: Run,
    spec: ModelSpec,
    predict: Callable,
    variables: Tree,
) -> Tree:
    """The variables with the head's bias moved by what they predict for the unlabelled images."""
    probabilities = predict_rows(predict, parallel.replicate(variables, run.devices), run.split["unlabelled"], run)
    shift = correct(probabilities, targets(run.source, run.split["labelled"]).mean(0), **stage.method_settings)
    moved = ", ".join(f"{name} {by:+.2f}" for name, by in zip(run.source.classes, shift, strict=True))
    run.console.print(f"{stage.name}: bias {moved}", soft_wrap=True)
    head = variables["params"]["head"]
    head = head | {"bias": (head["bias"] + shift).astype(np.float32)}
    return _with_head(head, stage, run, spec, predict, variables)


def _with_head(head: Tree, stage: Stage, run: Run, spec: ModelSpec, predict: Callable, variables: Tree) -> Tree:
    """`variables` with another head, saved like those of a training."""
    variables = variables | {"params": variables["params"] | {"head": head}}
    placed = parallel.replicate(variables, run.devices)
    with checkpoint.saving(run.workdir / stage.name, f"stage {stage.name!r}") as manager:
        _, thresholds = validate(predict, placed, run)
        checkpoint.save(manager, 0, {"ema": placed}, dataclasses.replace(spec, thresholds=thresholds), None)
    return placed
