"""Names of parameters in published checkpoints, translated to timm's; the classifier is always `head`."""

import itertools
import re
from collections.abc import Collection, Mapping
from typing import NamedTuple

import numpy as np

from efficient_jax.errors import counted

FIRST = (  # the first layer of each known network: what precedes it in a name is the prefix of the network
    "conv1.weight",
    "features.conv0.weight",
    "conv_stem.weight",
    "_conv_stem.weight",
    "features.0.0.weight",
    "patch_embed.proj.weight",
    "conv_proj.weight",
    "stem.0.weight",
    "downsample_layers.0.0.weight",
    "embeddings.patch_embeddings.projection.weight",
    "embeddings.patch_embeddings.weight",
    "embeddings.patch_embedding.weight",
)
HUGGING_FACE = r"(.*?)(?:vit|deit|dinov2|dinov2_with_registers|dinov3_vit|convnext|convnextv2|vision_model)\."
BESIDE = r"(?:(?:cls_|distillation_)?classifier|visual_projection)\.(?:weight|bias)"  # heads, beside those networks

AVERAGE = r"(?i)(?:^|[._])(?:ema|averaged?|shadow|swa|teacher)[._]"  # prefixes of a moving average of the weights

LAYER = r"(?:model\.)?(?:encoder\.layers?|layer)\.(\d+)\."
CONVNEXT = r"(?:encoder\.)?stages\.(\d+)\.(?:layers\.)?(\d+)\."
IGNORED = r"(embeddings\.)?mask_token|rope(_embed)?\..*|(.*\.)?(num_batches_tracked|position_ids|k_bias)"
"""Arrays that are no part of the function in evaluation."""

