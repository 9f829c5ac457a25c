"""safetensors: the weights of one network under timm's names, where timm has the network."""

import safetensors.numpy

from efficient_jax.errors import UserError
from efficient_jax.export import timm_config
from efficient_jax.export.program import Program
from efficient_jax.inference.tta import IDENTITY
from efficient_jax.models import heads, pretrained


def serialized(program: Program) -> bytes:
    """Returns the weights of a network. The temperature is not in them.

    Args:
        program: of one network, without test-time augmentation.

    Raises: UserError for several networks, for views, and for another head than the network's own.
    """
    if len(program.variables) > 1:
        raise UserError("--format: safetensors holds one network; several are a program: stablehlo or onnx")
    if program.views != (IDENTITY,):
        raise UserError("--tta: safetensors holds weights only; views are a part of programs: stablehlo or onnx")
    if dict(program.spec.head) != heads.LINEAR:
        raise UserError(
            f"--format: safetensors holds the network's own head; this one is {program.spec.head['name']!r} on "
            f"{program.spec.head['pool']!r}: take stablehlo or onnx"
        )
    state = pretrained.torch_state(program.variables[0])
    return bytes(safetensors.numpy.save(state, {"format": "pt"}))


def names(program: Program) -> str:
    """Returns whose names the weights have, for the model card.

    Args:
        program: of one network.
    """
    known = timm_config.architecture(program.spec)
    if known is None:
        return f"ours: timm has no such {program.spec.name}"
    return f"timm's, of {known[0]}"


def code(program: Program) -> str:
    """Returns lines of Python that load the weights in PyTorch, or in numpy where timm has no such network.

    Args:
        program: of one network.
    """
    if timm_config.architecture(program.spec) is None:
        return 'import safetensors.numpy\n\nweights = safetensors.numpy.load_file("model.safetensors")'
    return (
        "import timm\n\n"
        'model = timm.create_model("local-dir:FOLDER", pretrained=True).eval()  # FOLDER: where this file lies\n'
        "prepare = timm.data.create_transform(**timm.data.resolve_model_data_config(model))\n"
        "logits = model(prepare(image)[None])  # a PIL image"
    )
