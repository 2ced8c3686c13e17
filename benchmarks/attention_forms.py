"""What attention's form costs on accelerators that are not here: plain beside fused.

    pip install -e '.[tpu,cuda12]'
    python benchmarks/attention_forms.py
    python benchmarks/attention_forms.py --targets=h100 --part=unet
    python benchmarks/attention_forms.py --part=group_norm

One self-attention of Stable Diffusion 1.5 at 512 x 512 (4,096 tokens, 8 heads of 40) or one call of
its U-Net (half a minute for a GPU, more than ten for a TPU), in bfloat16, compiled by the target's
own compiler, with the plain form of self-attention and with the one that `model.attention="auto"`
takes there (cuDNN's flash attention, a Pallas kernel). Nothing is run: memory and traffic are read
off the compiled programs, as `python -m dreamda_jax.plan` reads them. Traffic of a kernel is its
inputs and outputs, which is what such a kernel moves. "group_norm" compiles Flax's GroupNorm and
ours (`networks/group_norm`), with the SiLU and the convolution that follow, instead.
"""

import argparse
import os
from typing import Any

from reporting import machine, print_json, print_table

from dreamda_jax.plan import targets

RESOLUTION = 512


def main() -> None:
    """Compiles and prints."""
    flags = _parse_flags()
    targets.tell_jax(pretended_devices=0)
    rows, figures = [], {}
    for name in flags.targets:
        for count in flags.rows:
            for form in ("plain", "fused"):
                found = _PARTS[flags.part](name, count, is_fused=form == "fused")
                if found is None:
                    rows.append([name, count, form, "does not fit", "", ""])
                    continue
                temporary, moved, seconds = found
                rows.append(
                    [
                        name,
                        count,
                        form,
                        f"{temporary / 1e9:.3f}",
                        f"{moved / 1e9:.3g}",
                        f"{seconds:.0f}",
                    ]
                )
                figures[f"{name}_{count}_{form}"] = {"temporary": temporary, "moved": moved}
    print_table(
        f"Stable Diffusion 1.5, {RESOLUTION}x{RESOLUTION}, {flags.part}, bfloat16 ({machine()})",
        ["target", "rows", "attention", "temporary GB", "moved GB", "compiled in s"],
        rows,
    )
    print_json(figures)


def compile_attention(name: str, count: int, *, is_fused: bool) -> tuple[int, int, float] | None:
    """The same of one attention module among the tokens of the U-Net's first blocks."""
    import jax
    import jax.numpy as jnp

    from dreamda_jax.models.stable_diffusion.fused_attention import for_device
    from dreamda_jax.models.stable_diffusion.networks.attention import FlaxAttention
    from dreamda_jax.plan import devices
    from dreamda_jax.plan.compiling import Compiled, compile_program

    device = devices.target_devices(targets.parse_target(name))[0]
    form = for_device(device, jnp.bfloat16) if is_fused else "plain"
    module = FlaxAttention(heads=8, dim_head=40, attention=form, dtype=jnp.bfloat16)
    hidden = jax.ShapeDtypeStruct((count, 4096, 320), jnp.bfloat16)
    params = jax.eval_shape(module.init, jax.random.key(0), hidden)
    sharding = jax.sharding.SingleDeviceSharding(device)
    params, hidden = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, jnp.bfloat16, sharding=sharding), (params, hidden)
    )
    found = compile_program(lambda: jax.jit(module.apply).lower(params, hidden), resident=0)
    if not isinstance(found, Compiled):
        return None
    return found.memory.temporary, found.traffic.memory_bytes, found.seconds


def compile_unet(name: str, count: int, *, is_fused: bool) -> tuple[int, int, float] | None:
    """(temporary bytes, bytes moved, seconds to compile) of one device; None: it does not fit."""
    import jax
    import jax.numpy as jnp

    from dreamda_jax.models.stable_diffusion.model import abstract_params, from_configs
    from dreamda_jax.plan import devices
    from dreamda_jax.plan.compiling import Compiled, compile_program
    from dreamda_jax.plan.known_configs import SD15

    device = devices.target_devices(targets.parse_target(name))[0]
    model = from_configs(
        unet_config=SD15.unet,
        vae_config=SD15.vae,
        text_config=SD15.text_encoder,
        scheduler_config=SD15.scheduler,
        dtype="bfloat16",
    )
    if is_fused:
        model = model.with_attention_for(device)
    sharding = jax.sharding.SingleDeviceSharding(device)

    def shaped(shape: tuple[int, ...], dtype: Any) -> Any:
        return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)

    params = jax.tree.map(lambda x: shaped(x.shape, x.dtype), abstract_params(model)["unet"])
    latents = shaped((count, *model.latent_shape(RESOLUTION)), jnp.float32)
    context = shaped((count, model.num_tokens, 768), jnp.bfloat16)
    call = jax.jit(lambda unet, x, c: model.denoise({"unet": unet}, x, 500, c))
    found = compile_program(lambda: call.lower(params, latents, context), resident=0)
    if not isinstance(found, Compiled):
        return None
    return found.memory.temporary, found.traffic.memory_bytes, found.seconds


def compile_group_norm(name: str, count: int, *, is_fused: bool) -> tuple[int, int, float] | None:
    """The same of a GroupNorm of 64x64x320 features with what follows it in a residual block."""
    import flax.linen as nn
    import jax
    import jax.numpy as jnp

    from dreamda_jax.models.stable_diffusion.networks.group_norm import group_norm
    from dreamda_jax.plan import devices
    from dreamda_jax.plan.compiling import Compiled, compile_program

    device = devices.target_devices(targets.parse_target(name))[0]
    sharding = jax.sharding.SingleDeviceSharding(device)
    features, kernel, params = jax.tree.map(
        lambda shape: jax.ShapeDtypeStruct(shape, jnp.bfloat16, sharding=sharding),
        ((count, 64, 64, 320), (3, 3, 320, 320), {"scale": (320,), "bias": (320,)}),
        is_leaf=lambda node: isinstance(node, tuple) and isinstance(node[0], int),
    )

    def call(features: Any, kernel: Any, params: Any) -> Any:
        normal: Any
        if is_fused:
            normal = group_norm(features, params, num_groups=32, epsilon=1e-5)
        else:
            normal = nn.GroupNorm(num_groups=32, epsilon=1e-5).apply({"params": params}, features)
        numbers = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(
            nn.silu(normal), kernel, (1, 1), "SAME", dimension_numbers=numbers
        )

    lower = lambda: jax.jit(call).lower(features, kernel, params)  # noqa: E731
    found = compile_program(lower, resident=0)
    if not isinstance(found, Compiled):
        return None
    return found.memory.temporary, found.traffic.memory_bytes, found.seconds


_PARTS = {"attention": compile_attention, "unet": compile_unet, "group_norm": compile_group_norm}


def _parse_flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words = lambda text: text.split(",")  # noqa: E731
    numbers = lambda text: [int(part) for part in text.split(",")]  # noqa: E731
    parser.add_argument("--targets", type=words, default=["h100", "v5e-4"], help="By commas.")
    parser.add_argument("--rows", type=numbers, default=[10], help="Of a call, by commas.")
    parser.add_argument("--part", choices=_PARTS, default="attention", help="What is compiled.")
    return parser.parse_args()


if __name__ == "__main__":
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    main()
