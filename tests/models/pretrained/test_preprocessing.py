import json

import numpy as np
import pytest
import safetensors.numpy

from efficient_jax.errors import UserError
from efficient_jax.models.pretrained import implied, preprocessing_of


@pytest.mark.parametrize(
    ("name", "size"), [("efficientnet-lite0", 224), ("efficientnet-lite1", 240), ("efficientnet-lite2", 260)]
)
def test_lite_is_minus_127_over_128(name, size):
    found = preprocessing_of(name, "efficientnet")
    pixels = np.arange(256)
    np.testing.assert_allclose((pixels / 255 - found.mean[0]) / found.std[0], (pixels - 127) / 128, atol=1e-6)
    assert found.size == (size, size)
    assert size / found.crop == size + 32  # the side that an image is resized to before the crop
    assert found.interpolation == "bicubic"


def test_a_family_has_its_usual_statistics(tmp_path):
    assert preprocessing_of(tmp_path / "a.pth", "resnet").mean == (0.485, 0.456, 0.406)
    assert preprocessing_of(tmp_path / "a.npz", "vit").std == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("name", "mean"), [("conv_proj.weight", (0.485, 0.456, 0.406)), ("patch_embed.proj.weight", (0.5, 0.5, 0.5))]
)
def test_torchvisions_vit_is_normalised_as_its_other_networks(tmp_path, name, mean):
    safetensors.numpy.save_file({name: np.zeros(1)}, tmp_path / "a.safetensors")
    assert preprocessing_of(tmp_path / "a.safetensors", "vit").mean == mean


@pytest.mark.parametrize(
    ("architecture", "expected"),
    [("tf_efficientnet_b0", {"tensorflow": True}), ("efficientnet_b0", {"tensorflow": False}), ("resnet18", {})],
)
def test_a_config_tells_the_padding(tmp_path, architecture, expected):
    (tmp_path / "config.json").write_text(json.dumps({"architecture": architecture}))
    assert implied(tmp_path / "a.safetensors", {"conv_stem.weight": np.zeros(1)}) == expected


def test_checkpoints_of_jax_have_the_tanh_of_gelu():
    assert implied("vit.npz", {}) == {"gelu": "tanh"}
    assert implied("elsewhere/vit.safetensors", {"pos_embed": np.zeros(1)}) == {}


@pytest.mark.parametrize("nested", [True, False])
def test_a_config_beside_the_file_comes_first(tmp_path, nested):
    settings = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "input_size": [3, 64, 96], "crop_pct": 1.0}
    settings["interpolation"] = "bilinear"
    (tmp_path / "config.json").write_text(json.dumps({"pretrained_cfg": settings} if nested else settings))
    found = preprocessing_of(tmp_path / "model.safetensors", "vit")
    assert found == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6), (64, 96), 1.0, "bilinear")


def test_what_a_config_does_not_say_is_the_familys(tmp_path):
    (tmp_path / "config.json").write_text(
        json.dumps({"architecture": "resnet18", "pretrained_cfg": {"crop_pct": 0.95}})
    )
    found = preprocessing_of(tmp_path / "model.safetensors", "resnet")
    assert found == preprocessing_of("elsewhere/a.pth", "resnet")._replace(crop=0.95)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not a config.json of timm"),
        ("[1]", "not a config.json of timm"),
        ('{"input_size": 3}', "not a config.json of timm"),
        ('{"interpolation": "lanczos"}', "interpolation 'lanczos'; there is: bilinear, bicubic"),
    ],
)
def test_a_bad_config_is_refused(tmp_path, content, message):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(UserError, match=message):
        preprocessing_of(tmp_path / "model.safetensors", "resnet")


def test_an_unknown_family_is_refused():
    with pytest.raises(UserError, match=r"normalisation of a.pth: unknown name 'resnot'; did you mean 'resnet'"):
        preprocessing_of("a.pth", "resnot")
