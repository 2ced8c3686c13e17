"""A fine-tuning as a plan sees it: the step of `finetune` over all devices."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from dreamda_jax.algorithms import random_key
from dreamda_jax.data.sources import Source
from dreamda_jax.finetune import build, cost
from dreamda_jax.finetune.adaptation import Adaptation
from dreamda_jax.finetune.loss import Batch
from dreamda_jax.finetune.programs import EMPTY, Programs
from dreamda_jax.models.stable_diffusion.model import StableDiffusion, abstract_params
from dreamda_jax.options.checkpoints import Model
from dreamda_jax.options.finetune import Finetune
from dreamda_jax.plan import stand_ins
from dreamda_jax.plan.job import Job, Program, bytes_on_device, placed, shape, whole_bytes
from dreamda_jax.runtime import devices as meshes
from dreamda_jax.runtime.flops import count_flops
from dreamda_jax.runtime.readable import readable_flops
from dreamda_jax.runtime.state import TrainState


def finetune_job(
    config: Mapping[str, Any],
    devices: list[Any],
    *,
    num_images: int | None,
    num_classes: int | None,
) -> Job:
    """What `python -m dreamda_jax.finetune` would run on these devices.

    Args:
      config: the whole configuration.
      devices: of the target, those of all hosts.
      num_images: training images, if the set is not to be opened.
      num_classes: of them.

    Raises:
      UserError: a field is unknown or does not fit, what it names is neither here nor known, or the
        batch cannot be shared by the devices.
    """
    assumed: dict[str, list[str]] = {}

    def open_images(**options: Any) -> Source:
        found = stand_ins.open_images(options, num_images=num_images, num_classes=num_classes)
        assumed["images"] = found.assumed
        return found.value

    def open_networks(checkpoint: Model) -> tuple[StableDiffusion, None]:
        found = stand_ins.open_networks(checkpoint)
        assumed["networks"] = found.assumed
        return stand_ins.with_tokenizer(found.value), None

    parts = build.finetuning(
        config, num_devices=len(devices), open_networks=open_networks, open_images=open_images
    )
    job, model, adaptation = parts.job, parts.model, parts.adaptation
    resolution, source, dtype = parts.view.resolution, parts.source, parts.checkpoint.dtype
    in_portions = len(devices) * job.accumulation
    mesh = meshes.training_mesh(job.fsdp or len(devices), devices)
    params = abstract_params(model)
    frozen = _frozen(model, adaptation, mesh)
    state = Programs(model, adaptation, job, mesh).state_shapes(params)
    state = placed(state, meshes.state_sharding(mesh, state))
    step_flops = _step_flops(model, adaptation, job, resolution, frozen, state, mesh)
    picture_flops = cost.picture_flops(model, job, resolution=resolution)
    sheet_flops = cost.num_sheets(job) * job.num_samples * picture_flops

    def program(size: int) -> Program:
        batch_size = size * in_portions
        sized = dataclasses.replace(job, batch_size=batch_size)
        programs = Programs(model, adaptation, sized, mesh)

        def lower() -> Any:
            return programs.step.lower(
                frozen,
                jax.eval_shape(random_key.key, 0),
                state,
                _batch(model, adaptation, batch_size, resolution, mesh),
            )

        on_each = batch_size / len(devices)
        return Program(lower, step_flops / job.batch_size * on_each, on_each)

    trained = cost.num_parameters(state)
    return Job(
        about=[
            ("job", f"finetune, {job.method.replace('_', ' ')}, {trained / 1e6:,.2f} M parameters"),
            ("model", f"{parts.checkpoint.path}, {dtype}"),
            (
                "images",
                f"{len(source):,} of {len(source.label_names)} classes, {resolution}x{resolution}",
            ),
            (
                "steps",
                f"{job.num_steps:,}, batches of {job.batch_size:,} in {job.accumulation} "
                f"portion(s), state split over {mesh.shape['fsdp']} devices",
            ),
            (
                "cost",
                f"{readable_flops(step_flops / job.batch_size)} per image and step; "
                f"{readable_flops(step_flops * job.num_steps)} of training, "
                f"{readable_flops(sheet_flops)} of pictures",
            ),
        ],
        assumed=assumed["networks"] + assumed["images"],
        program=program,
        size=job.batch_size // in_portions,
        rows="images at once",
        field=f"finetune.batch_size / (accumulation · {len(devices)} devices)",
        divides=0,
        dtype=dtype,
        parameter_bytes=bytes_on_device((frozen, state)),
        resident=whole_bytes(params["vae"]),  # waits for the pictures
        num_images=job.num_steps * job.batch_size,
        calls=job.num_steps,
        extra_flops=sheet_flops / len(devices),
        num_bytes=cost.disk_bytes(model, state),
        written="checkpoints and the result; features in the cache come on top",
    )


def _frozen(model: StableDiffusion, adaptation: Adaptation, mesh: Any) -> dict[str, Any]:
    params = abstract_params(model)
    width = model.text_encoder.config.hidden_size
    found: dict[str, Any] = {}
    for name in adaptation.frozen:
        split = name == "unet"
        sharding = meshes.state_sharding(mesh, params[name])
        if not split:
            sharding = jax.tree.map(lambda _: meshes.replicated(mesh), params[name])
        found[name] = placed(params[name], sharding)
    empty = shape((model.num_tokens, width), model.dtype)
    found[EMPTY] = placed(empty, meshes.replicated(mesh))
    return found


def _batch(
    model: StableDiffusion, adaptation: Adaptation, batch_size: int, resolution: int, mesh: Any
) -> Batch:
    latents = (batch_size, *model.latent_shape(resolution))
    text = shape((batch_size, model.num_tokens, model.text_encoder.config.hidden_size), np.float32)
    if adaptation.takes_token_ids:
        text = shape((batch_size, model.num_tokens), np.int32)
    batch = Batch(
        mean=shape(latents, np.float32),
        std=shape(latents, np.float32),
        text=text,
        rows=shape((batch_size,), np.int32),
    )
    return placed(batch, jax.tree.map(lambda _: meshes.row_sharding(mesh), batch))


def _step_flops(
    model: StableDiffusion,
    adaptation: Adaptation,
    job: Finetune,
    resolution: int,
    frozen: dict[str, Any],
    state: TrainState,
    mesh: Any,
) -> float:
    """Of a whole step, rematerialised blocks counted as often as they are computed."""
    programs = Programs(model, adaptation, job, mesh)
    batch = _batch(model, adaptation, job.batch_size, resolution, mesh)
    return count_flops(programs.step, frozen, jax.eval_shape(random_key.key, 0), state, batch)
