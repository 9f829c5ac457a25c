"""The model that weights belong to, where their name or their folder says it; see also test_foundation."""

import json

import numpy as np
import pytest
import safetensors.numpy

from efficient_jax.errors import UserError
from efficient_jax.models import pretrained
from tests.models import seeded

NAME = "vit_small_patch14_reg4_dinov2.lvd142m"
REGISTERS = {"variant": "S/14", "layer_scale": 1e-5, "registers": 4, "prefix_positions": False}


def saved(path, shapes):
    path.parent.mkdir(parents=True, exist_ok=True)
    safetensors.numpy.save_file(seeded.weights(shapes), path)
    return path


def test_a_name_is_enough():
    assert pretrained.model_of(NAME) == ("vit", REGISTERS)
    about = pretrained.preprocessing_of(NAME, "vit")
    assert (about.mean[0], about.size, about.crop, about.interpolation) == (0.485, (518, 518), 1.0, "bicubic")


@pytest.mark.parametrize("place", [f"{NAME}.safetensors", f"{NAME}/model.safetensors"])
def test_a_file_may_have_the_name(tmp_path, place):
    file = saved(tmp_path / place, {"a": (1,)})
    assert pretrained.model_of(file) == ("vit", REGISTERS)
    assert pretrained.preprocessing_of(file, "vit").size == (518, 518)


def test_a_config_of_timm_has_the_name(tmp_path):
    about = {"architecture": NAME.partition(".")[0], "pretrained_cfg": {"tag": "mine", "input_size": [3, 224, 224]}}
    (tmp_path / "config.json").write_text(json.dumps(about))
    file = saved(tmp_path / "model.safetensors", {"a": (1,)})
    assert pretrained.model_of(file) == ("vit", REGISTERS)
    assert pretrained.preprocessing_of(file, "vit").size == (224, 224)


@pytest.mark.parametrize(
    ("shapes", "expected"),
    [
        ({"conv1.weight": (64, 3, 7, 7), "layer1.0.conv3.weight": (1,), "layer1.1.conv3.weight": (1,)}, {"depth": 8}),
        ({"conv1.weight": (64, 3, 3, 3), "layer1.0.conv1.weight": (1,)}, {"depth": 4, "stem": "cifar"}),
    ],
)
def test_a_resnet_is_told_by_its_names(tmp_path, shapes, expected):
    assert pretrained.model_of(saved(tmp_path / "a.safetensors", shapes)) == ("resnet", expected)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"blocks.0.attn.qkv.weight": (3, 1)}, "a ViT without the layer that embeds patches"),
        (
            {"blocks.0.attn.qkv.weight": (3, 1), "patch_embed.proj.weight": (30, 3, 16, 16)},
            r"a ViT of width 30 and 1 blocks, whose number of heads no file tells; known are Ti 192 x 12, S 384 x 12",
        ),
        (
            {"stages.0.blocks.0.conv_dw.weight": (9, 1, 7, 7), "stem.0.weight": (9, 3, 4, 4)},
            "is not one of its published",
        ),
        (
            {"conv_stem.weight": (8, 3, 3, 3), "blocks.0.0.se.a": (1,)},
            "does not say all settings of the model; name it",
        ),
        ({"rnn.weight": (3, 3)}, "no known network does not say all settings"),
    ],
)
def test_what_does_not_tell_is_refused(tmp_path, shapes, message):
    file = saved(tmp_path / "a.safetensors", shapes)
    with pytest.raises(UserError, match=message):
        pretrained.model_of(file)


def test_classes_are_those_of_a_config_or_imagenet(tmp_path):
    file = saved(tmp_path / "model.safetensors", {"head.weight": (2, 3), "head.bias": (2,)})
    state = pretrained.read(file)
    assert pretrained.classes_of(file, state) == ("0", "1")
    assert pretrained.classes_of(file, {}) == ()
    assert pretrained.classes_of(file, {"head.weight": np.zeros((1000, 1))})[0] == "tench"
    for labels in ({"label_names": ["cat", "dog"]}, {"id2label": {"1": "dog", "0": "cat"}}):
        (tmp_path / "config.json").write_text(json.dumps(labels))
        assert pretrained.classes_of(file, state) == ("cat", "dog")


def test_transformers_says_preprocessing_in_a_file_of_its_own(tmp_path):
    about = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6], "resample": 3, "do_center_crop": True}
    about |= {"size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224}}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(about))
    found = pretrained.preprocessing_of(tmp_path / "model.safetensors", "vit")
    assert found == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6), (224, 224), 0.875, "bicubic")
