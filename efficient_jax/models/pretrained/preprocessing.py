"""Preprocessing and settings that belong to published weights: accuracy drops silently without them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from efficient_jax.errors import UserError
from efficient_jax.models.pretrained import names
from efficient_jax.models.pretrained.weights import PACKAGED, read
from efficient_jax.settings import choose

INTERPOLATIONS = ("bilinear", "bicubic")


class Preprocessing(NamedTuple):
    """How images are prepared for a model."""

    mean: tuple[float, ...]  # of each channel, of pixels in 0..1
    std: tuple[float, ...]  # of each channel
    size: tuple[int, int]  # (height, width) in pixels
    crop: float  # side of the centre crop as a fraction of that of the resized image
    interpolation: str  # one of INTERPOLATIONS


IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
FAMILIES = {
    "resnet": Preprocessing(IMAGENET_MEAN, IMAGENET_STD, (224, 224), 0.875, "bilinear"),
    "densenet": Preprocessing(IMAGENET_MEAN, IMAGENET_STD, (224, 224), 0.875, "bilinear"),
    "efficientnet": Preprocessing(IMAGENET_MEAN, IMAGENET_STD, (224, 224), 0.875, "bicubic"),
    "vit": Preprocessing((0.5,) * 3, (0.5,) * 3, (224, 224), 0.9, "bicubic"),
}
LITE_SIZES = {"efficientnet-lite0": 224, "efficientnet-lite1": 240, "efficientnet-lite2": 260}
assert LITE_SIZES.keys() == PACKAGED.keys()


def preprocessing_of(weights: str | Path, family: str) -> Preprocessing:
    """Returns the preprocessing that weights were trained with.

    A config.json of timm or Hugging Face beside the file decides; without one, it is the usual one of the family, or
    that of torchvision's ViT. The Lite models were trained on (x - 127) / 128 with x in 0..255 (the README of their
    packages says otherwise, which costs accuracy), and evaluated on the centre of images 32 pixels larger.

    Args:
        weights: a name in `PACKAGED`, or the path of a file.
        family: a name in `FAMILIES`, that of the model.

    Returns: a `Preprocessing`.

    Raises: UserError for an unknown family, or a config.json that cannot be read.
    """
    default = choose(family, FAMILIES, f"normalisation of {weights}")
    if str(weights) in LITE_SIZES:
        size = LITE_SIZES[str(weights)]
        return Preprocessing((127 / 255,) * 3, (128 / 255,) * 3, (size, size), size / (size + 32), "bicubic")
    file = Path(weights).with_name("config.json")
    if file.is_file():
        return _configured(file, default)
    if family == "vit" and Path(weights).suffix != ".npz" and "conv_proj.weight" in names.unwrap(read(weights)).state:
        return FAMILIES["resnet"]
    return default


def imagenet_classes() -> tuple[str, ...]:
    """Returns the names of the 1,000 classes of ImageNet (ILSVRC 2012), in the order of published heads.

    Returns: names in the order of the WordNet ids. A name is the first WordNet lemma of its class, or a later one if
        two classes have the same first.
    """
    return tuple(Path(__file__).with_name("imagenet.txt").read_text("utf-8").splitlines())


def implied(weights: str | Path, state: Mapping[str, np.ndarray]) -> dict[str, bool]:
    """Returns settings of the model that weights need and that their shapes do not show.

    These are `tanh_gelu` of ViT and `tensorflow` of EfficientNet, as far as the names in the file or a config.json
    beside it tell.

    Args:
        weights: a name in `PACKAGED`, or the path of a file.
        state: its arrays, as from `read`.

    Returns: settings of the model block; {} if nothing tells.

    Raises: UserError for a config.json that cannot be read.
    """
    if Path(weights).suffix == ".npz":
        return {"tanh_gelu": True}
    arrays = names.unwrap(state).state
    for name, tensorflow in (("_conv_stem.weight", True), ("features.0.0.weight", False)):  # ported, torchvision
        if name in arrays:
            return {"tensorflow": tensorflow}
    file = Path(weights).with_name("config.json")
    architecture = str(_read(file).get("architecture", "")) if file.is_file() else ""
    return {"tensorflow": architecture.startswith("tf_")} if "efficientnet" in architecture else {}


def _read(file: Path) -> dict[str, Any]:
    try:
        config: dict[str, Any] = json.loads(file.read_text()) | {}
        return config
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{file}: not a config.json of timm or Hugging Face ({error})") from None


def _configured(file: Path, default: Preprocessing) -> Preprocessing:
    """Returns the preprocessing in a config.json: under "pretrained_cfg", or at the top in timm's files before 2023."""
    config = _read(file)
    try:
        config = config.get("pretrained_cfg", config)
        configured = Preprocessing(
            tuple(map(float, config.get("mean", default.mean))),
            tuple(map(float, config.get("std", default.std))),
            _size(config.get("input_size", (3, *default.size))),
            float(config.get("crop_pct", default.crop)),
            config.get("interpolation", default.interpolation),
        )
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{file}: not a config.json of timm or Hugging Face ({error})") from None
    if configured.interpolation not in INTERPOLATIONS:
        raise UserError(f"{file}: interpolation {configured.interpolation!r}; there is: {', '.join(INTERPOLATIONS)}")
    return configured


def _size(channels_height_width: Any) -> tuple[int, int]:
    _, height, width = channels_height_width
    return int(height), int(width)
