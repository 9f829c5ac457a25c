"""What FixMatch and pretraining add to a bare forward and backward pass, and saliency to CutMix: not asserted."""

import json

import jax
import numpy as np
import pytest
from rich.console import Console

from configs import few_labels, pretrain, puzzle_mix, semi_supervised
from efficient_jax import losses, models
from efficient_jax.experiment.config import plan
from efficient_jax.experiment.opened_stage import Stage
from efficient_jax.experiment.run import Run
from efficient_jax.experiment.targets import supervise
from efficient_jax.experiment.train import build_train_steps
from efficient_jax.optim import optimizer
from efficient_jax.training import benchmark, parallel

REPEATS = 9


def small_network() -> dict:
    config = semi_supervised.get_config()
    config.stages = ("fixmatch",)
    return config.to_dict()


def large_network() -> dict:
    config = few_labels.get_config()
    config.data = {"source": {"name": "synthetic", "classes": 10, "size": 96, "images": 400}, "test": 100}
    config.data.labels_per_class = 20
    config.stages = ("fixmatch",)
    config.fixmatch.init = ""
    return config.to_dict()


def pretraining(method: dict, local_size: int = 0) -> dict:
    """A ViT-Ti/4 on 32 images of 32 pixels, so that there are 64 patches."""
    config = pretrain.get_config()
    config.data = {"source": {"name": "synthetic", "classes": 10, "size": 32, "images": 400}, "test": 100}
    config.data.labels_per_class = 4
    config.stages = ("masked",)
    config.masked.model.variant = "Ti/4"
    config.masked.batch.unlabelled = 32
    config.masked.augment = pretrain.views(area_min=0.3)
    block = config.masked.to_dict() | {"method": method}
    if local_size:
        block["strong_augment"] = pretrain.views(area_min=0.05, area_max=0.3, size=local_size)
    return config.to_dict() | {"masked": block}


def masked_patches() -> dict:
    return pretraining({"name": "mae", "decoder_width": 128, "decoder_depth": 2})


def two_views() -> dict:
    return pretraining({"name": "simclr"})


def two_local_crops() -> dict:
    return pretraining({"name": "lejepa", "local_views": 2}, local_size=16)


def two_large_local_crops() -> dict:
    return pretraining({"name": "lejepa", "local_views": 2}, local_size=32)


PRETRAINING = (masked_patches, two_views, two_local_crops, two_large_local_crops)


def ready(stage, run):
    """(specification, first variables, steps, what one of them is given)."""
    opened = Stage.open(stage, run)
    variables = models.init(opened.module, jax.random.key(0), opened.spec.input_shape)
    steps = build_train_steps(opened, supervise(stage, run), variables)
    return opened.spec, variables, steps, next(steps.inputs(0, 1))


@pytest.mark.bench
def test_saliency_against_cutmix(tmp_path, capsys):
    """Whole steps on 64 images of 32 pixels, in turn: plain crops, with CutMix, with the mask of Puzzle Mix."""
    jax.config.update("jax_disable_most_optimizations", False)
    config = puzzle_mix.get_config()
    source = {"name": "synthetic", "classes": 10, "size": 32, "images": 4000}
    config.data = {"source": source, "labels_per_class": 100, "test": 1000}
    run = Run.open(plan(config.to_dict() | {"devices": 2}), tmp_path, Console(quiet=True))
    stages = {stage.name: ready(stage, run)[2:] for stage in run.plan.stages}

    def repeated(name):
        each, given = stages[name]

        def repeat(states):
            for _ in range(20):
                states = states | {name: each.update(states[name], given)[0]}
            return states

        return repeat

    functions = {name: repeated(name) for name in stages}
    states = {name: each.state for name, (each, _) in stages.items()}
    seconds, states = benchmark.alternated(functions, states, REPEATS)
    taken = {name: round(1000 * float(np.median(times)) / 20, 2) for name, times in seconds.items()}
    ratio = benchmark.ratio(seconds["cutmix"], seconds["puzzle_mix"])
    with capsys.disabled():
        print(f"\nms a step {json.dumps(taken)}; puzzle_mix / cutmix {ratio:.3f}")
    assert states["puzzle_mix"]["step"] == 20 * (REPEATS + 1)


@pytest.mark.bench
@pytest.mark.parametrize(
    ("config", "calls", "views"),
    [(small_network, 20, 2), (large_network, 1, 2), *((each, 1, 1) for each in PRETRAINING)],
)
def test_a_step_against_the_bare_forward_and_backward(config, calls, views, tmp_path, capsys):
    """The whole step, with its augmentation, optimizer and average, against the gradient of a cross-entropy of its
    images in one program: of FixMatch the labelled, weak and strong ones, of pretraining one whole view."""
    jax.config.update("jax_disable_most_optimizations", False)  # unlike in other tests
    run = Run.open(plan(config() | {"devices": 2}), tmp_path, Console(quiet=True))
    (stage,) = run.plan.stages
    spec, variables, each, given = ready(stage, run)
    still = optimizer.frozen(variables["params"], run.resolved[stage.name].optim["rules"])
    _, apply = spec.build(stage.norm_axis or None, still)
    count = (stage.batch.get("labelled", 0) + views * stage.batch["unlabelled"]) // 2

    def gradient(variables, images):
        def loss(params):
            trained = jax.tree.map(lambda p, f: jax.lax.stop_gradient(p) if f else p, params, still)
            keys = jax.random.split(jax.random.key(0), len(images))
            (logits, _), _ = apply(variables | {"params": trained}, images, True, keys)
            return losses.cross_entropy(logits, jax.nn.one_hot(np.zeros(count, int), logits.shape[-1])).sum()

        grads = jax.lax.psum(jax.grad(loss)(variables["params"]), parallel.AXIS)
        # The next call waits for this one, as a step does: collectives of two in flight may block each other on CPU.
        return variables | {"params": jax.tree.map(lambda p, g: p - 1e-9 * g, variables["params"], grads)}

    compiled = parallel.pmap(gradient, run.data.devices, in_axes=(None, 0), out_axes=None)
    seen = parallel.replicate(variables, run.data.devices)
    rows = np.arange(2 * count) % len(run.data.source.images)
    images = parallel.shared_by(run.data.source.images.__getitem__, rows, run.data.devices)

    def bare(both):
        seen, state = both
        for _ in range(calls):
            seen = compiled(seen, images)
        return seen, state

    def whole(both):
        seen, state = both
        for _ in range(calls):
            state, _ = each.update(state, given)
        return seen, state

    seconds, (_, state) = benchmark.alternated({"bare": bare, "whole": whole}, (seen, each.state), REPEATS)
    rates = {name: round(calls * 2 * count / np.median(times)) for name, times in seconds.items()}
    ratio = benchmark.ratio(seconds["bare"], seconds["whole"])
    with capsys.disabled():
        print(f"\n{config.__name__}: images/s {json.dumps(rates)}; step / bare {ratio:.3f}")
    assert state["step"] == calls * (REPEATS + 1)
