"""Devices: which are used, how arrays are placed on them, and the only `jax.pmap` of the package.

The state of training is a copy on every device, or, where that does not fit, `spread`: each device has a part of every
array (arXiv 1910.02054, stage 3), which is gathered for the loss. `compiled_step` does both.

On CPU the cores are devices. Two precautions keep pmapped programs from hanging there: the command line and the tests
set NPROC before the first computation (XLA's thread pool must be larger than the number of devices, or threads parked
in an all-reduce starve the device they wait for), and the loop keeps at most two steps in flight.
"""

import functools
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


def copied(make: Callable[..., Tree], arguments: Tree, devices: Sequence[jax.Device]) -> Tree:
    """Returns `make(*arguments)` as a state that every device of this process holds as a whole; see `spread`.

    It is one program: op by op, one would be compiled for each shape.

    Args:
        make: returns a state.
        arguments: trees of arrays, the same in all processes.
        devices: of all processes.
    """
    state: Tree = jax.jit(make, out_shardings=replicated(devices))(*replicate(arguments, devices))
    return state


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


def layout(tree: Tree, devices: Sequence[jax.Device]) -> Tree:
    """Returns how a state is spread: each array along its longest axis that the devices divide, or else as copies.

    Args:
        tree: arrays or their shapes.
        devices: of all processes.
    """
    mesh = Mesh(np.array(devices), (AXIS,))

    def of_array(array: Any) -> NamedSharding:
        divided = [axis for axis, length in enumerate(array.shape) if length and length % len(devices) == 0]
        longest = max(divided, key=lambda axis: array.shape[axis], default=None)
        return NamedSharding(mesh, PartitionSpec() if longest is None else PartitionSpec(*[None] * longest, AXIS))

    return jax.tree.map(of_array, tree)


def spread(make: Callable[..., Tree], arguments: Tree, devices: Sequence[jax.Device]) -> Tree:
    """Returns `make(*arguments)` as a spread state, which no device holds as a whole at any time.

    Args:
        make: returns a state.
        arguments: trees of arrays, the same in all processes.
        devices: of all processes.
    """

    def placed(array: Any, sharding: NamedSharding) -> jax.Array:
        values = np.asarray(array)
        return jax.make_array_from_callback(values.shape, sharding, lambda part: values[part].copy())  # not an alias

    parts = jax.tree.map(placed, arguments, layout(arguments, devices))
    state: Tree = jax.jit(make, out_shardings=layout(jax.eval_shape(make, *arguments), devices))(*parts)
    return state


def is_spread(tree: Tree) -> bool:
    """Returns whether a state is spread: some device has only a part of an array.

    Args:
        tree: arrays.
    """
    return not all(x.is_fully_replicated for x in jax.tree.leaves(tree) if isinstance(x, jax.Array))


def whole(tree: Tree, devices: Sequence[jax.Device]) -> Tree:
    """Returns arrays of a state, spread or not, copied to every device of this process.

    Args:
        tree: arrays.
        devices: of all processes.
    """
    if not is_spread(tree):
        return tree
    everywhere = NamedSharding(Mesh(np.array(devices), (AXIS,)), PartitionSpec())
    copies = jax.jit(_unchanged, out_shardings=everywhere)(tree)  # `device_put` would hide that a process has ended
    return _of_shards(copies, replicated(devices)) if distributed.several() else copies


def _unchanged(tree: Tree) -> Tree:
    return tree


def held(tree: Tree) -> list[np.ndarray]:
    """Returns the arrays of a state on the host, of a spread one the parts on devices of this process.

    Args:
        tree: arrays.
    """
    leaves = jax.tree.leaves(tree)
    shards = [leaf.addressable_shards if isinstance(leaf, jax.Array) else () for leaf in leaves]
    parts = [[s.data for s in each if s.replica_id == 0] or leaf for each, leaf in zip(shards, leaves, strict=True)]
    return [np.asarray(part) for part in jax.tree.leaves(jax.device_get(parts))]


def compiled_step(
    function: Callable[..., Tree],
    then: Callable[[Tree, Tree], tuple[Tree, Any]],
    devices: Sequence[jax.Device],
    *,
    in_axes: tuple[int | None, ...],
    shard_state: bool,
) -> Callable[..., Any]:
    """Returns the compiled function `then(state, function(state, *arguments))` of a state, which is donated.

    Args:
        function: runs on every device as with `pmap`. It gets all of the state, a spread one gathered before it is
            used; its results are the same on all devices.
        then: returns the next state and other results. Of a spread state each device computes its part.
        devices: of all processes.
        in_axes: for the state, None, and each argument: 0 where its first axis is that of the devices, None where it is
            the same on all of them.
        shard_state: whether the state is spread.
    """
    if not shard_state:

        def step(state: Tree, *arguments: Tree) -> tuple[Tree, Any]:
            return then(state, function(state, *arguments))

        return pmap(step, devices, in_axes=in_axes, out_axes=None, donate=(0,))
    mesh = Mesh(np.array(devices), (AXIS,))
    specs = tuple(PartitionSpec() if axis is None else PartitionSpec(AXIS) for axis in in_axes)

    def of_device(*arguments: Tree) -> Tree:
        pairs = zip(arguments, in_axes, strict=True)
        return function(*(x if axis is None else jax.tree.map(lambda share: share[0], x) for x, axis in pairs))

    mapped = jax.shard_map(of_device, mesh=mesh, in_specs=specs, out_specs=PartitionSpec(), check_vma=False)

    @functools.partial(jax.jit, donate_argnums=0)
    def spread_step(state: Tree, *arguments: Tree) -> tuple[Tree, Any]:
        after, others = then(state, mapped(state, *arguments))
        return jax.lax.with_sharding_constraint(after, layout(after, devices)), others

    if not distributed.several():
        return spread_step

    def of_processes(state: Tree, *arguments: Tree) -> Any:
        pairs = zip(arguments, specs[1:], strict=True)
        return spread_step(state, *(_of_shards(x, NamedSharding(mesh, spec)) for x, spec in pairs))

    return of_processes


def _of_shards(tree: Tree, sharding: NamedSharding) -> Tree:
    """Returns the same shards of this process as arrays with another mesh: that of all processes, or of this one."""
    count = len(sharding.device_set) if sharding.spec else 0

    def of_array(array: jax.Array) -> jax.Array:
        shards = [shard.data for shard in array.addressable_shards]
        shape = (count, *array.shape[1:]) if count else array.shape
        return jax.make_array_from_single_device_arrays(shape, sharding, shards)

    return jax.tree.map(of_array, tree)


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
        tree: arrays; only those that are copied to every device can disagree.

    Raises: AssertionError naming the first leaf that differs between devices.
    """
    leaves = [(path, leaf) for path, leaf in jax.tree.leaves_with_path(tree) if leaf.is_fully_replicated]
    sums = [[zlib.crc32(np.asarray(shard.data).tobytes()) for shard in leaf.addressable_shards] for _, leaf in leaves]
    checksums = distributed.gathered(np.array(sums, np.uint32).T)
    for (path, _), disagree in zip(leaves, (checksums != checksums[0]).any(0), strict=True):
        if disagree:
            raise AssertionError(f"devices disagree about {jax.tree_util.keystr(path)}")
