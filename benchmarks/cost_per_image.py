"""What one synthetic image costs at Stable Diffusion 1.5's full size, beside what it must cost.

    python benchmarks/cost_per_image.py
    python benchmarks/cost_per_image.py --memory float32 bfloat16    # compiles it as well

Shapes only, no weights. The program that `python -m dreamda_jax.generate` would lower is traced for
both update rules, and its matrix products and convolutions are counted, loops multiplied out. The
minimum counts U-Net rows by hand: two guided rows per variant and step, and one row per seed and
step for the inversion, shared by the n variants; for Eq. 6 the U-Net's decoder runs on twice the
rows. Encoding the seed (its share) and decoding the image are in both: any method pays for them.

`--memory` compiles the program of one device with this machine's backend and prints what the
compiler says it needs. Arguments and outputs are the same on any device; temporary memory depends
on the backend's compiler and kernels.
"""

import argparse
import time
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from reporting import machine, print_json, print_table

from dreamda_jax.generate import cost
from dreamda_jax.models.stable_diffusion import model as stable_diffusion
from dreamda_jax.plan import known_configs
from dreamda_jax.runtime.flops import count_flops
from dreamda_jax.synthesis.dreamda import DreamDA
from dreamda_jax.synthesis.method import Inputs, Outputs
from dreamda_jax.types import Params

RESOLUTION = 512
RELEASE_ROWS_PER_STEP = 4  # two guided rows, and two of the source chain for every variant


class UNetRow(NamedTuple):
    """FLOPs of one row of the U-Net at one timestep, counted in three ways.

    Attributes:
      counted: by `runtime.flops`.
      encoder: likewise, up to and including the mid block.
      xla: by XLA's cost analysis of the lowered program, which adds elementwise operations and
        leaves out what convolutions multiply with padding.
    """

    counted: float
    encoder: float
    xla: float


def main() -> None:
    """Counts, compares, prints."""
    flags = _parse_flags()
    start = time.monotonic()
    model = sd15("bfloat16")
    print(f"{machine()}; Stable Diffusion 1.5, {RESOLUTION}x{RESOLUTION}, shapes only", flush=True)
    row = count_unet_row(model)
    encoder_share = row.encoder / row.counted
    print_table(
        "One row of the U-Net",
        ["counted by", "TFLOP", "share"],
        [
            ["this project", row.counted / 1e12, 1.0],
            ["  encoder and mid block", row.encoder / 1e12, encoder_share],
            ["  decoder", (row.counted - row.encoder) / 1e12, 1 - encoder_share],
            ["XLA's cost analysis", row.xla / 1e12, row.xla / row.counted],
        ],
    )
    n, executed = flags.num_variants, int(flags.num_inference_steps * flags.strength)
    minimum_rows = {
        "official": 2 * executed + executed / n,
        "asymmetric": 2 * (encoder_share + 2 * (1 - encoder_share)) * executed + executed / n,
    }
    table: list[list[Any]] = []
    ratios: dict[str, float] = {}
    for rule, rows in minimum_rows.items():
        price = cost.price(model, _method(flags, rule), resolution=RESOLUTION, num_variants=n)
        minimum = rows * row.counted + price.other_flops
        ratios[rule] = price.flops / minimum
        table += [
            [
                f"{rule} rule, this program",
                price.unet_rows,
                price.flops / 1e12,
                f"{ratios[rule]:.4f}",
            ],
            [f"{rule} rule, minimum", rows, minimum / 1e12, "1.0000"],
        ]
        if rule == "official":
            release_rows = RELEASE_ROWS_PER_STEP * executed
            release = release_rows * row.counted + price.other_flops
            table.append(
                [
                    "official rule, the release",
                    release_rows,
                    release / 1e12,
                    f"{release / minimum:.4f}",
                ]
            )
    print_table(
        f"One image: {executed} steps, guidance {flags.guidance_scale}, {n} variants per seed",
        ["", "U-Net rows", "TFLOP", "of the minimum"],
        table,
    )
    print(f"Each with {price.other_flops / 1e12:.3g} TFLOP of the VAE: encoding / {n} + decoding.")
    seconds = time.monotonic() - start
    print(f"Counted in {seconds:.0f} s.", flush=True)
    memory = _memory(flags) if flags.memory else {}
    print_json(
        {
            "official_rule_ratio": ratios["official"],
            "asymmetric_ratio": ratios["asymmetric"],
            "unet_row_tflop": row.counted / 1e12,
            "unet_row_tflop_xla": row.xla / 1e12,
            "encoder_share": encoder_share,
            "seconds": seconds,
            **memory,
        }
    )


