"""Devices: the only home of pmap, NamedSharding, Mesh and process indices.

Synthesis is data parallel with no communication: one program per device, the parameters on each
device once, the seeds split among them. Hosts never talk to each other.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

_AXIS = "devices"


def local_device_count() -> int:
    """How many devices this process drives."""
    return jax.local_device_count()


def process_index() -> int:
    """Which process of the job this is; 0 where there is one."""
    return jax.process_index()


def process_count() -> int:
    """How many processes the job has."""
    return jax.process_count()


def describe_devices() -> str:
    """For a person: such as "8 x TPU v5 lite" or "1 x cpu"."""
    device = jax.local_devices()[0]
    return f"{local_device_count()} x {device.device_kind}"


def replicate(array: np.ndarray) -> jax.Array:
    """Puts one array on every local device: [devices, *array.shape], as `map_devices` takes it.

    The host array is the only other copy, so loading a model leaf by leaf needs one leaf of extra
    memory.
    """
    mesh = jax.sharding.Mesh(np.array(jax.local_devices()), (_AXIS,))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(_AXIS))
    shape = (local_device_count(), *array.shape)
    return jax.make_array_from_callback(shape, sharding, lambda _: array[None])


def map_devices(function: Callable[..., Any]) -> Callable[..., Any]:
    """`jax.pmap`: every argument and result has a leading axis of local devices.

    Compiled once per set of argument shapes.
    """
    # Local devices, not all: hosts run apart, so that losing one stops no other.
    return jax.pmap(function, axis_name=_AXIS, devices=jax.local_devices())


def split_rows(tree: Any) -> Any:
    """[devices · b, ...] → [devices, b, ...] for every array, row order kept."""
    count = local_device_count()
    return jax.tree.map(lambda x: x.reshape(count, x.shape[0] // count, *x.shape[1:]), tree)


def join_rows(tree: Any) -> Any:
    """[devices, b, ...] → [devices · b, ...] on the host, as numpy: waits for the devices."""
    return jax.tree.map(lambda x: np.asarray(x).reshape(-1, *x.shape[2:]), tree)
