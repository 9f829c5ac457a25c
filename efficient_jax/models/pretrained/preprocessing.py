"""What images must look like for weights that others trained: wrong normalisation costs accuracy silently."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from efficient_jax.binding import choose
from efficient_jax.models.pretrained.weights import PACKAGED
from efficient_jax.types import UserError

INTERPOLATIONS = ("bilinear", "bicubic")


class Preprocessing(NamedTuple):
    mean: tuple[float, ...]  # per channel, of pixels in 0..1
    std: tuple[float, ...]
    size: tuple[int, int]  # height and width in pixels
    crop: float  # the fraction of the resized image's sides that the centre crop takes
    interpolation: str  # of INTERPOLATIONS


IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
FAMILIES = {
    "resnet": Preprocessing(IMAGENET_MEAN, IMAGENET_STD, (224, 224), 0.875, "bilinear"),
    "densenet": Preprocessing(IMAGENET_MEAN, IMAGENET_STD, (224, 224), 0.875, "bilinear"),
    "efficientnet": Preprocessing(IMAGENET_MEAN, IMAGENET_STD, (224, 224), 0.875, "bicubic"),
    "vit": Preprocessing((0.5,) * 3, (0.5,) * 3, (224, 224), 0.9, "bicubic"),
}
LITE_SIZES = {"efficientnet-lite0": 224, "efficientnet-lite1": 240, "efficientnet-lite2": 260}
assert LITE_SIZES.keys() == PACKAGED.keys()


def preprocessing(weights: str | Path, family: str) -> Preprocessing:
    """Of a name in `PACKAGED`, or of a file: what a config.json of timm or Hugging Face beside it says, else what is
    usual for the `family`.

    The Lite models were trained on (x - 127) / 128 with x in 0..255 (their packages' own README says otherwise, and it
    costs accuracy), and evaluated on the centre of an image 32 pixels larger than theirs.

    Raises: UserError for an unknown family, or a config.json that cannot be read.
    """
    default = choose(family, FAMILIES, f"normalisation of {weights}")
    if str(weights) in LITE_SIZES:
        size = LITE_SIZES[str(weights)]
        return Preprocessing((127 / 255,) * 3, (128 / 255,) * 3, (size, size), size / (size + 32), "bicubic")
    file = Path(weights).with_name("config.json")
    return _configured(file, default) if file.is_file() else default


def _configured(file: Path, default: Preprocessing) -> Preprocessing:
    """timm's settings are under "pretrained_cfg", or at the top in files of before 2023."""
    try:
        config = json.loads(file.read_text())
        config = config.get("pretrained_cfg", config)
        found = Preprocessing(
            tuple(map(float, config.get("mean", default.mean))),
            tuple(map(float, config.get("std", default.std))),
            _size(config.get("input_size", (3, *default.size))),
            float(config.get("crop_pct", default.crop)),
            config.get("interpolation", default.interpolation),
        )
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{file}: not a config.json of timm or Hugging Face ({error})") from None
    if found.interpolation not in INTERPOLATIONS:
        raise UserError(f"{file}: interpolation {found.interpolation!r}; there is: {', '.join(INTERPOLATIONS)}")
    return found


def _size(channels_height_width: Any) -> tuple[int, int]:
    _, height, width = channels_height_width
    return int(height), int(width)