RULES = (  # (pattern, replacement): the first pattern that matches the whole name applies
    (r"(?:fc|_fc|classifier|classifier\.1|head\.fc|heads\.head|cls_classifier)\.(weight|bias)", r"head.\1"),
    (r"distillation_classifier\.(weight|bias)", r"head_dist.\1"),
    (r"visual_projection\.weight", r"projection.weight"),
    # torchvision's DenseNet files of 2017
    (r"(.*\.denselayer\d+\.(?:norm|conv))\.([12]\..*)", r"\1\2"),
    # torchvision's EfficientNet-B0..B7; for its blocks see `_timm_name`
    (r"features\.0\.0\.(.*)", r"conv_stem.\1"),
    (r"features\.0\.1\.(.*)", r"bn1.\1"),
    (r"features\.8\.0\.(.*)", r"conv_head.\1"),
    (r"features\.8\.1\.(.*)", r"bn2.\1"),
    # torchvision's ViT; older files name its dense layers, newer ones number them
    (r"class_token", r"cls_token"),
    (r"conv_proj\.(.*)", r"patch_embed.proj.\1"),
    (r"encoder\.pos_embedding", r"pos_embed"),
    (r"encoder\.ln\.(.*)", r"norm.\1"),
    (r"encoder\.layers\.encoder_layer_(\d+)\.ln_([12])\.(.*)", r"blocks.\1.norm\2.\3"),
    (r"encoder\.layers\.encoder_layer_(\d+)\.self_attention\.in_proj_(.*)", r"blocks.\1.attn.qkv.\2"),
    (r"encoder\.layers\.encoder_layer_(\d+)\.self_attention\.out_proj\.(.*)", r"blocks.\1.attn.proj.\2"),
    (r"encoder\.layers\.encoder_layer_(\d+)\.mlp\.(?:linear_1|0)\.(.*)", r"blocks.\1.mlp.fc1.\2"),
    (r"encoder\.layers\.encoder_layer_(\d+)\.mlp\.(?:linear_2|3)\.(.*)", r"blocks.\1.mlp.fc2.\2"),
    # DINOv2's giant and DINOv3's S+ and H+, gated: two layers in one, or each by itself
    (r"blocks\.(\d+)\.mlp\.w12\.(.*)", r"blocks.\1.mlp.fc1.\2"),
    (r"blocks\.(\d+)\.mlp\.w1\.(.*)", r"blocks.\1.mlp.fc1_g.\2"),
    (r"blocks\.(\d+)\.mlp\.w2\.(.*)", r"blocks.\1.mlp.fc1_x.\2"),
    (r"blocks\.(\d+)\.mlp\.w3\.(.*)", r"blocks.\1.mlp.fc2.\2"),
    (rf"{LAYER}mlp\.gate_proj\.(.*)", r"blocks.\1.mlp.fc1_g.\2"),
    # DeiT III and DINOv3 have timm's names but for these
    (r"blocks\.(\d+)\.gamma_([12])", r"blocks.\1.ls\2.gamma"),
    (r"(?:embeddings\.)?(?:register|storage)_tokens", r"reg_token"),
    # Transformers' ViT, DeiT, DINOv2, DINOv3, CLIP and SigLIP
    (r"embeddings\.(?:cls_token|class_embedding)", r"cls_token"),
    (r"embeddings\.distillation_token", r"dist_token"),
    (r"embeddings\.position_embeddings?(?:\.weight)?", r"pos_embed"),
    (r"embeddings\.patch_embeddings?(?:\.projection)?\.(weight|bias)", r"patch_embed.proj.\1"),
    (rf"{LAYER}(?:layernorm_before|layer_norm1|norm1)\.(.*)", r"blocks.\1.norm1.\2"),
    (rf"{LAYER}(?:layernorm_after|layer_norm2|norm2)\.(.*)", r"blocks.\1.norm2.\2"),
    (rf"{LAYER}attention\.attention\.(q|k|v)(?:uery|ey|alue)\.(.*)", r"blocks.\1.attn.\2.\3"),
    (rf"{LAYER}(?:self_attn|attention)\.(q|k|v)_proj\.(.*)", r"blocks.\1.attn.\2.\3"),
    (rf"{LAYER}(?:attention\.output\.dense|self_attn\.out_proj|attention\.o_proj)\.(.*)", r"blocks.\1.attn.proj.\2"),
    (rf"{LAYER}(?:intermediate\.dense|mlp\.fc1|mlp\.weights_in|mlp\.up_proj)\.(.*)", r"blocks.\1.mlp.fc1.\2"),
    (rf"{LAYER}(?:output\.dense|mlp\.fc2|mlp\.weights_out|mlp\.down_proj)\.(.*)", r"blocks.\1.mlp.fc2.\2"),
    (rf"{LAYER}layer_scale([12])\.lambda1", r"blocks.\1.ls\2.gamma"),
    (r"(?:layernorm|post_layernorm)\.(.*)", r"norm.\1"),
    (r"pre_layrnorm\.(.*)", r"norm_pre.\1"),
    (r"head\.probe", r"attn_pool.latent"),
    (r"head\.layernorm\.(.*)", r"attn_pool.norm.\1"),
    (r"head\.attention\.in_proj_(.*)", r"attn_pool.qkv.\1"),
    (r"head\.attention\.out_proj\.(.*)", r"attn_pool.proj.\1"),
    (r"head\.mlp\.(.*)", r"attn_pool.mlp.\1"),
    # CLIP of OpenAI and open_clip
    (r"class_embedding", r"cls_token"),
    (r"positional_embedding", r"pos_embed"),
    (r"ln_pre\.(.*)", r"norm_pre.\1"),
    (r"ln_post\.(.*)", r"norm.\1"),
    (r"transformer\.resblocks\.(\d+)\.ln_([12])\.(.*)", r"blocks.\1.norm\2.\3"),
    (r"transformer\.resblocks\.(\d+)\.attn\.in_proj_(.*)", r"blocks.\1.attn.qkv.\2"),
    (r"transformer\.resblocks\.(\d+)\.attn\.out_proj\.(.*)", r"blocks.\1.attn.proj.\2"),
    (r"transformer\.resblocks\.(\d+)\.mlp\.c_fc\.(.*)", r"blocks.\1.mlp.fc1.\2"),
    (r"transformer\.resblocks\.(\d+)\.mlp\.c_proj\.(.*)", r"blocks.\1.mlp.fc2.\2"),
    # ConvNeXt: timm's, then Transformers', then those of its authors
    (r"head\.norm\.(.*)", r"norm.\1"),
    (r"embeddings\.layernorm\.(.*)", r"stem.1.\1"),
    (r"encoder\.stages\.(\d+)\.downsampling_layer\.([01])\.(.*)", r"stages.\1.downsample.\2.\3"),
    (r"downsample_layers\.0\.([01])\.(.*)", r"stem.\1.\2"),
    (r"downsample_layers\.(\d+)\.([01])\.(.*)", r"stages.\1.downsample.\2.\3"),
    (rf"{CONVNEXT}dwconv\.(.*)", r"stages.\1.blocks.\2.conv_dw.\3"),
    (rf"{CONVNEXT}pwconv([12])\.(.*)", r"stages.\1.blocks.\2.mlp.fc\3.\4"),
    (rf"{CONVNEXT}(?:layernorm|norm)\.(.*)", r"stages.\1.blocks.\2.norm.\3"),
    (rf"{CONVNEXT}(?:layer_scale_parameter|gamma)", r"stages.\1.blocks.\2.gamma"),
    (rf"{CONVNEXT}grn\.(?:weight|gamma)", r"stages.\1.blocks.\2.mlp.grn.weight"),
    (rf"{CONVNEXT}grn\.(?:bias|beta)", r"stages.\1.blocks.\2.mlp.grn.bias"),
    # EfficientNet ported from TensorFlow (efficientnet-pytorch); for its blocks see `_timm_name`
    (r"_conv_(stem|head)\.(.*)", r"conv_\1.\2"),
    (r"_bn0\.(.*)", r"bn1.\1"),
    (r"_bn1\.(.*)", r"bn2.\1"),
)

