"""Arrays of published weights in the form in which the models of this package have them, and back.

Names are timm's already (`names.to_timm`). Queries, keys and values are in one array, for example.
"""

import math
import re
from collections.abc import Mapping

import numpy as np

from efficient_jax.errors import UserError
from efficient_jax.models.pretrained.names import describe

CONVNEXT_MLP = r"stages\.\d+\.blocks\.\d+\.mlp\.fc[12]\.weight"
CONVOLVING = (40, 48, 64, 80)  # first widths of the ConvNeXt atto to nano, which have 1x1 convolutions there in timm


def joined(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns arrays as the models of this package have them: queries, keys and values in one, for example.

    Of CLIP's image tower, whose classifier in timm's files is the projection into the space of texts, the name of that
    becomes `projection.weight`.

    Args:
        state: arrays under timm's names, as from `to_timm`.

    Raises: UserError for keys or values that are missing beside their queries.
    """
    state = dict(state)
    for name in [name for name in state if re.fullmatch(r"blocks\.\d+\.attn\.q\.weight", name)]:
        attention = name.removesuffix(".q.weight")
        _join(state, attention, "weight")
        _join(state, attention, "bias")
    for name in [name for name in state if name.endswith(".attn.q_bias")]:  # EVA's and DINOv3's in timm
        q, v = state.pop(name), state.pop(name.replace("q_bias", "v_bias"))
        state[name.replace("q_bias", "qkv.bias")] = np.concatenate([q, np.zeros_like(q), v])
    for name in [name for name in state if name.endswith(".attn.qkv.bias_mask")]:  # DINOv3's own files
        bias = name.removesuffix("_mask")
        state[bias] = np.where(state.pop(name) == 1.0, state[bias], np.zeros_like(state[bias]))
    for name in [name for name in state if ".mlp.fc1_g." in name]:  # gates and values are one layer, gates first
        packed_name = name.replace("fc1_g", "fc1")  # of Transformers' values alone, which timm calls fc1_x
        values = state.pop(name.replace("fc1_g", "fc1_x"), state.get(packed_name))
        if values is None:
            raise UserError(f"{name}: there are gates, but the values that belong to them are missing")
        state[packed_name] = np.concatenate([state.pop(name), values])
    for leaf in ("weight", "bias"):
        if (packed := state.pop(f"attn_pool.qkv.{leaf}", None)) is not None:
            state[f"attn_pool.q.{leaf}"], state[f"attn_pool.kv.{leaf}"] = np.split(packed, [len(packed) // 3])
    for name in ("cls_token", "pos_embed"):
        if name in state and state[name].ndim < 3:
            state[name] = state[name].reshape(1, -1, state[name].shape[-1])
    for name, array in state.items():
        if ".grn." in name:
            state[name] = array.reshape(-1)
        elif re.fullmatch(CONVNEXT_MLP, name) and array.ndim == 4:  # 1x1 convolutions
            state[name] = array.reshape(array.shape[:2])
    _without_prefix_position(state)
    if "proj" in state:  # OpenAI's
        state["projection.weight"] = state.pop("proj").T
    if "head_dist.weight" in state and "head.weight" in state:  # the mean of two heads is one on both tokens
        both = state["head.weight"], state.pop("head_dist.weight")
        state["head.weight"] = np.concatenate(both, axis=1) / 2
        state["head.bias"] = (state["head.bias"] + state.pop("head_dist.bias")) / 2
    if "norm_pre.weight" in state and "head.weight" in state and not np.any(state.get("head.bias", 0.0)):
        state["projection.weight"] = state.pop("head.weight")
        state.pop("head.bias", None)
    return state


def _join(state: dict[str, np.ndarray], attention: str, leaf: str) -> None:
    """Replaces q, k and v by qkv; keys may have no bias."""
    parts = [state.pop(f"{attention}.{part}.{leaf}", None) for part in "qkv"]
    if parts[0] is None:
        return
    if leaf == "bias" and parts[1] is None:
        parts[1] = np.zeros_like(parts[0])
    if any(part is None for part in parts):
        raise UserError(f"{attention}: there are queries, but keys or values are missing")
    state[f"{attention}.qkv.{leaf}"] = np.concatenate([part for part in parts if part is not None])


def _without_prefix_position(state: dict[str, np.ndarray]) -> None:
    """Adds the class token's position to it where there are registers, which have none; as timm does."""
    positions = state.get("pos_embed")
    if "reg_token" not in state or positions is None:
        return
    patches = positions.shape[1] - 1  # if there is an entry for the class token
    if math.isqrt(patches) ** 2 != patches or not patches:
        return
    state["cls_token"] = state["cls_token"] + positions[:, :1]
    state["pos_embed"] = positions[:, 1:]


def from_joined(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the state dict that timm's model of the same architecture loads: the inverse of `joined` and `to_timm`.

    CLIP's projection and the head behind it become one linear map, since timm's models have one only.

    Args:
        state: arrays in torch's layout under this package's names, as from `weights.torch_state`.
    """
    family = re.sub(r"(v2|\d+)?( .*)?$", "", describe(state))
    renamed = {"resnet": {"head": "fc"}, "densenet": {"head": "classifier"}, "efficientnet": {"head": "classifier"}}
    renamed |= {"efficientnet-lite": renamed["efficientnet"], "convnext": {"head": "head.fc", "norm": "head.norm"}}
    modules = renamed.get(family, {})
    timm = {}
    for name, array in state.items():
        root, _, rest = name.partition(".")
        timm[f"{modules[root]}.{rest}" if root in modules else name] = array
    if family == "convnext" and len(timm["stem.0.weight"]) in CONVOLVING:
        for name in [name for name in timm if re.fullmatch(CONVNEXT_MLP, name)]:
            timm[name] = timm[name][:, :, None, None]
    if "projection.weight" in timm:  # one linear map follows another
        projection, bias = timm.pop("projection.weight"), timm["head.bias"]
        timm["head.weight"], timm["head.bias"] = timm["head.weight"] @ projection, bias
    if "dist_token" in timm:
        halves = np.split(timm["head.weight"] * 2, 2, axis=1)
        timm |= {"head.weight": halves[0], "head_dist.weight": halves[1], "head_dist.bias": timm["head.bias"]}
    if family == "vit" and "pos_embed" not in timm:  # timm's DINOv3 has other names than its ViT
        timm = {re.sub(r"\.ls([12])\.gamma", r".gamma_\1", name): array for name, array in timm.items()}
        for name in [name for name in timm if name.endswith(".attn.qkv.bias")]:
            attention, (q, _, v) = name.removesuffix("qkv.bias"), np.split(timm.pop(name), 3)
            timm |= {f"{attention}q_bias": q, f"{attention}v_bias": v}
        for name in [name for name in timm if name.endswith(".mlp.fc1.weight")]:
            mlp = name.removesuffix("fc1.weight")
            for leaf in ("weight", "bias") if len(timm[name]) > timm[f"{mlp}fc2.weight"].shape[1] else ():
                gates, values = np.split(timm.pop(f"{mlp}fc1.{leaf}"), 2)
                timm |= {f"{mlp}fc1_g.{leaf}": gates, f"{mlp}fc1_x.{leaf}": values}
    return timm
