"""timm builds the same network from config.json. Live only where timm is installed (`pip install -e '.[peers]'`)."""

import json

import jax
import numpy as np
import pytest

from efficient_jax.export import safetensors_file, timm_config
from efficient_jax.export.program import program
from tests.export import stages

LIVE = [
    ("resnet", {"depth": 18}, 64),
    ("resnet", {"depth": 50}, 64),
    ("densenet", {}, 64),
    ("efficientnet", {"variant": "lite0"}, 64),
    ("efficientnet", {"tensorflow": False}, 64),
    ("vit", {"variant": "Ti/16"}, 64),
    ("vit", {"variant": "S/14", "registers": 4, "prefix_positions": False, "layer_scale": 1e-5}, 56),
    ("convnext", {"variant": "atto", "version": 2}, 64),
    ("vit", {"variant": "Ti/8", "pool": "mean", "class_token": False, "gelu": "tanh"}, 32),
]


@pytest.mark.parametrize(
    ("name", "settings", "expected"),
    [
        ("resnet", {"depth": 34}, ("resnet34", {})),
        ("resnet", {"depth": 18, "stem": "cifar"}, None),
        ("densenet", {}, ("densenet121", {})),
        ("efficientnet", {"variant": "lite2"}, ("tf_efficientnet_lite2", {})),
        ("efficientnet", {"variant": "b3", "tensorflow": False}, ("efficientnet_b3", {})),
        ("efficientnet", {"variant": "l0"}, None),
        ("vit", {"variant": "B/32"}, ("vit_base_patch16_224", {"patch_size": 32, "img_size": [64, 64]})),
        (
            "vit",
            {"variant": "S/14", "registers": 4, "prefix_positions": False, "layer_scale": 1e-5},
            ("vit_small_patch14_reg4_dinov2", {"img_size": [64, 64]}),
        ),
        ("vit", {"registers": 3}, None),
        ("convnext", {"variant": "tiny"}, ("convnext_tiny", {})),
        ("convnext", {"variant": "base", "version": 2, "stochastic_depth": 0.1}, ("convnextv2_base", {})),
        ("wide_resnet", {}, None),
        ("cnn", {}, None),
        ("mlp", {}, None),
    ],
)
def test_what_timm_calls_a_network(name, settings, expected):
    assert timm_config.architecture(stages.spec_of(name, settings, (64, 64, 3))) == expected


def test_gray_weights_have_one_channel():
    assert timm_config.architecture(stages.spec_of("resnet", {"depth": 18}, (64, 64, 1))) == (
        "resnet18",
        {"in_chans": 1},
    )


def test_a_config_says_how_images_are_prepared():
    framing = {"fit": "squash", "crop": 0.875, "interpolation": "bilinear"}
    spec = stages.spec_of("resnet", {"depth": 18}, (48, 48, 3), framing=framing)
    config = json.loads(json.dumps(timm_config.config(spec, 1.5)))
    assert (config["architecture"], config["num_classes"], config["label_names"]) == (
        "resnet18",
        3,
        ["dark", "grey", "bright"],
    )
    prepared = config["pretrained_cfg"]
    assert prepared["input_size"] == [3, 48, 48]
    assert (prepared["mean"], prepared["std"]) == ([0.4, 0.5, 0.6], [0.2, 0.25, 0.3])
    assert (prepared["crop_pct"], prepared["crop_mode"], prepared["interpolation"]) == (0.875, "squash", "bilinear")
    assert config["efficient_jax"]["temperature"] == 1.5


@pytest.mark.parametrize(("name", "settings", "side"), LIVE)
def test_timm_computes_the_same_logits(name, settings, side, tmp_path):
    timm = pytest.importorskip("timm", reason="timm is not installed (extra peers)")
    import torch

    spec = stages.spec_of(name, settings, (side, side, 3))
    one = stages.trained(spec)
    (tmp_path / "config.json").write_text(json.dumps(timm_config.config(spec, 1.0)))
    (tmp_path / "model.safetensors").write_bytes(safetensors_file.serialized(program([one], "none", 1.0)))
    model = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    known, arguments = timm_config.architecture(spec)
    state = {
        k: torch.from_numpy(np.array(a)) for k, a in safetensors_file.pretrained.torch_state(one.variables).items()
    }
    timm.create_model(known, num_classes=3, **arguments).load_state_dict(state, strict=True)
    assert tuple(timm.data.resolve_model_data_config(model)["input_size"]) == (3, side, side)
    pixels = stages.images(spec)
    x = (pixels / 255.0 - np.array(spec.mean)) / np.array(spec.std)
    with torch.no_grad():
        theirs = model(torch.from_numpy(x.transpose(0, 3, 1, 2).astype(np.float32))).numpy()
    _, apply = spec.build()
    ours = jax.jit(lambda images: apply(one.variables, images, False, None)[0][0])(pixels)
    np.testing.assert_allclose(ours / theirs.std(), theirs / theirs.std(), atol=1e-5)
