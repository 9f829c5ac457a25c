import json

import numpy as np
import pytest

from efficient_jax.models.pretrained import preprocessing
from efficient_jax.types import UserError


@pytest.mark.parametrize(
    ("name", "size"), [("efficientnet-lite0", 224), ("efficientnet-lite1", 240), ("efficientnet-lite2", 260)]
)
def test_lite_is_minus_127_over_128(name, size):
    found = preprocessing(name, "efficientnet")
    pixels = np.arange(256)
    np.testing.assert_allclose((pixels / 255 - found.mean[0]) / found.std[0], (pixels - 127) / 128, atol=1e-6)
    assert found.size == (size, size)
    assert size / found.crop == size + 32  # the side that an image is resized to before the crop
    assert found.interpolation == "bicubic"


def test_a_family_has_its_usual_statistics(tmp_path):
    assert preprocessing(tmp_path / "a.pth", "resnet").mean == (0.485, 0.456, 0.406)
    assert preprocessing(tmp_path / "a.pth", "vit").std == (0.5, 0.5, 0.5)


@pytest.mark.parametrize("nested", [True, False])
def test_a_config_beside_the_file_comes_first(tmp_path, nested):
    settings = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "input_size": [3, 64, 96], "crop_pct": 1.0}
    settings["interpolation"] = "bilinear"
    (tmp_path / "config.json").write_text(json.dumps({"pretrained_cfg": settings} if nested else settings))
    found = preprocessing(tmp_path / "model.safetensors", "vit")
    assert found == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6), (64, 96), 1.0, "bilinear")


def test_what_a_config_does_not_say_is_the_familys(tmp_path):
    (tmp_path / "config.json").write_text(
        json.dumps({"architecture": "resnet18", "pretrained_cfg": {"crop_pct": 0.95}})
    )
    found = preprocessing(tmp_path / "model.safetensors", "resnet")
    assert found == preprocessing("elsewhere/a.pth", "resnet")._replace(crop=0.95)


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
        preprocessing(tmp_path / "model.safetensors", "resnet")


def test_an_unknown_family_is_refused():
    with pytest.raises(UserError, match=r"normalisation of a.pth: unknown name 'resnot'; did you mean 'resnet'"):
        preprocessing("a.pth", "resnot")
