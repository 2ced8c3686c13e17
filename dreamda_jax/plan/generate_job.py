"""A synthesis as a plan sees it: the program of `generate`, one host's devices at a time."""

from collections.abc import Mapping
from typing import Any

from dreamda_jax.generate import build, cost
from dreamda_jax.models.stable_diffusion.model import abstract_params
from dreamda_jax.options.checkpoints import Model
from dreamda_jax.options.sections import SECTIONS
from dreamda_jax.options.synthesis import Image, Output, Synthesis
from dreamda_jax.plan import stand_ins
from dreamda_jax.plan.devices import of_one_host
from dreamda_jax.plan.job import Job, Program, whole_bytes
from dreamda_jax.runtime import devices as mesh
from dreamda_jax.runtime.readable import readable_flops
from dreamda_jax.settings import binding
from dreamda_jax.synthesis.method import Method
from dreamda_jax.synthesis.program import INPUTS, synthesis_program


def generate_job(
    config: Mapping[str, Any],
    devices: list[Any],
    *,
    num_images: int | None,
    num_classes: int | None,
) -> Job:
    """What `python -m dreamda_jax.generate` would run on these devices.

    Args:
      config: the whole configuration.
      devices: of the target, those of all hosts.
      num_images: seed images, if the set is not to be opened.
      num_classes: of them.

    Raises:
      UserError: a field is unknown or does not fit, or what it names is neither here nor known.
    """
    binding.check_sections(config, SECTIONS)
    image = binding.bind(config, "image", Image)
    synthesis = binding.bind(config, "synthesis", Synthesis)
    output = binding.bind(config, "output", Output)
    checkpoint = binding.bind(config, "model", Model)
    networks = stand_ins.open_networks(checkpoint)
    model = networks.value
    if checkpoint.attention == "auto":
        model = model.with_attention_for(devices[0])
    images = stand_ins.open_images(config["source"], num_images=num_images, num_classes=num_classes)
    method = build.open_method(config, label_names=images.value.label_names)
    num_seeds = len(images.value)
    if 0 < synthesis.max_seeds < num_seeds:
        num_seeds = synthesis.max_seeds
    with binding.as_user_error("method"):
        method.check(model)
        price = cost.price(
            model, method, resolution=image.resolution, num_variants=synthesis.num_variants
        )
    host = of_one_host(devices)
    params = {**abstract_params(model), **method.extra_params()}

    def program(size: int) -> Program:
        inputs = cost.abstract_inputs(
            model,
            method,
            resolution=image.resolution,
            num_seeds=size,
            num_variants=synthesis.num_variants,
        )

        def lower() -> Any:
            rows = mesh.rows_of_all(inputs, INPUTS, host)
            return synthesis_program(model, method, host).lower(params, rows)

        made = size * synthesis.num_variants
        return Program(lower, (price.flops - price.learning_flops) * made, made)

    num_shards = -(-num_seeds // synthesis.seeds_per_shard)
    num_made = num_seeds * synthesis.num_variants
    return Job(
        about=[
            ("job", f"generate, {method.name}"),
            ("model", f"{checkpoint.path}, {checkpoint.dtype}"),
            (
                "seeds",
                f"{num_seeds:,} images of {len(images.value.label_names)} classes, "
                f"{image.resolution}x{image.resolution}",
            ),
            ("images", f"{num_made:,} to make, {synthesis.num_variants} per seed"),
            (
                "cost",
                f"{price.unet_rows:.1f} U-Net rows, {readable_flops(price.flops)} per image; "
                f"{readable_flops(price.flops * num_made)} in all",
            ),
        ],
        assumed=[*networks.assumed, *images.assumed, *_not_compiled(method)],
        program=program,
        size=synthesis.seeds_per_device,
        rows="seeds",
        field=(
            "synthesis.seeds_per_device, a divisor of "
            f"synthesis.seeds_per_shard={synthesis.seeds_per_shard}"
        ),
        divides=synthesis.seeds_per_shard,
        dtype=checkpoint.dtype,
        parameter_bytes=whole_bytes(params),
        resident=whole_bytes(params["text_encoder"]),  # a program of its own encodes prompts
        num_images=num_made,
        calls=_calls(
            num_shards,
            groups_per_shard=-(-synthesis.seeds_per_shard // synthesis.seeds_per_device),
            num_hosts=len({device.process_index for device in devices}),
            devices_per_host=len(host),
        ),
        extra_flops=price.learning_flops * num_made / len(devices),
        num_bytes=cost.estimated_bytes(
            num_made,
            num_shards=num_shards,
            resolution=image.resolution,
            image_format=output.format,
        ),
        written=f"{output.format} images in ArrayRecord",
    )


def _not_compiled(method: Method) -> list[str]:
    if method.learning is None:
        return []
    return ["the learning of embeddings is counted, not compiled: it may need more memory"]


def _calls(num_shards: int, *, groups_per_shard: int, num_hosts: int, devices_per_host: int) -> int:
    """Of the device that makes most: hosts take whole shards, devices groups of seeds."""
    groups = -(-num_shards // num_hosts) * groups_per_shard
    return -(-groups // devices_per_host)
