"""Loads the arrays of published weights into the models of this package, and gives them back under timm's names."""

import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Float

from efficient_jax.errors import UserError, counted, few
from efficient_jax.models.positions import resample_pos_embed
from efficient_jax.models.pretrained import layouts, names
from efficient_jax.types import Tree

LEAVES = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}  # flax's name: torch's
HEAD = ("head.weight", "head.bias")
UNUSED = r"projection\.weight|pooler\..*"  # parameters behind the features, which a model may leave out


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
        lines += [f"new: {few(self.new, 4)} ({self.why})"] if self.new else []
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
    the grid of a ViT's position embedding, which is resampled, and the input channels: 3 in the file and 1 in the model
    (their kernels are summed), or the reverse (repeated, and divided by 3). Both give the output for a gray image in
    three channels. The decoder and the last layer of a network of `dense` keep their values, too.

    Args:
        state: the arrays of a file, as from `read`, under the names of timm, torchvision, Transformers or
            efficientnet-pytorch, with any prefix. Of several networks in it, a moving average of the weights is
            preferred.
        variables: {"params": ..., "batch_stats": ...} of the model, arrays or their shapes.
        head: whether to load the classifier; else the head of the model keeps its values.
        image: (height, width) in pixels of the model's images, for the grid of a ViT; None: square images.
        where: where the weights are named, for messages.

    Returns: (variables in float32, report).

    Raises: UserError naming `where`, with the first few names, if anything else differs.
    """
    initial = flatten_dict(variables)
    paths = {timm_name(path): path for path in initial}
    complete = paths.keys() <= state.keys()  # as `torch_state` writes networks that timm does not have
    unwrapped = names.Unwrapped(dict(state), "", ()) if complete else names.unwrap(state)
    try:
        state = layouts.joined(names.to_timm(unwrapped.state))
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    ends = tuple(name for name in paths if name.split(".")[0] in ("decoder", "head"))
    classifier = set(ends) == set(HEAD)  # else a network of `dense`, which only this package writes
    if not head:
        why = "as requested"
    elif classifier:
        why = _no_head(state, initial[paths[HEAD[0]]].shape, unwrapped.prefix)
    else:
        why = "" if paths.keys() <= state.keys() else "not in published weights"
    new = (HEAD if classifier else ends) if why else ()
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
                else _in_channels(published, initial[path].shape)
            )
        except UserError as error:
            raise UserError(f"{where}: {error}") from None
        if values.shape != initial[path].shape:
            misfit.append(f"{name} {_times(published.shape)}, not {_times(initial[path].shape)}")
        elif change:
            reshaped.append(f"{name}: {change}")
        loaded[path] = np.asarray(values)
    left = [name for name in state if name not in wanted]
    excess = [name for name in left if name not in HEAD and not re.fullmatch(UNUSED, name)]
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


def timm_name(path: tuple[str, ...]) -> str:
    """Returns the name of a parameter in torch: ("params", "layer1", "conv1", "kernel") -> "layer1.conv1.weight".

    It is timm's, but for what `layouts.from_joined` renames.

    Args:
        path: of a variable: its collection, the modules and the leaf.
    """
    return ".".join((*path[1:-1], LEAVES.get(path[-1], path[-1])))


def torch_state(variables: Tree) -> dict[str, np.ndarray]:
    """Returns the state dict that timm's model of the same architecture loads: what `load` reads without any change.

    Args:
        variables: {"params": ..., "batch_stats": ...} of the model.

    Returns: timm's names -> float32 arrays in torch's layout.
    """
    flat = {path: np.asarray(value, np.float32) for path, value in flatten_dict(variables).items()}
    state = layouts.from_joined({timm_name(path): _layout(value, path, back=True) for path, value in flat.items()})
    return {name: np.ascontiguousarray(array) for name, array in state.items()}  # safetensors writes memory as it lies


def _no_head(state: Mapping[str, np.ndarray], shape: tuple[int, ...], prefix: str) -> str:
    """Returns why the head in the file cannot be used for a kernel of this shape; "" if it can."""
    if any(name not in state for name in HEAD):
        return f"no head {f'below {prefix!r} ' if prefix else ''}in the file"
    in_file, width = np.shape(state[HEAD[0]])
    if in_file != shape[1]:
        return f"{counted(shape[1], 'class', 'classes')} here, {in_file} in the file"
    return "" if width == shape[0] else f"the head takes {shape[0]} features here, {width} in the file"


def _layout(array: Float[np.ndarray, " ..."], path: tuple[str, ...], back: bool = False) -> Float[np.ndarray, " ..."]:
    """Returns an array in flax's layout: torch's OIHW as HWIO, [out in] as [in out]; with `back` the reverse."""
    if path[-1] != "kernel" or array.ndim not in (2, 4):
        return array
    return array.T if array.ndim == 2 else array.transpose((3, 2, 0, 1) if back else (2, 3, 1, 0))


def _in_channels(array: Float[np.ndarray, " ..."], shape: tuple[int, ...]) -> tuple[Float[np.ndarray, " ..."], str]:
    """Returns (a kernel for 1 or 3 input channels as the model has them, description of the change or "")."""
    if array.ndim != 4 or len(shape) != 4 or (*array.shape[:2], array.shape[3]) != (*shape[:2], shape[3]):
        return array, ""
    if (array.shape[2], shape[2]) == (3, 1):
        return array.sum(2, keepdims=True), "3 input channels summed to 1"
    if (array.shape[2], shape[2]) == (1, 3):
        return np.repeat(array, 3, 2) / np.float32(3.0), "1 input channel repeated to 3, divided by 3"
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
    tokens = ("cls_token", "dist_token", "reg_token")
    prefix = sum(params[token].shape[1] for token in tokens if token in params)
    patch = params["patch_embed"]["proj"]["kernel"].shape[0]
    _, wanted, width = params["pos_embed"].shape
    if wanted == (math.prod(n // patch for n in image) if image else math.isqrt(wanted) ** 2):
        prefix = 0  # these tokens have no positions
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
    return resample_pos_embed(jnp.array(positions), grid, prefix), change


def _guess(state: Mapping[str, np.ndarray], paths: Mapping[str, Any]) -> str:
    """Returns a sentence that names both architectures if they differ, else ""."""
    in_file, model = names.describe(state), names.describe(paths)
    return "" if in_file == model else f". They look like {in_file}, the model like {model}"


def _times(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
