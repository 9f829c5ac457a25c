"""timm's name of a trained network, and the `config.json` from which timm builds it."""

from collections.abc import Callable, Mapping
from typing import Any

from efficient_jax.files import Json
from efficient_jax.models import MODELS, SUPPLIED
from efficient_jax.models.pretrained import ZOO
from efficient_jax.models.spec import ModelSpec
from efficient_jax.models.vit import parse
from efficient_jax.settings import Settings, parameters

SIZES = {"Ti": "tiny", "S": "small", "B": "base", "L": "large"}  # of a ViT: our name -> timm's
CROP_MODES = {"crop": "center", "squash": "squash", "pad": "border"}  # `fit` of a framing -> timm's crop_mode

PLAIN: Settings = {
    "registers": 0,
    "distilled": False,
    "positions": "learned",
    "prefix_positions": True,
    "qkv_bias": "qkv",
    "layer_scale": False,
    "pre_norm": False,
    "fc_norm": False,
    "norm_eps": 1e-6,
    "projection": 0,
}
"""Settings of a ViT as timm's `vit_*` has them by default."""
TRAINING = ("dropout", "stochastic_depth", "norm_momentum", "dtype", "remat")
"""Settings of models that do not change their function in evaluation."""

Architecture = tuple[str, Settings]
"""(timm's name, keyword arguments of `timm.create_model`)."""


def _resnet(settings: Mapping[str, Any]) -> Architecture | None:
    return None if settings["stem"] != "imagenet" else (f"resnet{settings['depth']}", {})


def _densenet(settings: Mapping[str, Any]) -> Architecture | None:
    return f"densenet{settings['depth']}", {}


def _efficientnet(settings: Mapping[str, Any]) -> Architecture | None:
    if settings["variant"] in ("l0", "l1"):
        return None
    return ("tf_" if settings["tensorflow"] else "") + f"efficientnet_{settings['variant']}", {}


def _vit(settings: Mapping[str, Any]) -> Architecture | None:
    size, _, _ = settings["variant"].partition("/")
    _, patch = parse(settings["variant"])
    if size not in SIZES or any(settings[name] != value for name, value in PLAIN.items()):
        return None
    arguments: Settings = {"patch_size": patch}
    if settings["pool"] == "mean":  # normalised before the mean
        arguments |= {"class_token": settings["class_token"], "global_pool": "avg", "fc_norm": False}
    if settings["gelu"] == "tanh":
        arguments["act_layer"] = "gelu_tanh"
    return f"vit_{SIZES[size]}_patch16_224", arguments


def _published(name: str, settings: Mapping[str, Any]) -> Architecture | None:
    """Returns the name of published weights of the same function: DINOv2, CLIP, SigLIP, DeiT, ConvNeXt and others."""
    for published, entry in ZOO.items():
        if entry.model == name and _functional(name, entry.settings) == settings:
            return published.partition(".")[0], {}
    return None


def _functional(name: str, settings: Mapping[str, Any]) -> Settings:
    """Returns all settings of a model that change its function in evaluation."""
    defaults = {key: parameter.default for key, parameter in parameters(MODELS[name], SUPPLIED).items()}
    every = {**defaults, **settings}
    return {key: bool(value) if key == "layer_scale" else value for key, value in every.items() if key not in TRAINING}


ARCHITECTURES: dict[str, Callable[[Mapping[str, Any]], Architecture | None]] = {
    "resnet": _resnet,
    "densenet": _densenet,
    "efficientnet": _efficientnet,
    "vit": _vit,
}
"""Name in `models.MODELS` -> (settings of the model -> what timm calls it; None where timm has no such network)."""


def architecture(spec: ModelSpec) -> Architecture | None:
    """Returns what timm calls a network, or None where timm has none like it.

    Args:
        spec: the network.

    Returns: (name, keyword arguments of `timm.create_model` beside `num_classes`).
    """
    if spec.decoder:
        return None
    settings = _functional(spec.name, spec.settings)
    known = ARCHITECTURES[spec.name](settings) if spec.name in ARCHITECTURES else None
    known = known or _published(spec.name, settings)
    if known is None:
        return None
    name, arguments = known
    height, width, channels = spec.input_shape
    arguments |= {"in_chans": channels} if channels != 3 else {}
    return name, arguments | ({"img_size": [height, width]} if spec.name == "vit" else {})


def config(spec: ModelSpec, temperature: float) -> Json:
    """Returns the content of `config.json`, as timm's `load_model_config_from_hf` reads it.

    What timm does not know is under "efficient_jax": our specification, and the temperature.

    Args:
        spec: the network.
        temperature: divisor of the logits.
    """
    height, width, channels = spec.input_shape
    name, arguments = architecture(spec) or (f"efficient_jax/{spec.name}", {})
    return {
        "architecture": name,
        "num_classes": len(spec.classes),
        "label_names": list(spec.classes),
        "model_args": arguments,
        "pretrained_cfg": {
            "input_size": [channels, height, width],
            "fixed_input_size": spec.name == "vit",
            "mean": list(spec.mean),
            "std": list(spec.std),
            "crop_pct": spec.framing.get("crop", 1.0),
            "crop_mode": CROP_MODES[spec.framing.get("fit", "crop")],
            "interpolation": spec.framing.get("interpolation", "bicubic"),
            "num_classes": len(spec.classes),
        },
        "efficient_jax": {**spec.to_json(), "temperature": temperature},
    }
