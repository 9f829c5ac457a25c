"""Our models against timm and torchvision themselves, under the same weights, as they are installed today.

Runs where this package, torch, timm and torchvision are in one environment, and is skipped elsewhere:

    pip install -e '.[test]' torch torchvision timm && pytest tests/benchmarks/peers/test_parity.py
"""

import functools
import re

import jax
import numpy as np
import pytest

torch = pytest.importorskip("torch", exc_type=ImportError)
timm = pytest.importorskip("timm", exc_type=ImportError)
torchvision = pytest.importorskip("torchvision", exc_type=ImportError)

from efficient_jax.models import ResNet, ViT, vit  # noqa: E402
from efficient_jax.models.pretrained import read  # noqa: E402
from tests.benchmarks.peers import make_goldens  # noqa: E402
from tests.models import seeded  # noqa: E402
from tests.models.test_parity import MODELS, assert_same, logits  # noqa: E402

IMAGES = (1, 2, 64, 96)


@pytest.mark.parametrize("name", MODELS)
def test_logits_are_timms(name):
    images = seeded.images(*IMAGES)
    model = make_goldens.timm_model(name)
    state = make_goldens.seed(model, make_goldens.GAINS[name])
    assert_same(logits(MODELS[name], state, images), make_goldens.logits(model, images))


def torchvision_vit():
    return torchvision.models.VisionTransformer(64, 16, 2, 3, hidden_dim=48, mlp_dim=192, num_classes=10)


@pytest.mark.parametrize(
    ("make", "ours", "gain"),
    [
        (torchvision.models.resnet18, ResNet(10, depth=18), 1.0),
        (torchvision.models.densenet121, MODELS["densenet121"], 2.5),
        (torchvision.models.efficientnet_b0, MODELS["efficientnet_b0"], 1.95),
        (torchvision_vit, ViT(10, "tiny/16"), 1.0),
    ],
)
def test_logits_are_torchvisions_under_its_own_names(make, ours, gain, monkeypatch):
    monkeypatch.setitem(vit.SIZES, "tiny", (48, 2, 3))
    images = seeded.images(1, 2, 64, 64)
    model = (make if make is torchvision_vit else functools.partial(make, num_classes=10))().eval()
    state = make_goldens.seed(model, gain)
    old = {re.sub(r"(denselayer\d+\.(?:norm|conv))([12])", r"\1.\2", name): value for name, value in state.items()}
    assert_same(logits(ours, old, images), make_goldens.logits(model, images))


@pytest.mark.parametrize("is_zip", [True, False])
def test_what_torch_saves_is_read(is_zip, tmp_path):
    state = timm.create_model("resnet18", pretrained=False).state_dict()
    torch.save(state, tmp_path / "a.pth", _use_new_zipfile_serialization=is_zip)
    found = read(tmp_path / "a.pth")
    assert list(found) == list(state)
    jax.tree.map(np.testing.assert_array_equal, found, {name: value.numpy() for name, value in state.items()})
