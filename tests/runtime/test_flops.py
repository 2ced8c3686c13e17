"""The FLOP counter against XLA's own count, and what XLA does not count: loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dreamda_jax.models.stable_diffusion import checkpoint_files, loading
from dreamda_jax.models.stable_diffusion import (
    model as stable_diffusion,
)
from dreamda_jax.runtime.flops import count_flops


def xla_flops(function, *args):
    """Of the program as lowered, nothing compiled."""
    return jax.jit(function).lower(*args).cost_analysis()["flops"]


def shaped(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


@pytest.mark.parametrize(
    ("left", "right", "dimension_numbers", "expected"),
    [
        ((5, 7), (7, 11), (((1,), (0,)), ((), ())), 2 * 5 * 7 * 11),
        ((3, 5, 7), (3, 7, 11), (((2,), (1,)), ((0,), (0,))), 2 * 3 * 5 * 7 * 11),
        ((5, 2, 3), (3, 2, 4), (((1, 2), (1, 0)), ((), ())), 2 * 5 * 6 * 4),
    ],
    ids=["plain", "batched", "two contracted"],
)
def test_matrix_products(left, right, dimension_numbers, expected):
    def function(x, y):
        return jax.lax.dot_general(x, y, dimension_numbers)

    ours = count_flops(function, shaped(*left), shaped(*right))
    assert ours == expected == xla_flops(function, shaped(*left), shaped(*right))


@pytest.mark.parametrize(
    ("stride", "groups", "layout", "expected"),
    [
        (1, 1, "NHWC", 2 * 2 * 14 * 14 * 12 * 8 * 9),
        (2, 1, "NHWC", 2 * 2 * 7 * 7 * 12 * 8 * 9),
        (1, 4, "NHWC", 2 * 2 * 14 * 14 * 12 * 2 * 9),
        (2, 4, "NCHW", 2 * 2 * 7 * 7 * 12 * 2 * 9),
    ],
    ids=["plain", "strided", "grouped", "strided and grouped, NCHW"],
)
def test_convolutions(stride, groups, layout, expected):
    """VALID padding, where every output reads the whole kernel: equal to the last FLOP."""

    def function(x, kernel):
        return jax.lax.conv_general_dilated(
            x,
            kernel,
            (stride, stride),
            "VALID",
            dimension_numbers=(layout, "HWIO", layout),
            feature_group_count=groups,
        )

    image = shaped(2, 16, 16, 8) if layout == "NHWC" else shaped(2, 8, 16, 16)
    kernel = shaped(3, 3, 8 // groups, 12)
    assert count_flops(function, image, kernel) == expected
    assert xla_flops(function, image, kernel) == expected


def test_padding_is_counted_as_work():
    """Zeros around a SAME convolution cost a machine the same; XLA leaves them out."""

    def function(x, kernel):
        return jax.lax.conv_general_dilated(
            x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    ours = count_flops(function, shaped(1, 8, 8, 4), shaped(3, 3, 4, 4))
    assert ours == 2 * 64 * 4 * 4 * 9
    # 8 of 8 rows reach the middle of the kernel, 7 of 8 each edge: (22 / 24)² of the work.
    theirs = xla_flops(function, shaped(1, 8, 8, 4), shaped(3, 3, 4, 4))
    assert theirs == pytest.approx(ours * (22 / 24) ** 2)


def test_scan_is_multiplied_out():
    def looped(x, matrices):
        def step(x, matrix):
            inner, _ = jax.lax.scan(lambda y, _: (y @ matrix, None), x, None, length=3)
            return inner, None

        return jax.lax.scan(step, x, matrices)[0]

    def unrolled(x, matrices):
        for matrix in matrices:
            for _ in range(3):
                x = x @ matrix
        return x

    arguments = shaped(4, 6), shaped(5, 6, 6)
    once = 2 * 4 * 6 * 6
    assert count_flops(looped, *arguments) == 5 * 3 * once
    assert count_flops(looped, *arguments, loops_once=True) == once
    assert count_flops(unrolled, *arguments) == 5 * 3 * once
    assert xla_flops(unrolled, *arguments) == 5 * 3 * once
    # XLA's own count of the loops: their bodies once, and the loop counters.
    assert once <= xla_flops(looped, *arguments) < once + 50


def test_map_jit_checkpoint_and_custom_derivatives_are_looked_into():
    once = 2 * 4 * 6 * 6
    arguments = shaped(4, 6), shaped(6, 6)
    product = jax.jit(jnp.matmul)

    @jax.custom_jvp
    def custom(x, y):
        return x @ y

    custom.defjvp(lambda primals, tangents: (primals[0] @ primals[1],) * 2)

    assert count_flops(lambda x, y: jax.nn.relu(product(x, y)), *arguments) == once
    assert count_flops(jax.checkpoint(lambda x, y: x @ y), *arguments) == once
    assert count_flops(custom, *arguments) == once
    mapped = count_flops(lambda x, y: jax.lax.map(lambda row: row @ y, x), *arguments)
    assert mapped == once  # four rows of a matrix-vector product


def test_dearer_branch_counts():
    def function(flag, x, y):
        return jax.lax.cond(flag, lambda: x @ y, lambda: x @ y @ y)

    flag = jax.ShapeDtypeStruct((), bool)
    assert count_flops(function, flag, shaped(4, 6), shaped(6, 6)) == 2 * (2 * 4 * 6 * 6)


def test_while_loop_with_products_is_refused():
    def function(x, y):
        return jax.lax.while_loop(lambda x: x[0, 0] < 1, lambda x: x @ y, x)

    arguments = shaped(4, 6), shaped(6, 6)
    with pytest.raises(ValueError, match="while loop of unknown length"):
        count_flops(function, *arguments)
    assert count_flops(function, *arguments, loops_once=True) == 2 * 4 * 6 * 6
    harmless = jax.lax.while_loop
    assert count_flops(lambda x: harmless(lambda x: x[0] < 1, jnp.exp, x), shaped(3)) == 0


def test_tiny_unet_in_a_loop_equals_xla_s_count():
    model = loading.open_model(checkpoint_files.find_checkpoint("sample"))
    params = stable_diffusion.abstract_params(model)

    def sampler(params, latents, context):
        def step(latents, t):
            return latents - 0.1 * model.denoise(params, latents, t, context), None

        return jax.lax.scan(step, latents, np.arange(20))[0]

    arguments = params, shaped(1, 4, 32, 32), shaped(1, 16, 64)
    ours = count_flops(sampler, *arguments, loops_once=True)
    theirs = xla_flops(sampler, *arguments)
    print(f"tiny U-Net: ours {ours:.4g}, XLA {theirs:.4g}, ratio {ours / theirs:.4f}")
    # XLA adds elementwise work, the softmax over 1024 tokens above all, and leaves out the zero
    # padding, 2 to 4 % of a 3x3 kernel's products per axis on maps this wide: 1.1 % in all. (On
    # the 8x8 maps of the model's own size the padding alone is 14 %.)
    assert ours == pytest.approx(theirs, rel=0.03)
    assert count_flops(sampler, *arguments) == 20 * ours
