import pytest

from dreamda_jax.plan.batch_search import Largest, largest_batch
from dreamda_jax.plan.compiling import Compiled, Memory, TooLarge
from dreamda_jax.plan.traffic import Traffic

NOTHING = Traffic(0, {}, 0)


class Compiler:
    """Programs of `fixed + size * each` bytes; refuses those beyond `refuses`."""

    def __init__(self, fixed: int, each: int, *, bend: float = 0.0, refuses: float = 1e18):
        self.fixed, self.each, self.bend, self.refuses = fixed, each, bend, refuses
        self.compiled: list[int] = []

    def __call__(self, size: int) -> Compiled | TooLarge:
        assert size not in self.compiled, "compiled twice"
        self.compiled.append(size)
        total = int(self.fixed + size * self.each * (1 + self.bend * size))
        if total > self.refuses:
            return TooLarge(None, 0.0)
        return Compiled(Memory(self.fixed, total - self.fixed, 0, 0, 0), NOTHING, 0.0)


@pytest.mark.parametrize("first", [1, 4, 40, 200])
def test_linear_memory_is_solved_exactly_with_few_compilations(first):
    compiler = Compiler(1000, 100)
    found = largest_batch(compiler, first, memory=6499)
    assert found.size == 54
    assert len(compiler.compiled) <= 5 + (first > 54) * 3  # halved until one fits


def test_the_answer_was_compiled_and_fits():
    compiler = Compiler(1000, 100, bend=0.004)  # grows faster than a line
    found = largest_batch(compiler, 2, memory=9000)
    assert found.size in compiler.compiled
    assert compiler.fixed + found.size * 100 * (1 + 0.004 * found.size) <= 9000
    assert found.too_large in compiler.compiled


def test_a_compiler_that_refuses_without_a_number_is_searched_too():
    found = largest_batch(Compiler(1000, 100, refuses=5000), 8, memory=5000)
    assert found.size == 40


def test_only_divisors_are_tried_where_asked():
    compiler = Compiler(1000, 100)
    found = largest_batch(compiler, 1, memory=1e6, divides=8)
    assert found == Largest(8, None)
    assert set(compiler.compiled) <= {1, 2, 4, 8}
    assert largest_batch(Compiler(1000, 100), 8, memory=1350, divides=8) == Largest(2, 4)


def test_nothing_fits():
    assert largest_batch(Compiler(1000, 100), 4, memory=1000) == Largest(0, 1)


def test_growth_below_the_compiler_s_rounding_ends():
    found = largest_batch(Compiler(1000, 0), 4, memory=2000)
    assert found.size >= 4
    assert found.too_large is None
