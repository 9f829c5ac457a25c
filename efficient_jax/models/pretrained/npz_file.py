"""Converts the .npz checkpoints of google-research's vision_transformer and big_vision to timm's names."""

import math
import re
from collections.abc import Mapping

import numpy as np

from efficient_jax.errors import UserError

# Modules of the JAX checkpoints -> timm's names; the numbers in them differ between vision_transformer and big_vision.
NPZ_NAMES = {
    r"embedding": "patch_embed.proj",
    r"Transformer/encoder_norm": "norm",
    r"head": "head",
    r"Transformer/encoderblock_(\d+)/LayerNorm_0": r"blocks.\1.norm1",
    r"Transformer/encoderblock_(\d+)/LayerNorm_[12]": r"blocks.\1.norm2",
    r"Transformer/encoderblock_(\d+)/MultiHeadDotProductAttention_[01]/(query|key|value)": r"blocks.\1.attn.\2",
    r"Transformer/encoderblock_(\d+)/MultiHeadDotProductAttention_[01]/out": r"blocks.\1.attn.proj",
    r"Transformer/encoderblock_(\d+)/MlpBlock_[03]/Dense_0": r"blocks.\1.mlp.fc1",
    r"Transformer/encoderblock_(\d+)/MlpBlock_[03]/Dense_1": r"blocks.\1.mlp.fc2",
}
NPZ_POSITIONS = ("pos_embedding", "Transformer/posembed_input/pos_embedding", "Transformer/pos_embedding")


def from_npz(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns a checkpoint of google-research's vision_transformer or big_vision as a timm state dict.

    For token and mean pooling. If a checkpoint adds no position to its class token, that position becomes zero.
    These models compute GELU by its tanh approximation: set `ViT.gelu`.

    Args:
        arrays: the arrays of the .npz file by name.

    Returns: timm's names -> arrays in torch's layout.

    Raises: UserError for an array that such a model does not have, or without patch or position embeddings.
    """
    prefix = next((p for p in ("", "params/", "opt/target/") if p + "embedding/kernel" in arrays), None)
    if prefix is None:
        raise UserError("npz: no 'embedding/kernel' in it, so this is not a ViT of vision_transformer or big_vision")
    state = {}
    for path, value in arrays.items():
        if path.startswith(prefix):
            name, array = _timm_entry(path.removeprefix(prefix), value)
            state[name] = array
    for query in [name for name in state if ".query." in name]:
        parts = [state.pop(query.replace("query", part)) for part in ("query", "key", "value")]
        state[query.replace("query", "qkv")] = np.concatenate(parts)
    if "pos_embed" not in state:
        raise UserError("npz: no position embedding in it; one that is computed (sincos2d) is not supported")
    positions = state["pos_embed"]
    if "cls_token" in state and math.isqrt(positions.shape[1]) ** 2 == positions.shape[1]:
        state["pos_embed"] = np.pad(positions, ((0, 0), (1, 0), (0, 0)))
    return state


def _timm_entry(path: str, value: np.ndarray) -> tuple[str, np.ndarray]:
    """Returns timm's name and layout of an array; query, key and value are still separate."""
    if path == "cls":
        return "cls_token", value
    if path in NPZ_POSITIONS:
        return "pos_embed", value
    module, _, leaf = path.rpartition("/")
    match = next((m for pattern in NPZ_NAMES if (m := re.fullmatch(pattern, module))), None)
    if match is None:
        raise UserError(f"npz: {path!r} is not a parameter of a ViT with token or mean pooling")
    name = match.expand(NPZ_NAMES[match.re.pattern])
    if leaf == "bias":
        return f"{name}.bias", value.reshape(-1)
    if value.ndim == 4:  # HWIO to OIHW
        return f"{name}.weight", value.transpose(3, 2, 0, 1)
    if value.ndim == 3:  # the heads are inputs of the last product, else outputs
        value = value.reshape(-1, value.shape[-1]) if name.endswith("proj") else value.reshape(len(value), -1)
    return f"{name}.weight", value.T
