"""Labels follow the pixels through collages in the train step: every pixel of a planted object says whose it is."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from rich.console import Console

from efficient_jax import models
from efficient_jax.augment.kernels.targets import boxes_of_masks
from efficient_jax.data.dataset import Source
from efficient_jax.data.sources import SOURCES
from efficient_jax.errors import UserError
from efficient_jax.experiment import train
from efficient_jax.experiment.config import plan
from efficient_jax.experiment.dry_run import dry_run
from efficient_jax.experiment.opened_stage import Stage
from efficient_jax.experiment.run import Run
from efficient_jax.experiment.targets import supervise
from efficient_jax.methods import build_loss
from tests.drawn_parts import DECODERS, block

SIDE, COUNT, TESTS, POOL = 16, 24, 4, 4
BATCH = COUNT - TESTS - POOL
LEVELS = 10 + 5 * np.arange(2 * COUNT).reshape(COUNT, 2)  # of the two objects of each image, which no other has
CLASS_OF = np.zeros(256, np.int32)  # class of each level: 0 is the background, then come those of the objects
CLASS_OF[LEVELS] = [1, 2]


def planted() -> tuple[np.ndarray, np.ndarray]:
    """Images with a rectangle in each half, and the edges [n 2 4] of these."""
    rng = np.random.default_rng(0)
    corners = np.stack(
        [rng.integers((0, SIDE // 2), (4, SIDE // 2 + 4), (COUNT, 2)), rng.integers(0, 10, (COUNT, 2))], -1
    )
    edges = np.concatenate([corners, corners + rng.integers(2, 5, (COUNT, 2, 2))], -1)
    images = np.zeros((COUNT, SIDE, SIDE, 1), np.uint8)
    for image, boxes, levels in zip(images, edges, LEVELS, strict=True):
        for (left, top, right, bottom), level in zip(boxes, levels, strict=True):
            image[top:bottom, left:right] = level
    return images, edges


def planted_masks(*, shapes: bool = True) -> Source:
    images, _ = planted()
    labels = CLASS_OF[images[..., 0]].astype(np.uint8)
    objects = {"object_map": np.where(labels > 0, labels, 0).astype(np.uint16)} if shapes else {}
    return Source(images, labels, ("background", "a", "b"), fixed(), task="segmentation", objects=objects)


def planted_boxes(*, shapes: bool = True) -> Source:
    images, edges = planted()
    objects = {
        "boxes": edges.astype(np.float32),
        "box_label": np.tile(np.array([0, 1], np.int32), (COUNT, 1)),
        "box_visible": np.ones((COUNT, 2), np.float32),
    }
    objects |= {"object_map": CLASS_OF[images[..., 0]].astype(np.uint16)} if shapes else {}
    return Source(images, np.ones((COUNT, 2), np.int32), ("a", "b"), fixed(), task="detection", objects=objects)


def fixed() -> dict[str, np.ndarray]:
    return {"test": np.arange(TESTS)}


PLANTED = {"planted_masks": planted_masks, "planted_boxes": planted_boxes}


@pytest.fixture(autouse=True, scope="module")
def sources():
    SOURCES.update(PLANTED)
    DECODERS.update({name: DECODERS[f"drawn_{name.partition('_')[2]}"] for name in PLANTED})
    yield
    for name in PLANTED:
        del SOURCES[name], DECODERS[name]


def opened(source, folder, devices=2, method="supervised", **changes):
    """(stage, its supervision)."""
    shapes = changes.pop("shapes", True)
    net = block(source, method, **{"batch": {"labelled": BATCH}} | changes)
    data = {"source": {"name": source, "shapes": shapes}, "test": 0, "labels_per_class": BATCH}
    config = {"seed": 0, "devices": devices, "stages": ("net",), "data": data, "net": net}
    run = Run.open(plan(config), folder, Console(quiet=True))
    supervision = supervise(run.plan.stages[0], run)
    return Stage.open(run.plan.stages[0], run._replace(data=run.data.with_labels(supervision.source))), supervision


def see(variables, images, train, keys):
    """A network that answers with the image itself."""
    del train, keys
    state = {name: tree for name, tree in variables.items() if name != "params"}
    return (images[..., 0].astype(jnp.float32), {}), state


def wrong_pixels(images, targets, label_smoothing=0.0):
    """How many pixels of each image have another target than the class of their level."""
    del label_smoothing
    expected = jax.nn.one_hot(jnp.asarray(CLASS_OF)[images.astype(jnp.int32)], 3)
    return jnp.abs(targets - expected).sum((1, 2, 3))


def wrong_boxes(images, targets, label_smoothing=0.0):
    """How many objects of each image have no target around just their pixels, and targets no such object."""
    del label_smoothing
    levels = jnp.asarray(LEVELS.ravel(), jnp.int32)

    def of_image(image, rows):
        shapes = image.astype(jnp.int32) == levels[:, None, None]
        there, visible = shapes.any((1, 2)), rows[:, 5] > 0
        of_class = rows[:, None, 4].astype(jnp.int32) == jnp.arange(len(levels), dtype=jnp.int32) % 2
        same = (rows[:, None, :4] == boxes_of_masks(shapes)).all(-1) & of_class
        found = same & there & visible[:, None]
        return ((there & ~found.any(0)).sum() + (visible & ~found.any(1)).sum()).astype(jnp.float32)

    return jax.vmap(of_image)(images, targets)


def share_of_objects(images, targets):
    """How much of each image objects cover."""
    del targets
    return (images > 0).mean((1, 2))


WRONG = {"planted_masks": wrong_pixels, "planted_boxes": wrong_boxes}
TURNS = ("flip", "rot90")
STRENGTHS = {"ops": ("turn",), "turn": {"op": "by_class", "of": "rotate", "degrees": (5.0, 30.0)}}
PASTE = {"object_probability": 0.6, "min_visible": 0.0}


@pytest.fixture
def measured(monkeypatch, tmp_path):
    """Returns the metrics of two train steps: "loss" is what `WRONG` counts, "accuracy" is `share_of_objects`."""
    real = train.build_program

    def measure(source, ops, devices=2, **changes):
        stage, supervision = opened(source, tmp_path, devices, augment={"ops": ops, "copy_paste": PASTE}, **changes)

        def build(stage, variables):
            task = dataclasses.replace(stage.run.data.task, loss=WRONG[source], right=share_of_objects)
            views = stage.config.augment, stage.config.strong_augment
            loss_fn = build_loss(stage.config.method, see, *views, (), task, stage.config.method_settings)
            return real(stage, variables)._replace(loss_fn=loss_fn, tx=optax.sgd(0.0))

        monkeypatch.setattr(train, "build_program", build)
        shapes = models.shapes(stage.module, stage.spec.input_shape)
        variables = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        steps = train.build_train_steps(stage, supervision, variables)
        state, metrics = steps.state, []
        for inputs, _ in zip(steps.inputs(0, 2), range(2), strict=False):
            state, values = steps.run(state, inputs)
            metrics.append({name: float(total / count) for name, (total, count) in values.items()})
        return metrics

    return measure


@pytest.mark.parametrize("shapes", [True, False])
@pytest.mark.parametrize("source", PLANTED)
def test_pasted_objects_bring_their_labels(source, shapes, measured):
    pasted = measured(source, (*TURNS, "copy_paste"), shapes=shapes)
    assert [step["loss"] for step in pasted] == [0.0] * 2
    share = (planted()[0][TESTS:] > 0).mean()
    assert all(step["accuracy"] > 1.2 * share for step in pasted) or (source, shapes) == ("planted_masks", False)


@pytest.mark.parametrize("source", PLANTED)
def test_labels_of_mosaics_are_those_of_the_pixels(source, measured):
    assert [step["loss"] for step in measured(source, (*TURNS, "mosaic"), devices=4)] == [0.0] * 2


def test_what_does_not_follow_is_counted(measured):
    """Blended levels are those of other objects, or of none."""
    (step, _) = measured("planted_boxes", ("brightness_add", "copy_paste"))
    assert step["loss"] > 0.0


@pytest.mark.parametrize("source", PLANTED)
def test_unlabelled_images_bring_no_labels_into_a_step(source, tmp_path):
    views = {"batch": {"labelled": 8, "unlabelled": 4}, "augment": {"ops": ("copy_paste",)}}
    stage, supervision = opened(source, tmp_path, method="ema_teacher", strong_augment={"ops": ("flip",)}, **views)
    data, pool = stage.run.data, supervision.rows["unlabelled"]
    assert len(pool) == POOL
    assert data.task.known(data.source.labels[supervision.rows["labelled"]]).all()
    for name, values in data.entries.items():
        assert (values[pool] <= 0).all(), name
        assert (values[supervision.rows["labelled"]] > 0).any(), name


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"augment": STRENGTHS},
            r"^config\.net\.augment: by_class is for one class per image; for pixels and objects say",
        ),
        (
            {"batch": {"labelled": 6}},
            r"^config\.net\.batch\.labelled: 6 is no multiple of 4, but 'mosaic' joins so many",
        ),
        ({"batch": {"labelled": 8}}, r"^config\.net\.batch\.labelled: 8 images do not divide into a multiple of 4 for"),
    ],
)
def test_what_does_not_fit_is_said_before_training(changes, message, tmp_path):
    with pytest.raises(UserError, match=message):
        opened("planted_boxes", tmp_path, devices=4, **{"augment": {"ops": ("mosaic",)}} | changes)


@pytest.mark.parametrize("source", PLANTED)
def test_collages_are_traced_before_training(source, tmp_path):
    stage, _ = opened(source, tmp_path, augment={"ops": ("copy_paste", "mosaic")})
    dry_run(stage.run)
