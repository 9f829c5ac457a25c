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

from efficient_jax.models import MODELS as ARCHITECTURES  # noqa: E402
from efficient_jax.models import ResNet, ViT, cost, positions, vit  # noqa: E402
from efficient_jax.models.pretrained import ZOO, load, read  # noqa: E402
from tests.benchmarks.peers import make_goldens  # noqa: E402
from tests.models import seeded  # noqa: E402
from tests.models.test_parity import MODELS, assert_same, empty, logits  # noqa: E402

IMAGES = (1, 2, 64, 96)


@pytest.mark.parametrize("name", MODELS)
def test_logits_are_timms(name):
    images = seeded.images(*IMAGES)
    model = make_goldens.timm_model(name)
    state = make_goldens.seed(model, make_goldens.GAINS[name])
    assert_same(logits(MODELS[name], state, images), make_goldens.logits(model, images))


FOUNDATION = [  # one of each architecture, in its full size
    "vit_small_patch14_dinov2.lvd142m",
    "vit_base_patch14_reg4_dinov2.lvd142m",
    "vit_large_patch14_dinov2.lvd142m",
    "vit_small_patch16_dinov3.lvd1689m",
    "vit_small_plus_patch16_dinov3_qkvb.lvd1689m",
    "vit_base_patch16_dinov3_qkvb.lvd1689m",
    "vit_base_patch32_clip_quickgelu_224.openai",
    "vit_base_patch16_clip_224.laion2b",
    "vit_large_patch14_clip_quickgelu_224.openai",
    "vit_base_patch16_siglip_224.webli",
    "vit_so400m_patch14_siglip_224.webli",
    "vit_base_patch32_siglip_256.v2_webli",
    "vit_medium_patch16_gap_240.sw_in12k",
    "deit_tiny_distilled_patch16_224.fb_in1k",
    "deit3_small_patch16_224.fb_in1k",
    "convnext_tiny.fb_in1k",
    "convnext_base.fb_in1k",
    "convnextv2_tiny.fcmae_ft_in1k",
]


def differences(name: str) -> tuple[float, float]:
    """Returns the largest differences between our and timm's features, and between the logits, of seeded weights."""
    entry = ZOO[name]
    patch = int(entry.settings["variant"].partition("/")[2] or 32)
    images = seeded.images(1, 2, 2 * patch, 3 * patch)
    size = {"img_size": images.shape[1:3]} if entry.model == "vit" else {}
    size |= {"global_pool": "token"} if "dinov3" in name else {}
    model = timm.create_model(name.partition(".")[0], pretrained=False, num_classes=10, **size).eval()
    state = make_goldens.seed(model, 1.0)
    module = ARCHITECTURES[entry.model](10, **(entry.settings | ({"projection": 0} if entry.model == "vit" else {})))
    variables, _ = load(state, empty(module, images), image=images.shape[1:3])
    ours, seen = jax.jit(lambda v, x: module.apply(v, x, train=False))(variables, images)
    theirs = make_goldens.features(
        model, images
    )  # of a distilled DeiT: the mean of two tokens, which we have side by side
    of_features = np.abs(seen["features"].reshape(2, -1, theirs.shape[1]).mean(1) - theirs).max()
    return float(of_features), float(np.abs(ours - make_goldens.logits(model, images)).max())


@pytest.mark.parametrize("name", FOUNDATION)
def test_features_and_logits_of_foundation_models_are_timms(name):
    assert max(differences(name)) <= 1e-5


@pytest.mark.parametrize("name", [name for name in ZOO if not name.startswith("efficientnet-lite")])
def test_an_entry_is_as_timm_has_it(name):
    """But for the classes of CLIP, which are the space of its texts, and here the features."""
    config, about = timm.models.get_pretrained_cfg(name), ZOO[name].preprocessing
    assert about == (config.mean, config.std, config.input_size[1:], config.crop_pct, config.interpolation)
    licence = "dinov3-license" if ZOO[name].gated else ZOO[name].licence.lower()
    assert (licence, ZOO[name].settings.get("projection", ZOO[name].classes)) == (config.license, config.num_classes)


@pytest.mark.parametrize("name", [name for name in ZOO if not name.startswith("efficientnet-lite")])
def test_an_entry_has_timms_number_of_parameters(name):
    """But for a projection, the key biases of DINOv3 (always 0), and the second bias of a distilled DeiT."""
    entry = ZOO[name]
    with torch.device("meta"):
        model = timm.create_model(name.partition(".")[0], num_classes=entry.classes)
    expected = sum(parameter.numel() for parameter in model.parameters())
    expected += entry.settings.get("projection", 0) * model.num_features
    expected -= entry.classes if entry.settings.get("distilled") else 0
    expected += len(model.blocks) * model.num_features if entry.settings.get("qkv_bias") == "qv" else 0
    assert cost.kept()[name].parameters == expected


@pytest.mark.parametrize(("side", "grid"), [(37, (16, 16)), (16, (16, 24)), (7, (14, 3)), (14, (37, 37))])
def test_positions_are_resampled_as_torch_does(side, grid):
    table = np.random.default_rng(0).standard_normal((1, 1 + side * side, 5)).astype(np.float32)
    ours = positions.resample_pos_embed(table, grid, 1)
    image = torch.from_numpy(table[:, 1:].reshape(1, side, side, 5).transpose(0, 3, 1, 2).copy())
    theirs = torch.nn.functional.interpolate(image, grid, mode="bicubic", antialias=True, align_corners=False)
    np.testing.assert_allclose(ours[0, 1:].reshape(*grid, 5), theirs[0].permute(1, 2, 0).numpy(), atol=1e-4)


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
