"""The model that published weights belong to: by their name, or by the names and shapes in their file."""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from efficient_jax.errors import UserError
from efficient_jax.models import convnext, vit
from efficient_jax.models.pretrained import files, layouts, names
from efficient_jax.models.pretrained.preprocessing import config_of, entry_of
from efficient_jax.models.pretrained.zoo import ZOO

GELUS = {"gelu": "exact", "quick_gelu": "quick", "gelu_pytorch_tanh": "tanh", "gelu_tanh": "tanh"}
"""Activations in a config.json of Transformers -> `ViT.gelu`."""


def model_of(weights: str | Path) -> tuple[str, dict[str, Any]]:
    """Returns the model that weights belong to.

    A name in `zoo.ZOO`, of the weights or in a config.json beside them, says it. Otherwise the names and shapes in the
    file do. These do not show the kind of GELU and the eps of norms, which a config.json of Transformers may; without
    it they are those of the family's published weights.

    Args:
        weights: a name in `zoo.ZOO`, or the path of a file or a folder with one.

    Returns: (name in `models.MODELS`, settings that differ from the defaults).

    Raises: UserError for a file that cannot be read, or of no known network.
    """
    name = config_of(weights).get("architecture", "")
    alike = [entry for key, entry in ZOO.items() if key.partition(".")[0] == name]
    known = entry_of(weights) or (alike[0] if alike else None)
    if known:
        return known.model, dict(known.settings)
    state = layouts.joined(names.to_timm(names.unwrap(files.read(weights)).state))
    family = names.describe(state)
    if match := re.fullmatch(r"(resnet|densenet)(\d+)", family):
        stem = {"stem": "cifar"} if match[1] == "resnet" and np.shape(state["conv1.weight"])[-1] == 3 else {}
        return match[1], {"depth": int(match[2]), **stem}
    if family.startswith("vit"):
        return "vit", _vit(weights, state)
    if family.startswith("convnext"):
        return "convnext", _convnext(weights, state)
    raise UserError(f"{weights}: {family} does not say all settings of the model; name it and them in `model`")


def _vit(weights: str | Path, state: Mapping[str, np.ndarray]) -> dict[str, Any]:
    try:
        width, _, patch, _ = state["patch_embed.proj.weight"].shape
    except (KeyError, ValueError):
        raise UserError(f"{weights}: a ViT without the layer that embeds patches (patch_embed.proj.weight)") from None
    depth = len({match[0] for name in state if (match := re.match(r"blocks\.\d+\.", name))})
    sizes = [name for name, (d, blocks, _) in vit.SIZES.items() if (d, blocks) == (width, depth)]
    mlp = [state.get(f"blocks.0.mlp.{layer}.weight", np.empty((0, 0))).shape for layer in ("fc1", "fc2")]
    hidden = mlp[1][1]
    if not sizes or mlp[0][0] not in (hidden, 2 * hidden) or not hidden:
        sizes_here = ", ".join(f"{name} {width} x {depth}" for name, (width, depth, _) in vit.SIZES.items())
        raise UserError(
            f"{weights}: a ViT of width {width} and {depth} blocks, whose number of heads no file tells; known are "
            f"{sizes_here}. Of others name `model` and a variant like {width}x{depth}x{max(width // 64, 1)}/{patch}"
        )
    swiglu = mlp[0][0] == 2 * hidden
    counts = {name: state[name].shape[1] if name in state else 0 for name in ("cls_token", "dist_token", "reg_token")}
    positions = state["pos_embed"].shape[1] if "pos_embed" in state else 0
    map_pool, fc_norm, rope = "attn_pool.latent" in state, "fc_norm.weight" in state, "pos_embed" not in state
    mean = fc_norm or not counts["cls_token"]
    found: dict[str, Any] = {
        "variant": f"{sizes[-1 if swiglu else 0]}/{patch}",  # H and H+ differ in their heads; H+ is gated
        "mlp_width": 0 if hidden == 4 * width else hidden,
        "swiglu": swiglu,
        "pool": "map" if map_pool else "mean" if mean else "token",
        "class_token": bool(counts["cls_token"]),
        "registers": counts["reg_token"],
        "distilled": bool(counts["dist_token"]),
        "positions": "rope" if rope else "learned",
        "prefix_positions": not rope and math.isqrt(positions) ** 2 != positions,
        "qkv_bias": "none" if "blocks.0.attn.qkv.bias" not in state else "qv" if rope else "qkv",
        "layer_scale": 1e-5 if "blocks.0.ls1.gamma" in state else 0.0,
        "pre_norm": "norm_pre.weight" in state,
        "fc_norm": fc_norm,
        "projection": len(state["projection.weight"]) if "projection.weight" in state else 0,
        "gelu": "tanh" if Path(weights).suffix == ".npz" else "quick" if "projection.weight" in state else "exact",
        "norm_eps": 1e-5 if rope or "norm_pre.weight" in state else 1e-6,
    }
    if not sum(counts.values()):
        found["prefix_positions"] = True  # there are no tokens that it could be about
    return _departures(found | _configured(weights), vit.ViT)


def _configured(weights: str | Path) -> dict[str, Any]:
    """Returns what a config.json of Transformers beside the file tells of a ViT."""
    config = config_of(weights)
    config = config.get("vision_config", config)
    gelu, eps = GELUS.get(config.get("hidden_act", "")), config.get("layer_norm_eps")
    return ({"gelu": gelu} if gelu else {}) | ({"norm_eps": float(eps)} if eps else {})


def _convnext(weights: str | Path, state: Mapping[str, np.ndarray]) -> dict[str, Any]:
    blocks = [match for name in state if (match := re.match(r"stages\.(\d+)\.blocks\.(\d+)\.conv_dw\.weight", name))]
    depths = tuple(sum(match[1] == str(i) for match in blocks) for i in range(4))
    width = len(state["stem.0.weight"]) if "stem.0.weight" in state else 0
    sizes = [name for name, size in convnext.SIZES.items() if size == (depths, width)]
    if not sizes:
        raise UserError(f"{weights}: a ConvNeXt of width {width} and {depths} blocks is not one of its published sizes")
    version = 2 if any(".grn." in name for name in state) else 1
    return _departures({"variant": sizes[0], "version": version}, convnext.ConvNeXt)


def _departures(settings: Mapping[str, Any], model: type) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if value != getattr(model, name)}
