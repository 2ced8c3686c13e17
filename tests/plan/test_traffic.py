"""Memory traffic and messages, read off programs: by hand, and of this machine's compiler."""

import jax
import jax.numpy as jnp
import pytest

from dreamda_jax.plan import hlo
from dreamda_jax.plan.traffic import Collective, traffic
from dreamda_jax.runtime.devices import ROWS, map_devices

# Twenty rounds of a loop. In each: an element-wise fusion of two arrays of 4,096 bytes; a slice of
# 64 bytes of a large array, read in a fusion; an all-reduce; what lies in S(1) is on the chip.
PROGRAM = """\
HloModule by_hand, is_scheduled=true, num_partitions=8

%fused_add (param_0: f32[1024], param_1: f32[1024]) -> f32[1024] {
  %param_0 = f32[1024]{0} parameter(0)
  %param_1 = f32[1024]{0} parameter(1)
  ROOT %add.1 = f32[1024]{0} add(%param_0, %param_1)
}

%fused_slice (param_0: f32[1000,16], param_1: s32[]) -> f32[1,16] {
  %param_0 = f32[1000,16]{1,0} parameter(0)
  %param_1 = s32[] parameter(1)
  %zero = s32[] constant(0)
  ROOT %row = f32[1,16]{1,0} dynamic-slice(%param_0, %param_1, %zero), dynamic_slice_sizes={1,16}
}

%sum (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %both = f32[] add(%a, %b)
}

%body (state: (s32[], f32[1024], f32[1000,16])) -> (s32[], f32[1024], f32[1000,16]) {
  %state = (s32[], f32[1024]{0:T(1024)}, f32[1000,16]{1,0}) parameter(0)
  %i = s32[] get-tuple-element(%state), index=0
  %x = f32[1024]{0:T(1024)} get-tuple-element(%state), index=1
  %table = f32[1000,16]{1,0:T(8,128)} get-tuple-element(%state), index=2
  %fusion.1 = f32[1024]{0:T(1024)S(1)} fusion(%x, %x), kind=kLoop, calls=%fused_add
  %fusion.2 = f32[1,16]{1,0} fusion(%table, %i), kind=kLoop, calls=%fused_slice
  %all-reduce.1 = f32[1024]{0:T(1024)} all-reduce(%fusion.1), replica_groups={}, to_apply=%sum
  %one = s32[] constant(1)
  %next = s32[]{:T(128)S(6)} add(%i, %one)
  ROOT %tuple.1 = (s32[], f32[1024]{0}, f32[1000,16]{1,0}) tuple(%next, %all-reduce.1, %table)
}

%condition (state: (s32[], f32[1024], f32[1000,16])) -> pred[] {
  %state.1 = (s32[], f32[1024]{0}, f32[1000,16]{1,0}) parameter(0)
  %i.1 = s32[] get-tuple-element(%state.1), index=0
  %limit = s32[] constant(25)
  ROOT %lt = pred[] compare(%i.1, %limit), direction=LT
}

ENTRY %main (x: f32[1024], table: f32[1000,16]) -> f32[1024] {
  %x.1 = f32[1024]{0} parameter(0)
  %table.1 = f32[1000,16]{1,0} parameter(1)
  %five = s32[] constant(5)
  %start = (s32[], f32[1024]{0}, f32[1000,16]{1,0}) tuple(%five, %x.1, /*index=2*/%table.1)
  %loop = (s32[], f32[1024]{0}, f32[1000,16]{1,0}) while(%start), condition=%condition, body=%body
  ROOT %result = f32[1024]{0} get-tuple-element(%loop), index=1
}
"""


def test_a_program_by_hand():
    found = traffic(PROGRAM)
    # A round: x is read as two operands; its sum stays on the chip; the row is read and written;
    # the all-reduce writes 4,096 bytes; the counter is read (and written elsewhere) beside a
    # constant; the row's index is an operand of the slice. Conditions are left out.
    one = 2 * 4096 + 64 + 64 + 4 + 4096 + 4 + 4
    assert found.memory_bytes == 20 * one  # from 5 to 25
    assert found.collectives == {"all-reduce": Collective(20, 20 * 4096)}
    assert found.unknown_loops == 0


