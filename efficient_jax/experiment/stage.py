"""Runs the stages of a plan in order. Each has its folder under the workdir, resumes from its newest checkpoint, and
is left alone when it is finished."""

import functools
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from efficient_jax import files, keys, models
from efficient_jax.experiment import initialise, results
from efficient_jax.experiment.fit import correct_head, fit_head
from efficient_jax.experiment.predict import predict_rows, validate
from efficient_jax.experiment.run import Run, at_size, image_shape, key_of, model_spec
from efficient_jax.experiment.stage_config import Stage
from efficient_jax.experiment.targets import Supervision, supervise
from efficient_jax.experiment.teachers import teachers_of
from efficient_jax.experiment.train import SECONDS, images_per_update, train, updates
from efficient_jax.inference import predictions
from efficient_jax.methods.views import saliency_of
from efficient_jax.models.spec import ModelSpec
from efficient_jax.tasks import TASKS
from efficient_jax.training import checkpoint, stopping
from efficient_jax.training.predict import make_predict
from efficient_jax.types import Apply, Augment, Saliency, Tree


def run_stage(stage: Stage, run: Run, stop: stopping.Stop | None = None) -> dict[str, Any]:
    """Trains one stage, or finishes it; returns the result, which is also in its folder.

    Args:
        stage: the stage, one of `run.stages`.
        run: what all stages share.
        stop: asked before and after training and after every step; None: nobody asks to stop.

    Raises: Stopped, when `stop` says so; what was trained is saved.
    """
    stop = stop or stopping.Stop()
    folder = run.workdir / stage.name
    folder.mkdir(exist_ok=True)
    if (folder / "result.json").exists():
        return files.read_json(folder / "result.json")
    earlier = files.read_json(folder / SECONDS)["seconds"] if (folder / SECONDS).exists() else 0.0
    started = time.perf_counter() - earlier
    supervision = supervise(stage, run)
    stop.check(f"before the first step of stage {stage.name!r}")
    run = at_size(run, stage.size)
    spec = model_spec(stage, run)
    module, apply = spec.build()
    variables = _initialised(stage, run, spec, module)
    _keep_samples(stage, run, supervision, apply, variables)
    predict = make_predict(apply, run.devices, TASKS[run.source.task])
    ema = _learned(stage, run, supervision, spec, apply, predict, variables, started, stop)
    stop.check(f"after the last step of stage {stage.name!r}")
    result = _judged(stage, run, supervision, predict, variables, ema)
    result["seconds"] = round(time.perf_counter() - started, 1)
    files.write_json(folder / "result.json", result)
    return result


def _initialised(stage: Stage, run: Run, spec: ModelSpec, module: Any) -> Tree:
    """The variables before the first update: new ones, or those of `stage.init`."""
    shape = spec.input_shape
    if shape != image_shape(stage, run):
        run.console.print(f"{stage.name}: grey images, repeated in the {shape[-1]} channels of the network")
    variables = models.init(module, keys.named(key_of(stage, run), "init"), shape)
    if stage.init:
        variables, said = initialise.variables(stage, variables, run.source.classes, shape, run.trained)
        for line in said:
            run.console.print(f"{stage.name}: {line}", soft_wrap=True)
        mean, std = (" ".join(f"{value:.3f}" for value in values) for values in (spec.mean, spec.std))
        run.console.print(f"{stage.name}: images normalised by mean {mean} and std {std}", soft_wrap=True)
    return variables


def _keep_samples(stage: Stage, run: Run, supervision: Supervision, apply: Apply, variables: Tree) -> None:
    """Keeps some images of each stream in the folder of the stage, as the network will see them."""
    data = {"image": run.source.images, "label": supervision.labels, **run.source.objects}
    views = views_of(stage, saliency_of(apply, variables, TASKS[run.source.task].loss))
    results.samples(run.workdir / stage.name, views, data, supervision.rows, key_of(stage, run))


def _learned(
    stage: Stage,
    run: Run,
    supervision: Supervision,
    spec: ModelSpec,
    apply: Apply,
    predict: Callable,
    variables: Tree,
    started: float,
    stop: stopping.Stop,
) -> Tree:
    """The variables after training, or with a fitted or corrected head."""
    if TASKS[run.source.task].thresholds and not len(run.split["validation"]):
        run.console.print(f"{stage.name}: no validation images, so the threshold of every label is 0.5")
    method = stage.method
    if method.fit:
        return fit_head(method.fit, stage, run, spec, apply, predict, variables, supervision.labels)
    if method.correct:
        return correct_head(method.correct, stage, run, spec, predict, variables)
    taught = teachers_of(stage, run) if method.needs("teachers") else ((), ())
    each = updates(stage, run, supervision, spec, variables, taught)
    return train(stage, run, spec, predict, each, started, stop)


def _judged(
    stage: Stage, run: Run, supervision: Supervision, predict: Callable, variables: Tree, ema: Tree
) -> dict[str, Any]:
    """The result of the stage, without its seconds; its predictions are kept in its folder."""
    folder = run.workdir / stage.name
    validation, thresholds = validate(predict, ema, run, folder / predictions.FILES["validation"])
    tested = predict_rows(predict, ema, run.split["test"], run)
    learned = supervision.rows.get("labelled", () if stage.batch else run.split["labelled"])
    return {
        "stage": stage.name,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(variables["params"])),
        "labels": len(np.intersect1d(learned, run.split["labelled"])),  # without generated images
        "updates": stage.updates,
        "update": checkpoint.chosen(folder),  # whose weights the figures are of: the best on validation, or the last
        "images_seen": stage.updates * images_per_update(stage),
        "pseudo_labels": supervision.pseudo_labels,
        "validation": validation,
        **results.judge(folder, run.source, run.split["test"], tested, thresholds),
    }


def views_of(stage: Stage, saliency: Saliency) -> dict[str, Augment]:
    """How the images of each stream are augmented, where twice the second time; `saliency` for operations that ask."""
    strong = stage.method.needs("strong_augment")
    chosen = {
        stream: stage.strong_augment if strong and stream == "unlabelled" else stage.augment for stream in stage.batch
    }
    return {stream: functools.partial(each, saliency=saliency) for stream, each in chosen.items()}
