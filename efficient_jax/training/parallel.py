"""Devices: which are used, how arrays are placed on them, and the only `jax.pmap` of the package.

On CPU the cores are devices. Two precautions keep pmapped programs from hanging there: `launch.py` and the tests
set NPROC before jax is imported (XLA's thread pool must be larger than the number of devices, or threads parked
in an all-reduce starve the device they wait for), and the loop keeps at most two steps in flight.
"""

import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Int, Key, PRNGKeyArray, Shaped

from efficient_jax import distributed, keys
from efficient_jax.errors import UserError, counted
from efficient_jax.types import Tree

AXIS = "device"
"""The name of the mapped axis: for psum, all_gather and BatchNorm's `axis_name`."""


def pick_devices(batches: Mapping[str, int], asked: int) -> list[jax.Device]:
    """The devices that share every one of the named batches evenly.

    `asked` = 0 takes as many as possible; each process has as many of them. A device's share is even where there are
    several, because mixing pairs neighbours.

    Raises: UserError when `asked` devices do not exist or do not divide a batch.
    """
    there, parts = jax.device_count(), jax.process_count()
    if asked > there:
        raise UserError(f"devices: {asked} asked, but there are {there} ({jax.default_backend()}); 0 takes what fits")
    if asked % parts:
        raise UserError(f"devices: {asked} do not divide among {parts} processes; 0 takes what fits")
    for count in [asked] if asked else range(there, 0, -parts):
        odd = [name for name, size in batches.items() if size % (2 * count if count > 1 else 1)]
        if not odd:
            return [device for i in range(parts) for device in jax.local_devices(i)[: count // parts]]
    name = odd[0]
    raise UserError(
        f"{name}: {counted(batches[name], 'image does', 'images do')} not divide into an even number for each of "
        f"{counted(count, 'device')}; "
        f"make it a multiple of {2 * count}, or ask for fewer devices (devices=0 takes what fits)"
    )


def mine(devices: Sequence[jax.Device]) -> list[jax.Device]:
    """Those of this process. Each places its own; `jax.pmap` alone knows of the others."""
    return [device for device in devices if device.process_index == jax.process_index()]


def replicate(tree: Tree, devices: Sequence[jax.Device]) -> Tree:
    """`tree` on every device, placed once: what pmap gets with `in_axes=None` and is not placed so, it copies at
    every call."""
    return jax.device_put(tree, replicated(devices))


def replicated(devices: Sequence[jax.Device]) -> NamedSharding:
    return NamedSharding(Mesh(np.array(mine(devices)), (AXIS,)), PartitionSpec())


def pmap(
    function: Callable,
    devices: Sequence[jax.Device],
    *,
    in_axes: tuple,
    out_axes: int | tuple | None,
    donate: tuple = (),
) -> Callable:
    """`function` on every device; an argument or result with axis None is the same on all of them."""
    return jax.pmap(
        function, axis_name=AXIS, devices=devices, in_axes=in_axes, out_axes=out_axes, donate_argnums=donate
    )


def keys_of_share(key: PRNGKeyArray, n: int) -> Key[Array, " n"]:
    """One key for each of this device's `n` examples, by their position in the global batch."""
    return keys.by_position(key, jax.lax.axis_index(AXIS) * n, n)


def shared(rows: Int[np.ndarray, "*steps b"], devices: Sequence[jax.Device]) -> Int[Array, " mine *steps share"]:
    """Global batches cut into the devices' shares, each on its device."""
    return jax.device_put(_shares(rows, devices), _split(devices))


def shared_by(
    look_up: Callable[[Int[np.ndarray, " mine *steps share"]], np.ndarray],
    rows: Int[np.ndarray, "*steps b"],
    devices: Sequence[jax.Device],
) -> Shaped[Array, " mine *steps_share_shape"]:
    """As `shared`, of what `look_up` knows of each row. It is asked for the rows of this process' devices only."""
    return jax.device_put(look_up(_shares(rows, devices)), _split(devices))


def collected(batches: Iterable[Shaped[Array, " mine share *shape"]]) -> Shaped[np.ndarray, " images *shape"]:
    """What all devices, also those of other processes, have found of batches, in the order of the images."""
    shares = distributed.gathered(np.stack([np.asarray(batch) for batch in batches], 1))
    return shares.swapaxes(0, 1).reshape(-1, *shares.shape[3:])


def _shares(rows: np.ndarray, devices: Sequence[jax.Device]) -> np.ndarray:
    """Of this process' devices."""
    shares = np.moveaxis(rows.reshape(*rows.shape[:-1], len(devices), -1), -2, 0)
    return shares[[device.process_index == jax.process_index() for device in devices]]


def _split(devices: Sequence[jax.Device]) -> NamedSharding:
    return NamedSharding(Mesh(np.array(mine(devices)), (AXIS,)), PartitionSpec(AXIS))


def gathered(tree: Tree) -> Tree:
    """Within a mapped function: the shares of all devices, one behind the other, the same on all of them."""
    return jax.lax.all_gather(tree, AXIS, tiled=True)


def assert_replicas_agree(tree: Tree) -> None:
    """`out_axes=None` trusts that devices computed the same; one forgotten psum and they train apart.

    Raises: AssertionError naming the first leaf that differs between devices.
    """
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    sums = [[zlib.crc32(np.asarray(shard.data).tobytes()) for shard in leaf.addressable_shards] for _, leaf in leaves]
    of_devices = distributed.gathered(np.array(sums, np.uint32).T)
    for (path, _), disagree in zip(leaves, (of_devices != of_devices[0]).any(0), strict=True):
        if disagree:
            raise AssertionError(f"devices disagree about {jax.tree_util.keystr(path)}")
