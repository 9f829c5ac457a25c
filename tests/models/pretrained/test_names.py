"""Names of others' parameters become ours."""

import numpy as np
import pytest

from efficient_jax.errors import UserError
from efficient_jax.models.pretrained import layouts, names

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


def values(*shapes, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype(np.float32) for shape in shapes]


def test_names_of_openais_clip():
    conv, token, positions, projection = values((4, 3, 2, 2), (4,), (5, 4), (4, 6))
    layer = "visual.transformer.resblocks.3."
    state = {
        "visual.conv1.weight": conv,
        "visual.class_embedding": token,
        "visual.positional_embedding": positions,
        "visual.ln_pre.weight": token,
        f"{layer}ln_1.bias": token,
        f"{layer}attn.in_proj_weight": values((12, 4))[0],
        f"{layer}attn.out_proj.weight": values((4, 4))[0],
        f"{layer}mlp.c_fc.bias": values((16,))[0],
        f"{layer}mlp.c_proj.bias": token,
        "visual.ln_post.weight": token,
        "visual.proj": projection,
        "transformer.resblocks.0.ln_1.bias": token,  # of the text tower
        "logit_scale": np.zeros(()),
    }
    found = layouts.joined(names.to_timm(names.unwrap(state).state))
    assert sorted(found) == [
        "blocks.3.attn.proj.weight",
        "blocks.3.attn.qkv.weight",
        "blocks.3.mlp.fc1.bias",
        "blocks.3.mlp.fc2.bias",
        "blocks.3.norm1.bias",
        "cls_token",
        "norm.weight",
        "norm_pre.weight",
        "patch_embed.proj.weight",
        "pos_embed",
        "projection.weight",
    ]
    assert (found["cls_token"].shape, found["pos_embed"].shape) == ((1, 1, 4), (1, 5, 4))
    np.testing.assert_array_equal(found["projection.weight"], projection.T)


@pytest.mark.parametrize(("bias", "root"), [(0.0, "projection"), (0.5, "head")])
def test_the_classifier_of_timms_clip_is_a_projection_where_it_has_no_bias(bias, root):
    state = {"norm_pre.weight": np.ones(2), "head.weight": np.ones((3, 2)), "head.bias": np.full(3, bias)}
    assert f"{root}.weight" in layouts.joined(state)


def test_names_of_convnexts_authors():
    pairs = {
        "downsample_layers.0.0.weight": "stem.0.weight",
        "downsample_layers.0.1.bias": "stem.1.bias",
        "downsample_layers.2.1.weight": "stages.2.downsample.1.weight",
        "stages.2.8.dwconv.weight": "stages.2.blocks.8.conv_dw.weight",
        "stages.2.8.pwconv2.bias": "stages.2.blocks.8.mlp.fc2.bias",
        "stages.2.8.grn.gamma": "stages.2.blocks.8.mlp.grn.weight",
        "stages.2.8.gamma": "stages.2.blocks.8.gamma",
        "norm.weight": "norm.weight",
        "head.bias": "head.bias",
    }
    assert list(names.to_timm(dict.fromkeys(pairs, np.zeros(1)))) == list(pairs.values())


def test_names_of_dinov2s_authors():
    """Their class token has a position, timm's has none where there are registers."""
    token, registers, positions = values((1, 1, 2), (1, 4, 2), (1, 10, 2))
    state = {"cls_token": token, "register_tokens": registers, "pos_embed": positions, "mask_token": token[0]}
    found = layouts.joined(names.to_timm(state))
    assert found.keys() == {"cls_token", "reg_token", "pos_embed"}
    np.testing.assert_array_equal(found["cls_token"], token + positions[:, :1])
    np.testing.assert_array_equal(found["pos_embed"], positions[:, 1:])


