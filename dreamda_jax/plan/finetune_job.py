"""A fine-tuning as a plan sees it: the step of `finetune` over all devices."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dreamda_jax.algorithms import random_key
from dreamda_jax.errors import UserError
from dreamda_jax.finetune.adaptation import Adaptation, full, low_rank, new_tokens
from dreamda_jax.finetune.loss import Batch
from dreamda_jax.finetune.programs import EMPTY, Programs
from dreamda_jax.models.stable_diffusion.model import StableDiffusion, abstract_params
from dreamda_jax.options.checkpoints import Model
from dreamda_jax.options.finetune import Finetune, check_dtype
from dreamda_jax.options.sections import SECTIONS
from dreamda_jax.options.synthesis import Image
from dreamda_jax.plan import stand_ins
from dreamda_jax.plan.job import Job, Program, bytes_on_device, placed, shape, whole_bytes
from dreamda_jax.runtime import devices as meshes
from dreamda_jax.runtime.flops import count_flops
from dreamda_jax.runtime.readable import readable_flops
from dreamda_jax.runtime.state import TrainState
from dreamda_jax.settings import binding


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
    binding.check_sections(config, SECTIONS)
    job = binding.bind(config, "finetune", Finetune)
    image = binding.bind(config, "image", Image)
    checkpoint = binding.bind(config, "model", Model)
    check_dtype(checkpoint.dtype)
    in_portions = len(devices) * job.accumulation
    if job.batch_size % in_portions:
        raise UserError(
            f"finetune.batch_size={job.batch_size} in portions of accumulation="
            f"{job.accumulation} cannot be shared by {len(devices)} devices: take a multiple of "
            f"{in_portions}, such as {-(-job.batch_size // in_portions) * in_portions}"
        )
    networks = stand_ins.open_networks(checkpoint)
    model = networks.value
    images = stand_ins.open_images(config["source"], num_images=num_images, num_classes=num_classes)
    adaptation = _adaptation(job, model, len(images.value.label_names))
    mesh = meshes.training_mesh(job.fsdp or len(devices), devices)
    params = abstract_params(model)
    frozen = _frozen(model, adaptation, mesh)
    state = Programs(model, adaptation, job, mesh).state_shapes(params)
    state = placed(state, meshes.state_sharding(mesh, state))
    step_flops = _step_flops(model, adaptation, job, image.resolution, frozen, state, mesh)
    picture_flops = _picture_flops(model, image.resolution, job)
    num_sheets = 1 + -(-job.num_steps // job.steps_per_sheet) if job.num_samples else 0
    sheet_flops = num_sheets * job.num_samples * picture_flops

    def program(size: int) -> Program:
        batch_size = size * in_portions
        sized = dataclasses.replace(job, batch_size=batch_size)
        programs = Programs(model, adaptation, sized, mesh)

        def lower() -> Any:
            return programs.step.lower(
                frozen,
                jax.eval_shape(random_key.key, 0),
                state,
                _batch(model, adaptation, batch_size, image.resolution, mesh),
            )

        on_each = batch_size / len(devices)
        return Program(lower, step_flops / job.batch_size * on_each, on_each)

    trained = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    return Job(
        about=[
            ("job", f"finetune, {job.method.replace('_', ' ')}, {trained / 1e6:,.2f} M parameters"),
            ("model", f"{checkpoint.path}, {checkpoint.dtype}"),
            (
                "images",
                f"{len(images.value):,} of {len(images.value.label_names)} classes, "
                f"{image.resolution}x{image.resolution}",
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
        assumed=networks.assumed + images.assumed,
        program=program,
        size=job.batch_size // in_portions,
        rows="images at once",
        field=f"finetune.batch_size / (accumulation · {len(devices)} devices)",
        divides=0,
        dtype=checkpoint.dtype,
        parameter_bytes=bytes_on_device((frozen, state)),
        resident=whole_bytes(params["vae"]),  # waits for the pictures
        num_images=job.num_steps * job.batch_size,
        calls=job.num_steps,
        extra_flops=sheet_flops / len(devices),
        # Two checkpoints that are kept and one that is being written, and the result.
        num_bytes=3 * whole_bytes(state) + 2 * whole_bytes(params),
        written="checkpoints and the result; features in the cache come on top",
    )


def _adaptation(job: Finetune, model: StableDiffusion, num_classes: int) -> Adaptation:
    if job.method == "full":
        return full(model, remat=job.remat)
    if job.method == "lora":
        return low_rank(model, rank=job.lora_rank, alpha=job.lora_alpha, remat=job.remat)
    count = num_classes * job.num_vectors
    longer = model.with_vocabulary(model.vocabulary + count, model.tokenizer)
    return new_tokens(longer, start_ids=[[0]] * count, remat=job.remat)


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


def _picture_flops(model: StableDiffusion, resolution: int, job: Finetune) -> float:
    """Two rows of the U-Net a step, for guidance, and the decoder."""
    params = abstract_params(model)
    latents = shape((1, *model.latent_shape(resolution)), jnp.float32)
    context = shape((1, model.num_tokens, model.text_encoder.config.hidden_size), jnp.float32)
    row = count_flops(model.denoise, params, latents, np.int32(1), context)
    return 2 * job.sample_steps * row + count_flops(model.decode_latents, params, latents)
