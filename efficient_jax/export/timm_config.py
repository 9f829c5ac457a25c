"""timm's name of a trained network, and the `config.json` from which timm builds it."""

from collections.abc import Callable, Mapping
from typing import Any

from efficient_jax.models.spec import ModelSpec
from efficient_jax.models.vit import parse

SIZES = {"Ti": "tiny", "S": "small", "B": "base", "L": "large"}  # of a ViT: our name -> timm's
CROP_MODES = {"crop": "center", "squash": "squash", "pad": "border"}  # `fit` of a framing -> timm's crop_mode

Architecture = tuple[str, dict[str, Any]]
"""(timm's name, keyword arguments of `timm.create_model`)."""


def _resnet(settings: Mapping[str, Any]) -> Architecture | None:
    cifar = settings.get("stem", "imagenet") != "imagenet"
    return None if cifar else (f"resnet{settings.get('depth', 50)}", {})


def _densenet(settings: Mapping[str, Any]) -> Architecture | None:
    return f"densenet{settings.get('depth', 121)}", {}


def _efficientnet(settings: Mapping[str, Any]) -> Architecture | None:
    variant = settings.get("variant", "b0")
    if variant in ("l0", "l1"):
        return None
    return ("tf_" if settings.get("tensorflow", True) else "") + f"efficientnet_{variant}", {}


def _vit(settings: Mapping[str, Any]) -> Architecture | None:
    variant = settings.get("variant", "S/16")
    _, patch = parse(variant)
    arguments: dict[str, Any] = {"patch_size": patch}
    if settings.get("pool", "token") == "mean":  # normalised before the mean
        arguments |= {"class_token": False, "global_pool": "avg", "fc_norm": False}
    if settings.get("tanh_gelu", False):
        arguments["act_layer"] = "gelu_tanh"
    return f"vit_{SIZES[variant.partition('/')[0]]}_patch16_224", arguments


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
    known = ARCHITECTURES[spec.name](spec.settings) if spec.name in ARCHITECTURES else None
    if known is None:
        return None
    name, arguments = known
    height, width, channels = spec.input_shape
    arguments |= {"in_chans": channels} if channels != 3 else {}
    return name, arguments | ({"img_size": [height, width]} if spec.name == "vit" else {})


def config(spec: ModelSpec, temperature: float) -> dict[str, Any]:
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