def test_names_of_dinov3s_authors_and_its_mask_of_the_key_bias():
    (bias,) = values((6,))
    mask = np.array([1, 1, np.nan, 0, 1, 1], np.float32)
    state = {
        "storage_tokens": np.ones((1, 4, 2)),
        "rope_embed.periods": np.ones(4),
        "blocks.0.ls1.gamma": np.ones(2),
        "blocks.0.attn.qkv.bias": bias,
        "blocks.0.attn.qkv.bias_mask": mask,
    }
    found = layouts.joined(names.to_timm(state))
    assert found.keys() == {"reg_token", "blocks.0.ls1.gamma", "blocks.0.attn.qkv.bias"}
    np.testing.assert_array_equal(found["blocks.0.attn.qkv.bias"], [*bias[:2], 0.0, 0.0, *bias[4:]])


def test_keys_that_are_missing_beside_their_queries_are_said():
    with pytest.raises(UserError, match=r"^blocks\.0\.attn: there are queries, but keys or values are missing$"):
        layouts.joined({"blocks.0.attn.q.weight": np.zeros((2, 2)), "blocks.0.attn.k.weight": np.zeros((2, 2))})


def test_a_classifier_beside_the_network_belongs_to_it_in_transformers():
    state = {
        "vit.embeddings.patch_embeddings.projection.weight": np.zeros(1),
        "classifier.weight": np.zeros(1),
        "other.weight": np.zeros(1),
    }
    assert names.to_timm(names.unwrap(state).state).keys() == {"patch_embed.proj.weight", "head.weight"}


def test_the_small_convnext_have_convolutions_in_timm():
    name, (dense,) = "stages.0.blocks.0.mlp.fc1.weight", values((8, 2))
    state = {"stem.0.weight": np.zeros((40, 3, 4, 4)), name: dense[:, :, None, None]}
    found = layouts.joined(names.to_timm(state))
    np.testing.assert_array_equal(found[name], dense)
    np.testing.assert_array_equal(layouts.from_joined(found)[name], state[name])
    assert layouts.from_joined(found | {"stem.0.weight": np.zeros((96, 3, 4, 4))})[name].shape == (8, 2)


GATED = {"fc1.weight": (16, 6), "fc1.bias": (16,), "fc2.weight": (6, 8), "fc2.bias": (6,)}


@pytest.mark.parametrize(
    ("packed", "gate", "value", "out"),
    [
        ("blocks.0.mlp.fc1", "", "", "blocks.0.mlp.fc2"),  # DINOv2 in timm
        ("blocks.0.mlp.w12", "", "", "blocks.0.mlp.w3"),  # its authors'
        ("encoder.layer.0.mlp.weights_in", "", "", "encoder.layer.0.mlp.weights_out"),  # Transformers'
        ("", "blocks.0.mlp.fc1_g", "blocks.0.mlp.fc1_x", "blocks.0.mlp.fc2"),  # DINOv3 in timm
        ("", "blocks.0.mlp.w1", "blocks.0.mlp.w2", "blocks.0.mlp.w3"),  # its authors'
        ("", "model.layer.0.mlp.gate_proj", "model.layer.0.mlp.up_proj", "model.layer.0.mlp.down_proj"),
    ],
)
def test_gated_mlps_have_one_layout_under_all_names(packed, gate, value, out):
    rng = np.random.default_rng(0)
    arrays = {name: rng.normal(size=shape).astype(np.float32) for name, shape in GATED.items()}
    state = {f"{out}.{leaf}": arrays[f"fc2.{leaf}"] for leaf in ("weight", "bias")}
    for leaf in ("weight", "bias"):
        both = arrays[f"fc1.{leaf}"]
        state |= {f"{packed}.{leaf}": both} if packed else {f"{gate}.{leaf}": both[:8], f"{value}.{leaf}": both[8:]}
    found = layouts.joined(names.to_timm(state))
    assert found.keys() == {f"blocks.0.mlp.{name}" for name in arrays}
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[f"blocks.0.mlp.{name}"], array)


def test_gates_without_values_are_refused():
    with pytest.raises(UserError, match=r"^blocks\.0\.mlp\.fc1_g\.weight: there are gates, but the values"):
        layouts.joined({"blocks.0.mlp.fc1_g.weight": np.zeros((8, 6), np.float32)})
