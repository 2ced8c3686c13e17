"""Devices: the only home of shard_map, NamedSharding, Mesh and process indices.

Synthesis is data parallel with no communication: one program per device, the parameters on each
device once, the seeds split among them. Hosts never talk to each other.

Training is one program over all devices of all hosts: rows of the global batch are split over the
mesh's two axes ("data", "fsdp"), parameters and optimizer state over "fsdp" where that axis is
longer than one.
"""

import functools
import os
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from dreamda_jax.errors import UserError
from dreamda_jax.runtime import chips, exported_settings

ROWS: Any = PartitionSpec("devices")
"""Of an array of a mapped program: the first axis, split over the local devices in order."""
WHOLE: Any = PartitionSpec()
"""Of an array of a mapped program: all of it on every local device."""

_ROW_AXES = ("data", "fsdp")
_MIN_SHARDED = 1 << 12  # elements; smaller arrays cost more in messages than they save in memory


def start() -> None:
    """Starts JAX's devices, which its first use would do as well, in words a person can act on.

    What the environment says of JAX's numbers is set aside first; see `exported_settings`.

    Raises:
      UserError: those that JAX_PLATFORMS asks for are not there, or do not start; or they are
        Pathways's, which one process drives for all hosts.
    """
    exported_settings.fix()
    try:
        jax.local_devices()
    except Exception as error:  # an AssertionError without words where CUDA's plug-in is missing
        reason = (str(error).strip() or "its plug-in is not installed").splitlines()[0]
        asked = os.environ.get("JAX_PLATFORMS")
        what = f"the devices that JAX_PLATFORMS={asked} asks for" if asked else "its devices"
        raise UserError(
            f"JAX cannot start {what}: {reason}. Install what drives them (pip install "
            "'dreamda-jax[cuda12]', [cuda13] or [tpu]), or leave the variable JAX_PLATFORMS out: "
            "JAX then takes what is there."
        ) from error
    _refuse_pathways()


def _refuse_pathways() -> None:
    """As pathwaysutils (jax_platforms), MaxText and Orbax (runtime_type) recognise it."""
    client, platforms = local_device().client, str(getattr(jax.config, "jax_platforms", None))
    kind = f"{getattr(client, 'runtime_type', '')} {getattr(client, 'platform_version', '')}"
    if "proxy" in platforms.split(",") or "pathways" in kind.lower():
        raise UserError(
            "these devices are driven by Pathways: one process sees those of all hosts, and "
            "dreamda_jax is made for a process on each host. Run the same command on every host "
            "without the proxy, with JAX_PLATFORMS=tpu and without pathwaysutils.initialize(): "
            "docs/many_hosts.md and launch/ say how."
        )


def local_device_count() -> int:
    """How many devices this process drives."""
    return jax.local_device_count()


def device_count() -> int:
    """How many devices the whole job has."""
    return jax.device_count()


def process_index() -> int:
    """Which process of the job this is; 0 where there is one."""
    return jax.process_index()


def process_count() -> int:
    """How many processes the job has."""
    return jax.process_count()


def local_device() -> jax.Device:
    """The first that this process drives; the others are of its kind."""
    return jax.local_devices()[0]


def platform() -> str:
    """What this process's devices are: "cpu", "gpu" or "tpu"."""
    return local_device().platform


def describe_devices() -> str:
    """For a person: such as "8 x TPU v5 lite", or "4 hosts of 4 x TPU v5 lite"."""
    own = f"{local_device_count()} x {jax.local_devices()[0].device_kind}"
    return f"{process_count()} hosts of {own}" if process_count() > 1 else own


def chip() -> chips.Chip | None:
    """What one of this process's devices can do, as its vendor says; None: nobody said."""
    return chips.chip_of(jax.local_devices()[0])


def replicate(array: np.ndarray) -> jax.Array:
    """Puts one array on every local device, `WHOLE`, as `map_devices` takes parameters.

    The host array is the only other copy, so loading a model leaf by leaf needs one leaf of extra
    memory.
    """
    there = replicated_shape(array)
    assert there.sharding is not None
    return jax.make_array_from_callback(there.shape, there.sharding, lambda _: array)


def replicated_shape(array: Any) -> jax.ShapeDtypeStruct:
    """What `replicate` returns, as a shape: a program traced on it need not be traced again.

    Args:
      array: anything with a shape and a dtype.
    """
    sharding = NamedSharding(_mapped_mesh(None), WHOLE)
    return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=sharding)


def _mapped_mesh(devices: Any) -> Mesh:
    return Mesh(np.array(jax.local_devices() if devices is None else devices), ("devices",))


def map_devices(
    function: Callable[..., Any],
    parts: tuple[Any, ...],
    devices: Any = None,
    *,
    results: Any = ROWS,
    donate: tuple[int, ...] = (),
) -> Any:
    """One program on every local device, each with its rows: what the card calls `pmap`.

    `jax.pmap` itself, in maintenance mode since JAX 0.8, is `jit` of `shard_map` as well, around
    which it stacks what all devices share. Here parameters are replicated and rows split by their
    `PartitionSpec`: a device computes the same bytes.

    Compiled once per set of argument shapes; `lower` compiles ahead of time, as of any `jit`. The
    devices may talk to each other over the axis "devices".

    Args:
      function: of one device's part: [b, ...] of an array [devices · b, ...] that is `ROWS`, all of
        one that is `WHOLE`.
      parts: for each argument `ROWS`, `WHOLE`, or a tree of them that the argument's begins with.
      devices: default: the local ones; others are those of a topology that is only compiled for.
      results: likewise of the result. What is `WHOLE` must be the same on all devices, which is
        not checked.
      donate: numbers of arguments whose memory the results may take; they cannot be used again.

    Returns:
      The program; it takes arrays of the host and of devices.

    Raises:
      UserError: the local devices are Pathways's.
    """
    if devices is None:
        _refuse_pathways()  # the Python API does not call `start`
    # Local devices, not all: hosts run apart, so that losing one stops no other.
    mesh = _mapped_mesh(devices)
    program = jax.shard_map(function, mesh=mesh, in_specs=parts, out_specs=results, check_vma=False)
    # Said besides, so that arrays of the host go to each device in pieces.
    places = jax.tree.map(lambda part: NamedSharding(mesh, part), parts)
    return jax.jit(program, in_shardings=places, donate_argnums=donate)