# Layers of an inverted residual block: role -> timm's names in a block with and without expansion.
BLOCK = {
    "expand": ("conv_pw", ""),
    "expand_norm": ("bn1", ""),
    "depthwise": ("conv_dw", "conv_dw"),
    "depthwise_norm": ("bn2", "bn1"),
    "reduce": ("se.conv_reduce", "se.conv_reduce"),
    "restore": ("se.conv_expand", "se.conv_expand"),
    "project": ("conv_pwl", "conv_pw"),
    "project_norm": ("bn3", "bn2"),
}
PORTED = {
    "_expand_conv": "expand",
    "_bn0": "expand_norm",
    "_depthwise_conv": "depthwise",
    "_bn1": "depthwise_norm",
    "_se_reduce": "reduce",
    "_se_expand": "restore",
    "_project_conv": "project",
    "_bn2": "project_norm",
}
TORCHVISION = {
    "0.0": "expand",
    "0.1": "expand_norm",
    "1.0": "depthwise",
    "1.1": "depthwise_norm",
    "2.fc1": "reduce",
    "2.fc2": "restore",
    "3.0": "project",
    "3.1": "project_norm",
}


class Unwrapped(NamedTuple):
    """The weights of one network of a checkpoint."""

    state: dict[str, np.ndarray]  # names without the prefix -> arrays
    prefix: str  # of all its names in the file, such as "state_dict.module."
    others: tuple[str, ...]  # prefixes of the other networks in the file

    @property
    def is_average(self) -> bool:
        """Whether the weights are a moving average, by the prefix."""
        return bool(re.search(AVERAGE, self.prefix))


def unwrap(state: Mapping[str, np.ndarray]) -> Unwrapped:
    """Returns the weights of one network of a checkpoint, without the prefix of their names.

    Of several networks a moving average of the weights is preferred, since it is usually better; then the least nested
    one. If the checkpoint has no known network, everything is returned.

    Args:
        state: the arrays of a file by name, as from `read`.

    Returns: an `Unwrapped`.
    """
    candidates = (name.removesuffix(first) for name in state for first in FIRST if f".{name}".endswith(f".{first}"))
    prefixes: list[str] = []
    for prefix in sorted(dict.fromkeys(candidates), key=len):
        if not prefix.startswith(tuple(prefixes)):  # else it is that of a block, whose first layer has the same name
            prefixes.append(prefix)
    prefix = min(prefixes, key=lambda prefix: (not re.search(AVERAGE, prefix), prefix.count(".")), default="")
    weights = {name.removeprefix(prefix): array for name, array in state.items() if name.startswith(prefix)}
    if match := re.fullmatch(HUGGING_FACE, prefix):
        beside = ((name.removeprefix(match[1]), name) for name in state if name.startswith(match[1]))
        weights |= {short: state[name] for short, name in beside if re.fullmatch(BESIDE, short)}
    return Unwrapped(weights, prefix, tuple(other for other in prefixes if other != prefix))


