"""Runs a stage: each has its folder under the workdir, resumes from its newest checkpoint, and is not run again when it
is finished."""

import functools
import time
from typing import Any

import jax
import numpy as np

from efficient_jax import files, models
from efficient_jax.data import progress_bar
from efficient_jax.experiment import compare, initialise, results, suspects
from efficient_jax.experiment.fit import Fit, correct_head, fit_head, head_scorer, untrained
from efficient_jax.experiment.opened_stage import Stage
from efficient_jax.experiment.predict import predict_to_judge, validate
from efficient_jax.experiment.run import Run
from efficient_jax.experiment.stage_config import StageConfig
from efficient_jax.experiment.targets import Supervision, supervise
from efficient_jax.experiment.train import SECONDS, build_train_steps, images_per_step, train
from efficient_jax.inference import predictions
from efficient_jax.methods.views import saliency_of
from efficient_jax.training import checkpoint, stopping
from efficient_jax.training.predict import make_predict
from efficient_jax.types import Augment, Saliency, Tree


def run_stage(config: StageConfig, run: Run, stop: stopping.Stop | None = None) -> dict[str, Any]:
    """Trains a stage, from its newest checkpoint on if it has any, and evaluates it.

    Args:
        config: config of the stage, one of `run.plan.stages`.
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
    run, weights = suspects.applied(config, run)
    supervision = supervise(config, run, weights)
    stop.check(f"before the first step of stage {config.name!r}")
    stage = Stage.open(config, run._replace(data=run.data.with_labels(supervision.source).resized(config.size)))
    variables = _initialised(stage)
    _keep_samples(stage, supervision, variables)
    trained = _learned(stage, supervision, variables, started, stop)
    stop.check(f"after the last step of stage {config.name!r}")
    result = _evaluated(stage, supervision, trained)
    result["seconds"] = round(time.perf_counter() - started, 1)
    files.write_json(folder / "result.json", result)
    return result


def _initialised(stage: Stage) -> Tree:
    """Returns the variables before the first step: new ones, or those of `init`."""
    config, run, spec = stage.config, stage.run, stage.spec
    shape = spec.input_shape
    if shape != spec.image_shape:
        stage.log(f"gray images, repeated in the {shape[-1]} channels of the network")
    variables = models.shapes(stage.module, shape)
    if config.init:
        classes = run.data.source.classes
        variables, lines = initialise.variables(config, variables, classes, shape, run.trained, spec.head)
        for line in lines:
            stage.log(line)
        mean, std = (" ".join(f"{value:.3f}" for value in values) for values in (spec.mean, spec.std))
        stage.log(f"images normalised by mean {mean} and std {std}")
    return models.completed(stage.module, stage.key("init"), shape, variables)


def _keep_samples(stage: Stage, supervision: Supervision, variables: Tree) -> None:
    """Writes augmented images of each stream to the folder of the stage, see `results.samples`."""
    config, run, source = stage.config, stage.run, stage.run.data.source
    arrays = {"image": source.images, **run.data.entries}
    views = views_of(config, saliency_of(stage.apply, variables, run.data.task.loss))
    labels, classes, key = supervision.labels, len(source.classes), run.key(config)
    name = functools.partial(results.file_name, source)
    results.samples(
        run.workdir / config.name,
        views,
        arrays,
        labels,
        classes,
        supervision.rows,
        key,
        name,
        "mask" in run.data.task.entries(source.labels[:1]),
    )


def _learned(stage: Stage, supervision: Supervision, variables: Tree, started: float, stop: stopping.Stop) -> Fit:
    """Returns the network after training, or with a fitted or corrected head."""
    data, method = stage.run.data, stage.config.method
    if data.task.thresholds and not len(data.split["validation"]):
        stage.log("no validation images, so the threshold of every label is 0.5")
    if method.fit:
        return fit_head(stage, variables, supervision.labels)
    predict = make_predict(stage.apply, data.devices, data.task)
    if method.correct:
        return correct_head(stage, predict, variables)
    train_steps = build_train_steps(stage, supervision, variables)
    if method.trains_head(stage.config.method_settings):
        return Fit(stage.spec, predict, train(stage, predict, train_steps, started, stop), [])

    score = head_scorer(stage, supervision.labels)

    def measure(ema: Tree) -> dict[str, float]:
        return {f"{untrained(data.task)}_score": score(ema)}

    ema = train(stage, predict, train_steps, started, stop, measure)
    return fit_head(stage, jax.device_get(ema), supervision.labels, step=stage.steps + 1)


def _evaluated(stage: Stage, supervision: Supervision, trained: Fit) -> dict[str, Any]:
    """Returns the result of the stage, without its seconds, and writes its predictions to its folder."""
    config, data = stage.config, stage.run.data
    folder, split = stage.run.workdir / config.name, data.split
    validation, thresholds = validate(
        trained.predict, trained.variables, data, folder / predictions.FILES["validation"]
    )
    tested = np.zeros((0, len(data.source.classes)), np.float32)
    if len(split["test"]):
        with progress_bar.waiting(f"{config.name}: predicting the test images", stage.run.console):
            tested = predict_to_judge(
                data.task, trained.predict, trained.variables, data.images, split["test"], data.devices
            )
    else:
        stage.log("there are no test images, so nothing is tested")
    learned = supervision.rows.get("labelled", () if config.batch else split["labelled"])
    return {
        "stage": config.name,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(trained.variables["params"])),
        "labels": len(np.intersect1d(learned, split["labelled"])),  # without generated images
        "steps": stage.steps,
        "step": checkpoint.chosen(folder),  # of the evaluated checkpoint: the best on validation, or the last
        "images_seen": stage.steps * images_per_step(config),
        "pseudo_labels": supervision.pseudo_labels,
        "validation": validation,
        **results.evaluate_stage(
            folder, data.source, split["test"], tested, thresholds, data.pixel_areas(split["test"], trained.spec)
        ),
        **({"heads": trained.tried} if trained.tried else {}),
        "compared": compare.with_earlier(config, stage.run, tested, thresholds),
    }


def views_of(config: StageConfig, saliency: Saliency) -> dict[str, Augment]:
    """Returns the augmentation of each stream: the strong one for unlabelled images of methods with two views.

    Args:
        config: config of the stage.
        saliency: for operations that need it, see `methods.views.saliency_of`.
    """
    strong = config.method.needs("strong_augment")
    weak_view, strong_view = (
        functools.partial(augment, saliency=saliency) for augment in (config.augment, config.strong_augment)
    )  # one object for all streams, which jax traces and compiles once
    return {stream: strong_view if strong and stream == "unlabelled" else weak_view for stream in config.batch}
