"""The text of a compiled program, as far as a plan reads it: who calls whom, on what shapes.

XLA's own cost analysis counts a loop's body once and is not there for every compiler, so the plan
reads the program itself.
"""

import re
from typing import NamedTuple

_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{$")
_INSTRUCTION = re.compile(r"^\s+(ROOT )?%?([\w.\-]+) = (.*)$")
_ARRAY = re.compile(r"([a-z]\w*)\[([\d,<=]*)\](?:\{([^{}]*)\})?")
_CALLED = re.compile(
    r"(calls|to_apply|body|condition|branch_computations|called_computations"
    r"|true_computation|false_computation)=(\{[^}]*\}|%?[\w.\-]+)"
)
_BITS = {"pred": 8, "c64": 64, "c128": 128, "token": 0, "opaque": 0}


class Instruction(NamedTuple):
    """One line of a program.

    Attributes:
      name: unique in its computation.
      shape: the text of what it makes, arrays or tuples of them with their layouts.
      opcode: such as "fusion".
      operands: names of other instructions.
      called: computations by the role they are called in, such as "body".
      text: everything behind the operands.
      is_root: its computation's result.
    """

    name: str
    shape: str
    opcode: str
    operands: tuple[str, ...]
    called: dict[str, tuple[str, ...]]
    text: str
    is_root: bool


Computation = dict[str, Instruction]


class Program(NamedTuple):
    """A module: its computations by name, and the one that is run."""

    computations: dict[str, Computation]
    entry: str


def parse(text: str) -> Program:
    """Reads what `compiled.as_text()` returns.

    Raises:
      ValueError: there is no entry computation in it.
    """
    computations: dict[str, Computation] = {}
    entry, current = "", None
    for line in text.splitlines():
        if current is None:
            header = _COMPUTATION.match(line)
            if header:
                current = computations.setdefault(header[2], {})
                entry = header[2] if header[1] else entry
        elif line.startswith("}"):
            current = None
        elif (found := _INSTRUCTION.match(line)) is not None:
            instruction = _instruction(found[2], found[3], is_root=bool(found[1]))
            current[instruction.name] = instruction
    if not entry:
        raise ValueError("no entry computation in this text: is it a compiled program's?")
    return Program(computations, entry)


def memory_bytes(shape: str) -> int:
    """Bytes of a shape that lie in the device's main memory.

    Arrays that the compiler keeps in another memory space, S(1) and above in their layout (a TPU's
    on-chip memory, the host's), do not count. Padding to tiles does not either.
    """
    total = 0
    for dtype, sizes, layout in _ARRAY.findall(shape):
        if re.search(r"S\([1-9]", layout):
            continue
        count = 1
        for size in filter(None, sizes.replace("<=", "").split(",")):
            count *= int(size)
        total += -(-count * _bits(dtype) // 8)
    return total


def trip_count(program: Program, inside: Computation, loop: Instruction) -> int | None:
    """How often a `while` runs, if it counts up to a constant; None otherwise."""
    known = re.search(r'known_trip_count"?[:=]\{"?n"?[:=]"?(\d+)', loop.text)
    if known:
        return int(known[1])
    condition = program.computations[loop.called["condition"][0]]
    (root,) = [each for each in condition.values() if each.is_root]
    while root.opcode == "fusion":  # some compilers wrap the comparison
        inner = program.computations[root.called["calls"][0]]
        (found,) = [each for each in inner.values() if each.is_root]
        if found.opcode != "compare":
            return None
        limits = [condition[name] for name in root.operands] + list(inner.values())
        return _difference(found, limits, inside, loop)
    if root.opcode != "compare":
        return None
    return _difference(root, [condition[name] for name in root.operands], inside, loop)


def _difference(
    compare: Instruction, near: list[Instruction], inside: Computation, loop: Instruction
) -> int | None:
    limits = [each for each in near if each.opcode == "constant"]
    if "direction=LT" not in compare.text or len(limits) != 1:
        return None
    limit = _constant(limits[0])
    start = 0
    initial = inside.get(loop.operands[0])
    if initial is not None and initial.opcode == "tuple":
        index = [each for each in near if each.opcode == "get-tuple-element"]
        place = re.search(r"index=(\d+)", index[0].text) if index else None
        first = inside.get(initial.operands[int(place[1])] if place else "")
        while first is not None and first.opcode in ("copy", "bitcast"):
            first = inside.get(first.operands[0])
        if first is not None and first.opcode == "constant":
            start = _constant(first) or 0
    return None if limit is None else max(0, limit - start)


def _constant(instruction: Instruction) -> int | None:
    found = re.match(r"\((-?\d+)\)", instruction.text)
    return int(found[1]) if found else None


def _instruction(name: str, rest: str, *, is_root: bool) -> Instruction:
    shape, rest = _split_shape(rest)
    opcode, _, rest = rest.partition("(")
    inner, behind = _until_closed(rest)
    if opcode in ("constant", "parameter"):
        behind = f"({inner}){behind}"
    called = {
        role: tuple(re.findall(r"[\w.\-]+", names)) for role, names in _CALLED.findall(behind)
    }
    operands = tuple(re.findall(r"%([\w.\-]+)", inner))
    return Instruction(name, shape, opcode.strip(), operands, called, behind, is_root)


def _split_shape(text: str) -> tuple[str, str]:
    if text.startswith("("):
        inner, behind = _until_closed(text[1:])
        return f"({inner})", behind.lstrip()
    shape, _, rest = text.partition(" ")
    return shape, rest


def _until_closed(text: str) -> tuple[str, str]:
    """What is before the parenthesis that closes an open one, and what is behind it."""
    depth = 1
    for place in (found.start() for found in re.finditer(r"[()]", text)):
        depth += 1 if text[place] == "(" else -1
        if depth == 0:
            return text[:place], text[place + 1 :]
    return text, ""


def _bits(dtype: str) -> int:
    if dtype in _BITS:
        return _BITS[dtype]
    number = re.search(r"[a-z](\d+)", dtype)  # s32, bf16, f8e4m3fn
    return int(number[1]) if number else 0
