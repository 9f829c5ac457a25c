"""Every config says what it wants in full form, and trains two steps of each stage in its `:tiny` form."""

import functools
import json
from pathlib import Path

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image
from rich.console import Console
from scipy import stats

from configs import equivariance, flowers102_densenet, snapshots
from efficient_jax import augment
from efficient_jax.commands import flags
from efficient_jax.commands.files import load_config
from efficient_jax.experiment import results
from efficient_jax.experiment.config import plan
from efficient_jax.experiment.run import Run
from efficient_jax.experiment.stage import run_stage
from efficient_jax.experiment.stage_steps import resolved
from efficient_jax.models import resnet, vit
from efficient_jax.optim import optimizer
from efficient_jax.tasks import CLASSIFICATION
from tests import tiny_run
from tests.tiny_run import begun

ROOT = Path(__file__).parents[1]
QUIET = Console(quiet=True)
CONFIGS = sorted(path.stem for path in (ROOT / "configs").glob("*.py") if path.stem != "common")
README = ("ensemble", "few_labels", "finetune", "quickstart")  # their `:tiny` forms train in test_readme.py
SMALL = {"name": "cnn", "width": 4}
AUGMENTED = []  # blocks of augmentations that a stage of this process has trained with
BOTTLENECKS, SHALLOW = 51, "shallow"  # a ResNet of four bottlenecks, a ViT of two blocks


@pytest.fixture(scope="module")
def image_folder(tmp_path_factory) -> Path:
    """Two classes of images, as folders, as a table and as an .npz; others without a label, and one generated.

    Also images with masks and with boxes of their left half.
    """
    root = tmp_path_factory.mktemp("images")
    pixels = np.random.default_rng(0).integers(0, 256, (48, 40, 50, 3), np.uint8)
    rows = ["file,label"]
    for i, image in enumerate(pixels):
        path = root / "classes" / f"{i % 2}" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
        rows.append(f"{path},{i % 2}")
    (root / "labels.csv").write_text("\n".join(rows))
    np.savez(root / "images.npz", images=pixels[:, :28, :28], labels=np.arange(48) % 2)
    annotations, listed = [], []
    (root / "masks").mkdir()
    (root / "parts").mkdir()
    (root / "masks" / "classes.txt").write_text("right\nleft\n")
    left = np.tile(np.arange(50) < 25, (40, 1))
    for i, image in enumerate(pixels[:24]):
        Image.fromarray(image).save(root / "parts" / f"{i}.png")
        Image.fromarray(left.astype(np.uint8)).save(root / "masks" / f"{i}.png")
        listed.append({"id": i, "file_name": f"{i}.png", "width": 50, "height": 40})
        annotations.append({"image_id": i, "category_id": 1, "bbox": [0, 0, 25, 40]})
    coco = {"images": listed, "annotations": annotations, "categories": [{"id": 1, "name": "left"}]}
    (root / "parts" / "annotations.json").write_text(json.dumps(coco))
    for folder, color in (("unlabelled", "blue"), ("generated/1", "red")):
        (root / folder).mkdir(parents=True)
        for i in range(4):
            Image.new("RGB", (40, 50), color).save(root / folder / f"{i}.png")
    return root


@pytest.fixture(scope="module")
def start(image_folder, tmp_path_factory) -> str:
    """A small trained network, in place of one that ImageNet has trained."""
    workdir = tmp_path_factory.mktemp("start")
    data = {"source": {"name": "folder", "path": f"{image_folder}/classes", "size": 32}, "test": 8}
    run = begun(
        {"seed": 0, "devices": 2, "stages": ("net",), "data": data, "net": tiny_run.stage("supervised")}, workdir, QUIET
    )
    run_stage(run.plan.stages[0], run)
    return str(workdir / "net")


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_is_a_plan(name):
    assert plan_of(name).stages


def plan_of(name):
    return plan(load_config(f"configs/{name}.py", "--config").to_dict())


WARMUPS = {  # with so many labelled images: stage -> steps of warm-up
    "cifar10": (50_000, {"resnet18": 488}),
    "cifar10_small": (250, {"supervised": 50, "augmented": 50, "student": 50, "fixmatch": 50}),
    "flowers102_densenet": (1020, {"modern": 32, "sgd": 0}),
    "hinton": (3000, {"teacher": 0, "alone800": 0}),
    "imagenet_resnet50": (1_281_167, {"resnet50": 6256}),
    "noisy_student_imagenet": (1_281_167, {"teacher": 3128, "student4": 3128, "fixed": 0}),
    "quickstart": (100, {"supervised": 50, "augmented": 50, "student": 50, "student2": 50, "distilled": 50}),
    "ensemble": (100, {"augmented": 50, "student5": 50, "swa": 0, "distilled": 50}),
    "speed": (3000, {"resnet50": 50, "efficientnet_b0": 50, "vit_b16": 50}),
}


