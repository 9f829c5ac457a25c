"""Devices: which are used, how arrays are placed on them, and the only `jax.pmap` of the package.

On CPU the cores are devices. Two precautions keep pmapped programs from hanging there: `launch.py` and the tests
set NPROC before jax is imported (XLA's thread pool must be larger than the number of devices, or threads parked
in an all-reduce starve the device they wait for), and the loop keeps at most two steps in flight.
"""

from collections.abc import Callable, Mapping, Sequence

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Int, Key, PRNGKeyArray, Shaped

from efficient_jax import keys
from efficient_jax.types import Tree, UserError

AXIS = "device"
"""The name of the mapped axis: for psum, all_gather and BatchNorm's `axis_name`."""


def pick_devices(batches: Mapping[str, int], asked: int) -> list[jax.Device]:
    """The devices that share every one of the named batches evenly.

    `asked` = 0 takes as many of the local devices as possible. A device's share is even where there are several,
    because mixing pairs neighbours.

    Raises: UserError when `asked` devices do not exist or do not divide a batch.
    """
    local = jax.local_devices()
    if asked > len(local):
        raise UserError(f"devices: {asked} asked, but there are {len(local)} ({local[0].platform}); 0 takes what fits")
    for count in [asked] if asked else range(len(local), 0, -1):
        odd = [name for name, size in batches.items() if size % (2 * count if count > 1 else 1)]
        if not odd:
            return local[:count]
    name = odd[0]
    raise UserError(
        f"{name}: {batches[name]} images do not divide into an even number for each of {asked} devices; "
        f"make it a multiple of {2 * asked}, or ask for fewer devices (devices=0 takes what fits)"
    )


def replicate(tree: Tree, devices: Sequence[jax.Device]) -> Tree:
    """`tree` on every device, placed once: what pmap gets with `in_axes=None` and is not placed so, it copies at
    every call."""
    return jax.device_put(tree, replicated(devices))


def replicated(devices: Sequence[jax.Device]) -> NamedSharding:
    return NamedSharding(Mesh(np.array(devices), (AXIS,)), PartitionSpec())


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


def keys_of_share(key: PRNGKeyArray, n: int) -> Key[Array, "n"]:
    """One key for each of this device's `n` examples, by their position in the global batch."""
    return keys.by_position(key, jax.lax.axis_index(AXIS) * n, n)


def shared(rows: Int[np.ndarray, "*steps b"], devices: Sequence[jax.Device]) -> Int[Array, "devices *steps share"]:
    """Global batches cut into the devices' shares, each on its device."""
    return jax.device_put(_shares(rows, devices), _split(devices))


def shared_by(
    look_up: Callable[[Int[np.ndarray, "mine *steps share"]], np.ndarray],
    rows: Int[np.ndarray, "*steps b"],
    shape: tuple[int, ...],
    devices: Sequence[jax.Device],
) -> Shaped[Array, "devices *steps_share_shape"]:
    """As `shared`, of what `look_up` knows of each row, an array of `shape`. It is asked for the rows of this process'
    devices only."""
    shares = _shares(rows, devices)
    mine = [i for i, device in enumerate(devices) if device.process_index == jax.process_index()]
    found = look_up(shares[mine])
    parts = [jax.device_put(part[None], devices[i]) for i, part in zip(mine, found, strict=True)]
    return jax.make_array_from_single_device_arrays((*shares.shape, *shape), _split(devices), parts)


def _shares(rows: np.ndarray, devices: Sequence[jax.Device]) -> np.ndarray:
    return np.moveaxis(rows.reshape(*rows.shape[:-1], len(devices), -1), -2, 0)


def _split(devices: Sequence[jax.Device]) -> NamedSharding:
    return NamedSharding(Mesh(np.array(devices), (AXIS,)), PartitionSpec(AXIS))


def gathered(tree: Tree) -> Tree:
    """Within a mapped function: the shares of all devices, one behind the other, the same on all of them."""
    return jax.lax.all_gather(tree, AXIS, tiled=True)


def assert_replicas_agree(tree: Tree) -> None:
    """`out_axes=None` trusts that devices computed the same; one forgotten psum and they train apart.

    Raises: AssertionError naming the first leaf that differs between devices.
    """
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        copies = [np.asarray(shard.data) for shard in leaf.addressable_shards]
        for copy in copies[1:]:
            if not np.array_equal(copies[0], copy, equal_nan=True):
                raise AssertionError(f"devices disagree about {jax.tree_util.keystr(path)}")