def to_timm(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the arrays under timm's names.

    Args:
        state: the arrays of one network, without a prefix (`unwrap`).

    Returns: the same arrays. A name that no rule matches stays.
    """
    places = _places(state)
    kept = {name: array for name, array in state.items() if not re.fullmatch(IGNORED, name)}
    if "class_embedding" in state:  # CLIP, whose other names are no ResNet's
        kept = {"patch_embed.proj.weight" if name == "conv1.weight" else name: array for name, array in kept.items()}
    if "embeddings.layernorm.weight" in state:  # ConvNeXt of Transformers
        kept = {name.replace("embeddings.patch_embeddings.", "stem.0."): array for name, array in kept.items()}
    return {_timm_name(name, places): array for name, array in kept.items()}


def _timm_name(name: str, places: Mapping[str, tuple[str, bool]]) -> str:
    if match := re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name):
        place, expands = places.get(match[1], ("", True))
        layer = BLOCK[PORTED[match[2]]][not expands] if place and match[2] in PORTED else ""
        return f"{place}.{layer}.{match[3]}" if layer else name
    if match := re.fullmatch(r"features\.([1-7])\.(\d+)\.block\.(\d)\.(\w+)\.(\w+)", name):
        expands = match[1] != "1"
        role = TORCHVISION.get(f"{int(match[3]) + (not expands)}.{match[4]}")
        return f"blocks.{int(match[1]) - 1}.{match[2]}.{BLOCK[role][not expands]}.{match[5]}" if role else name
    for pattern, replacement in RULES:
        if match := re.fullmatch(pattern, name):
            return match.expand(replacement)
    return name


def _places(state: Mapping[str, np.ndarray]) -> dict[str, tuple[str, bool]]:
    """Returns N of `_blocks.N`, which counts over all stages -> (timm's "blocks.stage.index", has an expansion).

    The width tells the stages apart: it is the same in a stage, and differs between neighbouring stages.
    """
    places: dict[str, tuple[str, bool]] = {}
    stage, index, width = -1, 0, 0
    for n in itertools.count():
        project = state.get(f"_blocks.{n}._project_conv.weight")
        if project is None:
            return places
        index, stage = (index + 1, stage) if len(project) == width else (0, stage + 1)
        width = len(project)
        places[str(n)] = f"blocks.{stage}.{index}", f"_blocks.{n}._expand_conv.weight" in state
    raise AssertionError


def describe(state: Collection[str]) -> str:
    """Returns which network has parameters of these names, for messages.

    Args:
        state: timm's names, or a dict with such keys.

    Returns: such as "resnet50", or "vit of 12 blocks" if the names do not tell more.
    """

    def count(pattern: str) -> int:
        return len({match[0] for name in state if (match := re.match(pattern, name))})

    if blocks := count(r"layer\d+\.\d+\."):
        return f"resnet{(3 if 'layer1.0.conv3.weight' in state else 2) * blocks + 2}"
    if blocks := count(r"features\.denseblock\d+\.denselayer\d+\."):
        return f"densenet{2 * blocks + 5}"
    if blocks := count(r"blocks\.\d+\.\d+\."):
        kind = "" if count(r"blocks\..*\.se\.") else "-lite"
        return f"efficientnet{kind} of {counted(blocks, 'block')}"
    if blocks := count(r"stages\.\d+\.blocks\.\d+\."):
        return f"convnext{'v2' if count(r'stages.*.grn.') else ''} of {counted(blocks, 'block')}"
    if blocks := count(r"blocks\.\d+\.attn\."):
        return f"vit of {counted(blocks, 'block')}"
    return "no known network"
