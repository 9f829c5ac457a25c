"""Preprocessing and settings that belong to published weights: accuracy drops silently without them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from efficient_jax.errors import UserError
from efficient_jax.models.pretrained import files, layouts, names
from efficient_jax.models.pretrained.zoo import HALF, IMAGENET, IN1K, ZOO, Entry, Preprocessing
from efficient_jax.settings import choose

INTERPOLATIONS = ("bilinear", "bicubic")


FAMILIES = {
    "resnet": Preprocessing(*IMAGENET, (224, 224), 0.875, "bilinear"),
    "densenet": Preprocessing(*IMAGENET, (224, 224), 0.875, "bilinear"),
    "efficientnet": Preprocessing(*IMAGENET, (224, 224), 0.875, "bicubic"),
    "vit": Preprocessing(*HALF, (224, 224), 0.9, "bicubic"),
    "convnext": Preprocessing(*IMAGENET, (224, 224), 0.875, "bicubic"),
}


def preprocessing_of(weights: str | Path, family: str) -> Preprocessing:
    """Returns the preprocessing that weights were trained with.

    A config.json of timm or a preprocessor_config.json of Transformers beside the file decides; without one, it is
    that of the name in `zoo.ZOO`, or the usual one of the family, or that of torchvision's ViT.

    Args:
        weights: a name in `zoo.ZOO`, or the path of a file or a folder with one.
        family: a name in `FAMILIES`, that of the model.

    Returns: a `Preprocessing`.

    Raises: UserError for an unknown family, or a config.json that cannot be read.
    """
    default = choose(family, FAMILIES, f"normalisation of {weights}")
    if str(weights) in ZOO:
        return ZOO[str(weights)].preprocessing
    known = entry_of(weights)
    default = known.preprocessing if known else default
    if files.beside(weights, "preprocessor_config.json").is_file():
        return _preprocessor(files.beside(weights, "preprocessor_config.json"), default)
    file = files.beside(weights, "config.json")
    if file.is_file():
        return _configured(file, default)
    if (
        not known
        and family == "vit"
        and Path(weights).suffix != ".npz"
        and "conv_proj.weight" in names.unwrap(files.read(weights)).state
    ):
        return FAMILIES["resnet"]
    return default


def imagenet_classes() -> tuple[str, ...]:
    """Returns the names of the 1,000 classes of ImageNet (ILSVRC 2012), in the order of published heads.

    Returns: names in the order of the WordNet ids. A name is the first WordNet lemma of its class, or a later one if
        two classes have the same first.
    """
    return tuple(Path(__file__).with_name("imagenet.txt").read_text("utf-8").splitlines())


def classes_of(weights: str | Path, state: Mapping[str, np.ndarray]) -> tuple[str, ...]:
    """Returns the names of the classes of published weights, in the order of their logits.

    Those are in a config.json beside the file, under timm's "label_names" or Transformers' "id2label", or those of
    ImageNet where there are 1,000; otherwise they are numbers.

    Args:
        weights: a name in `zoo.ZOO`, or the path of a file or a folder with one.
        state: its arrays, as from `files.read`.

    Returns: () for weights without a classifier.

    Raises: UserError for a config.json that cannot be read.
    """
    head = layouts.joined(names.to_timm(names.unwrap(state).state)).get("head.weight")
    if head is None:
        return ()
    config = config_of(files.locate(weights))
    by_index = {int(index): name for index, name in config.get("id2label", {}).items()}
    labels = config.get("label_names", [by_index[index] for index in sorted(by_index)])
    if len(labels) == len(head) and len(set(labels)) == len(labels):
        return tuple(map(str, labels))
    return imagenet_classes() if len(head) == IN1K else tuple(map(str, range(len(head))))


def implied(weights: str | Path, state: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Returns settings of the model that weights need and that their shapes do not show.

    These are `gelu` of ViT and `tensorflow` of EfficientNet, as far as the names in the file or a config.json
    beside it tell.

    Args:
        weights: a name in `zoo.ZOO`, or the path of a file or a folder with one.
        state: its arrays, as from `read`.

    Returns: settings of the model block; {} if nothing tells.

    Raises: UserError for a config.json that cannot be read.
    """
    if str(weights) in ZOO:
        settings = ZOO[str(weights)].settings
        return {name: settings[name] for name in ("gelu", "norm_eps", "tensorflow") if name in settings}
    if Path(weights).suffix == ".npz":
        return {"gelu": "tanh"}
    arrays = names.unwrap(state).state
    for name, tensorflow in (("_conv_stem.weight", True), ("features.0.0.weight", False)):  # ported, torchvision
        if name in arrays:
            return {"tensorflow": tensorflow}
    architecture = str(config_of(weights).get("architecture", ""))
    return {"tensorflow": architecture.startswith("tf_")} if "efficientnet" in architecture else {}


def entry_of(weights: str | Path) -> Entry | None:
    """Returns the entry of `zoo.ZOO` that a file is known by: the name of it or of its folder, or its config.json.

    Args:
        weights: a name in `zoo.ZOO`, or the path of a file or a folder with one.

    Raises: UserError for a config.json that cannot be read.
    """
    path = Path(weights)
    suffix = path.suffix if path.suffix in files.READERS else ""
    for name in (str(weights), path.name.removesuffix(suffix), files.beside(weights, "").name):
        if name in ZOO:
            return ZOO[name]
    config = config_of(weights)
    return ZOO.get(f"{config.get('architecture', '')}.{config.get('pretrained_cfg', {}).get('tag', '')}")


def config_of(weights: str | Path) -> dict[str, Any]:
    """Returns the config.json of timm or Transformers beside weights; {} if there is none.

    Args:
        weights: a name in `zoo.ZOO`, or the path of a file or a folder with one.

    Raises: UserError for a file that cannot be read or is no such file.
    """
    file = files.beside(weights, "config.json")
    return read_json(file) if file.is_file() else {}


def read_json(file: Path) -> dict[str, Any]:
    """Returns a config.json of timm or Transformers.

    Args:
        file: its path.

    Raises: UserError for a file that cannot be read or is no such file.
    """
    try:
        config: dict[str, Any] = json.loads(file.read_text()) | {}
        return config
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{file}: not a config.json of timm or Hugging Face ({error})") from None


def _configured(file: Path, default: Preprocessing) -> Preprocessing:
    """Returns the preprocessing in a config.json: under "pretrained_cfg", or at the top in timm's files before 2023."""
    config = read_json(file)
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


def _preprocessor(file: Path, default: Preprocessing) -> Preprocessing:
    """Returns the preprocessing in a preprocessor_config.json of Transformers."""
    config = read_json(file)
    try:
        size = config.get("crop_size", config.get("size", default.size[0]))
        side = size if isinstance(size, int) else int(size.get("height", size.get("shortest_edge", default.size[0])))
        resized = config.get("size", side)
        shorter = resized if isinstance(resized, int) else int(resized.get("shortest_edge", side))
        return Preprocessing(
            tuple(map(float, config.get("image_mean", default.mean))),
            tuple(map(float, config.get("image_std", default.std))),
            (side, side),
            min(1.0, side / shorter) if config.get("do_center_crop") else 1.0,
            {2: "bilinear", 3: "bicubic"}.get(config.get("resample", 0), default.interpolation),
        )
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{file}: not a preprocessor_config.json of Transformers ({error})") from None


def _size(channels_height_width: Any) -> tuple[int, int]:
    _, height, width = channels_height_width
    return int(height), int(width)
