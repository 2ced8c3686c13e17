"""a  Whether the card computes what the host does: networks, the algorithm, kernels, repetition.

Errors are RMS of the difference over RMS of what is right. Bounds:

- with the highest precision of products a card's float32 is the host's but for the order of sums:
  1e-4; of five steps, each of which amplifies what the last one left, 1e-3 and two grey levels;
- as they run, float32 products take TF32 on GPUs and one pass of bfloat16 on TPUs: their error, and
  that of bfloat16, may be three times what bfloat16 costs on the host, which is measured beside it;
- a fused kernel may be half as much again as far from float32 as the plain form in its own dtype;
- the same call gives the same bytes.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.accelerator_check import timing, weights
from benchmarks.accelerator_check.report import NO_TIME, Section
from benchmarks.accelerator_check.setup import ROWS_OF_CHECK, Setup
from dreamda_jax.algorithms import random_key
from dreamda_jax.algorithms.diffusion.keys import seed_keys
from dreamda_jax.models.stable_diffusion.model import StableDiffusion
from dreamda_jax.synthesis.dreamda import DreamDA
from dreamda_jax.synthesis.method import Inputs, Outputs
from dreamda_jax.types import Params

TITLE = "correctness: the card against the host"
_HIGHEST, _STEPS, _GREY_LEVELS = 1e-4, 1e-3, 2.0
_LOW_PRECISION, _FUSED = 3.0, 1.5
_NETWORKS = ("unet", "vae", "text_encoder")


def measure(setup: Setup, section: Section, clock: timing.Clock) -> None:
    """Compares, and adds a row for each comparison."""
    parts: dict[str, Callable[[Setup, Section], None]] = {
        "micro networks": _micro_networks,
        "five steps of DreamDA": _micro_steps,
        f"a U-Net call of {setup.size.name}": _full_call,
    }
    for name, part in parts.items():
        if clock.left <= 0:
            section.row(what=name, verdict=NO_TIME)
            continue
        section.say(name)
        part(setup, section)


def relative_error(found: Any, right: Any) -> float:
    """RMS of the difference over RMS of what is right, in float64; NaN and inf stay."""
    found, right = np.asarray(found, np.float64), np.asarray(right, np.float64)
    return float(np.sqrt(np.mean(np.square(found - right)) / np.mean(np.square(right))))


def _micro_networks(setup: Setup, section: Section) -> None:
    size = weights.size_named("micro")
    models = {dtype: weights.networks(size, dtype) for dtype in ("float32", "bfloat16")}
    drawn = weights.draw(models["float32"], *_NETWORKS, device=setup.device)
    calls = {dtype: jax.jit(_all_networks(model, size)) for dtype, model in models.items()}

    def results(dtype: str, device: Any, precision: str | None = None) -> list[np.ndarray]:
        there = jax.tree.map(lambda leaf: np.asarray(leaf).astype(dtype), drawn)
        there = jax.device_put(there, device)
        with jax.default_matmul_precision(precision or "default"):
            return jax.device_get(calls[dtype](there))

    right = results("float32", setup.host, "highest")
    rounded = results("bfloat16", setup.host)
    ways = {
        "float32, highest precision": results("float32", setup.device, "highest"),
        "float32": results("float32", setup.device),
        "bfloat16": results("bfloat16", setup.device),
    }
    for number, network in enumerate(("U-Net", "VAE's encoder", "VAE's decoder", "text encoder")):
        low = _LOW_PRECISION * relative_error(rounded[number], right[number])
        for way, made in ways.items():
            bound = _HIGHEST if "highest" in way else low
            section.check(
                f"micro {network}, {way}", relative_error(made[number], right[number]), bound
            )


def _all_networks(model: StableDiffusion, size: weights.Size) -> Callable[[Params], list[Any]]:
    generator = np.random.default_rng(1)
    side = size.resolution
    images = generator.integers(256, size=(2, side, side, 3), dtype=np.uint8)
    noise = generator.standard_normal((2, *model.latent_shape(side)), np.float32)
    numbers = generator.integers(model.vocabulary, size=(2, model.num_tokens), dtype=np.int32)

    def call(params: Params) -> list[Any]:
        latents, ids = jnp.asarray(noise), jnp.asarray(numbers)
        context = model.encode_text(params, ids)
        found = [
            model.denoise(params, latents, 500, context),
            model.encode_image(params, images),
            model.decode_latents_float(params, latents),
            context,
        ]
        return [array.astype(jnp.float32) for array in found]

    return call


def _micro_steps(setup: Setup, section: Section) -> None:
    size = weights.size_named("micro")
    model = weights.networks(size, "float32")
    params = weights.draw(model, *_NETWORKS, device=setup.device)
    method = DreamDA(num_inference_steps=5, strength=1.0)
    inputs = random_inputs(model, size, num_seeds=1, num_variants=2)
    synthesize = jax.jit(functools.partial(method.synthesize, model, keep_trajectory=True))

    def results(device: Any) -> Outputs:
        there = jax.device_put(jax.device_get((params, inputs)), device)
        with jax.default_matmul_precision("highest"):
            return jax.device_get(synthesize(*there))

    right, made, again = results(setup.host), results(setup.device), results(setup.device)
    assert right.trajectory is not None
    assert made.trajectory is not None
    section.check(
        "micro DreamDA, 5 steps: latents",
        relative_error(made.trajectory[:, :, -1], right.trajectory[:, :, -1]),
        _STEPS,
    )
    difference = np.abs(made.images.astype(int) - right.images.astype(int)).max()
    section.check("micro DreamDA, 5 steps: grey levels", float(difference), _GREY_LEVELS)
    _check_same(section, "micro DreamDA, 5 steps", made.images, again.images)


def _full_call(setup: Setup, section: Section) -> None:
    name = setup.size.name
    first = setup.full_call("bfloat16")
    low, high = first.rms
    section.figures |= {"rms_lowest": low, "rms_highest": high}
    _check_same(section, f"{name} U-Net, bfloat16", first.output, first.again)
    right = _plain_call(setup, "float32")
    setup.drop("float32")
    form = setup.model("bfloat16").attention
    plain = first.output if form == "plain" else _plain_call(setup, "bfloat16")
    # A tenth: a hundred layers that round to 8 bits, whose errors add up like a random walk.
    error = relative_error(plain, right)
    section.check(f"{name} U-Net, bfloat16 against float32", error, 0.1)
    if form == "plain":
        platform = setup.device.platform
        section.row(what=f"{name} U-Net, fused attention", verdict=f"none on a {platform}")
        return
    section.check(
        f"{name} U-Net, {form} attention against float32",
        relative_error(first.output, right),
        _FUSED * error,
    )


def _plain_call(setup: Setup, dtype: str) -> np.ndarray:
    """The U-Net's output with attention in the plain form, products of the highest precision."""
    model = weights.networks(setup.size, dtype)
    params = setup.unet(dtype)
    latents, context = weights.inputs(model, setup.size, ROWS_OF_CHECK, device=setup.device)
    with jax.default_matmul_precision("highest"):
        program = timing.compile_program(
            lambda params, latents, context: model.denoise(params, latents, 500, context),
            params,
            latents,
            context,
        )
        return np.asarray(program.call(params, latents, context))


def _check_same(section: Section, what: str, first: Any, second: Any) -> None:
    different = int(np.sum(first != second))
    section.check(f"{what}: values that differ the second time", float(different), 0.0)


def random_inputs(
    model: StableDiffusion, size: weights.Size, *, num_seeds: int, num_variants: int
) -> Inputs:
    """Seed images of noise and contexts of unit variance, on the host."""
    generator = np.random.default_rng(2)
    width = model.text_encoder.config.hidden_size

    def context(*rows: int) -> Any:
        shape = (*rows, model.num_tokens, width)
        return generator.standard_normal(shape, np.float32).astype(model.dtype)

    side, empty = size.resolution, context()
    return Inputs(
        images=generator.integers(256, size=(num_seeds, side, side, 3), dtype=np.uint8),
        contexts=context(num_seeds, num_variants),
        source_context=empty,
        empty_context=empty,
        keys=np.asarray(seed_keys(random_key.raw_key(0), np.arange(num_seeds))),
        variants=np.arange(num_variants, dtype=np.int32),
    )