@pytest.mark.parametrize("name", WARMUPS)
def test_how_long_the_warm_up_of_a_config_is(name):
    images, expected = WARMUPS[name]
    stages = {stage.name: stage for stage in plan_of(name).stages}
    assert {stage: resolved(stages[stage], images, CLASSIFICATION).optim["warmup"] for stage in expected} == expected


@pytest.mark.parametrize("steps", [1, 2, 30])
@pytest.mark.parametrize("name", CONFIGS)
def test_one_flag_shortens_a_stage_of_any_config(name, steps):
    """Also one that the file measures in epochs; the warm-up is a share of what is left."""
    flags_of = [f"--config.{stage.name}.steps={steps}" for stage in plan_of(name).stages if stage.batch]
    config = flags.parse("train", [f"--config=configs/{name}.py", *flags_of])["config"]
    for stage, before in zip(plan(config.to_dict()).stages, plan_of(name).stages, strict=True):
        found, long = resolved(stage, 1000, CLASSIFICATION), resolved(before, 1000, CLASSIFICATION)
        if stage.batch:
            assert found.steps == steps
            share = found.optim["warmup"] / steps - long.optim["warmup"] / long.steps
            assert abs(share) <= 0.5 / steps + 0.5 / long.steps or found.optim["warmup"] == min(1, steps - 1)


@pytest.mark.parametrize(
    "given",
    [
        ("snapshots", "snapshots.steps=600", "single.optim.learning_rate=0.03"),
        ("equivariance", "data.source.path=runs/equivariance_images/shifted.npz", "mlp.model.width=30"),
        ("generated_folder", "data.generated.path=other", "data.generated.weight=0.0", "data.source.size=96"),
        ("flowers102_densenet", "sgd.augment.randaugment.magnitude=5.0", "modern.epochs=2.0"),
    ],
)
def test_flags_override_a_config(given):
    name, *overrides = given
    arguments = [f"--config=configs/{name}.py", *(f"--config.{override}" for override in overrides)]
    config = flags.parse("train", arguments)["config"].to_dict()
    assert plan(config).stages
    for override in overrides:
        key, _, value = override.partition("=")
        assert str(functools.reduce(lambda block, part: block[part], key.split("."), config)) == value


@pytest.mark.parametrize("name", [name for name in CONFIGS if name not in README])
def test_a_tiny_config_trains(name, image_folder, start, monkeypatch, tmp_path):
    """Every stage is traced as it is. What is trained takes less long to compile, see `lighten`; test_readme.py trains
    EfficientNets as they are: finetune and few_labels."""
    config = load_config(f"configs/{name}.py:tiny", "--config")
    config.devices = 2
    with_data(config, image_folder)
    as_it_is = config.to_dict()
    # The step has the same augmentation; test_readme.py has both.
    monkeypatch.setattr(results, "samples", lambda *_: None)
    monkeypatch.setitem(resnet.BLOCKS, BOTTLENECKS, (1, 1, 1, 1))
    monkeypatch.setitem(vit.SIZES, SHALLOW, (64, 2, 2))
    lightened = [lighten(config[each], start) for each in config.stages if name != "cifar10"]
    if any(lightened):
        begun(as_it_is, tmp_path, QUIET)
    run = Run.open(plan(config.to_dict()), tmp_path, QUIET)
    for each in run.plan.stages:
        found = run_stage(each, run)
        assert found["steps"] == (2 if each.batch else 0)
        assert np.isfinite(found.get("negative_log_likelihood", 0.0))  # predicted boxes have none


def with_data(config, image_folder):
    """Images in place of what the user of a config has."""
    source = config.data.source
    if source.name in ("folder", "table", "npz"):
        paths = {"folder": "classes", "table": "labels.csv", "npz": "images.npz"}
        source.path, config.data.test = f"{image_folder}/{paths[source.name]}", 8
    if source.name == "masks":
        source.path, source.masks, config.data.test = f"{image_folder}/parts", f"{image_folder}/masks", 8
    if source.name == "coco":
        source.path, config.data.test = f"{image_folder}/parts/annotations.json", 8
    if config.data.get("labels_per_class") == 10 and source.name == "npz":
        config.data.labels_per_class = 4
    if source.name == "folder" and any(config[name].get("batch", {}).get("unlabelled") for name in config.stages):
        source.unlabelled_path = f"{image_folder}/unlabelled"
    if config.data.get("generated", {}).get("path"):
        config.data.generated.path = f"{image_folder}/generated"


