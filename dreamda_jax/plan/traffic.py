"""What a compiled program moves: between a device and its memory, and between devices."""

import collections
from collections.abc import Iterator
from typing import NamedTuple

from dreamda_jax.plan import hlo
from dreamda_jax.plan.hlo import Computation, Instruction, Program, memory_bytes

COLLECTIVES = (
    *("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute"),
    *("collective-broadcast", "ragged-all-to-all", "send", "recv"),
)
_FREE = {
    *("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "iota"),
    *("partition-id", "replica-id", "opt-barrier", "domain", "add-dependency", "async-done"),
    *("copy-done", "async-update", "get-dimension-size", "rng-get-and-update-state"),
}
_SLICES = ("slice", "dynamic-slice", "gather")


class Collective(NamedTuple):
    """All messages of one kind in one call of a program.

    Attributes:
      times: how many, loops multiplied out.
      num_bytes: that one device hands over in them.
    """

    times: int
    num_bytes: int


class Traffic(NamedTuple):
    """Of one call of a program on one device.

    Attributes:
      memory_bytes: read from and written to its main memory by every instruction, loops multiplied
        out. What a cache keeps between two instructions counts as moved; padding does not.
      collectives: by kind.
      unknown_loops: loops whose length is not in the program; their bodies count once.
    """

    memory_bytes: int
    collectives: dict[str, Collective]
    unknown_loops: int


def traffic(text: str) -> Traffic:
    """Of what `compiled.as_text()` returns.

    Raises:
      ValueError: the text is no compiled program.
    """
    program = hlo.parse(text)
    moved, unknown = 0, 0
    counts: collections.Counter[str] = collections.Counter()
    sizes: collections.Counter[str] = collections.Counter()
    for inside, each, times, fused in _executed(program, program.entry, 1, False):
        kind = each.opcode.removesuffix("-start")
        if kind in COLLECTIVES:
            counts[kind] += times
            operands = (inside[name].shape for name in each.operands if name in inside)
            sizes[kind] += times * sum(map(_all_bytes, operands))
        if each.opcode == "while" and hlo.trip_count(program, inside, each) is None:
            unknown += 1
        if not fused:
            moved += times * _moved(program, inside, each)
    return Traffic(
        moved, {kind: Collective(counts[kind], sizes[kind]) for kind in sorted(counts)}, unknown
    )


def _executed(
    program: Program, name: str, times: int, fused: bool
) -> Iterator[tuple[Computation, Instruction, int, bool]]:
    """Every instruction that runs, how often, and whether inside a fusion.

    All branches of a conditional are taken to run.
    """
    inside = program.computations[name]
    for each in inside.values():
        yield inside, each, times, fused
        if each.opcode == "while":
            loops = hlo.trip_count(program, inside, each)
            repeat = times * (1 if loops is None else loops)
            yield from _executed(program, each.called["body"][0], repeat, fused)
        elif each.opcode == "fusion":
            yield from _executed(program, each.called["calls"][0], times, True)
        elif each.opcode in ("call", "async-start", "conditional"):
            for role, names in each.called.items():
                if role != "condition":
                    for called in names:
                        yield from _executed(program, called, times, fused)


def _moved(program: Program, inside: Computation, each: Instruction) -> int:
    """Bytes that one instruction reads and writes."""
    if each.opcode in _FREE or each.opcode in ("while", "call", "conditional", "async-start"):
        return 0
    if each.opcode.endswith(("-done", "-update")):
        return 0
    if each.opcode == "fusion":
        return _fusion(program.computations[each.called["calls"][0]], inside, each)
    if each.opcode in _SLICES:
        return 2 * memory_bytes(each.shape)
    if each.opcode == "dynamic-update-slice":  # in place
        return 2 * memory_bytes(inside[each.operands[1]].shape)
    if each.opcode.endswith("-start"):  # its shape repeats the operands'
        return memory_bytes(each.shape)
    return memory_bytes(each.shape) + sum(
        memory_bytes(inside[name].shape) for name in each.operands if name in inside
    )


def _fusion(body: Computation, inside: Computation, each: Instruction) -> int:
    """Operands and result of a fusion; of those that it only slices, the slices."""
    total = 0
    for parameter in body.values():
        if parameter.opcode == "parameter":
            total += _read(body, parameter, inside, each)
    (root,) = [instruction for instruction in body.values() if instruction.is_root]
    while root.opcode in ("bitcast", "copy") and root.operands[0] in body:
        root = body[root.operands[0]]
    if root.opcode == "dynamic-update-slice" and memory_bytes(each.shape):
        return total + _all_bytes(body[root.operands[1]].shape)
    return total + memory_bytes(each.shape)


def _read(body: Computation, parameter: Instruction, inside: Computation, each: Instruction) -> int:
    operand = inside.get(each.operands[_place(parameter)])
    whole = memory_bytes(operand.shape if operand is not None else parameter.shape)
    if not whole:
        return 0
    read = 0
    for user in _users(body, parameter):
        if user.opcode in _SLICES and user.operands[0] == parameter.name:
            read += _all_bytes(user.shape)
        elif user.opcode == "dynamic-update-slice" and user.operands[0] == parameter.name:
            continue  # overwritten in place
        else:
            return whole
    return min(read, whole)


def _users(body: Computation, of: Instruction) -> list[Instruction]:
    return [each for each in body.values() if of.name in each.operands]


def _place(parameter: Instruction) -> int:
    return int(parameter.text[1:].partition(")")[0])


def _all_bytes(shape: str) -> int:
    """Of a shape in whatever memory."""
    return memory_bytes(shape.replace("S(", "X("))