def rows_of_all(tree: Any, parts: Any, devices: Any = None) -> Any:
    """Shapes of a mapped program's arguments, of what one device gets: rows times the devices.

    Args:
      tree: anything with shapes and dtypes.
      parts: as for `map_devices`.
      devices: as for `map_devices`.
    """
    count = local_device_count() if devices is None else len(devices)

    def shape(part: PartitionSpec, leaf: Any) -> jax.ShapeDtypeStruct:
        rows = (count * leaf.shape[0], *leaf.shape[1:]) if part == ROWS else leaf.shape
        return jax.ShapeDtypeStruct(rows, leaf.dtype)

    return jax.tree.map(
        lambda part, below: jax.tree.map(functools.partial(shape, part), below), parts, tree
    )


def training_mesh(fsdp: int = 1, devices: Any = None) -> Mesh:
    """All devices of the job as a mesh [devices / fsdp, fsdp] with the axes "data" and "fsdp".

    Args:
      fsdp: over how many devices parameters and optimizer state are split; 1 replicates them.
      devices: others than the job's, such as those of a topology that is only compiled for.

    Raises:
      UserError: the number of devices is no multiple of `fsdp`.
    """
    devices = np.array(jax.devices() if devices is None else devices).reshape(-1)
    count = devices.size
    if fsdp < 1 or count % fsdp:
        raise UserError(
            f"fsdp={fsdp} does not divide this job's number of devices, {count}: choose a divisor."
        )
    # Devices are numbered process by process, which keeps a host's rows of a batch together.
    return Mesh(devices.reshape(count // fsdp, fsdp), _ROW_AXES)


def replicated(mesh: Mesh) -> NamedSharding:
    """The whole array on every device."""
    return NamedSharding(mesh, PartitionSpec())


def row_sharding(mesh: Mesh) -> NamedSharding:
    """The first axis over all devices."""
    return NamedSharding(mesh, PartitionSpec(_ROW_AXES))


def state_sharding(mesh: Mesh, state: Any) -> Any:
    """The sharding of every array of a training state (parameters, optimizer, averages).

    The longest axis that "fsdp" divides is split; arrays with none, and small ones, are replicated.

    Args:
      mesh: from `training_mesh`.
      state: a tree of arrays or of `jax.ShapeDtypeStruct`.
    """
    parts = mesh.shape["fsdp"]

    def sharding(leaf: Any) -> NamedSharding:
        axes = [axis for axis, size in enumerate(leaf.shape) if size % parts == 0]
        if parts == 1 or leaf.size < _MIN_SHARDED or not axes:
            return replicated(mesh)
        longest = max(axes, key=lambda axis: leaf.shape[axis])
        return NamedSharding(mesh, PartitionSpec(*[None] * longest, "fsdp"))

    return jax.tree.map(sharding, state)


def gathered(mesh: Mesh, tree: Any) -> Any:
    """Inside a compiled program: every array of a sharded state whole on every device.

    Gradients come back split as `state_sharding` splits the state, so that devices exchange their
    sums in pieces (reduce-scatter) rather than whole.
    """
    return jax.tree.map(functools.partial(_gather, mesh), tree)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _gather(mesh: Mesh, array: jax.Array) -> jax.Array:
    return jax.lax.with_sharding_constraint(array, replicated(mesh))


def _gather_forward(mesh: Mesh, array: jax.Array) -> tuple[jax.Array, None]:
    return _gather(mesh, array), None


def _gather_backward(mesh: Mesh, _: None, gradient: jax.Array) -> tuple[jax.Array]:
    return (jax.lax.with_sharding_constraint(gradient, state_sharding(mesh, gradient)),)


_gather.defvjp(_gather_forward, _gather_backward)


def global_rows(mesh: Mesh, tree: Any) -> Any:
    """Global arrays [b, ...], split by row, of this host's rows (numpy [b / hosts, ...]).

    Raises:
      ValueError: the rows do not divide among the devices.
    """
    sharding = row_sharding(mesh)
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), tree)


def local_rows(rows: np.ndarray) -> np.ndarray:
    """Of rows [b, ...] that every host has, those that are this host's in `global_rows`."""
    share = len(rows) // process_count()
    return rows[process_index() * share : (process_index() + 1) * share]


def place(array: np.ndarray, sharding: NamedSharding) -> jax.Array:
    """An array that every host has, put where the sharding says, on devices of any host."""
    return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])


def to_host(tree: Any) -> Any:
    """A sharded tree as whole numpy arrays on every host: waits for the devices."""

    def whole(leaf: Any) -> np.ndarray:
        if not leaf.is_fully_addressable:  # parts live on other hosts: gather them first
            target = replicated(leaf.sharding.mesh)
            leaf = jax.jit(lambda x: x, out_shardings=target)(leaf)
        return np.asarray(leaf)

    return jax.tree.map(whole, tree)
