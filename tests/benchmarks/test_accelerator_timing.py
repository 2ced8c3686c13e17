"""How benchmarks/accelerator.py times, and what: nothing compiled, activations of unit size."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.accelerator_check import timing, weights
from benchmarks.accelerator_check.setup import row_flops


def test_a_chain_feeds_every_output_to_the_next_call():
    loop = timing.chain(lambda x: x + 1, jnp.zeros(3))
    loop(3)
    np.testing.assert_array_equal(loop(2), np.full(3, 5.0))


def test_alternation_leaves_the_first_round_out_and_takes_the_median(monkeypatch):
    now, order = 0.0, []
    rounds = {"a": iter([9, 9, 900, 1, 5, 2, 4, 3]), "b": iter([9, 9, 900, 10, 10, 10, 10, 80])}

    def loop_of(name):
        def loop(calls: int) -> None:
            nonlocal now
            order.append(name)
            now += calls * next(rounds[name])

        return loop

    clock = types.SimpleNamespace(monotonic=lambda: now, perf_counter=lambda: now)
    monkeypatch.setattr(timing, "time", clock)
    found = timing.alternate({name: loop_of(name) for name in rounds}, seconds=20)
    assert order == ["a"] * 2 + ["b"] * 2 + ["a", "b"] * 6
    assert found["a"] == timing.Timed(seconds=3, low=1, high=5, calls=2)
    assert found["b"] == timing.Timed(seconds=10, low=10, high=80, calls=2)


def test_what_compiles_inside_a_timing_is_refused():
    lengths = iter(range(1001, 2000))
    grows = timing.repeat(lambda: jax.jit(lambda x: x * 3)(np.ones(next(lengths), np.float32)))
    with pytest.raises(timing.CompiledInsideTimingError, match="were compiled while a clock ran"):
        timing.alternate({"grows": grows}, seconds=1e-9)


def test_a_program_that_is_compiled_beforehand_is_not():
    program = timing.compile_program(lambda x: x * 2, jnp.ones(7))
    loop = timing.chain(program.call, jnp.ones(7))
    found = timing.alternate({"": loop}, seconds=1e-9)[""]
    assert found.calls == 1
    assert 0 < found.low <= found.seconds <= found.high
    assert program.memory.arguments == program.memory.outputs == 28


def test_activations_have_an_rms_near_one_and_those_of_zeros_are_refused():
    size = weights.size_named("micro")
    model = weights.networks(size, "float32")
    params = weights.draw(model, "unet", device=jax.devices()[0])
    latents, context = weights.inputs(model, size, 1, device=jax.devices()[0])
    call = jax.jit(lambda *arguments: weights.denoise_with_rms(model, *arguments))
    _, measured = call(params, latents, context)
    low, high = weights.check_rms(measured)
    assert 0.7 < low < high < 1.5
    blocks = {"down_blocks_0", "down_blocks_1", "mid_block", "up_blocks_0", "up_blocks_1", "output"}
    assert blocks < measured.keys()
    assert {"mid_block/resnets_0", "mid_block/attentions_0"} < measured.keys()

    zeros = jax.tree.map(jnp.zeros_like, params)
    _, measured = call(zeros, latents, context)
    with pytest.raises(AssertionError, match=r"outside of 0\.33 to 3, such as 0 of"):
        weights.check_rms(measured)
    with pytest.raises(AssertionError):
        weights.check_rms({"mid_block": float("nan")})


def test_weights_of_bfloat16_are_those_of_float32_rounded():
    size = weights.size_named("micro")
    drawn = [
        weights.draw(weights.networks(size, dtype), "unet", device=jax.devices()[0])["unet"]
        for dtype in ("float32", "bfloat16")
    ]
    kernels = [tree["mid_block"]["resnets_0"]["conv1"]["kernel"] for tree in drawn]
    assert kernels[1].dtype == jnp.bfloat16
    np.testing.assert_array_equal(kernels[0].astype(jnp.bfloat16), kernels[1])
    # LeCun normal: variance 1 / (3 · 3 · 32).
    assert abs(np.std(kernels[0]) * 288**0.5 - 1) < 0.03


def test_a_row_of_stable_diffusion_is_0_803_tflop():
    model = weights.networks(weights.size_named("sd15"), "float32")
    assert abs(row_flops(model, 512) / 0.803e12 - 1) < 0.005
