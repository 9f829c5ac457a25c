"""Runs in which no image has a label: a network whose features are in the space of texts, and embeddings of classes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from efficient_jax import files, load
from efficient_jax.errors import UserError
from efficient_jax.experiment.stage import run_stage
from efficient_jax.models import pretrained, vit
from efficient_jax.models.vit import ViT
from tests.tiny_run import begin, prepared, stage
from tests.tiny_run import run as run_with_labels

CLASSES = ("cat", "dog", "eel")
IMAGES = np.random.default_rng(0).integers(0, 256, (24, 8, 8, 3), np.uint8)
MODEL = {"name": "vit", "variant": "tower/4", "pre_norm": True, "norm_eps": 1e-5, "projection": 5}
UNLABELLED = {"labels_per_class": 0, "test": 0}


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def features_of(module, variables):
    x = (IMAGES / 255 - 0.5).astype(np.float32) / np.float32(0.25)
    return np.asarray(module.apply(variables, x, train=False)[1]["features"], np.float64)


@pytest.fixture(scope="module", autouse=True)
def tower():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(vit.SIZES, "tower", (12, 1, 2))
        yield


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Returns (block of a zero-shot stage, its tower, the tower's variables, the embeddings)."""
    folder, rng = tmp_path_factory.mktemp("clip"), np.random.default_rng(1)
    module = ViT(3, **{key: value for key, value in MODEL.items() if key != "name"})
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)), train=False))
    variables = jax.tree.map(lambda leaf: rng.normal(0, 0.5, leaf.shape).astype(np.float32), shapes)
    state = pretrained.torch_state(variables) | {"head.weight": variables["params"]["projection"]["kernel"].T.copy()}
    safetensors.numpy.save_file({k: v for k, v in state.items() if k != "head.bias"}, folder / "a.safetensors")
    features = unit(features_of(module, variables))  # each class is what sets one image apart from the mean
    embeddings = {name: features[i] - features.mean(0) for i, name in enumerate(CLASSES)}
    np.savez(folder / "text.npz", **embeddings)
    method = {"name": "linear_probe", "head": "zero_shot", "class_embeddings": str(folder / "text.npz")}
    statistics = {"mean": (0.5,) * 3, "std": (0.25,) * 3}
    block = {"model": MODEL, "init": str(folder / "a.safetensors"), "method": method, **statistics}
    return block, module, variables, np.stack(list(embeddings.values()))


@pytest.fixture
def unlabelled(tmp_path):
    np.savez(tmp_path / "a.npz", images=IMAGES, labels=np.full(24, -1), classes=np.array(CLASSES))
    return str(tmp_path / "a.npz")


def trained(images, workdir, stages):
    workdir.mkdir()
    run = prepared(images, workdir, stages, **UNLABELLED)
    config = {"seed": 0, "stages": tuple(stages), "data": {"source": {"name": "npz", "path": images}}, **stages}
    begin(workdir, config, run.data)
    return [run_stage(one, run) for one in run.plan.stages]


def test_a_tower_answers_without_a_labelled_image(clip, unlabelled, tmp_path):
    block, module, variables, embeddings = clip
    (result,) = trained(unlabelled, tmp_path / "run", {"head": block})
    assert (result["labels"], result["test"]) == (0, {"correct": 0, "n": 0})
    logits = 100 * unit(features_of(module, variables)) @ unit(embeddings).T
    expected = np.exp(logits - logits.max(1, keepdims=True))
    found = load(tmp_path / "run" / "head").predict(IMAGES)
    np.testing.assert_allclose(found, expected / expected.sum(1, keepdims=True), atol=1e-3)
    assert len(set(found.argmax(1))) > 1


def test_a_student_learns_the_answers_of_a_zero_shot_teacher(clip, unlabelled, tmp_path):
    student = stage("distill", steps=60, teacher="head", batch={"labelled": 0, "unlabelled": 24})
    student["method"] = {"name": "distill", "hard_weight": 0.0}
    head, result = trained(unlabelled, tmp_path / "run", {"head": clip[0], "student": student})
    assert (head["labels"], result["labels"], result["images_seen"]) == (0, 0, 60 * 24)
    losses = [row["loss"] for row in files.read_lines(tmp_path / "run" / "student" / "metrics.jsonl")]
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (stage("supervised"), r"^config\.s\.batch\.labelled: 8 asked, but no image is labelled; label some$"),
        (
            stage("simclr", batch={"unlabelled": 8, "labelled": 0}),
            r"^config\.s\.method: 'simclr' needs labelled images",
        ),
    ],
)
def test_what_needs_labels_says_so(unlabelled, tmp_path, block, message):
    with pytest.raises(UserError, match=message):
        prepared(unlabelled, tmp_path, {"s": block}, **UNLABELLED)


def test_another_head_needs_labels(clip, unlabelled, tmp_path):
    block = clip[0] | {"method": {"name": "linear_probe", "head": "knn"}}
    with pytest.raises(
        UserError, match=r"^config\.s\.method: 'linear_probe' needs labelled images .* head='zero_shot'"
    ):
        prepared(unlabelled, tmp_path, {"s": block}, **UNLABELLED)


@pytest.mark.parametrize("key", ["test", "validation", "labels_per_class", "folds"])
def test_parts_of_labelled_images_are_refused(clip, unlabelled, tmp_path, key):
    with pytest.raises(UserError, match=rf"no image has a label; want some of each class for config\.data\.{key} = 2"):
        prepared(unlabelled, tmp_path, {"s": clip[0]}, **UNLABELLED | {key: 2})


def test_all_labels_may_be_those_of_test_images(clip, tmp_path):
    labels = np.where(np.arange(24) < 9, np.arange(24) % 3, -1)
    np.savez(tmp_path / "a.npz", images=IMAGES, labels=labels, classes=np.array(CLASSES), test=np.arange(9))
    (result,) = trained(str(tmp_path / "a.npz"), tmp_path / "run", {"head": clip[0]})
    assert (result["labels"], result["test"]["n"]) == (0, 9)
    answers = load(tmp_path / "run" / "head").predict(IMAGES[:9]).argmax(1)
    assert result["test"]["correct"] == (answers == labels[:9]).sum()


def test_images_with_labels_still_need_a_test_set(images, tmp_path):
    with pytest.raises(UserError, match=r"^config\.data\.test: 0 asked"):
        prepared(images, tmp_path, {"s": stage("supervised")}, test=0)
    assert run_with_labels(images, tmp_path, {"s": stage("supervised")})[0]["test"]["n"] == 30
