"""Names of others' parameters become ours."""

import numpy as np

from efficient_jax.models.pretrained import names

ARRAY = np.zeros(1)


def test_names_of_torchvisions_densenet_of_2017():
    old = "features.denseblock2.denselayer12."
    names_in_file = [old + "norm.1.weight", old + "conv.2.weight", old + "norm.2.running_var", "classifier.bias"]
    new = [old + "norm1.weight", old + "conv2.weight", old + "norm2.running_var", "head.bias"]
    assert list(names.to_timm(dict.fromkeys(names_in_file, ARRAY))) == new


def test_names_of_torchvisions_vit():
    layer = "encoder.layers.encoder_layer_11."
    pairs = {
        "class_token": "cls_token",
        "encoder.pos_embedding": "pos_embed",
        "conv_proj.weight": "patch_embed.proj.weight",
        f"{layer}ln_1.weight": "blocks.11.norm1.weight",
        f"{layer}self_attention.in_proj_weight": "blocks.11.attn.qkv.weight",
        f"{layer}self_attention.out_proj.bias": "blocks.11.attn.proj.bias",
        f"{layer}mlp.linear_1.bias": "blocks.11.mlp.fc1.bias",
        f"{layer}mlp.3.weight": "blocks.11.mlp.fc2.weight",
        "encoder.ln.bias": "norm.bias",
        "heads.head.weight": "head.weight",
    }
    assert list(names.to_timm(dict.fromkeys(pairs, ARRAY))) == list(pairs.values())


def test_names_of_torchvisions_efficientnet():
    pairs = {
        "features.0.0.weight": "conv_stem.weight",
        "features.0.1.running_mean": "bn1.running_mean",
        "features.1.0.block.0.0.weight": "blocks.0.0.conv_dw.weight",
        "features.1.0.block.1.fc1.bias": "blocks.0.0.se.conv_reduce.bias",
        "features.1.0.block.2.1.weight": "blocks.0.0.bn2.weight",
        "features.3.1.block.0.0.weight": "blocks.2.1.conv_pw.weight",
        "features.3.1.block.2.fc2.bias": "blocks.2.1.se.conv_expand.bias",
        "features.3.1.block.3.1.weight": "blocks.2.1.bn3.weight",
        "features.8.0.weight": "conv_head.weight",
        "features.8.1.bias": "bn2.bias",
        "classifier.1.weight": "head.weight",
    }
    assert list(names.to_timm(dict.fromkeys(pairs, ARRAY))) == list(pairs.values())


def test_names_of_the_packages_count_blocks_through_all_stages():
    widths = (16, 16, 24, 24, 40)  # EfficientNet-B1 begins with two blocks that do not expand
    state = {f"_blocks.{i}._project_conv.weight": np.zeros((width, 1, 1, 1)) for i, width in enumerate(widths)}
    state |= {f"_blocks.{i}._expand_conv.weight": np.zeros(1) for i in (2, 3, 4)}
    state |= {"_blocks.1._bn1.bias": np.zeros(1), "_blocks.4._bn1.bias": np.zeros(1), "_bn1.bias": np.zeros(1)}
    assert list(names.to_timm(state)) == [
        "blocks.0.0.conv_pw.weight",
        "blocks.0.1.conv_pw.weight",
        "blocks.1.0.conv_pwl.weight",
        "blocks.1.1.conv_pwl.weight",
        "blocks.2.0.conv_pwl.weight",
        "blocks.1.0.conv_pw.weight",
        "blocks.1.1.conv_pw.weight",
        "blocks.2.0.conv_pw.weight",
        "blocks.0.1.bn1.bias",
        "blocks.2.0.bn2.bias",
        "bn2.bias",
    ]
