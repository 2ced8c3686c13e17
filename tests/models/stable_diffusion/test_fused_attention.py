"""Fused attention: the same numbers as the plain form, and only where there are many tokens."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dreamda_jax.models.stable_diffusion import fused_attention
from dreamda_jax.models.stable_diffusion.networks.attention import FlaxAttention

HEADS, WIDTH = 2, 40  # a head of Stable Diffusion 1.5 is 40 wide


def attend(hidden, kernel_name, context=None):
    """[plain, with the kernel], float32, of random projections."""
    plain = FlaxAttention(heads=HEADS, dim_head=WIDTH)
    params = plain.init(jax.random.key(0), hidden, context)
    fused = plain.clone(attention=kernel_name)
    return plain.apply(params, hidden, context), fused.apply(params, hidden, context)


def tokens(count, seed=0):
    return jax.random.normal(jax.random.key(seed), (1, count, HEADS * WIDTH), jnp.float32)


def test_the_kernel_of_tpus_in_its_interpreter():
    from jax.experimental.pallas import tpu

    with tpu.force_tpu_interpret_mode():
        plain, fused = attend(tokens(1024), "flash")
    # float32; sums over 1,024 tokens in blocks of 512.
    np.testing.assert_allclose(fused, plain, rtol=1e-4, atol=1e-5)


def test_cudnn_s_arguments_by_the_same_function_without_its_kernel(monkeypatch):
    """No GPU is needed: JAX computes the same call by XLA."""
    monkeypatch.setitem(
        fused_attention._KERNELS,
        "cudnn",
        lambda q, k, v, *, scale: jax.nn.dot_product_attention(q, k, v, scale=scale),
    )
    plain, fused = attend(tokens(1024), "cudnn")
    np.testing.assert_allclose(fused, plain, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("context", [None, tokens(77, seed=1)])
def test_few_tokens_and_prompts_keep_the_plain_form(context):
    hidden = tokens(1024 if context is not None else 256)
    plain, same = attend(hidden, "flash", context)  # the kernel itself could not run here
    np.testing.assert_array_equal(same, plain)


@pytest.mark.parametrize(
    ("platform", "capability", "dtype", "expected"),
    [
        ("cpu", None, jnp.bfloat16, "plain"),
        ("gpu", "8.0", jnp.bfloat16, "cudnn"),
        ("cuda", "12.0", jnp.bfloat16, "cudnn"),
        ("gpu", "7.5", jnp.bfloat16, "plain"),  # a T4, on which cuDNN's kernel does not run
        ("gpu", "9.0", jnp.float32, "plain"),
        ("gpu", "gfx90a", jnp.bfloat16, "plain"),
        ("tpu", None, jnp.float32, "flash"),
        ("tpu", None, jnp.bfloat16, "flash"),
    ],
)
def test_which_device_takes_which(platform, capability, dtype, expected):
    device = SimpleNamespace(platform=platform, compute_capability=capability)
    assert fused_attention.for_device(device, dtype) == expected


def test_an_unknown_form_is_refused():
    with pytest.raises(ValueError, match="plain or one of cudnn, flash, got 'fast'"):
        attend(tokens(2), "fast")


@pytest.mark.parametrize(("count", "has_kernel"), [(1024, True), (1152, True), (1600, False)])
def test_a_tpu_takes_whole_blocks_only(count, has_kernel):
    """40 x 40 latents, of 320-pixel images, are 12.5 of them."""
    assert fused_attention.suits("flash", tokens=count) == has_kernel
    assert fused_attention.suits("cudnn", tokens=count)


def test_a_model_with_few_tokens_is_not_changed(tiny):
    model, params = tiny
    latents = np.random.default_rng(0).normal(size=(1, 4, 8, 8)).astype(np.float32)
    context = np.random.default_rng(1).normal(size=(1, 16, 64)).astype(np.float32)
    text = [
        str(jax.make_jaxpr(lambda p, m=m: m.denoise(p, latents, 300, context))(params))
        for m in (model, model.with_attention_for(SimpleNamespace(platform="tpu")))
    ]
    assert text[0] == text[1]