def lighten(block, start):
    """Puts what compiles in less time into the block of a stage; returns whether it did.

    An augmentation that an earlier stage has trained with goes; a network gets fewer blocks, or is a small one.
    """
    seen = [name for name in ("augment", "strong_augment") if name in block and block[name].to_dict() in AUGMENTED]
    AUGMENTED.extend(block[name].to_dict() for name in ("augment", "strong_augment") if name in block)
    for name in seen:
        block[name] = {"ops": ()}
    return lighten_network(block, start) or bool(seen)


def lighten_network(block, start):
    match block.model.name:
        case "vit":
            block.model.variant = f"{SHALLOW}/16"
        case "resnet" if block.model.depth >= 50:
            block.model.depth = BOTTLENECKS
        case "efficientnet" | "resnet":
            block.model = ConfigDict(SMALL)
            if "strides" in block.get("decoder", {}):
                block.decoder.strides = (8,)
        case _:
            return False
    if "optim" in block:
        block.optim.rules = ((".*", 1.0),)
    if block.get("init", "").startswith("efficientnet"):
        block.init = start
    return True


def test_snapshots_are_kept_where_the_learning_rate_is_lowest():
    """The schedule is equation 2 of arXiv 1704.00109; the other stage has another schedule and learning rate."""
    stages = plan(snapshots.get_config().to_dict()).stages
    single, cyclic = (resolved(stage, 100, CLASSIFICATION) for stage in stages)
    cosine = cyclic.optim | {key: single.optim[key] for key in ("learning_rate", "schedule")}
    assert (cosine, cyclic.steps, stages[1].batch) == (single.optim, single.steps, stages[0].batch)
    rate = optimizer.schedule(
        steps=cyclic.steps, **{key: cyclic.optim[key] for key in ("learning_rate", "warmup", "schedule")}
    )
    steps = np.arange(cyclic.steps)
    cycle = snapshots.CYCLE
    expected = cyclic.optim["learning_rate"] / 2 * (np.cos(np.pi * (steps % cycle) / cycle) + 1)
    found = np.asarray(jax.vmap(rate)(steps))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-8)
    assert stages[1].save_every == stages[1].keep_every == cycle
    assert stages[1].ema_decay == 0.0
    lowest = found.reshape(-1, cycle).argmin(1)
    assert len(lowest) == 5
    assert (lowest == cycle - 1).all()  # the last step before a checkpoint that is kept


def test_variants_of_the_digits_are_shifted_and_shuffled():
    found = equivariance.variants()
    plain, shifted, shuffled = (found[name]["images"] for name in ("plain", "shifted", "shuffled"))
    test = found["plain"]["test"]
    assert len(test) == 1000
    for arrays in found.values():
        np.testing.assert_array_equal(arrays["test"], test)
        np.testing.assert_array_equal(arrays["labels"], found["plain"]["labels"])
    rest = np.setdiff1d(np.arange(5000), test)
    np.testing.assert_array_equal(shifted[rest], plain[rest])
    most = equivariance.SHIFT
    ways = [(y, x) for y in range(-most, most + 1) for x in range(-most, most + 1)]
    inside = (slice(None), slice(most, -most), slice(most, -most))  # what is rolled over the border is not there
    same = np.stack(
        [(np.roll(plain[test], way, (1, 2))[inside] == shifted[test][inside]).reshape(1000, -1).all(1) for way in ways]
    )
    assert same.any(0).all()
    assert same.any(1).all()  # every way occurs
    flat = [images.reshape(5000, -1) for images in (plain, shuffled)]
    np.testing.assert_array_equal(*(np.sort(images, 1) for images in flat))
    profiles = [{tuple(column) for column in images.T.tolist()} for images in flat]
    assert profiles[0] == profiles[1]  # each pixel has gone to one place, the same for all images
    assert (flat[0] != flat[1]).any(1).all()


def test_magnitudes_of_the_flowers_recipe_are_clipped_normal(key):
    """0.3 +- 0.2 of the whole scale, here of brightness, whose largest change is 0.9; half of the layers do nothing."""
    block = flowers102_densenet.keras_cv().augment.randaugment.to_dict() | {"layers": 1, "ops": ("brightness",)}
    run = augment.build(("randaugment",), {"randaugment": block}, "")
    n = 4000
    images = np.full((n, 1, 1, 3), 100, np.uint8)
    changes = np.asarray(run(jax.random.split(key, n), {"image": images})["image"])[:, 0, 0, 0] - 100.0
    magnitudes = np.abs(changes) / 90
    normal = stats.norm(0.3, 0.2)
    for least in (0.1, 0.3, 0.5):  # shares above: half of the normal's
        expected = 0.5 * normal.sf(least)
        assert stats.binomtest(int((magnitudes > least).sum()), n, expected).pvalue > 1e-3
