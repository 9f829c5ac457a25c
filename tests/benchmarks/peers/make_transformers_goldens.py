"""Writes tests/models/goldens/transformers.npz with torch and transformers, which this package does not need:

    python tests/benchmarks/peers/make_transformers_goldens.py

It holds what tiny models of Transformers answer to `seeded.images(0, 2, h, w)` under `seeded.weights(shapes)`: shapes
(JSON, by the names in a file of `save_pretrained`), sides of the images, and features or logits.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
import transformers

GOLDENS = Path(__file__).parents[2] / "models" / "goldens"
sys.path.insert(0, str(GOLDENS.parent))

import seeded  # noqa: E402

VIT = {
    "hidden_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 3,
    "intermediate_size": 96,
    "image_size": 32,
    "patch_size": 16,
    "num_labels": 10,
}
CONVNEXT = {"depths": [1, 1, 1, 1], "hidden_sizes": [8, 16, 32, 64], "num_labels": 10, "image_size": 64}
MODELS = {  # name of the golden: (class, config, which of its outputs)
    "vit": ("ViTForImageClassification", "ViTConfig", VIT | {"layer_norm_eps": 1e-6}, "logits"),
    "deit": ("DeiTForImageClassificationWithTeacher", "DeiTConfig", VIT | {"layer_norm_eps": 1e-6}, "logits"),
    "dinov2": ("Dinov2Model", "Dinov2Config", VIT, "pooler_output"),
    "dinov2_registers": ("Dinov2WithRegistersModel", "Dinov2WithRegistersConfig", VIT, "pooler_output"),
    "dinov3": ("DINOv3ViTModel", "DINOv3ViTConfig", VIT | {"num_register_tokens": 4}, "pooler_output"),
    "clip": ("CLIPVisionModelWithProjection", "CLIPVisionConfig", VIT | {"projection_dim": 12}, "image_embeds"),
    "siglip": ("SiglipVisionModel", "SiglipVisionConfig", VIT, "pooler_output"),
    "convnext": ("ConvNextForImageClassification", "ConvNextConfig", CONVNEXT, "logits"),
    "convnextv2": ("ConvNextV2ForImageClassification", "ConvNextV2Config", CONVNEXT, "logits"),
}


def main() -> None:
    arrays, shapes, sides, activations = {}, {}, {}, {}
    for name, (model_name, config_name, settings, output) in MODELS.items():
        config = getattr(transformers, config_name)(**settings)
        model = getattr(transformers, model_name)(config).eval()
        saved = saved_names(model)
        state = seeded.weights({key: tuple(value.shape) for key, value in saved.items()})
        # the tensors of the file are those of the model, so that a name of the file fills its parameter
        for key, tensor in saved.items():
            tensor.data.copy_(torch.from_numpy(state[key]))
        side = settings["image_size"]
        images = torch.from_numpy(seeded.images(0, 2, side, side).transpose(0, 3, 1, 2).copy())
        with torch.no_grad():
            arrays[name] = getattr(model(images), output).numpy()
        shapes[name] = {key: value.shape for key, value in state.items()}
        sides[name], activations[name] = side, getattr(config, "hidden_act", "gelu")
        print(f"{name}: {output} of standard deviation {arrays[name].std():.2f}")
    tables = {"shapes": shapes, "sides": sides, "activations": activations}
    np.savez_compressed(
        GOLDENS / "transformers.npz", **{key: np.array(json.dumps(table)) for key, table in tables.items()}, **arrays
    )


def saved_names(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Returns the names in a saved file -> parameters of the model."""
    import tempfile

    from safetensors.torch import load_file

    parameters = dict(model.named_parameters())
    for index, parameter in enumerate(parameters.values()):
        parameter.data.fill_(float(index))
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        saved = load_file(str(next(Path(folder).glob("*.safetensors"))))
    by_index = dict(enumerate(parameters.values()))
    return {name: by_index[int(tensor.flatten()[0])] for name, tensor in saved.items()}


if __name__ == "__main__":
    main()
