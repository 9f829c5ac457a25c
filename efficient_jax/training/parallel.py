"""Devices: which are used, how arrays are placed on them, and the only `jax.pmap` of the package.

On CPU the cores are devices. Two precautions keep pmapped programs from hanging there: the command line and the tests
set NPROC before the first computation (XLA's thread pool must be larger than the number of devices, or threads parked
in an all-reduce starve the device they wait for), and the loop keeps at most two steps in flight.
"""

import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Int, Key, PRNGKeyArray, Shaped

from efficient_jax import distributed, keys
from efficient_jax.errors import UserError, counted
from efficient_jax.types import Tree

AXIS = "device"
"""The name of the mapped axis: for psum, all_gather and BatchNorm's `axis_name`."""


def pick_devices(batches: Mapping[str, int], asked: int, joined: int = 2) -> list[jax.Device]:
    """Chooses devices over which every batch is split evenly, equally many of each process.

    Args:
        batches: name for messages -> images of the batch.
        asked: number of devices; 0 takes as many as possible.
        joined: where there are several devices, the share of each is a multiple of this: mixing pairs neighbours, and a
            mosaic joins four.

    Raises: UserError when there are fewer devices, or when they do not divide a batch.
    """
    available, parts = jax.device_count(), jax.process_count()
    if asked > available:
        raise UserError(
            f"devices: {asked} asked, but there are {available} ({jax.default_backend()}); 0 takes what fits"
        )
    if asked % parts:
        raise UserError(f"devices: {asked} do not divide among {parts} processes; 0 takes what fits")
    for count in [asked] if asked else range(available, 0, -parts):
        uneven = [name for name, size in batches.items() if size % (joined * count if count > 1 else 1)]
        if not uneven:
            return [device for i in range(parts) for device in jax.local_devices(i)[: count // parts]]
    name, multiple = uneven[0], "an even number" if joined == 2 else f"a multiple of {joined}"
    raise UserError(
        f"{name}: {counted(batches[name], 'image does', 'images do')} not divide into {multiple} for each of "
        f"{counted(count, 'device')}; "
        f"make it a multiple of {joined * count}, or ask for fewer devices (devices=0 takes what fits)"
    )


def mine(devices: Sequence[jax.Device]) -> list[jax.Device]:
    """Returns the devices of this process, the only ones on which it can place arrays.

    Args:
        devices: of all processes.
    """
    return [device for device in devices if device.process_index == jax.process_index()]


def replicate(tree: Tree, devices: Sequence[jax.Device]) -> Tree:
    """Copies a tree to every device of this process. Other arguments with `in_axes=None` are copied at every call.

    Args:
        tree: arrays.
        devices: of all processes.
    """
    return jax.device_put(tree, replicated(devices))


def replicated(devices: Sequence[jax.Device]) -> NamedSharding:
    """Returns the sharding of arrays that are copied to every device of this process.

    Args:
        devices: of all processes.
    """
    return NamedSharding(Mesh(np.array(mine(devices)), (AXIS,)), PartitionSpec())


def pmap(
    function: Callable[..., Any],
    devices: Sequence[jax.Device],
    *,
    in_axes: tuple[Any, ...],
    out_axes: int | tuple[Any, ...] | None,
    donate: tuple[int, ...] = (),
) -> Callable[..., Any]:
    """Returns a function that runs on every device, compiled.

    Args:
        function: may use collectives over `AXIS`.
        devices: of all processes.
        in_axes: for each argument its axis of the devices; None: the argument is the same on all devices.
        out_axes: the same for the results.
        donate: indices of arguments whose memory the results may take.
    """
    mapped: Callable[..., Any] = jax.pmap(
        function, axis_name=AXIS, devices=devices, in_axes=in_axes, out_axes=out_axes, donate_argnums=donate
    )
    return mapped


def keys_of_share(key: PRNGKeyArray, n: int) -> Key[Array, " n"]:
    """Returns the random key of each example on this device, by its position in the global batch.

    Args:
        key: random key of the batch, the same on all devices.
        n: examples on this device.
    """
    return keys.by_position(key, jax.lax.axis_index(AXIS) * n, n)


def shared(rows: Int[np.ndarray, "*steps b"], devices: Sequence[jax.Device]) -> Int[Array, " mine *steps share"]:
    """Splits the indices of global batches over the devices, and places each share on its device.

    Args:
        rows: indices of images.
        devices: of all processes; their number divides b.
    """
    placed: Array = jax.device_put(_shares(rows, devices), _split(devices))
    return placed


def shared_by(
    look_up: Callable[[Int[np.ndarray, " mine *steps share"]], np.ndarray],
    rows: Int[np.ndarray, "*steps b"],
    devices: Sequence[jax.Device],
) -> Shaped[Array, " mine *steps_share_shape"]:
    """Splits global batches over the devices like `shared`, and places values in place of indices.

    Args:
        look_up: returns the values of indices; called with those of this process' devices only.
        rows: indices of images.
        devices: of all processes; their number divides b.
    """
    placed: Array = jax.device_put(look_up(_shares(rows, devices)), _split(devices))
    return placed


def collected(batches: Iterable[Shaped[Array, " mine share *shape"]]) -> Shaped[np.ndarray, " images *shape"]:
    """Gathers the results of all devices, those of other processes too.

    Args:
        batches: one or more results of a mapped function, in the order of the batches.

    Returns: the results in the order of the images.
    """
    shares = distributed.gathered(np.stack([np.asarray(batch) for batch in batches], 1))
    return shares.swapaxes(0, 1).reshape(-1, *shares.shape[3:])


def _shares(rows: np.ndarray, devices: Sequence[jax.Device]) -> np.ndarray:
    """Returns the shares of this process' devices."""
    shares = np.moveaxis(rows.reshape(*rows.shape[:-1], len(devices), -1), -2, 0)
    return shares[[device.process_index == jax.process_index() for device in devices]]


def _split(devices: Sequence[jax.Device]) -> NamedSharding:
    return NamedSharding(Mesh(np.array(mine(devices)), (AXIS,)), PartitionSpec(AXIS))


def gathered(tree: Tree) -> Tree:
    """Concatenates the shares of all devices, within a mapped function; the result is the same on all of them.

    Args:
        tree: arrays of this device's share.
    """
    return jax.lax.all_gather(tree, AXIS, tiled=True)


def assert_replicas_agree(tree: Tree) -> None:
    """Checks that all devices hold the same values, which `out_axes=None` presumes; a missing psum breaks it.

    Args:
        tree: arrays that are copied to every device.

    Raises: AssertionError naming the first leaf that differs between devices.
    """
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    sums = [[zlib.crc32(np.asarray(shard.data).tobytes()) for shard in leaf.addressable_shards] for _, leaf in leaves]
    checksums = distributed.gathered(np.array(sums, np.uint32).T)
    for (path, _), disagree in zip(leaves, (checksums != checksums[0]).any(0), strict=True):
        if disagree:
            raise AssertionError(f"devices disagree about {jax.tree_util.keystr(path)}")
