"""d  The whole `generate` on a few drawn images: images/s, waiting, and each stage's share.

The engine behind `python -m dreamda_jax.generate` with configs/pets.py: seeds are decoded from
files, all local devices compute, PNG files are encoded, shards are written and read back. No
checkpoint is written (that would be 2 GB): the random weights go to the devices directly. A first
run of one batch a device compiles; the second is measured, by the engine's own clock from its first
batch's end to its last one's.

Then the stages as programs of their own on one device: encoding a seed, its inversion, one pass of
the reverse process, decoding that pass. A seed takes the first two once and the others as often as
it has passes; shares are of that sum, and "explained" is the sum beside what a batch took.

Where the card is too slow for the time that is left, fewer variants or steps are made, and the
table says how many. Latents of a random network grow from step to step, so features are larger
here than in section c: `site_rms` says how large at the bottleneck. Noise is what random weights
draw, which makes larger PNG files than photographs do.
"""

import contextlib
import functools
import io
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.accelerator_check import correctness, timing, weights
from benchmarks.accelerator_check.report import NO_TIME, Section
from benchmarks.accelerator_check.setup import Setup
from dreamda_jax.algorithms.diffusion import keys
from dreamda_jax.configs import defaults, pets
from dreamda_jax.data import prompts, sources
from dreamda_jax.data.sets import shards
from dreamda_jax.generate import build, engine, run
from dreamda_jax.models.tokenizer import load_tokenizer
from dreamda_jax.options.synthesis import Image, Loader, Output, Synthesis
from dreamda_jax.runtime import devices as mesh
from dreamda_jax.settings import binding
from dreamda_jax.synthesis.dreamda import DreamDA
from dreamda_jax.synthesis.method import Inputs
from dreamda_jax.synthesis.pipeline import DreamDAPipeline
from dreamda_jax.types import Params

TITLE = "the whole generate (configs/pets.py): images/s and each stage's share"
_NETWORKS = ("unet", "vae", "text_encoder")
_TOKENIZER = Path(defaults.__file__).parents[1] / "sample" / "tiny_sd" / "tokenizer"
_BATCHES = 3  # of the measured run: the first one starts the engine's clock
# What is tried in this order until the time suffices: variants of a seed, steps.
_PORTIONS = ((30, 100), (10, 100), (5, 100), (5, 20), (5, 5))


def measure(setup: Setup, section: Section, clock: timing.Clock) -> None:
    """One row for the engine, then one for each stage."""
    config = _config(setup, clock)
    dtype, tokenizer = config["model"]["dtype"], load_tokenizer(_TOKENIZER)
    plain = weights.networks(setup.size, dtype, tokenizer=tokenizer)
    tokenizer.model_max_length = plain.text_encoder.config.max_position_embeddings
    model = plain.with_attention_for(setup.device)
    params = weights.draw(model, *_NETWORKS, device=setup.device)
    everywhere = jax.tree.map(lambda leaf: mesh.replicate(np.asarray(leaf)), params)
    pipeline = DreamDAPipeline(model)
    num_devices = mesh.local_device_count()
    with tempfile.TemporaryDirectory() as directory:
        draw_images(Path(directory) / "images", _BATCHES * num_devices, setup.size.resolution)
        section.say("compiling, and a first batch")
        start = time.monotonic()
        make_set(config, pipeline, everywhere, Path(directory), num_devices)
        first = time.monotonic() - start
        if clock.left <= 0:
            section.row(what="generate", note=NO_TIME, compiling_and_first_batch_s=first)
            return
        made, seconds = make_set(
            config, pipeline, everywhere, Path(directory), _BATCHES * num_devices
        )
    method = config["method"]
    per_batch = (made.seconds - made.device_wait_seconds) / (made.batches - 1)
    rate = made.images_in_seconds / made.seconds
    executed = int(method["num_inference_steps"] * method["strength"])
    section.row(
        what="generate",
        variants=config["synthesis"]["num_variants"],
        steps=executed,
        images_per_s=rate,
        with_start_and_end=made.images / seconds,
        device_waited=made.device_wait_share,
        s_a_batch=per_batch,
    )
    section.figures |= {
        "images_per_second": rate,
        "images_per_second_with_start_and_end": made.images / seconds,
        "device_wait_share": made.device_wait_share,
        "images": made.images,
        "variants": config["synthesis"]["num_variants"],
        "steps": executed,
        "compiling_and_first_batch_seconds": first,
        "site_rms": made.site_rms,
    }
    del everywhere
    if clock.left <= 0:
        section.row(what="stages", note=NO_TIME)
        return
    _measure_stages(setup, section, model, params, config, per_batch)


def _config(setup: Setup, clock: timing.Clock) -> dict[str, Any]:
    """configs/pets.py, smaller where the time or the network's size asks for it."""
    config = pets.get_config().to_dict()
    strength = config["method"]["strength"]
    # A rate that is known, or a guess from the card's data sheet.
    flops = setup.chip.flops.get("bfloat16", 0.0) if setup.chip else 0.0
    rate = setup.rows_per_second or 0.2 * flops / setup.row_flops
    portions = _PORTIONS if setup.size.name == "sd15" else _PORTIONS[-1:]
    for variants, steps in portions:
        executed = int(steps * strength)
        rows = (1 + _BATCHES + 1) * executed * (2 * variants + 1)  # of both runs and the stages
        config["synthesis"]["num_variants"] = variants
        config["method"]["num_inference_steps"] = steps
        if rate == 0 or rows / rate < clock.left / 2:  # the other half is for compiling
            break
    config["image"]["resolution"] = setup.size.resolution
    if setup.size.name != "sd15":
        config["loader"]["num_workers"] = 0  # starting processes would take most of the time
    return config


