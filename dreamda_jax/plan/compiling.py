"""Compiles a job's program for devices that are not here, and reads what came out."""

import re
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from dreamda_jax.errors import UserError
from dreamda_jax.plan.traffic import Traffic, traffic

_EXHAUSTED = "RESOURCE_EXHAUSTED"
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


class Memory(NamedTuple):
    """Bytes on one device while a program runs.

    Attributes:
      arguments: parameters, state and inputs; what is updated in place counts here.
      temporary: activations and the like.
      outputs: results that do not take an argument's place.
      code: the program itself, where the compiler puts it beside the data.
      resident: what the job keeps there beside this program.
    """

    arguments: int
    temporary: int
    outputs: int
    code: int
    resident: int

    @property
    def total(self) -> int:
        """All of it."""
        return sum(self)


class Compiled(NamedTuple):
    """A program that was compiled.

    Attributes:
      memory: of one device.
      traffic: of one call on one device.
      seconds: that compiling took.
    """

    memory: Memory
    traffic: Traffic
    seconds: float


class TooLarge(NamedTuple):
    """A program that the compiler refused because it does not fit.

    Attributes:
      needed: bytes on one device, resident ones included; None where the compiler did not say.
      seconds: that finding out took.
    """

    needed: int | None
    seconds: float


def compile_program(lower: Callable[[], Any], *, resident: int) -> Compiled | TooLarge:
    """Lowers and compiles.

    Args:
      lower: returns a `jax.stages.Lowered` for the target's devices.
      resident: bytes that lie on a device beside the program.

    Raises:
      UserError: the compiler fails for another reason than memory.
    """
    start = time.monotonic()
    lowered = lower()
    try:
        compiled = lowered.compile()
    except Exception as error:  # each plug-in has its own type
        message = str(error)
        if _EXHAUSTED not in message:
            line = (message.splitlines() or [type(error).__name__])[0]
            raise UserError(f"the target's compiler failed: {line}") from error
        needed = needed_bytes(message)
        return TooLarge(
            None if needed is None else needed + resident, seconds=time.monotonic() - start
        )
    seconds = time.monotonic() - start
    memory = memory_of(compiled, resident=resident)
    return Compiled(memory, traffic(compiled.as_text()), seconds)


def memory_of(compiled: Any, *, resident: int) -> Memory:
    """What the compiler says that a compiled program needs on one device.

    Args:
      compiled: a `jax.stages.Compiled`.
      resident: bytes that lie on a device beside the program.
    """
    sizes = compiled.memory_analysis()
    return Memory(
        arguments=sizes.argument_size_in_bytes,
        temporary=sizes.temp_size_in_bytes,
        outputs=sizes.output_size_in_bytes - sizes.alias_size_in_bytes,
        code=sizes.generated_code_size_in_bytes,
        resident=resident,
    )


def needed_bytes(message: str) -> int | None:
    """What a program would need, of a compiler's message that there is not as much.

    libtpu says "Used 20.5G of 15.75G hbm", "Total hbm usage >= 20.5G" or "the total memory required
    for HLO temporaries (200.00G) exceeds available HBM (15.75G)".
    """
    for pattern in (
        r"Used ([\d.]+)([KMGT]?) of",
        r"[Tt]otal hbm usage >= ([\d.]+)([KMGT]?)",
        r"required[\w ]*\(([\d.]+)([KMGT]?)\)",
    ):
        if found := re.search(pattern, message):
            return int(float(found[1]) * _UNITS[found[2]])
    return None
