"""Mapped programs against `jax.pmap`, what they take and give back; devices that are refused."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dreamda_jax.errors import UserError
from dreamda_jax.generate import cost
from dreamda_jax.models.stable_diffusion import loading
from dreamda_jax.runtime import devices, exported_settings
from dreamda_jax.runtime.devices import ROWS, WHOLE, map_devices
from dreamda_jax.synthesis.dreamda import DreamDA
from dreamda_jax.synthesis.method import Inputs
from dreamda_jax.synthesis.program import INPUTS, synthesis_program

SEEDS = 2  # of a device


def one_and_all(model, method):
    """Inputs of every device, drawn: [devices · b, ...], and stacked as `jax.pmap` takes them."""
    generator = np.random.default_rng(0)
    shapes = cost.abstract_inputs(model, method, resolution=8, num_seeds=SEEDS, num_variants=2)

    def draw(shape):
        if shape.dtype in (np.uint8, np.uint32):
            return generator.integers(256, size=shape.shape).astype(shape.dtype)
        return generator.standard_normal(shape.shape).astype(shape.dtype)

    inputs = jax.tree.map(draw, devices.rows_of_all(shapes, INPUTS))
    inputs = inputs._replace(variants=np.arange(2, dtype=np.int32))
    count = jax.local_device_count()

    def stacked(part, leaf):
        if part == ROWS:
            return leaf.reshape(count, -1, *leaf.shape[1:])
        return np.broadcast_to(leaf, (count, *leaf.shape))

    return inputs, Inputs(*map(stacked, INPUTS, inputs))


@pytest.mark.skipif(not hasattr(jax, "pmap"), reason="this JAX has no pmap any more")
def test_a_synthesis_has_the_bytes_of_pmap(micro_checkpoint):
    """The program of `generate`, on both devices of conftest.py."""
    model, params = loading.load(micro_checkpoint, place=np.asarray)
    method = DreamDA(num_inference_steps=5)
    inputs, stacked = one_and_all(model, method)
    everywhere = jax.tree.map(devices.replicate, params)
    ours = devices.to_host(
        synthesis_program(model, method, keep_trajectory=True)(everywhere, inputs)
    )

    def synthesize(params, inputs):
        return method.synthesize(model, params, inputs, keep_trajectory=True)

    theirs = jax.pmap(synthesize, in_axes=(None, 0))(params, stacked)
    assert jax.local_device_count() == 2
    assert ours.images.shape == (2 * SEEDS, 2, 8, 8, 3)
    assert len(np.unique(ours.images)) > 100
    for name in ("images", "trajectory"):
        expected = np.asarray(getattr(theirs, name)).reshape(getattr(ours, name).shape)
        np.testing.assert_array_equal(getattr(ours, name), expected, err_msg=name)
    np.testing.assert_array_equal(ours.site_rms, np.asarray(theirs.site_rms))


def test_every_device_gets_its_rows_in_order():
    program = map_devices(
        lambda table, rows: {"which": rows[:1], "sums": table[None].sum() + rows},
        (WHOLE, ROWS),
    )
    found = devices.to_host(program(np.arange(3.0), np.arange(6.0)))
    np.testing.assert_array_equal(found["which"], [0, 3])
    np.testing.assert_array_equal(found["sums"], np.arange(6.0) + 3)


def test_what_is_shared_is_no_row():
    """As the optimizer's count in the state that Diffusion Inversion learns."""
    parts = {"count": WHOLE, "rows": ROWS}
    step = map_devices(
        lambda state: {"count": state["count"] + 1, "rows": state["rows"] * 2},
        (parts,),
        results=parts,
        donate=(0,),
    )
    state = {"count": np.int32(0), "rows": np.arange(4.0)}
    for _ in range(3):
        state = step(state)
    assert state["count"].shape == ()
    assert int(state["count"]) == 3
    np.testing.assert_array_equal(state["rows"], np.arange(4.0) * 8)


def test_donated_memory_is_taken():
    double = map_devices(lambda rows: 2 * rows, (ROWS,), donate=(0,))
    held = map_devices(lambda rows: rows + 0, (ROWS,))(np.arange(8.0))
    found = double(held)
    assert held.is_deleted()
    np.testing.assert_array_equal(found, 2 * np.arange(8.0))


def test_it_is_compiled_once_for_host_and_device_arrays_and_ahead_of_time():
    traced = []

    def multiply(matrix, rows):
        traced.append(rows.shape)
        return rows @ matrix

    program = map_devices(multiply, (WHOLE, ROWS))
    matrix, rows = np.eye(4, dtype=np.float32), np.ones((6, 4), np.float32)
    shapes = devices.replicated_shape(matrix), jax.ShapeDtypeStruct(rows.shape, rows.dtype)
    compiled = program.lower(*shapes).compile()
    assert traced == [(3, 4)]  # of one device
    there = devices.replicate(matrix)
    np.testing.assert_array_equal(compiled(there, rows), rows)
    np.testing.assert_array_equal(program(there, rows), rows)
    assert traced == [(3, 4)]


def test_parameters_lie_on_every_device_once():
    there = devices.replicate(np.arange(10, dtype=np.float32))
    assert there.shape == (10,)
    assert [shard.data.shape for shard in there.addressable_shards] == [(10,), (10,)]
    program = map_devices(lambda table, rows: rows + table.sum(), (WHOLE, ROWS))
    rows = map_devices(lambda rows: rows, (ROWS,))(np.ones(2, np.float32))
    jax.block_until_ready(program(there, rows))
    with jax.transfer_guard("disallow"):  # neither is moved for a call
        jax.block_until_ready(program(there, rows))


def test_it_compiles_for_some_of_the_devices():
    (first, _) = jax.local_devices()
    program = map_devices(lambda x: x @ x, (ROWS,), [first])
    assert program(jnp.ones((4, 4))).sharding.device_set == {first}
    assert devices.rows_of_all((jnp.ones(3),), (ROWS,), [first])[0].shape == (3,)
    assert devices.rows_of_all((jnp.ones(3),), (ROWS,))[0].shape == (6,)


@pytest.mark.parametrize("runtime_type", ["proxy/pathways", "pathways"])
def test_devices_of_a_pathways_proxy_are_refused(monkeypatch, runtime_type):
    """A stand-in: one process, devices of two hosts, and the client's word for itself."""
    client = types.SimpleNamespace(runtime_type=runtime_type, platform_version="")
    seen = [types.SimpleNamespace(process_index=host, client=client) for host in (0, 0, 1, 1)]
    monkeypatch.setattr(jax, "local_devices", lambda: seen)
    with pytest.raises(UserError, match=r"driven by Pathways.*every host.*JAX_PLATFORMS=tpu"):
        devices.start()
    with pytest.raises(UserError, match="driven by Pathways"):
        map_devices(lambda rows: rows, (ROWS,))


def test_the_proxy_s_platform_is_refused(monkeypatch):
    """As pathwaysutils tells it: by the name in JAX_PLATFORMS."""
    monkeypatch.setattr(exported_settings, "fix", lambda: None)
    monkeypatch.setattr(jax, "config", types.SimpleNamespace(jax_platforms="proxy,cpu"))
    with pytest.raises(UserError, match="driven by Pathways"):
        devices.start()


def test_ordinary_devices_start():
    devices.start()  # raises where they cannot be used
    assert devices.local_device_count() == len(jax.local_devices()) > 0
