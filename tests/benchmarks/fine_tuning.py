"""Trains EfficientNet-Lite0 on a few images many times in one process: one compiled step serves all trainings.

The stages are `finetuned` and `student` of `configs/few_labels.py`, with smaller images, fewer steps and, for the
student, smaller batches: a logistic head on features of ImageNet, then all layers, then a noisy student on the pool.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import numpy as np

from configs import few_labels
from efficient_jax import keys
from efficient_jax.data import sampling
from efficient_jax.experiment.config import plan
from efficient_jax.experiment.stage_config import StageConfig
from efficient_jax.methods import build_loss, linear_head
from efficient_jax.optim import optimizer
from efficient_jax.tasks import CLASSIFICATION
from efficient_jax.training import batches, labels, parallel, predict, state, step
from efficient_jax.training.trained import Trained
from efficient_jax.types import Tree

SIZE = 64  # pixels
STEPS = {"finetuned": 40, "student": 60}  # those of `finetuned` were chosen on pool 100
BATCH = {"finetuned": {"labelled": 32}, "student": {"labelled": 16, "unlabelled": 48}}
TOGETHER = 100  # images that are predicted together


class Program(NamedTuple):
    """What all trainings of a stage share."""

    stage: StageConfig
    tx: Any
    step: step.Step
    predict: predict.Predict
    extract: predict.Extract


class Tuner:
    """Trains networks on one set of images after the other, each of them as large as the first.

    Args:
        classes: number of classes.
        steps: stage -> its steps.
        size: of the images, in pixels.
    """

    def __init__(self, classes: int, steps: dict[str, int] = STEPS, size: int = SIZE) -> None:
        self.classes, self.steps, self.size = classes, steps, size
        self.devices = jax.local_devices()[:1]
        config = few_labels.get_config()
        config.data.source.size = size
        config.stages = ("head", "finetuned", "student")
        for name in steps:
            config[name].steps, config[name].batch = steps[name], BATCH[name]
        published = Trained.open("efficientnet-lite0", "fine_tuning")
        self._published = published.variables
        self._programs = {
            stage.name: self._program(stage, published.spec, size)
            for stage in plan(config.to_dict()).stages
            if stage.batch
        }

    def _program(self, stage: StageConfig, published: Any, size: int) -> Program:
        names = tuple(map(str, range(self.classes)))
        shape = (size, size, 3)
        spec = dataclasses.replace(published, settings=stage.model[1], classes=names, image_shape=shape)
        optim = {name: value for name, value in stage.optim.items() if name != "warmup_percent"}
        optim["warmup"] = round(stage.optim["warmup_percent"] * self.steps[stage.name] / 100)
        params = self._started(None)["params"]
        frozen = optimizer.frozen(params, optim["rules"])
        module, apply = spec.build("device", frozen)
        tx, _ = optimizer.optimizer(params, self.steps[stage.name], module.layers(), **optim)
        views = stage.augment, stage.strong_augment
        loss = build_loss(stage.method, apply, *views, (), CLASSIFICATION, stage.method_settings)
        settings = {"steps": self.steps[stage.name], "ema_decay": stage.ema_decay, "devices": self.devices}
        _, evaluated = spec.build()
        return Program(
            stage,
            tx,
            step.make_train_step(loss, tx, frozen=frozen, **settings),
            predict.make_predict(evaluated, self.devices, CLASSIFICATION),
            predict.make_extract(evaluated, lambda _, batch: batch, self.classes, self.devices),
        )

    def _started(self, head: linear_head.Choice | None) -> Tree:
        """Returns the weights of ImageNet with a fitted head; None: zeros."""
        shape = (self._published["params"]["head"]["kernel"].shape[0], self.classes)
        kernel, bias = (head.kernel, head.bias) if head else (np.zeros(shape), np.zeros(self.classes))
        new = {"kernel": np.asarray(kernel, np.float32), "bias": np.asarray(bias, np.float32)}
        return self._published | {"params": self._published["params"] | {"head": new}}

    def place(self, images: np.ndarray) -> jax.Array:
        """Returns images on the device, for the other methods."""
        return parallel.replicate(images, self.devices)

    def features(self, images: jax.Array, rows: np.ndarray, variables: Tree = None) -> np.ndarray:
        """Returns the features of some images, by the weights of ImageNet or by others, float32 [n 1280]."""
        variables = parallel.replicate(variables or self._started(None), self.devices)
        no_labels = labels.Labels(np.zeros((len(images), 1), np.int32), None)
        data = batches.resident(images) | parallel.replicate({"label": no_labels}, self.devices)
        key = parallel.replicate(jax.random.key(0), self.devices)
        extract = self._programs["finetuned"].extract
        inputs = batches.padded(images, rows, TOGETHER, self.devices)
        return parallel.collected(extract(variables, data, key, part)[0] for part in inputs)[: len(rows)]

    def probabilities(self, variables: Tree, images: jax.Array, rows: np.ndarray) -> np.ndarray:
        """Returns the predictions of some images, float32 [n classes]."""
        forward, placed = self._programs["finetuned"].predict, parallel.replicate(variables, self.devices)
        parts = predict.predicted_batches(forward, placed, images, rows, batch=TOGETHER, devices=self.devices)
        return np.concatenate([*parts])

    def tuned(
        self, head: linear_head.Choice, images: jax.Array, y: np.ndarray, labelled: np.ndarray, seed: int
    ) -> Tree:
        """Returns variables that were trained on labelled images, from a head on.

        Args:
            head: fitted to the features of the labelled images.
            images: all images, from `place`.
            y: class of each; only those of the labelled ones are read.
            labelled: their indices.
            seed: of the training.
        """
        known = np.full((len(images), 1), self.classes, np.int32)
        known[labelled, 0] = y[labelled]
        return self._train(
            "finetuned", self._started(head), images, labels.Labels(known, None), {"labelled": labelled}, seed
        )

    def student(
        self,
        head: linear_head.Choice,
        teacher: Tree,
        images: jax.Array,
        y: np.ndarray,
        labelled: np.ndarray,
        pool: np.ndarray,
        seed: int,
    ) -> Tree:
        """Returns a noisy student, from the head on, of a teacher from `tuned`; `pool` is the rest of the pool."""
        predicted = self.probabilities(teacher, images, pool)
        settings = self._programs["student"].stage.pseudo_labels
        made, copies = CLASSIFICATION.pseudo_labels(predicted, seed, **settings)
        known = np.zeros((len(images), self.classes), np.float32)
        known[labelled] = np.eye(self.classes, dtype=np.float32)[y[labelled]]
        known[pool] = made
        rows = {"labelled": labelled, "unlabelled": np.repeat(pool, copies)}
        return self._train("student", self._started(head), images, labels.Labels(None, known), rows, seed)

    def _train(
        self,
        name: str,
        variables: Tree,
        images: jax.Array,
        known: labels.Labels,
        rows: dict[str, np.ndarray],
        seed: int,
    ) -> Tree:
        program = self._programs[name]
        counts = labels.counts(known, rows["labelled"], self.classes)
        data = batches.resident(images) | parallel.replicate({"label": known}, self.devices)
        counts, key = parallel.replicate((counts, keys.named(jax.random.key(seed), name)), self.devices)
        current = parallel.replicate(state.create(variables, program.tx), self.devices)
        for i in range(self.steps[name]):
            inputs = {
                stream: batches.on_devices(images, sampling.batch_at(rows[stream], size, i, seed)[None], self.devices)
                for stream, size in program.stage.batch.items()
            }
            current, metrics = program.step(current, (), counts, data, key, inputs)
            jax.block_until_ready(metrics)
        return jax.tree.map(np.asarray, current["ema"])
