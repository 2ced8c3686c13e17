"""What fine-tuning Stable Diffusion 1.5 at 512x512 takes in memory, on hardware that is not here.

    python benchmarks/finetune_memory.py --target=v5e:2x4
    python benchmarks/finetune_memory.py --target=h100
    python benchmarks/finetune_memory.py --target=cpu --batch_size_per_device=1

The step that `python -m dreamda_jax.finetune` runs is traced on shapes alone, compiled by the
target's own compiler, and what that says of one device's memory is printed. TPUs need libtpu
(`pip install 'jax[tpu]'`), GPUs the CUDA plug-in (`jax-cuda12-plugin`, `jax-cuda12-pjrt`,
`nvidia-cuda-nvcc-cu12`, `nvidia-cudnn-cu12` and what they need); no such device has to be there.
Compiling takes a quarter of an hour or more on two cores.
"""

import argparse
import os
import time
from pathlib import Path
from typing import Any

os.environ["JAX_PLATFORMS"] = "cpu"  # for everything but the compiler
os.environ["TPU_SKIP_MDS_QUERY"] = "1"

import jax
import jax.numpy as jnp
from jax.experimental import topologies
from reporting import print_json, print_table

from dreamda_jax import mesh as meshes
from dreamda_jax.finetuning.full import full
from dreamda_jax.finetuning.loss import Batch
from dreamda_jax.finetuning.low_rank import low_rank
from dreamda_jax.finetuning.options import Finetune
from dreamda_jax.finetuning.programs import EMPTY, Programs
from dreamda_jax.models.known_configs import SD15
from dreamda_jax.models.stable_diffusion import StableDiffusion, abstract_params, from_configs

TARGETS = Path(__file__).parent / "targets"
RESOLUTION = 512
LIMITS = {"v5e": 16.0, "h100": 80.0}  # GB of a device, by how the target's name begins


def main() -> None:
    """Compiles, prints."""
    flags = _parse_flags()
    devices = target_devices(flags.target)
    job = Finetune(
        method=flags.method,
        batch_size=flags.batch_size_per_device * len(devices) * flags.accumulation,
        accumulation=flags.accumulation,
        remat=flags.remat,
    )
    start = time.monotonic()
    compiled = compile_step(job, devices, flags.dtype)
    seconds = time.monotonic() - start
    memory = compiled.memory_analysis()
    kept = memory.output_size_in_bytes - memory.alias_size_in_bytes
    total = memory.argument_size_in_bytes + memory.temp_size_in_bytes + kept
    gigabytes = {
        "arguments": memory.argument_size_in_bytes / 1e9,
        "temporary": memory.temp_size_in_bytes / 1e9,
        "outputs_beside_arguments": kept / 1e9,
        "total": total / 1e9,
    }
    limit = next((size for name, size in LIMITS.items() if flags.target.startswith(name)), None)
    print_table(
        f"One device of {len(devices)} x {flags.target}: {flags.method}, {flags.dtype}, "
        f"{flags.batch_size_per_device} images at once on each, remat {flags.remat}, "
        f"accumulation {flags.accumulation} (compiled in {seconds:.0f} s)",
        ["", "GB"],
        [[name.replace("_", " "), size] for name, size in gigabytes.items()],
    )
    print_json(
        {
            "target": flags.target,
            "devices": len(devices),
            "method": flags.method,
            "dtype": flags.dtype,
            "batch_size_per_device": flags.batch_size_per_device,
            "accumulation": flags.accumulation,
            "remat": flags.remat,
            **{f"{name}_gb": size for name, size in gigabytes.items()},
            "fits": None if limit is None else total / 1e9 < limit,
            "compile_seconds": seconds,
        }
    )


def target_devices(target: str) -> list[Any]:
    """Devices to compile for: this machine's "cpu", a TPU topology or a GPU of `targets/`."""
    if target == "cpu":
        return jax.devices()
    name, _, count = target.partition("x") if target.startswith("h100") else (target, "", "")
    file = TARGETS / f"{name}.txt"
    if file.exists():
        description = topologies.get_topology_desc(
            platform="cuda",
            topology_name="",
            topology=f"1x1x{count or 1}",
            target_config=file.read_text(),
        )
    else:
        description = topologies.get_topology_desc(platform="tpu", topology_name=target)
    return list(description.devices)


def compile_step(job: Finetune, devices: list[Any], dtype: str) -> Any:
    """The step over these devices, state split over all of them."""
    model = from_configs(
        unet_config=SD15.unet,
        vae_config=SD15.vae,
        text_config=SD15.text_encoder,
        scheduler_config=SD15.scheduler,
        dtype=dtype,
    )
    mesh = meshes.training_mesh(job.fsdp or len(devices), devices)
    adaptation = full(model, remat=job.remat)
    if job.method == "lora":
        rank, alpha = job.lora_rank, job.lora_alpha
        adaptation = low_rank(model, rank=rank, alpha=alpha, remat=job.remat)
    programs = Programs(model, adaptation, job, mesh)
    params = abstract_params(model)
    frozen = {name: params[name] for name in adaptation.frozen}
    frozen[EMPTY] = _shape((model.num_tokens, 768), model.dtype)
    state = programs.state_shapes(params)
    return programs.step.lower(
        _placed(frozen, meshes.state_sharding(mesh, frozen)),
        jax.eval_shape(jax.random.key, 0),
        _placed(state, meshes.state_sharding(mesh, state)),
        abstract_batch(model, job, mesh),
    ).compile()


def abstract_batch(model: StableDiffusion, job: Finetune, mesh: Any) -> Batch:
    """Shapes of a global batch, rows over all devices."""
    latents = (job.batch_size, *model.latent_shape(RESOLUTION))
    batch = Batch(
        mean=_shape(latents, jnp.float32),
        std=_shape(latents, jnp.float32),
        text=_shape((job.batch_size, model.num_tokens, 768), model.dtype),
        rows=_shape((job.batch_size,), jnp.int32),
    )
    rows = meshes.row_sharding(mesh)
    return _placed(batch, jax.tree.map(lambda _: rows, batch))


def _shape(shape: tuple[int, ...], dtype: Any) -> Any:
    return jax.ShapeDtypeStruct(shape, dtype)


def _placed(tree: Any, shardings: Any) -> Any:
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        tree,
        shardings,
    )


def _parse_flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", default="v5e:2x4", help="cpu, h100, h100x8, v5e:2x4 …")
    parser.add_argument("--method", choices=["full", "lora"], default="full")
    parser.add_argument("--dtype", choices=["bfloat16", "float32"], default="bfloat16")
    parser.add_argument("--batch_size_per_device", type=int, default=1)
    parser.add_argument("--accumulation", type=int, default=1)
    parser.add_argument("--remat", action=argparse.BooleanOptionalAction, default=True)
    return parser.parse_args()


if __name__ == "__main__":
    main()