def sd15(dtype: str) -> stable_diffusion.StableDiffusion:
    """Stable Diffusion 1.5 without weights and without a tokenizer."""
    configs = known_configs.SD15
    return stable_diffusion.from_configs(
        unet_config=configs.unet,
        vae_config=configs.vae,
        text_config=configs.text_encoder,
        scheduler_config=configs.scheduler,
        dtype=dtype,
    )


def count_unet_row(model: stable_diffusion.StableDiffusion) -> UNetRow:
    """One row of the U-Net, by this project's counter and by XLA's."""
    arguments = (
        stable_diffusion.abstract_params(model),
        jax.ShapeDtypeStruct((1, *model.latent_shape(RESOLUTION)), jnp.float32),
        jax.ShapeDtypeStruct((), jnp.int32),
        jax.ShapeDtypeStruct(
            (1, model.num_tokens, model.text_encoder.config.hidden_size), model.dtype
        ),
    )

    def up_to_mid_block(*arguments: Any) -> jax.Array:
        # Leaving by an exception is the one way not to trace what follows.
        try:
            with nn.intercept_methods(_leave_after_mid_block):
                model.denoise(*arguments)
        except _ReachedMidBlockError as reached:
            return reached.output
        raise RuntimeError("the U-Net has no mid block")

    analysis = jax.jit(model.denoise).lower(*arguments).cost_analysis()
    if analysis is None:
        raise RuntimeError("this backend does not analyse the cost of a program")
    return UNetRow(
        counted=count_flops(model.denoise, *arguments),
        encoder=count_flops(up_to_mid_block, *arguments),
        xla=analysis["flops"],
    )


class _ReachedMidBlockError(Exception):
    def __init__(self, output: jax.Array) -> None:
        super().__init__()
        self.output = output


def _leave_after_mid_block(next_fun: Any, args: tuple, kwargs: dict, context: Any) -> Any:
    output = next_fun(*args, **kwargs)
    is_mid_block = isinstance(context.module, stable_diffusion.FlaxUNetMidBlock2DCrossAttn)
    if is_mid_block and context.method_name == "__call__":
        raise _ReachedMidBlockError(output)
    return output


def _memory(flags: argparse.Namespace) -> dict[str, float]:
    """Compiles the program of one device for this backend, and prints what it needs."""
    rows, figures = [], {}
    for dtype in flags.memory:
        model, method = sd15(dtype), _method(flags, flags.update_rule)
        params = stable_diffusion.abstract_params(model)
        inputs = cost.abstract_inputs(
            model, method, resolution=RESOLUTION, num_seeds=1, num_variants=flags.num_variants
        )

        def program(params: Params, inputs: Inputs, model: Any = model) -> Outputs:
            return method.synthesize(model, params, inputs)  # noqa: B023

        start = time.monotonic()
        compiled = jax.jit(program).lower(params, inputs).compile()
        seconds = time.monotonic() - start
        needs: Any = compiled.memory_analysis()
        arguments, outputs = needs.argument_size_in_bytes, needs.output_size_in_bytes
        total = arguments + outputs + needs.temp_size_in_bytes - needs.alias_size_in_bytes
        parts = (arguments, outputs, needs.temp_size_in_bytes, total)
        rows.append([dtype, *(part / 1e9 for part in parts), seconds])
        figures[f"memory_gb_{dtype}"] = total / 1e9
        figures[f"compile_seconds_{dtype}"] = seconds
    at_once = flags.variants_per_pass or flags.num_variants
    print_table(
        f"Memory of the {flags.update_rule} rule, GB: one seed, variants at once: {at_once}",
        ["dtype", "arguments", "outputs", "temporary", "total", "compiled in s"],
        rows,
    )
    return figures


def _method(flags: argparse.Namespace, update_rule: str) -> DreamDA:
    return DreamDA(
        num_inference_steps=flags.num_inference_steps,
        strength=flags.strength,
        guidance_scale=flags.guidance_scale,
        variants_per_pass=flags.variants_per_pass,
        update_rule=update_rule,  # type: ignore[arg-type]
    )


def _parse_flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--num_variants", type=int, default=10, help="n; default 10")
    add("--variants_per_pass", type=int, default=5, help="of them, at once; default 5")
    add("--num_inference_steps", type=int, default=100, help="N; default 100")
    add("--strength", type=float, default=0.8, help="share of them executed; default 0.8")
    add("--guidance_scale", type=float, default=7.5, help="default 7.5")
    add("--memory", nargs="+", default=[], choices=["float32", "bfloat16"], help="compile in these")
    add(
        "--update_rule", default="official", choices=["official", "asymmetric"], help="for --memory"
    )
    flags = parser.parse_args()
    if flags.guidance_scale == 1:
        parser.error("the minimum is counted for guided rows: --guidance_scale must not be 1")
    return flags


if __name__ == "__main__":
    main()