def test_a_known_trip_count_is_believed():
    text = PROGRAM.replace(
        "body=%body", 'body=%body, backend_config={"known_trip_count":{"n":"7"}}'
    )
    assert traffic(text).collectives["all-reduce"].times == 7


def test_a_loop_of_unknown_length_counts_once_and_is_told():
    text = PROGRAM.replace("direction=LT", "direction=NE")
    found = traffic(text)
    assert found.unknown_loops == 1
    assert found.collectives["all-reduce"].times == 1


def test_started_messages_count_once():
    started = PROGRAM.replace(
        "  %all-reduce.1 = f32[1024]{0:T(1024)} all-reduce(%fusion.1), replica_groups={}, "
        "to_apply=%sum\n",
        "  %begun = f32[1024]{0:T(1024)} all-reduce-start(%fusion.1), to_apply=%sum\n"
        "  %all-reduce.1 = f32[1024]{0:T(1024)} all-reduce-done(%begun)\n",
    )
    assert traffic(started).collectives == traffic(PROGRAM).collectives


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ("f32[2,3]{1,0}", 24),
        ("bf16[8,128]{1,0:T(8,128)(2,1)}", 2048),
        ("bf16[8,128]{1,0:T(8,128)(2,1)S(1)}", 0),
        ("(f32[4]{0}, /*index=1*/u8[3]{0}, pred[])", 20),
        ("s4[5]{0}", 3),
        ("f8e4m3fn[16]{0}", 16),
        ("token[]", 0),
        ("u32[]{:S(2)}", 0),
    ],
)
def test_bytes_of_a_shape(shape, size):
    assert hlo.memory_bytes(shape) == size


def test_what_is_no_program_is_refused():
    with pytest.raises(ValueError, match="no entry computation"):
        traffic("nothing")


def test_a_real_sum_over_devices_is_found_in_a_loop():
    devices = jax.local_devices()
    assert len(devices) == 2  # of conftest.py

    def program(x):
        return jax.lax.scan(
            lambda x, _: (jax.lax.psum(x, "devices") * 0.5, None), x, None, length=6
        )[0]

    mapped = map_devices(program, (ROWS,))
    compiled = mapped.lower(jnp.ones(512)).compile()
    assert traffic(compiled.as_text()).collectives == {"all-reduce": Collective(6, 6 * 1024)}


def test_without_messages_none_are_found():
    compiled = map_devices(lambda x: x @ x, (ROWS,)).lower(jnp.ones((16, 8))).compile()
    assert traffic(compiled.as_text()).collectives == {}


def test_a_real_loop_reads_its_matrix_in_every_round():
    def program(x, matrix):
        return jax.lax.scan(lambda x, _: (jnp.tanh(x @ matrix), None), x, None, length=50)[0]

    compiled = jax.jit(program).lower(jnp.ones((1, 512)), jnp.ones((512, 512))).compile()
    matrix, row = 512 * 512 * 4, 512 * 4
    moved = traffic(compiled.as_text()).memory_bytes
    # The compiler may copy the row a few times a round, and the matrix once.
    assert 50 * (matrix + 2 * row) <= moved <= 50 * (matrix + 12 * row) + 2 * matrix


def test_straight_programs_move_what_xla_says():
    def program(x, matrix):
        return jnp.sort(jnp.tanh(x @ matrix), axis=0).sum(axis=1)

    compiled = jax.jit(program).lower(jnp.ones((256, 512)), jnp.ones((512, 384))).compile()
    analysis = compiled.cost_analysis()
    moved = traffic(compiled.as_text()).memory_bytes
    # XLA adds what its own wrappers of parallel tasks read; everything large is in both.
    assert moved == pytest.approx(analysis["bytes accessed"], rel=0.05)
