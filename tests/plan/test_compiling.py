import types

import jax
import jax.numpy as jnp
import pytest

from dreamda_jax.errors import UserError
from dreamda_jax.plan.compiling import Compiled, TooLarge, compile_program, needed_bytes

GIB = 1 << 30


@pytest.mark.parametrize(
    ("message", "size"),
    [
        (
            "RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required for HLO "
            "temporaries (200.00G) exceeds available HBM (15.75G).",
            200 * GIB,
        ),
        (
            "RESOURCE_EXHAUSTED: XLA:TPU compile permanent error. Ran out of memory in memory "
            "space hbm. Used 20.50G of 15.75G hbm. Exceeded hbm capacity by 4.75G.\n\nTotal hbm "
            "usage >= 21.00G:\n",
            int(20.5 * GIB),
        ),
        ("RESOURCE_EXHAUSTED: Total hbm usage >= 512.00M:", GIB // 2),
        ("RESOURCE_EXHAUSTED: Out of memory.", None),
    ],
)
def test_what_a_refused_program_needs_is_read_off_the_message(message, size):
    assert needed_bytes(message) == size


def lowered(message: str):
    def refuse():
        raise RuntimeError(message)

    return lambda: types.SimpleNamespace(compile=refuse)


def test_a_program_that_does_not_fit_is_a_result_and_no_error():
    found = compile_program(lowered("RESOURCE_EXHAUSTED: Used 2.00G of 1.00G hbm."), resident=5)
    assert isinstance(found, TooLarge)
    assert found.needed == 2 * GIB + 5


def test_another_failure_of_the_compiler_is_told_in_a_line():
    with pytest.raises(UserError, match=r"^the target's compiler failed: INTERNAL: broken$"):
        compile_program(lowered("INTERNAL: broken\nstack\nstack"), resident=0)


def test_memory_of_a_real_program():
    shapes = jax.ShapeDtypeStruct((256, 256), jnp.float32), jax.ShapeDtypeStruct((256,), "float32")
    found = compile_program(
        lambda: jax.jit(lambda x, y: (x @ x + y, y * 2), donate_argnums=1).lower(*shapes),
        resident=7,
    )
    assert isinstance(found, Compiled)
    assert found.memory.arguments == 256 * 256 * 4 + 256 * 4
    assert found.memory.outputs >= 256 * 256 * 4  # y's place is taken over
    assert found.memory.outputs < 256 * 256 * 4 + 256 * 4
    assert found.memory.total >= found.memory.arguments + found.memory.outputs + 7