def draw_images(directory: Path, count: int, side: int) -> None:
    """So many smooth random pictures as PNG files, in turn of two classes."""
    from PIL import Image

    generator = np.random.default_rng(0)
    for number in range(count):
        coarse = generator.integers(256, size=(8, 8, 3), dtype=np.uint8)
        picture = Image.fromarray(coarse).resize((side + side // 4, side), Image.Resampling.BICUBIC)
        target = directory / f"class_{number % 2}" / f"{number:04d}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        picture.save(target)


def make_set(
    config: Mapping[str, Any],
    pipeline: DreamDAPipeline,
    params: Params,
    directory: Path,
    num_seeds: int,
) -> tuple[engine.Statistics, float]:
    """Makes and verifies the shards of so many seeds; (statistics, seconds from start to end)."""
    with tempfile.TemporaryDirectory(dir=directory) as output:
        making = _making(config, directory / "images", Path(output), num_seeds)
        todo = list(range(making.layout.num_shards))
        start = time.monotonic()
        with contextlib.redirect_stderr(io.StringIO()):  # the progress bar
            made = run.make_missing(
                making, pipeline, params, todo=todo, finished=[], stop=threading.Event()
            )
        seconds = time.monotonic() - start
        states = [shards.verify_shard(making.layout, shard) for shard in todo]
        if any(state.status != "done" for state in states):
            raise RuntimeError(f"the engine's shards are not as they should be: {states}")
        return made, seconds


def _making(config: Mapping[str, Any], images: Path, output: Path, num_seeds: int) -> build.Making:
    """As `build.generation` makes it."""
    bind = functools.partial(binding.bind, dict(config))
    source = sources.Spread(sources.open_source(kind="folder", path=str(images)), num_seeds)
    synthesis = bind("synthesis", Synthesis)
    method = build.open_method(config, label_names=source.label_names)
    given = bind("prompt", functools.partial(prompts.open_prompts, source.label_names))
    layout = shards.Layout.for_seeds(
        output,
        name="accelerator",
        num_seeds=num_seeds,
        seeds_per_shard=synthesis.seeds_per_shard,
    )
    return build.Making(
        method=method,
        source=source,
        choose_prompt=method.prompts(
            given, label_names=source.label_names, draw_seed=synthesis.seed
        ),
        layout=layout,
        image=bind("image", Image),
        synthesis=synthesis,
        output=bind("output", Output),
        loader=bind("loader", Loader),
    )


def _measure_stages(
    setup: Setup,
    section: Section,
    model: Any,
    params: Params,
    config: Mapping[str, Any],
    per_batch: float,
) -> None:
    method = build.open_method(config, label_names=("class 0", "class 1"))
    assert isinstance(method, DreamDA)
    variants = config["synthesis"]["num_variants"]
    together = min(method.variants_per_pass, variants)  # 5 divides 30, 10 and 5
    inputs = correctness.random_inputs(model, setup.size, num_seeds=1, num_variants=together)
    loops = stages(method, model, params, jax.device_put(inputs, setup.device))
    timed = timing.alternate(loops, seconds=setup.loop_seconds, repeats=3)
    passes = variants // together
    times = {"encode": 1, "invert": 1, "reverse": passes, "decode": passes}
    total = sum(times[name] * one.seconds for name, one in timed.items())
    for name, one in timed.items():
        share = times[name] * one.seconds / total
        section.row(what=name, s_a_call=one.seconds, calls_a_seed=times[name], share=share)
        section.figures[f"share_{name}"] = share
    section.figures["explained"] = total / per_batch


def stages(
    method: DreamDA, model: Any, params: Params, inputs: Inputs
) -> dict[str, Callable[[int], Any]]:
    """Loops over the four stages of one seed, compiled; arrays lie on one device."""
    variant_keys = keys.variant_keys(inputs.keys, inputs.variants)[0]

    def invert(params: Params, inputs: Inputs, x0: Any) -> Any:
        return method.stages(model, params, inputs).invert(x0)

    def reverse(params: Params, inputs: Inputs, x0: Any, start: Any, recorded: Any) -> Any:
        run_of = method.stages(model, params, inputs)
        return run_of.reverse(x0, start, recorded, variant_keys, inputs.contexts[0], False).latents

    encoded = timing.compile_program(model.encode_image, params, inputs.images)
    x0 = encoded.call(params, inputs.images)
    inverted = timing.compile_program(invert, params, inputs, x0)
    start, recorded = inverted.call(params, inputs, x0)
    reversed_ = timing.compile_program(reverse, params, inputs, x0, start, recorded)
    latents = reversed_.call(params, inputs, x0, start, recorded)
    decoded = timing.compile_program(model.decode_latents, params, latents)
    return {
        "encode": timing.repeat(lambda: encoded.call(params, inputs.images)),
        "invert": timing.repeat(lambda: inverted.call(params, inputs, x0)),
        "reverse": timing.repeat(lambda: reversed_.call(params, inputs, x0, start, recorded)),
        "decode": timing.repeat(lambda: decoded.call(params, latents)),
    }
