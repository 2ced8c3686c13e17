"""Joining views to one batch and taking it apart, alone and over two devices."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dreamda_jax.algorithms.selftrain.network import interleave, separate
from dreamda_jax.runtime import devices


def some_parts(rows: int, multiples: tuple[int, ...], shape: tuple[int, ...]) -> list[np.ndarray]:
    random = np.random.default_rng(len(multiples))
    return [
        random.standard_normal((rows * multiple, *shape)).astype(np.float32)
        for multiple in multiples
    ]


@pytest.mark.parametrize("multiples", [(1,), (1, 1), (1, 7, 7), (1, 1, 3, 3), (4, 1, 2)])
@pytest.mark.parametrize("shape", [(), (3,), (2, 2, 3)])
def test_separate_undoes_interleave(multiples, shape):
    parts = some_parts(4, multiples, shape)
    joined = interleave([jnp.asarray(part) for part in parts], 4)
    assert joined.shape == (4 * sum(multiples), *shape)
    found = separate(joined, parts, 4)
    assert len(found) == len(parts)
    for part, again in zip(parts, found, strict=True):
        np.testing.assert_array_equal(part, again)


def test_what_is_computed_of_a_batch_comes_back_in_the_order_of_its_parts():
    """Logits have another shape than images."""
    parts = some_parts(4, (1, 3, 3), (2, 2, 3))
    joined = interleave([jnp.asarray(part) for part in parts], 4)
    for part, sums in zip(parts, separate(joined.sum((1, 2)), parts, 4), strict=True):
        np.testing.assert_allclose(sums, part.sum((1, 2)), rtol=1e-5, atol=1e-6)


def test_a_group_holds_one_row_of_every_part_in_turn():
    parts = [jnp.array([0, 1]), jnp.array([10, 11, 12, 13]), jnp.array([20, 21])]
    np.testing.assert_array_equal(interleave(parts, 2), [0, 10, 11, 20, 1, 12, 13, 21])


# Every way there is for one device to send another something.
_MOVES = re.compile(r"\b(all-to-all|all-gather|collective-permute|all-reduce)(?:-start)?\(")


def compiled_text(function, parts: list[np.ndarray]) -> str:
    """The program of two devices, whose results are split by rows as their arguments are."""
    mesh = devices.training_mesh()
    spread = devices.global_rows(mesh, parts)
    assert len(spread[0].sharding.device_set) == 2
    out = spread[0].sharding
    return jax.jit(function, out_shardings=out).lower(spread).compile().as_text()


def through_a_network(parts, *, join, split):
    rows = len(parts[0])
    outputs = jnp.tanh(join(parts, rows).reshape(-1, 12) @ jnp.ones((12, 5)))
    return split(outputs, parts, rows)


def concatenated(parts, rows):
    del rows
    return jnp.concatenate(parts)


def cut(joined, parts, rows):
    del rows
    return jnp.split(joined, np.cumsum([len(part) for part in parts])[:-1])


@pytest.mark.parametrize("multiples", [(1, 1), (1, 3, 3)])
def test_no_image_goes_to_another_device(multiples):
    parts = some_parts(4, multiples, (2, 2, 3))
    text = compiled_text(
        lambda parts: through_a_network(parts, join=interleave, split=separate), parts
    )
    assert not _MOVES.findall(text)
    # The plain way does send them, and this test sees it.
    plain = compiled_text(
        lambda parts: through_a_network(parts, join=concatenated, split=cut), parts
    )
    assert _MOVES.findall(plain)


def test_two_devices_give_the_rows_of_one():
    parts = some_parts(4, (1, 3), (2, 2, 3))
    spread = devices.global_rows(devices.training_mesh(), parts)
    joined = jax.jit(lambda parts: interleave(parts, 4))(spread)
    np.testing.assert_array_equal(joined, interleave([jnp.asarray(p) for p in parts], 4))
    # Rows 0 and 1 of every part lie on the first device, and so do their groups.
    np.testing.assert_array_equal(
        joined.addressable_shards[0].data, interleave([p[: len(p) // 2] for p in parts], 2)
    )
