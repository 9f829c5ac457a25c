"""Runs a stage: each has its folder under the workdir, resumes from its newest checkpoint, and is not run again when it
is finished."""

import functools
import time
from typing import Any

import jax
import numpy as np

from efficient_jax import files, models
from efficient_jax.data import progress_bar
from efficient_jax.experiment import compare, initialise, results
from efficient_jax.experiment.fit import correct_head, fit_head
from efficient_jax.experiment.opened_stage import Stage
from efficient_jax.experiment.predict import predict_rows, validate
from efficient_jax.experiment.run import Run, at_size, key_of
from efficient_jax.experiment.stage_config import StageConfig
from efficient_jax.experiment.targets import Supervision, supervise
from efficient_jax.experiment.train import SECONDS, build_train_steps, images_per_step, train
from efficient_jax.inference import predictions
from efficient_jax.methods.views import saliency_of
from efficient_jax.tasks import TASKS
from efficient_jax.training import checkpoint, stopping
from efficient_jax.training.predict import Predict, make_predict
from efficient_jax.types import Augment, Saliency, Tree


def run_stage(config: StageConfig, run: Run, stop: stopping.Stop | None = None) -> dict[str, Any]:
    """Trains a stage, from its newest checkpoint on if it has any, and evaluates it.

    Args:
        config: config of the stage, one of `run.stages`.
        run: what all stages share.
        stop: called before and after training and after every step; None: it runs to its end.

    Returns: the result, which is also in its folder as `result.json`.

    Raises: Stopped, when `stop` is True; the training so far is saved. UserError for what does not fit.
    """
    stop = stop or stopping.Stop()
    folder = run.workdir / config.name
    folder.mkdir(exist_ok=True)
    if (folder / "result.json").exists():
        finished: dict[str, Any] = files.read_json(folder / "result.json")
        return finished
    earlier = files.read_json(folder / SECONDS)["seconds"] if (folder / SECONDS).exists() else 0.0
    started = time.perf_counter() - earlier
    supervision = supervise(config, run)
    stop.check(f"before the first step of stage {config.name!r}")
    stage = Stage.open(config, at_size(run, config.size))
    variables = _initialised(stage)
    _keep_samples(stage, supervision, variables)
    predict = make_predict(stage.apply, run.devices, TASKS[run.source.task])
    ema = _learned(stage, supervision, predict, variables, started, stop)
    stop.check(f"after the last step of stage {config.name!r}")
    result = _judged(stage, supervision, predict, variables, ema)
    result["seconds"] = round(time.perf_counter() - started, 1)
    files.write_json(folder / "result.json", result)
    return result


def _initialised(stage: Stage) -> Tree:
    """Returns the variables before the first step: new ones, or those of `init`."""
    config, run, spec = stage.config, stage.run, stage.spec
    shape = spec.input_shape
    if shape != spec.image_shape:
        run.console.print(f"{config.name}: gray images, repeated in the {shape[-1]} channels of the network")
    variables = models.init(stage.module, stage.key("init"), shape)
    if config.init:
        variables, lines = initialise.variables(config, variables, run.source.classes, shape, run.trained)
        for line in lines:
            run.console.print(f"{config.name}: {line}", soft_wrap=True)
        mean, std = (" ".join(f"{value:.3f}" for value in values) for values in (spec.mean, spec.std))
        run.console.print(f"{config.name}: images normalised by mean {mean} and std {std}", soft_wrap=True)
    return variables


def _keep_samples(stage: Stage, supervision: Supervision, variables: Tree) -> None:
    """Writes augmented images of each stream to the folder of the stage, see `results.samples`."""
    config, run = stage.config, stage.run
    data = {"image": run.source.images, **run.source.objects}
    views = views_of(config, saliency_of(stage.apply, variables, TASKS[run.source.task].loss))
    labels, classes, key = supervision.labels, len(run.source.classes), key_of(config, run)
    results.samples(run.workdir / config.name, views, data, labels, classes, supervision.rows, key)


def _learned(
    stage: Stage, supervision: Supervision, predict: Predict, variables: Tree, started: float, stop: stopping.Stop
) -> Tree:
    """Returns the variables after training, or with a fitted or corrected head."""
    run, method = stage.run, stage.config.method
    if TASKS[run.source.task].thresholds and not len(run.split["validation"]):
        run.console.print(f"{stage.config.name}: no validation images, so the threshold of every label is 0.5")
    if method.fit:
        return fit_head(method.fit, stage, predict, variables, supervision.labels)
    if method.correct:
        return correct_head(method.correct, stage, predict, variables)
    return train(stage, predict, build_train_steps(stage, supervision, variables), started, stop)


def _judged(stage: Stage, supervision: Supervision, predict: Predict, variables: Tree, ema: Tree) -> dict[str, Any]:
    """Returns the result of the stage, without its seconds, and writes its predictions to its folder."""
    config, run = stage.config, stage.run
    folder = run.workdir / config.name
    validation, thresholds = validate(predict, ema, run, folder / predictions.FILES["validation"])
    with progress_bar.waiting(f"{config.name}: predicting the test images", run.console):
        tested = predict_rows(predict, ema, run.split["test"], run)
    learned = supervision.rows.get("labelled", () if config.batch else run.split["labelled"])
    return {
        "stage": config.name,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(variables["params"])),
        "labels": len(np.intersect1d(learned, run.split["labelled"])),  # without generated images
        "steps": stage.steps,
        "step": checkpoint.chosen(folder),  # of the evaluated checkpoint: the best on validation, or the last
        "images_seen": stage.steps * images_per_step(config),
        "pseudo_labels": supervision.pseudo_labels,
        "validation": validation,
        **results.evaluate_stage(folder, run.source, run.split["test"], tested, thresholds),
        "compared": compare.with_earlier(config, run, tested, thresholds),
    }


def views_of(config: StageConfig, saliency: Saliency) -> dict[str, Augment]:
    """Returns the augmentation of each stream: the strong one for unlabelled images of methods with two views.

    Args:
        config: config of the stage.
        saliency: for operations that need it, see `methods.views.saliency_of`.
    """
    strong = config.method.needs("strong_augment")
    chosen = {
        stream: config.strong_augment if strong and stream == "unlabelled" else config.augment
        for stream in config.batch
    }
    return {stream: functools.partial(augment, saliency=saliency) for stream, augment in chosen.items()}
